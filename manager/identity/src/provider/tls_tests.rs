//! An issuer on HTTPS, with certificate authorities of its own.

use std::io::Write;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

use super::server::Server;
use super::tests::{config, fetch, token, unreachable};
use super::*;
use crate::testkit::Signer;

/// A certificate authority, with its file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Authority { issuer, file }
    }

    /// A server for this name.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn issuers(&self, url: &str) -> JwtAuthenticators {
        let mut config = config(url);
        config.jwt[0].ca_file = Some(self.file.path().to_owned());
        JwtAuthenticators::new(&config).unwrap()
    }
}

#[tokio::test]
async fn an_issuer_is_known_by_its_own_authority() {
    let (authority, signer) = (Authority::new(), Signer::p256());
    let server = Server::start_tls(authority.acceptor("localhost")).await;
    server.publish(&[signer.jwk("k")]);
    let now = Now::read();
    let token = token(&signer, &server.url, "k", now);
    let issuers = authority.issuers(&server.url);
    issuers.authenticate(&token, now).await.unwrap();
    assert_eq!(server.asked("/keys"), 1);
}

#[tokio::test]
async fn other_authorities_and_other_names_are_refused() {
    let (authority, signer) = (Authority::new(), Signer::p256());
    let now = Now::read();
    let named = Server::start_tls(authority.acceptor("localhost")).await;
    let misnamed = Server::start_tls(authority.acceptor("other.example")).await;
    for (trusted, server) in [(Authority::new(), named), (authority, misnamed)] {
        server.publish(&[signer.jwk("k")]);
        let token = token(&signer, &server.url, "k", now);
        let error = unreachable(&trusted.issuers(&server.url), &token, now).await;
        let text = error.to_string();
        assert!(matches!(fetch(error), FetchError::Connect { .. }));
        assert!(text.contains("certificate"), "{text}");
        assert_eq!(server.asked("/.well-known/openid-configuration"), 0);
    }
}
