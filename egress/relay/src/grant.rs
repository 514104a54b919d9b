//! The way to what a document grants beside hosts. Nothing of the stream is looked at.

use std::io;

use lakekeep_egress_rules::Grant;
use tokio::net::UnixStream;

use crate::sandbox::Sandbox;
use crate::sockets;

/// Connects to what was granted. Whose the connection is follows from the sandbox at whose
/// listener it arrived, and from nothing that was said on it.
///
/// # Errors
/// Of the path, or of connect(2).
pub async fn connect(grant: &Grant, sandbox: &Sandbox) -> io::Result<UnixStream> {
    match grant {
        Grant::Socket(path) => sockets::connect(path).await,
        Grant::Service(service) => sandbox.call(*service).await.map_err(|error| {
            let why = format!("no manager answers it now ({error}); try again");
            io::Error::new(error.kind(), why)
        }),
    }
}
