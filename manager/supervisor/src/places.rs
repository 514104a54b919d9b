//! Folders and sockets of a manager and its launchers.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use lakekeep_plan::HostFacts;
use lakekeep_sandbox::service;
use rustix::fs::{CWD, Gid, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::SupervisorError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A host account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What a supervisor is told.
#[derive(Debug)]
pub struct Settings {
    /// The API's socket.
    pub socket: PathBuf,
    /// The socket of user functions.
    pub functions: PathBuf,
    /// An API socket that is open already (systemd's socket activation).
    pub given: Option<OwnedFd>,
    /// For what ends with the boot.
    pub runtime: PathBuf,
    /// For what the manager remembers.
    pub state: PathBuf,
    /// How many launchers.
    pub launchers: usize,
    /// Whom the manager runs as; `None`: as the caller, who is not root.
    pub account: Option<Account>,
    /// The facts about the host.
    pub host: HostFacts,
    /// The manager's program and arguments. It is told, besides, the numbers of four
    /// descriptors, as `--descriptors API,FUNCTIONS,FACTS,LIFELINE`: the API's listening
    /// socket, that of user functions, the host's facts as JSON in a sealed file, and a pipe
    /// that ends with its supervisor.
    pub manager: Vec<String>,
    /// Where systemd wants to hear that all is ready, in its environment's words.
    pub notify: Option<String>,
}

/// The sockets, open.
#[derive(Debug)]
pub struct Places {
    /// The API's.
    pub api: OwnedFd,
    /// That of user functions.
    pub functions: OwnedFd,
    /// Each launcher's.
    pub launchers: Vec<OwnedFd>,
    /// The relay's.
    pub relay: OwnedFd,
    /// Where launchers keep their state.
    pub launcher_state: PathBuf,
}

impl Places {
    /// Makes the folders and opens the sockets, in this order:
    ///
    /// 1. the runtime folder, listed by nobody else;
    /// 2. in it the launchers' sockets, in a folder that the manager alone may enter:
    ///    whoever can connect to a launcher can make sandboxes for anybody;
    ///    and the relay's likewise: whoever can connect to it decides what leaves;
    /// 3. the manager's own folders;
    /// 4. the API's socket and that of user functions, last: whoever connects finds
    ///    everything in place.
    ///
    /// # Errors
    /// For a place that cannot be made, or is somebody else's.
    pub fn make(settings: &Settings) -> Result<Self, SupervisorError> {
        let runtime = &settings.runtime;
        folder(runtime, 0o755, None)?;
        let launcher_state = runtime.join("state");
        folder(&launcher_state, 0o711, None)?;
        let sockets = runtime.join("launchers");
        folder(&sockets, 0o700, settings.account)?;
        let relays = runtime.join("relay");
        folder(&relays, 0o700, settings.account)?;
        // Whoever could connect to the manager's socket in it could speak for any sandbox.
        folder(&runtime.join("services"), 0o700, settings.account)?;
        folder(&runtime.join("sandboxes"), 0o700, settings.account)?;
        // For the socket that monitoring asks, if there is one: the group may enter.
        folder(&runtime.join("metrics"), 0o750, settings.account)?;
        folder(&settings.state, 0o700, settings.account)?;
        let mut launchers = Vec::new();
        for index in 0..settings.launchers {
            let path = sockets.join(format!("{index}.sock"));
            remove_old(&path)?;
            launchers.push(service::listen(&path)?);
            own(&path, settings.account)?;
        }
        let path = relays.join("relay.sock");
        remove_old(&path)?;
        let relay = service::listen(&path)?;
        own(&path, settings.account)?;
        Ok(Self {
            relay,
            api: api(settings)?,
            functions: functions(&settings.functions)?,
            launchers,
            launcher_state,
        })
    }
}

fn api(settings: &Settings) -> Result<OwnedFd, SupervisorError> {
    if let Some(given) = &settings.given {
        return rustix::io::fcntl_dupfd_cloexec(given, 3).map_err(SupervisorError::kernel("dup"));
    }
    let path = &settings.socket;
    if UnixStream::connect(path).is_ok() {
        return Err(SupervisorError::InUse {
            path: path.display().to_string(),
        });
    }
    remove_old(path)?;
    let listener = UnixListener::bind(path).map_err(listening(path))?;
    open_to_all(path)?;
    Ok(listener.into())
}

/// After the API's, which nobody else has: this is an old one, if there is one.
fn functions(path: &Path) -> Result<OwnedFd, SupervisorError> {
    remove_old(path)?;
    let bound = || {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    let socket = bound().map_err(|errno: Errno| listening(path)(errno.into()))?;
    open_to_all(path)?;
    Ok(socket)
}

fn listening(path: &Path) -> impl Fn(std::io::Error) -> SupervisorError {
    SupervisorError::place("listen on", path, "; does its folder exist?")
}

/// Who connects is told by the kernel; what they may do is the manager's to decide.
fn open_to_all(path: &Path) -> Result<(), SupervisorError> {
    let mode = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, mode).map_err(listening(path))
}

/// Makes a folder, or makes sure that it is the right one's and nobody else can write.
fn folder(path: &Path, mode: u32, account: Option<Account>) -> Result<(), SupervisorError> {
    let failed = |operation| SupervisorError::place(operation, path, "");
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed("make"))?;
    let found = std::fs::symlink_metadata(path).map_err(failed("look at"))?;
    let us = rustix::process::geteuid().as_raw();
    let owner = account.map_or(us, |account| account.uid);
    if !found.is_dir() || ![us, owner].contains(&found.uid()) {
        let remedy = "; it is a link or another user's: remove it, or name another folder";
        let error = std::io::ErrorKind::PermissionDenied.into();
        return Err(SupervisorError::place("use", path, remedy)(error));
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    own(path, account)
}

fn own(path: &Path, account: Option<Account>) -> Result<(), SupervisorError> {
    let Some(Account { uid, gid }) = account else {
        return Ok(());
    };
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(CWD, path, uid, gid, flags)
        .map_err(|errno| SupervisorError::place("give away", path, "; run as root")(errno.into()))
}

fn remove_old(path: &Path) -> Result<(), SupervisorError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SupervisorError::place("remove the old", path, "")(error))
        }
        _ => Ok(()),
    }
}
