//! Connections over TCP: TLS is agreed upon before anything is served on them. A client
//! whose certificate is not the authority's, who says nothing, or who has too many
//! connections comes to no request, and is noted here.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Resource;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use crate::config::TcpDoc;
use crate::connection::Connection;
use crate::places::{Bounds, Full, Places};
use crate::refusals::Refusals;

/// How long a client may take to agree on TLS and to begin HTTP/2.
const BEGINNING: Duration = Duration::from_secs(10);

/// Clients that may be about it at once: of one peer no more, or it would keep the others
/// out. Beyond them all, clients wait in the kernel's queue.
const SILENT: Bounds = Bounds {
    all: 2048,
    one: 1024,
};

/// Most connections at once, where descriptors are not scarce.
const MOST_OPEN: usize = 16_384;

/// Pause after the kernel gave no connection, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is not what it should be.
    #[error("{path} cannot be used; it must hold {what} in PEM")]
    Pem {
        path: String,
        what: &'static str,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate, key or authority are not to be used, or not together.
    #[error("certificate, key and authority cannot be used; check that they belong together")]
    Unusable {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TlsError {
    fn unusable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unusable {
            source: source.into(),
        }
    }
}

/// Why a connection came to no request.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    #[error(transparent)]
    Full(#[from] Full),
    #[error("TCP: {0}")]
    Tcp(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("HTTP/2: {0}")]
    Http(io::Error),
    #[error("it did not agree on TLS and begin HTTP/2 within {BEGINNING:?}")]
    Late,
}

/// What clients and the server show each other.
///
/// # Errors
/// [`TlsError`], with the file.
pub fn acceptor(tcp: &TcpDoc, authority: Option<&Path>) -> Result<TlsAcceptor, TlsError> {
    let pem = |path: &Path, what| {
        let path = path.display().to_string();
        move |source| TlsError::Pem { path, what, source }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::unusable)?;
    let config = match authority {
        None => config.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path).map_err(pem(path, "certificates"))? {
                roots.add(certificate).map_err(TlsError::unusable)?;
            }
            // Who shows none can still show a token.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(TlsError::unusable)?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let own = certificates(&tcp.certificate).map_err(pem(&tcp.certificate, "certificates"))?;
    let key = PrivateKeyDer::from_pem_file(&tcp.key).map_err(pem(&tcp.key, "a private key"))?;
    let mut config = config
        .with_single_cert(own, key)
        .map_err(TlsError::unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

/// Connections on which the client has begun to speak.
pub type Agreed = ReceiverStream<io::Result<Connection>>;

/// Takes connections in until the stream of those agreed upon is dropped.
pub fn agreed(listener: TcpListener, acceptor: TlsAcceptor, refusals: Refusals) -> Agreed {
    let (to, agreed) = mpsc::channel(1);
    let door = Door {
        acceptor,
        refusals,
        silent: Places::new(SILENT),
        open: Places::new(open()),
    };
    tokio::spawn(async move {
        let turns = Arc::new(Semaphore::new(SILENT.all));
        while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = to.closed() => return,
            };
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (door, to) = (door.clone(), to.clone());
            tokio::spawn(async move {
                let admitted = door.admit(stream, address.ip()).await;
                drop(turn);
                if let Some(connection) = admitted {
                    // The server has ended: so has the connection.
                    drop(to.send(Ok(connection)).await);
                }
            });
        }
    });
    ReceiverStream::new(agreed)
}

/// How many connections may be open: every sandbox and task needs descriptors too.
fn open() -> Bounds {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let share = limit.map_or(MOST_OPEN, |limit| {
        usize::try_from(limit / 4).unwrap_or(MOST_OPEN)
    });
    let all = share.min(MOST_OPEN);
    Bounds { all, one: all / 2 }
}

/// Where connections come in.
#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    refusals: Refusals,
    /// Places of those that have not spoken.
    silent: Places,
    /// Places of all.
    open: Places,
}

impl Door {
    /// A connection that has begun to speak in time; `None`: it is closed, and noted.
    async fn admit(&self, stream: TcpStream, peer: IpAddr) -> Option<Connection> {
        let why = match self.begin(stream, peer).await {
            Ok(connection) => return Some(connection),
            Err(why) => why.to_string(),
        };
        if self.refusals.connection(peer, &why).await.is_err() {
            // The log says itself that it has stopped, to everybody who acts next.
        }
        None
    }

    async fn begin(&self, stream: TcpStream, peer: IpAddr) -> Result<Connection, Unheard> {
        let _silent = self.silent.take(peer)?;
        let place = self.open.take(peer)?;
        // Small answers are not kept back to be sent together.
        stream.set_nodelay(true).map_err(Unheard::Tcp)?;
        let spoken = async {
            let agreed = self.acceptor.accept(stream).await.map_err(Unheard::Tls)?;
            let begun = Connection::begin(agreed, place).await;
            begun.map_err(Unheard::Http)
        };
        let spoken = tokio::time::timeout(BEGINNING, spoken).await;
        spoken.unwrap_or(Err(Unheard::Late))
    }
}
