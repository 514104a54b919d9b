//! TLS of a test: an authority, the manager's certificate, and clients'.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::connect::wait;
use super::user::User;
use crate::{Place, Privilege, fail};

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A client's certificate and key.
#[derive(Debug, Clone)]
pub struct Client {
    certificate: String,
    key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When no certificate can be made.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key());
        let issuer = issuer.unwrap_or_else(|e| fail(format_args!("an authority: {e}")));
        Self { issuer }
    }

    /// Tables of a configuration for this port; their files are put into the place.
    #[must_use]
    #[track_caller]
    pub fn tables(&self, place: &Place, port: u16) -> String {
        let folder = place.dir("tls", Privilege::Root);
        let [ca, certificate, key] = self.serving(&folder, &["localhost"]);
        format!(
            "[tcp]\nlisten = \"127.0.0.1:{port}\"\ncertificate = {certificate:?}\nkey = {key:?}\n\
             [auth.mtls]\nca_file = {ca:?}\nsubject = \"cn\"\nuser_prefix = \"m:\"\n"
        )
    }

    /// Files of a server with these names, in PEM: this authority's certificate, the server's
    /// and its key.
    #[must_use]
    #[track_caller]
    pub fn serving(&self, folder: &Path, names: &[&str]) -> [PathBuf; 3] {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names.clone()).map(|mut params| {
            // Of the authority's own name it would be one that signed itself.
            params.distinguished_name = rcgen::DistinguishedName::new();
            let subject = names.first().map_or("server", String::as_str);
            params.distinguished_name.push(DnType::CommonName, subject);
            params
        });
        let own = self.sign(params);
        [
            ("ca.pem", self.issuer.pem()),
            ("server.pem", own.certificate),
            ("server.key", own.key),
        ]
        .map(|(name, text)| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap_or_else(|e| fail(format_args!("{name}: {e}")));
            path
        })
    }

    /// A client's certificate for this name.
    #[must_use]
    #[track_caller]
    pub fn client(&self, name: &str) -> Client {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(Ok(params))
    }

    /// Its own certificate, PEM.
    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    #[track_caller]
    fn sign(&self, params: Result<CertificateParams, rcgen::Error>) -> Client {
        let key = key();
        let certificate = params.and_then(|params| params.signed_by(&key, &self.issuer));
        let certificate = certificate.unwrap_or_else(|e| fail(format_args!("a certificate: {e}")));
        Client {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Somebody over TCP who trusts this authority's server, and shows a certificate or
    /// none.
    ///
    /// # Errors
    /// When there is no connection.
    #[track_caller]
    pub fn user(&self, port: u16, shown: Option<&Client>) -> Result<User, String> {
        self.user_from(Ipv4Addr::LOCALHOST, port, shown)
    }

    /// The same, from this address of the host's own.
    ///
    /// # Errors
    /// When there is no connection.
    #[track_caller]
    pub fn user_from(
        &self,
        from: Ipv4Addr,
        port: u16,
        shown: Option<&Client>,
    ) -> Result<User, String> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.issuer.pem()))
            .domain_name("localhost");
        if let Some(client) = shown {
            tls = tls.identity(Identity::from_pem(&client.certificate, &client.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"));
        let endpoint = endpoint.and_then(|endpoint| endpoint.tls_config(tls));
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        let endpoint = endpoint.local_address(Some(from.into()));
        let channel = wait("a connection over TLS", endpoint.connect());
        let channel = channel.map_err(|error| error.to_string())?;
        Ok(User::new("over TLS", channel))
    }
}

/// A port of the loopback address that nobody has.
///
/// # Panics
/// When there is none.
#[must_use]
#[track_caller]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener
        .unwrap_or_else(|e| fail(format_args!("no port: {e}")))
        .port()
}

#[track_caller]
fn key() -> KeyPair {
    KeyPair::generate().unwrap_or_else(|e| fail(format_args!("a key: {e}")))
}
