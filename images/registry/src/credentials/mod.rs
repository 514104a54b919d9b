//! Who one is to a registry: by the command line, or by docker's configuration and its helpers.

mod docker;
mod helper;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::error::CredentialsError;

pub use docker::DockerConfig;
pub(crate) use docker::Kept;
pub use helper::HelperAnswer;

/// Bytes of docker's configuration that are read.
const MAX_CONFIG: u64 = 1 << 20;

/// What proves who one is. Wiped when dropped, and shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// A token for which other tokens are given (docker's "identity token").
    Identity(Zeroizing<String>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// As docker's helpers and configurations mean them: the user `<token>` has an identity token.
    pub(crate) fn of(user: String, secret: Zeroizing<String>) -> Credentials {
        match user.as_str() {
            "<token>" => Credentials::Identity(secret),
            _ => Credentials::Password {
                user,
                password: secret,
            },
        }
    }

    /// The header of a request that has a password (RFC 7617); `None`: it is an identity token, or cannot
    /// be written as a header.
    pub(crate) fn basic(&self) -> Option<HeaderValue> {
        let Credentials::Password { user, password } = self else {
            return None;
        };
        let both = Zeroizing::new(format!("{user}:{}", password.as_str()));
        let header = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(both.as_bytes())));
        let mut header = HeaderValue::from_str(&header).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// Where credentials are looked for.
#[derive(Debug, Default)]
pub struct Keychain {
    given: Option<(String, Credentials)>,
    file: Option<PathBuf>,
}

impl Keychain {
    /// Docker's configuration in `file`, if that is there.
    pub fn new(file: Option<PathBuf>) -> Keychain {
        Keychain { given: None, file }
    }

    /// These before all others, for the one registry `key` (`HOST[:PORT]`): a mirror is not told them.
    pub fn give(&mut self, key: &str, credentials: Credentials) {
        self.given = Some((key.to_owned(), credentials));
    }

    /// Those for `HOST[:PORT]`. May start a helper of docker's.
    ///
    /// # Errors
    /// [`CredentialsError`]; that there are none is no error.
    pub fn find(&self, key: &str) -> Result<Option<Credentials>, CredentialsError> {
        if let Some((_, credentials)) = self.given.as_ref().filter(|(given, _)| given == key) {
            return Ok(Some(credentials.clone()));
        }
        let Some(config) = self.file.as_deref().map(read).transpose()?.flatten() else {
            return Ok(None);
        };
        let helped = match config.helper(key) {
            Some(name) => helper::ask(name, docker::server(key))?,
            None => None,
        };
        match helped {
            Some(credentials) => Ok(Some(credentials)),
            None => match config.kept(key) {
                Kept::Credentials(credentials) => Ok(Some(credentials)),
                Kept::None => Ok(None),
                Kept::Unreadable => Err(CredentialsError::Format {
                    path: self.file.clone().unwrap_or_default(),
                    why: "has an entry in \"auths\" that is no base64 of NAME:PASSWORD",
                }),
            },
        }
    }
}

/// `None`: there is no such file.
fn read(path: &Path) -> Result<Option<DockerConfig>, CredentialsError> {
    let failed = |error: std::io::Error| CredentialsError::File {
        path: path.to_owned(),
        cause: error.to_string(),
    };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut content = Zeroizing::new(Vec::new());
    file.take(MAX_CONFIG + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    let why = if content.len() as u64 > MAX_CONFIG {
        "has more than 1 MiB"
    } else {
        match DockerConfig::read(&content) {
            Some(config) => return Ok(Some(config)),
            None => "is no JSON of its form",
        }
    };
    let path = path.to_owned();
    Err(CredentialsError::Format { path, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_header_and_is_not_shown() {
        let credentials = Credentials::of("Aladdin".to_owned(), "open sesame".to_owned().into());
        // RFC 7617, 2.
        let header = credentials.basic().unwrap();
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{credentials:?} {header:?}").contains("QWxh"));
    }

    #[test]
    fn given_credentials_are_for_one_registry() {
        let mut keychain = Keychain::new(None);
        let credentials = Credentials::of("u".to_owned(), "p".to_owned().into());
        keychain.give("r.example", credentials.clone());
        assert_eq!(keychain.find("r.example").unwrap(), Some(credentials));
        assert_eq!(keychain.find("mirror.example").unwrap(), None);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "{").unwrap();
        let told = Keychain::new(Some(path.clone())).find("r").unwrap_err();
        assert!(told.to_string().contains("config.json"), "{told}");
        std::fs::write(&path, r#"{"auths":{"r":{"auth":"!"}}}"#).unwrap();
        let told = Keychain::new(Some(path.clone())).find("r").unwrap_err();
        assert!(told.to_string().contains("base64"), "{told}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Keychain::new(Some(path)).find("r").unwrap(), None);
    }
}
