//! One request and its answer, within bounds of time and size.
//!
//! A [`Client`] belongs to one thread: it waits there until the network has answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderName, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tokio::runtime::Runtime;

use crate::error::{PullError, TransportError, causes};

/// Bytes of an answer's head.
const MAX_HEAD: usize = 64 << 10;

/// Headers of an answer.
const MAX_HEADERS: usize = 128;

/// Bytes that must come within [`WINDOWS`] times the idle time: a byte now and then is no progress.
const LEAST: u64 = 16 << 10;

/// See [`LEAST`].
const WINDOWS: u32 = 2;

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub idle: Duration,
}

/// Asks over HTTP/1.1. It follows no redirect, knows no proxy and decodes nothing.
pub struct Client {
    runtime: Runtime,
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    times: Times,
}

impl Client {
    /// # Errors
    /// [`PullError::Start`].
    pub fn new(tls: &Arc<ClientConfig>, times: Times) -> Result<Client, PullError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(PullError::Start)?;
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(times.connect));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(tls))
            // Which addresses may be plain is settled before one comes here.
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(MAX_HEAD)
            .http1_max_headers(MAX_HEADERS)
            .build(connector);
        Ok(Client {
            runtime,
            inner,
            times,
        })
    }

    /// Sends a request and waits for the answer's head.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn ask(&self, request: Request<Full<Bytes>>) -> Result<Answer<'_>, TransportError> {
        let time = self.times.connect + self.times.idle;
        let asked = self
            .runtime
            .block_on(async { tokio::time::timeout(time, self.inner.request(request)).await });
        let answer = match asked {
            Err(_) => {
                let what = "no answer came";
                return Err(TransportError::Silent { what, time });
            }
            Ok(Err(error)) if error.is_connect() => return Err(unreachable(&error)),
            Ok(Err(error)) => return Err(broken(&error)),
            Ok(Ok(answer)) => answer,
        };
        let (head, body) = answer.into_parts();
        Ok(Answer {
            client: self,
            head,
            body,
            window: (Instant::now(), 0),
        })
    }
}

/// An answer whose head has come.
pub struct Answer<'client> {
    client: &'client Client,
    head: Parts,
    body: Incoming,
    window: (Instant, u64),
}

impl Answer<'_> {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// A header that is there once, and is text; one that is there twice could be read as two things.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        let mut values = self.head.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok();
        value.filter(|_| values.next().is_none())
    }

    /// All headers of a name that are text.
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        let values = self.head.headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok())
    }

    /// The next piece of its body; `None`: that was all.
    ///
    /// # Errors
    /// [`TransportError`]; also when bytes come, but hardly any.
    pub fn piece(&mut self) -> Result<Option<Bytes>, TransportError> {
        let time = self.client.times.idle;
        let body = &mut self.body;
        loop {
            let next = self
                .client
                .runtime
                .block_on(async { tokio::time::timeout(time, body.frame()).await });
            let what = "no more of its answer came";
            match next {
                Err(_) => return Err(TransportError::Silent { what, time }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(broken(&error)),
                Ok(Some(Ok(frame))) => {
                    // Trailers say nothing that is needed.
                    let Ok(piece) = frame.into_data() else {
                        continue;
                    };
                    self.window.1 += piece.len() as u64;
                    keep_pace(&mut self.window, time * WINDOWS)?;
                    return Ok(Some(piece));
                }
            }
        }
    }

    /// Its body, of at most `most` bytes; `None`: it is longer.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn whole(&mut self, most: usize) -> Result<Option<Vec<u8>>, TransportError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece()? {
            if whole.len() + piece.len() > most {
                return Ok(None);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Some(whole))
    }
}

/// Begins a new window where the old one is over and enough came in it.
fn keep_pace(window: &mut (Instant, u64), time: Duration) -> Result<(), TransportError> {
    let now = Instant::now();
    if now.duration_since(window.0) < time {
        return Ok(());
    }
    if window.1 < LEAST {
        let what = "its answer came a few bytes at a time";
        return Err(TransportError::Silent { what, time });
    }
    *window = (now, 0);
    Ok(())
}

/// The first cause of a kind, however deep. An error of std's keeps its own beside its causes.
fn find<'e, E: std::error::Error + 'static>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn unreachable(error: &legacy::Error) -> TransportError {
    TransportError::Connect {
        cause: causes(error),
        tls: find::<rustls::Error>(error).is_some(),
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> TransportError {
    let cause = causes(error);
    match find::<hyper::Error>(error) {
        Some(inner) if inner.is_parse() => TransportError::NotTaken { cause },
        _ => TransportError::Broken { cause },
    }
}
