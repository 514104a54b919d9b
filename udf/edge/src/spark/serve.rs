//! The worker as a process: from its socket to its end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_udf_client::{Broker, Environment, Options, UdfError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getppid, pidfd_open};
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;

use super::door::{Door, DoorError, comers};
use super::proto::udf_worker_server::UdfWorkerServer;
use super::service::{Service, Stopping, Worker};
use super::sessions::Sessions;

/// The largest message that Spark takes, bytes; what is larger is not taken from it, either.
const MESSAGE: usize = 128 << 20;

/// What is in a message of a batch's beside the batch, bytes, at most.
const ENVELOPE: usize = 64 << 10;

/// What a stream may send ahead of being read, bytes.
const WINDOW: u32 = 1 << 20;

/// Most streams at once that a worker can be set up for: the window of a connection has to
/// have room for each.
const MOST: usize = 1024;

/// In which, after the worker was told to end, streams end whose engine reads no more. An
/// engine kills after 5 seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The engine's name of it, for the audit log.
    pub id: String,
    /// Where it listens.
    pub connection: PathBuf,
    /// The binary `lakekeep`, which makes sandboxes.
    pub program: PathBuf,
    /// The functions' Python.
    pub environment: Environment,
    /// What each function may, and for whom it runs.
    pub options: Options,
    /// Most functions at once, 1 to 1024.
    pub max_sessions: usize,
    /// Most bytes of a serialised function.
    pub max_payload: u64,
}

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// Sandboxes.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Broker(UdfError),
    /// The setting.
    #[error("--max-sessions {0}: 1 to {MOST}")]
    MaxSessions(usize),
    /// The kernel refused.
    #[error("{operation}: {error}")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// HTTP/2 could not go on.
    #[error("serving: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// Serves the engine until it says to end: by ShutdownRequest, by SIGTERM, or by ending itself.
///
/// # Errors
/// [`ServeError`].
pub fn serve(settings: Settings) -> Result<(), ServeError> {
    let most = settings.max_sessions;
    if !(1..=MOST).contains(&most) {
        return Err(ServeError::MaxSessions(most));
    }
    // Before the socket is there: an engine that sees it may call at once.
    let broker = Broker::start(&settings.program).map_err(ServeError::Broker)?;
    let mut options = settings.options;
    options.query = Some(format!("worker={}", settings.id));
    options.max_bytes = options.max_bytes.min((MESSAGE - ENVELOPE) as u64);
    let sessions = Sessions {
        broker,
        environment: settings.environment,
        options,
    };
    let worker = Arc::new(Worker::new(sessions, most, settings.max_payload));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(kernel("starting threads"))?;
    runtime.block_on(run(worker, settings.connection))
}

async fn run(worker: Arc<Worker>, connection: PathBuf) -> Result<(), ServeError> {
    stop_when_told(&worker)?;
    let (door, listener) = Door::open(&connection)?;
    let service = UdfWorkerServer::new(Service(worker.clone()))
        .max_decoding_message_size(MESSAGE)
        .max_encoding_message_size(MESSAGE);
    // A stream that is held up must not hold up the others of its connection, nor Manage: the
    // connection's window has room for all of them, and some more that are refused.
    let streams = u32::try_from(worker.max_sessions).unwrap_or(u32::MAX) + 64;
    let serving = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size((WINDOW * 2).saturating_mul(streams).min(i32::MAX as u32))
        .max_concurrent_streams(u32::MAX)
        .add_service(service)
        .serve_with_incoming_shutdown(comers(listener), {
            let worker = worker.clone();
            async move { worker.stopped().await }
        });
    let served = tokio::select! {
        served = serving => served,
        () = given_up(&worker) => Ok(()),
    };
    drop(door);
    // Sandboxes end with their streams; the broker ends what is left.
    drop(tokio::time::timeout(PATIENCE, worker.emptied()).await);
    Ok(served?)
}

async fn given_up(worker: &Worker) {
    worker.stopped().await;
    tokio::time::sleep(PATIENCE).await;
}

/// SIGTERM, SIGINT, and the end of the process that started this one: a pidfd tells that, and
/// unlike PR_SET_PDEATHSIG it does so for the process, not for the thread that made the call.
fn stop_when_told(worker: &Arc<Worker>) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(kernel("waiting for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(kernel("waiting for SIGINT"))?;
    stop_with_parent(worker).map_err(kernel("watching the engine's process"))?;
    let worker = worker.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        worker.stop(Stopping::Now);
    });
    Ok(())
}

/// A thread that waits for the end of the process that started this one. It has no part in
/// the worker's life: what it waits for may never come.
fn stop_with_parent(worker: &Arc<Worker>) -> io::Result<()> {
    // None, where it is not to be seen from here.
    let Some(parent) = getppid() else {
        return Ok(());
    };
    let pidfd = pidfd_open(parent, PidfdFlags::empty())?;
    let worker = Arc::downgrade(worker);
    let wait = move || {
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        while matches!(poll(&mut ended, None), Err(Errno::INTR)) {}
        if let Some(worker) = worker.upgrade() {
            worker.stop(Stopping::Now);
        }
    };
    let thread = std::thread::Builder::new().name("engine-watch".to_owned());
    thread.spawn(wait).map(drop)
}

fn kernel(operation: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |error| ServeError::Kernel { operation, error }
}
