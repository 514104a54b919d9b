//! Why an image was not pulled.

use std::path::PathBuf;
use std::time::Duration;

use lakekeep_content::{ContentError, Digest};
use lakekeep_images::ImageError;
use lakekeep_oci::{DocumentError, NotAReference};

use crate::endpoint::NotAnEndpoint;
use crate::location::LocationError;
use crate::settings::SettingsError;

/// An image was not pulled. Whatever name there was leads where it led; what came of its layers is kept, unproven
/// and without a name, for the next attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// A text is no name.
    #[error("{text:?}: {source}")]
    Name {
        /// The text.
        text: String,
        /// Why not.
        source: NotAReference,
    },
    /// A mirror's address is wrong.
    #[error(transparent)]
    Endpoint(#[from] NotAnEndpoint),
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No certificate authority is known by which a registry could be told from another.
    #[error("the certificate authorities of {place} cannot be used: {cause}")]
    Authorities {
        /// A file, or the system.
        place: String,
        /// Why not.
        cause: String,
    },
    /// No thread or no runtime can be made.
    #[error("a download cannot be started; raise the limits on threads and open files")]
    Start(#[source] std::io::Error),
    /// Nobody had it.
    #[error("{what} of {image} was not pulled{}", tried(attempts))]
    Nobody {
        /// Such as `the manifest`, or a layer.
        what: String,
        /// The image's name.
        image: String,
        /// Each endpoint that was asked, and what came of it.
        attempts: Vec<(String, RequestError)>,
    },
    /// More bytes than are taken.
    #[error(
        "the layers of {image} have {bytes} bytes together, more than the {most} that are taken; raise --max-size"
    )]
    TooMuch {
        /// The image's name.
        image: String,
        /// Bytes of its layers' files.
        bytes: u64,
        /// Bytes that are taken.
        most: u64,
    },
    /// It takes longer than it may.
    #[error("{image} was not pulled within {}; pull it again, which goes on where this was left, or raise --timeout", humantime::format_duration(*time))]
    TimedOut {
        /// The image's name.
        image: String,
        /// How long it could take.
        time: Duration,
    },
    /// What was fetched is no image, or not one for this machine; or the store says no.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl From<ContentError> for PullError {
    fn from(error: ContentError) -> PullError {
        PullError::Image(error.into())
    }
}

fn tried(attempts: &[(String, RequestError)]) -> String {
    let lines = attempts.iter().map(|(endpoint, error)| {
        let remedy = error.remedy();
        let remedy = if remedy.is_empty() {
            String::new()
        } else {
            format!("; {remedy}")
        };
        format!("\n  {endpoint}: {}{remedy}", causes(error))
    });
    format!(":{}", lines.collect::<String>())
}

/// What came of asking one registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No answer, or half of one.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// An answer that is none.
    #[error("it answers {code}{}", if told.is_empty() { String::new() } else { format!(" ({told})") })]
    Status {
        /// The status.
        code: u16,
        /// The registry's own word, cleaned.
        told: String,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// It sends elsewhere.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// It sends on and on.
    #[error("it sends from one address to the next, more than {most} times")]
    Redirects {
        /// How often is followed.
        most: usize,
    },
    /// It asks for credentials in a way that is not known.
    #[error("it asks for credentials in a way that is not known here: {found:?}")]
    Challenge {
        /// The header's beginning.
        found: String,
    },
    /// It gives no token.
    #[error("no token was got from {realm}: {cause}")]
    Token {
        /// Who gives tokens.
        realm: String,
        /// Why not.
        cause: String,
    },
    /// It takes no credentials, or not these.
    #[error("it refuses {}", if *given { "the credentials that it was given" } else { "who gives no credentials" })]
    Unauthorized {
        /// Whether there were any.
        given: bool,
    },
    /// Credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A part of the answer is against the protocol, or contradicts another.
    #[error("its answer is not to be believed: {why}")]
    Protocol {
        /// A sentence.
        why: String,
    },
    /// More or fewer bytes than the descriptor says.
    #[error("it sends {found} bytes, and {wanted} were said")]
    Size {
        /// What is sent: a number, or "more".
        found: String,
        /// What the descriptor says.
        wanted: u64,
    },
    /// Other content than its digest says.
    #[error("what it sends has the digest {found}, and {wanted} was wanted")]
    Mismatch {
        /// What was wanted.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// A document of an image is wrong.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The store says no.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Another download of the same image has failed, or time is over.
    #[error("it was given up, as another part of the image cannot be had")]
    GivenUp,
}

impl RequestError {
    pub(crate) fn protocol(why: impl Into<String>) -> RequestError {
        RequestError::Protocol { why: why.into() }
    }

    /// Whether the same request could be answered otherwise a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            RequestError::Transport(error) => error.is_passing(),
            RequestError::Status { code, .. } => {
                matches!(code, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// Whether no other endpoint can help.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, RequestError::Content(_) | RequestError::GivenUp)
    }

    /// What to do; empty: nothing that is known.
    pub fn remedy(&self) -> &'static str {
        match self {
            RequestError::Transport(error) => error.remedy(),
            RequestError::Status { code: 404, .. } => {
                "check the name and the tag; private repositories need credentials"
            }
            RequestError::Status { code: 429, .. } => {
                "try again later, log in, or use a mirror (--mirror)"
            }
            RequestError::Status { code: 403, .. } | RequestError::Unauthorized { .. } => {
                "log in (`docker login`), or give --username with --password-stdin"
            }
            RequestError::Mismatch { .. } | RequestError::Size { .. } => {
                "nothing of it is used; ask who keeps the registry"
            }
            _ => "",
        }
    }
}

/// No answer, or half of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nobody answers.
    #[error("it cannot be reached: {cause}")]
    Connect {
        /// Why not.
        cause: String,
        /// Who answers is not who was asked for, or does not speak TLS.
        tls: bool,
    },
    /// Nothing comes, or hardly anything.
    #[error("{what} for {}", humantime::format_duration(*time))]
    Silent {
        /// What does not come: a sentence.
        what: &'static str,
        /// For how long.
        time: Duration,
    },
    /// The connection broke.
    #[error("the connection broke: {cause}")]
    Broken {
        /// How.
        cause: String,
    },
    /// What came is not HTTP, or larger than is read.
    #[error("what it answers is not taken: {cause}")]
    NotTaken {
        /// Why not.
        cause: String,
    },
}

impl TransportError {
    fn is_passing(&self) -> bool {
        match self {
            TransportError::Connect { tls, .. } => !tls,
            TransportError::Silent { .. } | TransportError::Broken { .. } => true,
            TransportError::NotTaken { .. } => false,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            TransportError::Connect { tls: true, .. } => {
                "name its certificate authority with --ca-file, or use --plain-http if it speaks no TLS"
            }
            TransportError::Connect { .. } => "check the name, the network, and that it runs",
            _ => "",
        }
    }
}

/// Credentials cannot be had from where they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Docker's configuration cannot be read.
    #[error("{path} cannot be read: {cause}; correct it, or name another with --docker-config")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// It is not Docker's configuration.
    #[error(
        "{path} is no configuration of docker's: {why}; correct it, or name another with --docker-config"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong: a sentence without its subject.
        why: &'static str,
    },
    /// A helper of docker's did not answer.
    #[error(
        "the credential helper docker-credential-{helper} {why}; see whether `docker login` works, or give --username with --password-stdin"
    )]
    Helper {
        /// Its name.
        helper: String,
        /// What is wrong: a sentence without its subject.
        why: String,
    },
    /// A password has a character that cannot be sent.
    #[error(
        "the password for {registry} has control characters; give another with --password-stdin"
    )]
    Password {
        /// For whom it is.
        registry: String,
    },
}

/// An error with what caused it: hyper's own text is "client error".
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // A transparent error is its cause.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}
