//! HTTP/1.1 of code that nobody trusts, for services that speak it.
//!
//! Whose a connection is stands before its first byte, so no head, however it is read, makes it
//! another's. What is refused here is what would use the code inside against its own sandbox:
//! a page in a browser there that has another site's name (DNS rebinding), and requests that two
//! readers would take apart in two ways.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use ::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use ::http::header::{HeaderMap, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use ::http::uri::Scheme;
use ::http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::Full as Whole;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lakekeep_egress_rules::Service;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::places::Full;

/// What a service answers.
pub type Answer = Response<Whole<Bytes>>;

/// How long a request head may take; a connection without one ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest request head, bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// Most fields of it.
const FIELDS: usize = 32;

/// What a client still says after the answer to a request that was refused is heard so long, and
/// so many bytes: closing at once would make a reset of it, and the client might lose the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 << 10;

/// Under which names a service answers: requests for others are refused.
#[derive(Debug, Clone)]
pub struct Names {
    name: String,
    addresses: Vec<IpAddr>,
}

/// Why a request is not asked of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("a request here is HTTP/1.1\n")]
    Version,
    #[error("a request has exactly one Host\n")]
    Host,
    #[error("this is not the host that the request is for\n")]
    Foreign,
    #[error("a request here is for a path, or for http://\n")]
    Target,
    #[error("a request here has no body\n")]
    Body,
}

impl Names {
    /// A service's own name, and its own addresses.
    pub fn new(service: Service, addresses: &[IpAddr]) -> Self {
        Self {
            name: service.host(),
            addresses: addresses.to_vec(),
        }
    }

    /// Whether an authority (RFC 3986, 3.2) is the service's: its name or an address of its
    /// own, with port 80 or none.
    fn are(&self, authority: &str) -> bool {
        let host = authority.strip_suffix(":80").unwrap_or(authority);
        let within = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let address = match within {
            Some(within) => within.parse().map(IpAddr::V6),
            None => host.parse().map(IpAddr::V4),
        };
        let own = |address: IpAddr| self.addresses.contains(&address);
        host.eq_ignore_ascii_case(&self.name) || address.is_ok_and(own)
    }

    /// Whether a request is one for this service that means one thing.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn fit<B>(&self, request: &Request<B>) -> Result<(), Unfit> {
        if request.version() != Version::HTTP_11 {
            return Err(Unfit::Version);
        }
        bodiless(request.headers())?;
        let host = only_host(request.headers())?;
        // RFC 9112, 3.2.2: the target counts where it is a URL; here neither may be another's.
        let authority = authority(request.uri())?.unwrap_or(host);
        match self.are(host) && self.are(authority) {
            true => Ok(()),
            false => Err(Unfit::Foreign),
        }
    }
}

fn only_host(headers: &HeaderMap) -> Result<&str, Unfit> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| Unfit::Host),
        _ => Err(Unfit::Host),
    }
}

/// The authority of a target that is a URL.
fn authority(target: &Uri) -> Result<Option<&str>, Unfit> {
    let http = target.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP);
    match http && target.path().starts_with('/') {
        true => Ok(target.authority().map(|authority| authority.as_str())),
        false => Err(Unfit::Target),
    }
}

/// No service here reads a body, and where one ends is what readers differ about.
fn bodiless(headers: &HeaderMap) -> Result<(), Unfit> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let none = lengths.all(|length| length.as_bytes() == b"0");
    match none && !headers.contains_key(TRANSFER_ENCODING) {
        true => Ok(()),
        false => Err(Unfit::Body),
    }
}

impl Unfit {
    /// Misdirected is what a client is told that would find another server elsewhere (RFC 9110,
    /// 15.5.20). The connection ends: what follows may be a body.
    fn answer(self) -> Answer {
        let status = match self {
            Self::Foreign => StatusCode::MISDIRECTED_REQUEST,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Host | Self::Target | Self::Body => StatusCode::BAD_REQUEST,
        };
        let mut answer = words(status, &self.to_string());
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        answer
    }
}

/// An answer in words.
pub fn words(status: StatusCode, text: &str) -> Answer {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    of(status, kind, text.to_owned().into())
}

/// Too many connections: come again, and soon, for places are (RFC 9110, 15.6.4 and 10.2.3). This
/// one ends.
pub fn busy(why: Full) -> Answer {
    let mut answer = words(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n"));
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// An answer of this kind, which nobody keeps.
pub fn of(status: StatusCode, kind: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(Whole::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Answers a connection's requests, one after the other.
pub async fn serve<S>(mut stream: S, names: Names, answer: impl Fn(&Request<()>) -> Answer)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answered = service_fn(|request: Request<hyper::body::Incoming>| {
        let (head, _) = request.into_parts();
        let request = Request::from_parts(head, ());
        let answered = match names.fit(&request) {
            Ok(()) => answer(&request),
            Err(unfit) => unfit.answer(),
        };
        async move { Ok::<_, Infallible>(answered) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(FIELDS)
        // Who has said all is still answered.
        .half_close(true)
        .serve_connection(TokioIo::new(&mut stream), answered);
    // Who goes away has what it wanted, or asks again.
    drop(served.await);
    if stream.shutdown().await.is_err() {
        return;
    }
    let (mut rest, mut nowhere) = (stream.take(LINGER_BYTES), tokio::io::sink());
    let heard = tokio::io::copy(&mut rest, &mut nowhere);
    drop(timeout(LINGER, heard).await);
}
