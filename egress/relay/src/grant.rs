//! What a document grants a sandbox beside hosts: no rule is asked, for the grant is one, and
//! nothing of the stream is looked at.

use std::fmt;
use std::io;
use std::path::PathBuf;

use lakekeep_egress_rules::Service;
use tokio::net::UnixStream;

use crate::sandbox::Sandbox;
use crate::{services, sockets};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// A Unix socket of the host's.
    Socket(PathBuf),
    /// A service of the manager's.
    Service(Service),
}

impl Grant {
    /// The port at which it is.
    pub fn port(&self) -> u16 {
        match self {
            Self::Socket(_) => sockets::PORT,
            Self::Service(_) => services::PORT,
        }
    }

    /// As the rule of a receipt.
    pub fn rule(&self) -> String {
        match self {
            Self::Socket(path) => format!("[[sockets]] {}", path.display()),
            Self::Service(service) => format!("[services] {service}"),
        }
    }

    /// Connects to it. Whose the connection is follows from the sandbox at whose listener it
    /// arrived, and from nothing that was said on it.
    ///
    /// # Errors
    /// Of the path, or of connect(2).
    pub async fn connect(&self, sandbox: &Sandbox) -> io::Result<UnixStream> {
        match self {
            Self::Socket(path) => sockets::connect(path).await,
            Self::Service(service) => sandbox.call(*service).await.map_err(|error| {
                let why = format!("no manager answers it now ({error}); try again");
                io::Error::new(error.kind(), why)
            }),
        }
    }
}

/// As words say it.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Service(service) => write!(f, "the service {service}"),
        }
    }
}
