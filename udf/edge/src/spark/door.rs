//! The Unix socket that the engine waits for, and who may come in by it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, RenameFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Longest path of a Unix socket, bytes: unix(7) has 108 with the zero at its end.
const LONGEST: usize = 107;

/// Connections that may wait for being accepted.
const BACKLOG: i32 = 128;

/// Pause after the kernel gave no connection, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The kernel has no room for the path.
    #[error(
        "--connection: a path of {length} bytes; {LONGEST} are the most that a Unix socket may \
         have: set a shorter java.io.tmpdir for the engine"
    )]
    TooLong {
        /// Bytes.
        length: usize,
    },
    /// It is no place for a socket.
    #[error("--connection {path}: give the absolute path of a socket that there is not yet")]
    NoPath {
        /// As given.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("--connection {path}: something is there already; remove it, or name another path")]
    Taken {
        /// As given.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("--connection {path}: {operation}: {error}; does its folder exist, and is it yours?")]
    Kernel {
        /// As given.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why not.
        error: io::Error,
    },
}

/// A socket that listens. Its path goes when this does.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    /// Device and inode: what else may be there by then is not removed.
    identity: (u64, u64),
}

impl Door {
    /// Listens at `path`.
    ///
    /// The engine connects as soon as it sees the path, once. So the socket listens, with mode
    /// 0600, before it has that name: it is made beside it under another one and renamed, which
    /// fails where something is there.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn open(path: &Path) -> Result<(Self, UnixListener), DoorError> {
        let no_path = || DoorError::NoPath {
            path: path.to_owned(),
        };
        let kernel = |operation| {
            move |error: io::Error| DoorError::Kernel {
                path: path.to_owned(),
                operation,
                error,
            }
        };
        let (Some(_), true) = (path.file_name(), path.is_absolute()) else {
            return Err(no_path());
        };
        let made = path.with_file_name(format!(".{}", std::process::id()));
        let length = path.as_os_str().len().max(made.as_os_str().len());
        if length > LONGEST {
            return Err(DoorError::TooLong { length });
        }
        let listener = listen(&made).map_err(|errno| kernel("making it")(errno.into()))?;
        let named = name(&made, path);
        if named.is_err() {
            // What could not be named is nobody's; that is what is told.
            drop(std::fs::remove_file(&made));
        }
        match named {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                let path = path.to_owned();
                return Err(DoorError::Taken { path });
            }
            Err(errno) => return Err(kernel("naming it")(errno.into())),
        }
        let found = std::fs::symlink_metadata(path).map_err(kernel("looking at it"))?;
        let door = Self {
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
        };
        let listener = UnixListener::from_std(listener.into()).map_err(kernel("listening"))?;
        Ok((door, listener))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|it| (it.dev(), it.ino()) == self.identity) {
            // The engine may have removed it meanwhile.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn listen(path: &Path) -> Result<std::os::fd::OwnedFd, rustix::io::Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    // The mode of the socket in the file system is that of the descriptor, at bind(2).
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn name(made: &Path, path: &Path) -> Result<(), rustix::io::Errno> {
    rustix::fs::renameat_with(CWD, made, CWD, path, RenameFlags::NOREPLACE)
}

/// Connections of whoever may connect: this user, and root. Ends with what it returns.
pub fn comers(listener: UnixListener) -> ReceiverStream<io::Result<UnixStream>> {
    let (to, comers) = mpsc::channel(1);
    let own = rustix::process::geteuid().as_raw();
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = to.closed() => return,
            };
            match accepted {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if may_enter(peer.uid(), own) => {
                        // The server has ended: so has the connection.
                        drop(to.send(Ok(stream)).await);
                    }
                    Ok(peer) => eprintln!(
                        "lakekeep-udf: a connection of uid {} was refused; this worker is of uid \
                         {own}",
                        peer.uid()
                    ),
                    Err(error) => eprintln!("lakekeep-udf: whose a connection is: {error}"),
                },
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    ReceiverStream::new(comers)
}

/// Whether a peer is of the same user, or can act as every user anyway.
fn may_enter(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_users_alone_and_goes_with_the_door() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.sock");
        let (door, _listener) = Door::open(&path).unwrap();
        let found = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(door);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.sock");
        std::fs::write(&path, "mine").unwrap();
        let error = Door::open(&path).unwrap_err();
        assert!(matches!(error, DoorError::Taken { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_link_in_its_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.sock");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(Door::open(&path), Err(DoorError::Taken { .. })));
        assert!(!folder.path().join("elsewhere").exists());
    }

    #[tokio::test]
    async fn what_came_in_its_place_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.sock");
        let (door, _listener) = Door::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        drop(door);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_told_with_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let error = Door::open(&folder.path().join("x".repeat(108))).unwrap_err();
        assert!(error.to_string().contains("107"), "{error}");
        assert!(matches!(
            Door::open(Path::new("worker.sock")),
            Err(DoorError::NoPath { .. })
        ));
    }

    #[test]
    fn only_the_same_user_and_root_may_enter() {
        assert!(may_enter(1000, 1000) && may_enter(0, 1000) && may_enter(0, 0));
        assert!(!may_enter(1001, 1000) && !may_enter(1000, 0));
    }
}
