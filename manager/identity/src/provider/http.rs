//! One bounded GET.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::{FetchError, SetupError};

/// Longest answer that is read, in bytes. Large providers' key sets have 10 KiB.
pub(super) const MAX_BODY: usize = 256 * 1024;

type Body = Empty<&'static [u8]>;

/// Asks for documents over HTTP/1.1. It follows no redirect and keeps no
/// connection: it asks every ten minutes.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    timeout: Duration,
}

impl Fetcher {
    pub(super) fn new(ca_file: Option<&Path>, timeout: Duration) -> Result<Fetcher, SetupError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca_file)?)
            // Which URLs may be plain is settled before one comes here.
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Fetcher { client, timeout })
    }

    /// The whole body of a 200 answer, within the time and the size.
    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        match tokio::time::timeout(self.timeout, self.get_unhurried(url)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::TimedOut {
                seconds: self.timeout.as_secs_f64(),
            }),
        }
    }

    async fn get_unhurried(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        let request = Request::get(uri)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "lakekeep")
            .body(Body::new())
            .map_err(|_| FetchError::Url)?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| FetchError::Connect {
                cause: causes(&error),
            })?;
        check_status(answer.status())?;
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        match body {
            Ok(body) => Ok(body.to_bytes().to_vec()),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(error) => Err(FetchError::Broken {
                cause: causes(error.as_ref()),
            }),
        }
    }
}

fn check_status(status: StatusCode) -> Result<(), FetchError> {
    let code = status.as_u16();
    if status.is_redirection() {
        return Err(FetchError::Redirect { code });
    }
    if status != StatusCode::OK {
        return Err(FetchError::Status { code });
    }
    Ok(())
}

/// An error with what caused it: hyper's own text is "client error".
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| SetupError::Tls { source })?;
    let builder = match ca_file {
        Some(path) => builder.with_root_certificates(authorities(path)?),
        None => builder
            .with_native_roots()
            .map_err(|source| SetupError::SystemAuthorities { source })?,
    };
    Ok(builder.with_no_client_auth())
}

fn authorities(path: &Path) -> Result<RootCertStore, SetupError> {
    let refused = |cause: String| SetupError::Authorities {
        path: PathBuf::from(path),
        cause,
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
