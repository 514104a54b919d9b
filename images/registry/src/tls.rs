//! By whom a registry is known.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::PullError;

/// TLS with the system's certificate authorities, and those of the files.
pub fn config(files: &[&Path]) -> Result<Arc<ClientConfig>, PullError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // What cannot be read among them is passed over: it vouches for nobody.
    roots.add_parsable_certificates(system.certs);
    for file in files {
        add(&mut roots, file)?;
    }
    // With none at all nobody is known, and every registry is refused with the remedy.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| PullError::Authorities {
            place: "this program".to_owned(),
            cause: error.to_string(),
        })?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), PullError> {
    let refused = |cause: String| PullError::Authorities {
        place: file.display().to_string(),
        cause,
    };
    let before = roots.len();
    let found = CertificateDer::pem_file_iter(file).map_err(|error| refused(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| refused(error.to_string()))?;
    }
    if roots.len() == before {
        return Err(refused("it holds no certificate in PEM".to_owned()));
    }
    Ok(())
}
