//! Connections to a manager, made as one user or another.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};

use super::accounts::Account;
use crate::{Tracked, fail, slack, target_dir};

/// How long any one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The threads of all clients of this process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap_or_else(|e| fail(format_args!("no threads: {e}")))
    })
}

/// Waits for an answer.
///
/// # Panics
/// When it does not come in a patient while: a hang is a failure.
#[track_caller]
pub fn wait<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let time = PATIENCE * slack();
    let came = runtime().block_on(async { tokio::time::timeout(time, answer).await });
    came.unwrap_or_else(|_| fail(format_args!("not within {time:?}: {what}")))
}

/// Does something beside the test, until the test's process ends.
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    runtime().spawn(work);
}

/// A connection that `account` made, as the kernel tells the manager.
///
/// # Panics
/// When nobody listens there.
#[must_use]
#[track_caller]
pub fn connect(socket: &Path, account: &Account) -> UnixStream {
    let failed = |error: io::Error| -> ! {
        fail(format_args!(
            "{} does not reach {}: {error}",
            account.name,
            socket.display()
        ))
    };
    if account.uid == 0 {
        return UnixStream::connect(socket).unwrap_or_else(|e| failed(e));
    }
    connect_by_helper(socket, account, "stream")
        .unwrap_or_else(|e| failed(e))
        .into()
}

/// The same, where it may be refused.
///
/// # Errors
/// When it is.
pub fn try_connect(socket: &Path, account: &Account) -> io::Result<UnixStream> {
    connect_by_helper(socket, account, "stream").map(UnixStream::from)
}

/// A packet socket's connection that `account` made.
///
/// # Errors
/// When nobody listens there.
pub fn connect_packets(socket: &Path, account: &Account) -> io::Result<OwnedFd> {
    connect_by_helper(socket, account, "packets")
}

fn connect_by_helper(socket: &Path, account: &Account, kind: &str) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(helper());
    command
        .arg(socket)
        .arg(kind)
        .uid(account.uid)
        .gid(account.gid)
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    let mut child = Tracked::spawn(&mut command);
    // Ours alone keeps the other end from here on: its end is told by the end of file.
    drop(command);
    let given = receive(&ours);
    child.wait()?;
    given
}

fn helper() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let beside = exe.parent().and_then(Path::parent).map(Path::to_path_buf);
    let path = beside
        .unwrap_or_else(|| target_dir().join("release"))
        .join("lakekeep-tests-connect");
    if !path.is_file() {
        fail(format_args!(
            "{} is missing: build all of lakekeep-tests",
            path.display()
        ));
    }
    path
}

fn receive(from: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0; 1];
    let mut parts = [IoSliceMut::new(&mut word)];
    recvmsg(from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut given) = message
            && let Some(first) = given.next()
        {
            return Ok(first);
        }
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

/// A gRPC channel over this one connection; when it is lost, so is the channel.
///
/// # Panics
/// When the other end does not speak HTTP/2.
#[must_use]
#[track_caller]
pub fn channel(stream: UnixStream) -> Channel {
    try_channel(stream).unwrap_or_else(|e| fail(format_args!("no connection: {e:?}")))
}

/// The same, where the other end may be killed meanwhile.
///
/// # Errors
/// When it does not speak HTTP/2.
#[track_caller]
pub fn try_channel(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let once = Arc::new(Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let stream = stream.ok_or(io::ErrorKind::NotConnected)?;
            stream.set_nonblocking(true)?;
            Ok::<_, io::Error>(TokioIo::new(tokio::net::UnixStream::from_std(stream)?))
        }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    wait("a connection", endpoint.connect_with_connector(connector))
}
