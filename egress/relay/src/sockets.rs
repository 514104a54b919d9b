//! Unix sockets of the host's that documents grant. Inside, each is a name:
//! `NAME.sockets.lakekeep.internal`, port 1, which the rules know nothing of.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use lakekeep_egress_rules::Ruleset;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::path::Arg;
use tokio::net::UnixStream;

use crate::error::ServeError;

/// Of what is opened and not connected to yet.
const FLAGS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens each socket that all documents grant under the same path.
///
/// # Errors
/// `Grant` for what is no socket now, or is behind a link.
pub fn check(rules: &Ruleset) -> Result<(), ServeError> {
    rules.sockets().try_for_each(|(_, path)| {
        let opened = open(path).map(drop);
        opened.map_err(|errno| ServeError::Grant {
            path: path.to_path_buf(),
            errno,
        })
    })
}

/// Connects to what is at the path now; its server sees the relay's user (unix(7),
/// `SO_PEERCRED`).
///
/// # Errors
/// Of the path, which may have changed since it was granted, or of connect(2).
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    connect_to(open(path)?).await
}

/// Connects to the very file that was looked at, whatever is at its path by now (proc_pid_fd(5)).
///
/// # Errors
/// Of connect(2).
pub async fn connect_to(socket: OwnedFd) -> io::Result<UnixStream> {
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
}

/// Opens a socket's file through no link, without connecting: one directory after the other.
///
/// # Errors
/// `ELOOP` for a link, on the way (there `ENOTDIR`) or at its end; `ENOTSOCK` for another file.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let folder = FLAGS | OFlags::DIRECTORY;
    let mut at = openat(CWD, "/", folder, Mode::empty())?;
    let last = path.file_name().ok_or(Errno::NOTSOCK)?;
    let names = path.parent().into_iter().flat_map(Path::components);
    for name in names {
        if let Component::Normal(name) = name {
            at = openat(&at, name, folder, Mode::empty())?;
        }
    }
    open_in(&at, last)
}

/// Opens a socket's file in this folder, without connecting.
///
/// # Errors
/// `ELOOP` for a link; `ENOTSOCK` for another file.
pub fn open_in(folder: impl AsFd, name: impl Arg) -> Result<OwnedFd, Errno> {
    let at = openat(folder, name, FLAGS, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&at)?.st_mode) {
        FileType::Socket => Ok(at),
        FileType::Symlink => Err(Errno::LOOP),
        _ => Err(Errno::NOTSOCK),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_opened_and_what_leads_there_by_a_link_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let path = folder.join("real").join("socket");
        std::fs::create_dir(folder.join("real")).unwrap();
        let _listener = UnixListener::bind(&path).unwrap();
        open(&path).unwrap();
        let (link, detour) = (folder.join("link"), folder.join("detour"));
        symlink(&path, &link).unwrap();
        symlink(folder.join("real"), &detour).unwrap();
        std::fs::write(folder.join("file"), "").unwrap();
        for (path, errno) in [
            (link, Errno::LOOP),
            (detour.join("socket"), Errno::NOTDIR),
            (folder.join("file"), Errno::NOTSOCK),
            (folder.join("real"), Errno::NOTSOCK),
            (folder.join("none"), Errno::NOENT),
        ] {
            // Where links are followed it can be reached, but for the last three.
            assert_eq!(open(&path).map(drop), Err(errno), "{}", path.display());
        }
    }
}
