//! Where the manager is, and what shows it who asks.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lakekeep_api::SOCKET_VARIABLE;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Metadata with a token that the manager signed for an engine.
const DELEGATION: &str = "lakekeep-delegation";

/// Metadata with the user for whom an engine acts by its configured right.
const ON_BEHALF_OF: &str = "lakekeep-on-behalf-of";

/// PEM file with the authorities of the manager's certificate.
pub const CA_VARIABLE: &str = "LAKEKEEP_CA";
/// PEM file with the caller's certificate.
pub const CERTIFICATE_VARIABLE: &str = "LAKEKEEP_CERTIFICATE";
/// PEM file with its key.
pub const KEY_VARIABLE: &str = "LAKEKEEP_KEY";
/// File with the caller's bearer token.
pub const TOKEN_VARIABLE: &str = "LAKEKEEP_TOKEN_FILE";
/// File with a delegation token of the manager's.
pub const DELEGATION_VARIABLE: &str = "LAKEKEEP_DELEGATION_FILE";

/// Why there is no way to a manager, or nothing to show it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Nothing says where the manager is.
    #[error(
        "{SOCKET_VARIABLE} is not set; set it to the manager's socket, such as /run/lakekeep/lakekeep.sock"
    )]
    NotSet,
    /// It is neither a path nor an https URL.
    #[error(
        "{SOCKET_VARIABLE}={0}: neither a socket's path nor https://HOST:PORT; write one of them"
    )]
    Malformed(String),
    /// Over TLS, nothing says whom to believe.
    #[error("{0}: name the PEM file of the manager's authority in {CA_VARIABLE}")]
    NoAuthority(String),
    /// One of two variables that belong together.
    #[error("set both {CERTIFICATE_VARIABLE} and {KEY_VARIABLE}, or neither")]
    HalfIdentity,
    /// A file of the caller's.
    #[error("{path} cannot be read; check the path and its permissions")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// What a callback gave.
    #[error("no token was given")]
    Callback(#[source] std::io::Error),
    /// A token that cannot be sent.
    #[error("{0} is empty or not one line of ASCII; write the token alone into its file")]
    NotText(&'static str),
}

/// A token, read anew for each request: it may be renewed meanwhile.
#[derive(Clone)]
#[non_exhaustive]
pub enum Token {
    /// The token itself.
    Fixed(String),
    /// A file that holds it.
    File(PathBuf),
    /// Whoever knows it.
    Callback(Arc<dyn Fn() -> std::io::Result<String> + Send + Sync>),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(_) => f.write_str("Fixed(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Callback(_) => f.write_str("Callback(..)"),
        }
    }
}

impl Token {
    fn read(&self) -> Result<String, TargetError> {
        match self {
            Self::Fixed(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(unreadable(path))?;
                Ok(text.trim().to_owned())
            }
            Self::Callback(ask) => ask().map_err(TargetError::Callback),
        }
    }
}

/// Where the manager is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Unix(PathBuf),
    Tls {
        url: String,
        authority: PathBuf,
        identity: Option<(PathBuf, PathBuf)>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tls { url, .. } => f.write_str(url),
        }
    }
}

impl Place {
    /// The TLS settings of this place, with the files as they are now.
    pub fn tls(&self) -> Result<Option<ClientTlsConfig>, TargetError> {
        let Self::Tls {
            authority,
            identity,
            ..
        } = self
        else {
            return Ok(None);
        };
        let pem = |path: &PathBuf| std::fs::read(path).map_err(unreadable(path));
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem(authority)?));
        Ok(Some(match identity {
            Some((certificate, key)) => {
                config.identity(Identity::from_pem(pem(certificate)?, pem(key)?))
            }
            None => config,
        }))
    }
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> TargetError + '_ {
    |error| TargetError::Unreadable {
        path: path.display().to_string(),
        error,
    }
}

/// What a request carries beside its message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    bearer: Option<Token>,
    delegation: Option<Token>,
    on_behalf_of: Option<String>,
}

impl Credentials {
    pub fn apply(&self, metadata: &mut MetadataMap) -> Result<(), TargetError> {
        if let Some(token) = &self.bearer {
            let text = format!("Bearer {}", token.read()?);
            metadata.insert("authorization", value(&text, "the bearer token", true)?);
        }
        if let Some(token) = &self.delegation {
            let text = token.read()?;
            metadata.insert(DELEGATION, value(&text, "the delegation token", true)?);
        }
        if let Some(user) = &self.on_behalf_of {
            metadata.insert(ON_BEHALF_OF, value(user, "the user to act for", false)?);
        }
        Ok(())
    }
}

fn value(
    text: &str,
    what: &'static str,
    secret: bool,
) -> Result<MetadataValue<Ascii>, TargetError> {
    if text.trim().is_empty() || text == "Bearer " {
        return Err(TargetError::NotText(what));
    }
    let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| TargetError::NotText(what))?;
    value.set_sensitive(secret);
    Ok(value)
}

/// A manager, and how to show it who asks.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) place: Place,
    pub(crate) credentials: Credentials,
}

impl Target {
    /// The manager behind a Unix socket, which is told the caller's account.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Unix(path.into()))
    }

    /// The manager at `https://HOST:PORT`, whose certificate an authority of the PEM
    /// file `authority` signed.
    pub fn https(url: impl Into<String>, authority: impl Into<PathBuf>) -> Self {
        Self::at(Place::Tls {
            url: url.into(),
            authority: authority.into(),
            identity: None,
        })
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            credentials: Credentials::default(),
        }
    }

    /// What the environment says. `variable` looks one up: the environment is an input.
    ///
    /// # Errors
    /// [`TargetError`], with the variable that is missing or wrong.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, TargetError> {
        let some = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = |name: &str| some(name).map(PathBuf::from);
        let place = some(SOCKET_VARIABLE).ok_or(TargetError::NotSet)?;
        let mut target = match place.to_str() {
            Some(url) if url.starts_with("https://") => {
                let authority = file(CA_VARIABLE);
                let missing = || TargetError::NoAuthority(url.to_owned());
                Self::https(url, authority.ok_or_else(missing)?)
            }
            Some(text) if text.contains("://") => {
                return Err(TargetError::Malformed(text.to_owned()));
            }
            _ => Self::unix(PathBuf::from(&place)),
        };
        match (file(CERTIFICATE_VARIABLE), file(KEY_VARIABLE)) {
            (Some(certificate), Some(key)) => target = target.with_certificate(certificate, key),
            (None, None) => {}
            _ => return Err(TargetError::HalfIdentity),
        }
        target.credentials.bearer = file(TOKEN_VARIABLE).map(Token::File);
        target.credentials.delegation = file(DELEGATION_VARIABLE).map(Token::File);
        Ok(target)
    }

    /// Shows a client certificate (PEM files). Says nothing on a Unix socket.
    #[must_use]
    pub fn with_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        if let Place::Tls { identity, .. } = &mut self.place {
            *identity = Some((certificate.into(), key.into()));
        }
        self
    }

    /// Shows a bearer token (JWT of a configured issuer).
    #[must_use]
    pub fn with_bearer(mut self, token: Token) -> Self {
        self.credentials.bearer = Some(token);
        self
    }

    /// Acts for the user who was given this delegation token by the manager.
    #[must_use]
    pub fn with_delegation(mut self, token: Token) -> Self {
        self.credentials.delegation = Some(token);
        self
    }

    /// Acts for a user by a right that the manager's configuration gives the caller.
    #[must_use]
    pub fn on_behalf_of(mut self, user: impl Into<String>) -> Self {
        self.credentials.on_behalf_of = Some(user.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(variables: &[(&str, &str)]) -> Result<Target, TargetError> {
        Target::from_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_names_a_socket_or_a_url() {
        let unix = target(&[("LAKEKEEP_SOCKET", "/run/x.sock")]).unwrap();
        assert!(matches!(unix.place, Place::Unix(path) if path == Path::new("/run/x.sock")));
        let tls = [
            ("LAKEKEEP_SOCKET", "https://host:1"),
            ("LAKEKEEP_CA", "/ca"),
        ];
        assert_eq!(target(&tls).unwrap().place.to_string(), "https://host:1");
        assert!(matches!(target(&[]), Err(TargetError::NotSet)));
        assert!(matches!(
            target(&[("LAKEKEEP_SOCKET", "")]),
            Err(TargetError::NotSet)
        ));
        assert!(matches!(
            target(&tls[..1]),
            Err(TargetError::NoAuthority(_))
        ));
        let plain = target(&[("LAKEKEEP_SOCKET", "http://host:1")]);
        assert!(matches!(plain, Err(TargetError::Malformed(_))));
        let half = target(&[tls[0], tls[1], ("LAKEKEEP_KEY", "/key")]);
        assert!(matches!(half, Err(TargetError::HalfIdentity)));
    }

    #[test]
    fn tokens_are_sent_and_never_shown() {
        let target = Target::unix("/x")
            .with_bearer(Token::Fixed("SECRET".to_owned()))
            .on_behalf_of("ann");
        let mut metadata = MetadataMap::new();
        target.credentials.apply(&mut metadata).unwrap();
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer SECRET");
        assert_eq!(metadata.get(ON_BEHALF_OF).unwrap(), "ann");
        let shown = format!("{target:?} {metadata:?}");
        assert!(!shown.contains("SECRET"), "{shown}");
    }

    #[test]
    fn a_token_is_read_anew_for_each_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let target = Target::unix("/x").with_delegation(Token::File(path.clone()));
        let mut metadata = MetadataMap::new();
        assert!(matches!(
            target.credentials.apply(&mut metadata),
            Err(TargetError::Unreadable { .. })
        ));
        for text in ["one", "two"] {
            std::fs::write(&path, format!("{text}\n")).unwrap();
            target.credentials.apply(&mut metadata).unwrap();
            assert_eq!(metadata.get(DELEGATION).unwrap(), text);
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(
            target.credentials.apply(&mut metadata),
            Err(TargetError::NotText(_))
        ));
    }
}
