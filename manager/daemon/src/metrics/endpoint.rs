//! Where monitoring asks: HTTP on a loopback address or a Unix socket, and nothing but
//! `GET /metrics`. It is not authenticated, and so says nothing that is a user's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Format, Metrics, Snapshot};

/// Connections at a time: one for each monitor, and some that came back.
const CONNECTIONS: usize = 16;

/// How long a monitor may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection is closed after so long, whoever holds it: a place is soon free again.
const LONGEST: Duration = Duration::from_secs(300);

/// How long to wait where no connection can be taken now.
const PAUSE: Duration = Duration::from_millis(100);

/// `[metrics]`
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "MetricsTable")]
pub enum MetricsDoc {
    /// An address of the host's own.
    Loopback(SocketAddr),
    /// A Unix socket that the manager's account and group may use.
    Socket(PathBuf),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricsTable {
    listen: Option<SocketAddr>,
    socket: Option<PathBuf>,
}

impl TryFrom<MetricsTable> for MetricsDoc {
    type Error = String;

    fn try_from(table: MetricsTable) -> Result<Self, String> {
        match (table.listen, table.socket) {
            (Some(address), None) if address.ip().is_loopback() => Ok(Self::Loopback(address)),
            (Some(address), None) => Err(format!(
                "listen: {address} can be reached from elsewhere, and nobody is authenticated there: name a loopback address, such as 127.0.0.1:9464"
            )),
            (None, Some(path)) if path.is_absolute() => Ok(Self::Socket(path)),
            (None, Some(path)) => Err(format!("socket: {} is not absolute", path.display())),
            _ => Err("name one of `listen` and `socket`".to_owned()),
        }
    }
}

/// What is so now.
type Look = dyn Fn() -> Snapshot + Send + Sync;

/// The endpoint.
#[derive(Clone)]
pub struct Endpoint {
    metrics: Arc<Metrics>,
    look: Arc<Look>,
    places: Arc<Semaphore>,
}

impl Endpoint {
    /// Writes `metrics`, with what `look` sees.
    pub fn new(metrics: Arc<Metrics>, look: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        Self {
            metrics,
            look: Arc::new(look),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }

    /// Listens, and answers from then on.
    ///
    /// # Errors
    /// When the address is taken, or cannot be listened on.
    pub async fn start(self, place: &MetricsDoc) -> std::io::Result<tokio::task::JoinHandle<()>> {
        match place {
            MetricsDoc::Loopback(address) => {
                let listener = TcpListener::bind(address).await?;
                Ok(tokio::spawn(async move {
                    loop {
                        let permit = self.place().await;
                        match listener.accept().await {
                            Ok((stream, _)) => self.clone().attend(stream, permit),
                            Err(_) => tokio::time::sleep(PAUSE).await,
                        }
                    }
                }))
            }
            MetricsDoc::Socket(path) => {
                let listener = unix(path)?;
                Ok(tokio::spawn(async move {
                    loop {
                        let permit = self.place().await;
                        match listener.accept().await {
                            Ok((stream, _)) => self.clone().attend(stream, permit),
                            Err(_) => tokio::time::sleep(PAUSE).await,
                        }
                    }
                }))
            }
        }
    }

    /// Waits for a free place. `None` would mean that it is closed, which nobody does.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn attend<S>(self, stream: S, permit: Option<OwnedSemaphorePermit>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let answer = self.answer(&request);
                async move { answer }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), answer);
            // A monitor that goes away has what it wanted, or asks again.
            drop(tokio::time::timeout(LONGEST, served).await);
            drop(permit);
        });
    }

    fn answer<B>(&self, request: &Request<B>) -> Result<Response<Full<Bytes>>, http::Error> {
        let plain = |status: StatusCode, text: &'static str| {
            Response::builder()
                .status(status)
                .header(CONTENT_TYPE, "text/plain; charset=utf-8")
                .body(Full::new(Bytes::from_static(text.as_bytes())))
        };
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "only /metrics is here\n");
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n");
        }
        let format = format(request.headers().get(ACCEPT));
        match self.metrics.text(&(self.look)(), format) {
            Ok(text) => Response::builder()
                .header(CONTENT_TYPE, content_type(format))
                .body(Full::new(Bytes::from(text))),
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot be written\n"),
        }
    }
}

/// The newer format for who asks for it; every program reads the older one.
pub(super) fn format(accept: Option<&HeaderValue>) -> Format {
    let wants = accept.and_then(|value| value.to_str().ok());
    match wants.is_some_and(|wants| wants.contains("application/openmetrics-text")) {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
    }
}

/// Opens the socket for the manager's account and group. What a killed manager left
/// there is replaced; a file that is no socket is not.
fn unix(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
