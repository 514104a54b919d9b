//! Clients over TCP that go so far and then say nothing more.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream as Connected};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::connect::wait;
use super::tls::Authority;
use crate::fail;

/// The first words of HTTP/2, and settings that change nothing (RFC 9113, 3.4).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// How far a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A connection.
    Connected,
    /// TLS.
    Agreed,
    /// The first words of HTTP/2.
    Greeted,
}

/// A client that holds a connection and says nothing.
#[derive(Debug)]
pub enum Silent {
    /// It is connected.
    Connected(Connected),
    /// TLS is agreed upon.
    Agreed(Box<TlsStream<TcpStream>>),
}

/// Lets this process have as many descriptors as it may.
pub fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(errno) = setrlimit(Resource::Nofile, limit) {
        fail(format_args!("setrlimit: {errno}"));
    }
}

impl Silent {
    /// So many of them, from this address of the host's own, at this port of it.
    ///
    /// # Panics
    /// When one does not come so far.
    #[must_use]
    #[track_caller]
    pub fn many(
        (from, port): (Ipv4Addr, u16),
        count: usize,
        authority: &Authority,
        until: Until,
    ) -> Vec<Self> {
        let connector = connector(authority);
        let one = |_| {
            let come = come(from, port, &connector, until);
            let came = wait("a silent client's connection", come);
            came.unwrap_or_else(|e| fail(format_args!("{until:?}: {e}")))
        };
        (0..count).map(one).collect()
    }

    /// Whether one that is merely connected was dropped.
    ///
    /// # Panics
    /// For another.
    #[must_use]
    #[track_caller]
    pub fn is_dropped(&self) -> bool {
        let Self::Connected(stream) = self else {
            fail(format_args!("TLS is agreed upon"));
        };
        let open = stream.peek(&mut [0]);
        !open.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Hears the other side until it drops the connection.
    ///
    /// # Panics
    /// When it does not in a patient while, or before one that is merely connected is.
    #[track_caller]
    pub fn until_dropped(self) {
        let Self::Agreed(mut stream) = self else {
            return crate::eventually("the end of a connection", || {
                self.is_dropped().then_some(())
            });
        };
        wait("the end of a connection", async {
            let mut words = [0; 1024];
            while stream.read(&mut words).await.is_ok_and(|count| count > 0) {}
        });
    }
}

async fn come(
    from: Ipv4Addr,
    port: u16,
    connector: &TlsConnector,
    until: Until,
) -> std::io::Result<Silent> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let stream = socket.connect(to.into()).await?;
    if until == Until::Connected {
        // It stays non-blocking.
        return Ok(Silent::Connected(stream.into_std()?));
    }
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    let mut stream = connector.connect(name, stream).await?;
    if until == Until::Greeted {
        stream.write_all(GREETING).await?;
        stream.flush().await?;
    }
    Ok(Silent::Agreed(Box::new(stream)))
}

#[track_caller]
fn connector(authority: &Authority) -> TlsConnector {
    let failed = |error: &dyn std::fmt::Display| -> ! { fail(format_args!("TLS: {error}")) };
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes());
    let certificate = certificate.unwrap_or_else(|e| failed(&e));
    roots.add(certificate).unwrap_or_else(|e| failed(&e));
    let provider = Arc::new(crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap_or_else(|e| failed(&e));
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}
