//! What TLS is agreed upon with.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::TcpDoc;

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
