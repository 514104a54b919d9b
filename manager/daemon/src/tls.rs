//! Connections over TCP: TLS is agreed upon before anything is served on them. A client
//! whose certificate is not the authority's comes to no request, and is noted here.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::config::TcpDoc;
use crate::refusals::Refusals;

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Clients that may be about it at once; others wait in the kernel's queue.
const HANDSHAKES: usize = 2048;

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

/// Connections on which TLS is agreed upon.
pub type Agreed = ReceiverStream<std::io::Result<TlsStream<TcpStream>>>;

/// Takes connections in until the stream of those agreed upon is dropped.
pub fn agreed(listener: TcpListener, acceptor: TlsAcceptor, refusals: Refusals) -> Agreed {
    let (to, agreed) = mpsc::channel(1);
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = to.closed() => return,
            };
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (acceptor, refusals, to) = (acceptor.clone(), refusals.clone(), to.clone());
            tokio::spawn(async move {
                let agreed = agree(&acceptor, stream, address, &refusals).await;
                drop(place);
                if let Some(stream) = agreed {
                    // The server has ended: so has the connection.
                    drop(to.send(Ok(stream)).await);
                }
            });
        }
    });
    ReceiverStream::new(agreed)
}

async fn agree(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    refusals: &Refusals,
) -> Option<TlsStream<TcpStream>> {
    // Small answers are not kept back to be sent together.
    stream.set_nodelay(true).ok()?;
    let why = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => format!("TLS: {error}"),
        Err(_) => format!("TLS: nothing was agreed upon within {HANDSHAKE:?}"),
    };
    if refusals.connection(address.ip(), &why).await.is_err() {
        // The log says itself that it has stopped, to everybody who acts next.
    }
    None
}
