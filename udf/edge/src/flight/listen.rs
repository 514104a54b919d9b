//! Where the server listens, and until when.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use rustix::fs::Mode;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

use crate::flight::service::Edge;
use crate::sessions::{Sessions, TakeError};

/// Most of one message, bytes: tonic's own limit of 4 MiB is less than a batch.
const MESSAGE: usize = 256 << 20;

/// How long calls may go on when the server is told to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a call waits for a session. RisingWave gives a request five seconds.
const WAIT: Duration = Duration::from_secs(4);

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(path) => Err(format!("{path:?} is not absolute")),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!("{text:?} is no address: give 127.0.0.1:8815, or unix:/run/udf.sock")
            }),
        }
    }
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Who listens there would serve everybody.
    #[error(
        "{0} can be reached from other machines, and nobody is asked who they are: listen at 127.0.0.1 or a Unix socket, or say --allow-remote and guard it with a firewall"
    )]
    Remote(SocketAddr),
    /// The place cannot be had.
    #[error("listening at {place}")]
    Listen {
        /// Where.
        place: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A function cannot be had.
    #[error("function {name} cannot be had")]
    Warm {
        /// Which.
        name: String,
        /// Why.
        #[source]
        error: TakeError,
    },
    /// Of the runtime, or of the transport.
    #[error("serving")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves until told to end by SIGTERM or SIGINT; `calls` at once at most.
///
/// # Errors
/// [`ServeError`].
pub fn serve(
    listen: &Listen,
    allow_remote: bool,
    sessions: Sessions,
    calls: usize,
) -> Result<(), ServeError> {
    if let Listen::Tcp(address) = listen
        && !address.ip().is_loopback()
    {
        if !allow_remote {
            return Err(ServeError::Remote(*address));
        }
        eprintln!("lakekeep-udf: warning: whoever reaches {address} may call these functions");
    }
    for pool in sessions.all() {
        pool.warm().map_err(|error| ServeError::Warm {
            name: pool.name().to_owned(),
            error,
        })?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each call has one while it lasts.
        .max_blocking_threads(calls + 4)
        .build()
        .map_err(|error| ServeError::Serve(error.into()))?;
    let edge = Edge {
        sessions,
        patience: WAIT,
        exchanges: Arc::new(Semaphore::new(calls)),
    };
    let served = runtime.block_on(until_told(listen, edge));
    // What still runs ends with the broker, when this process does.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn until_told(listen: &Listen, edge: Edge) -> Result<(), ServeError> {
    let failed = |error: io::Error| ServeError::Serve(error.into());
    let mut ends = [
        signal(SignalKind::terminate()).map_err(failed)?,
        signal(SignalKind::interrupt()).map_err(failed)?,
    ];
    let (told, heard) = tokio::sync::watch::channel(false);
    let serving = serving(listen, edge, heard);
    tokio::pin!(serving);
    let [terminate, interrupt] = &mut ends;
    tokio::select! {
        served = &mut serving => return served,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    told.send_replace(true);
    // Calls that are still answered then are cut.
    match tokio::time::timeout(PATIENCE, serving).await {
        Ok(served) => served,
        Err(_) => Ok(()),
    }
}

async fn serving(
    listen: &Listen,
    edge: Edge,
    mut told: tokio::sync::watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let service = FlightServiceServer::new(edge)
        .max_decoding_message_size(MESSAGE)
        .max_encoding_message_size(MESSAGE);
    let server = Server::builder()
        // Who is gone without a word holds no session for long.
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(service);
    let told = async move {
        // It fails when nobody can tell any more: then it is over, too.
        told.wait_for(|told| *told).await.ok();
    };
    let served = match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|error| not_listening(address, error))?;
            let local = listener.local_addr();
            let local = local.map_err(|error| not_listening(address, error))?;
            println!("listening at {local}");
            let incoming = TcpListenerStream::new(listener);
            server.serve_with_incoming_shutdown(incoming, told).await
        }
        Listen::Unix(path) => {
            let listener = bound(path).await;
            let listener = listener.map_err(|error| not_listening(&path.display(), error))?;
            println!("listening at unix:{}", path.display());
            let incoming = UnixListenerStream::new(listener);
            let served = server.serve_with_incoming_shutdown(incoming, told).await;
            // It may be another's by now; who starts next replaces what nobody answers at.
            fs::remove_file(path).ok();
            served
        }
    };
    served.map_err(|error| ServeError::Serve(error.into()))
}

fn not_listening(place: &impl ToString, error: io::Error) -> ServeError {
    let place = place.to_string();
    ServeError::Listen { place, error }
}

/// A socket for this user alone. One that nobody answers at is replaced.
async fn bound(path: &Path) -> io::Result<UnixListener> {
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if UnixStream::connect(path)
        .await
        .is_err_and(|error| refused(&error))
    {
        fs::remove_file(path)?;
    }
    // Of the whole process, which makes no other file.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_others_refused() {
        let tcp = "127.0.0.1:0".parse();
        assert_eq!(tcp, Ok(Listen::Tcp(([127, 0, 0, 1], 0).into())));
        let unix = "unix:/run/x".parse();
        assert_eq!(unix, Ok(Listen::Unix("/run/x".into())));
        for text in ["", "localhost", "unix:run", "unix:", ":80"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
