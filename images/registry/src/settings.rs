//! `registries.toml`: which mirrors, authorities and plain registries a host has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::endpoint::{Endpoint, NotAnEndpoint};

/// Bytes of the file.
const MAX_FILE: u64 = 1 << 20;

/// What is set for each registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    registries: BTreeMap<String, OfRegistry>,
}

/// What is set for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OfRegistry {
    pub mirrors: Vec<Endpoint>,
    pub ca_file: Option<PathBuf>,
    pub plain_http: bool,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
    /// It is too long.
    #[error("{path} has more than 1 MiB; it is no list of registries")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is not as it should be.
    #[error("{path}: {error}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        error: Box<toml::de::Error>,
    },
    /// A mirror's address is wrong.
    #[error("{path}, mirrors of {registry}: {error}")]
    Mirror {
        /// The file.
        path: PathBuf,
        /// Of which registry.
        registry: String,
        /// What is wrong.
        error: NotAnEndpoint,
    },
    /// A mirror may not be without TLS.
    #[error(
        "{path}, mirrors of {registry}: {mirror} is not on this machine and speaks no TLS; set plain_http = true for the registry, or use https"
    )]
    Plain {
        /// The file.
        path: PathBuf,
        /// Of which registry.
        registry: String,
        /// Its address.
        mirror: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    registry: BTreeMap<String, RawRegistry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    #[serde(default)]
    mirrors: Vec<String>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    plain_http: bool,
}

impl Settings {
    /// Reads the file; one that is not there has nothing in it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn open(path: &Path) -> Result<Settings, SettingsError> {
        let failed = |error| SettingsError::File {
            path: path.to_owned(),
            error,
        };
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Settings::default());
            }
            opened => opened.map_err(failed)?,
        };
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_FILE + 1), &mut text)
            .map_err(failed)?;
        if text.len() as u64 > MAX_FILE {
            return Err(SettingsError::TooLong {
                path: path.to_owned(),
            });
        }
        Settings::read(&text, path)
    }

    fn read(text: &str, path: &Path) -> Result<Settings, SettingsError> {
        let raw: Raw = toml::from_str(text).map_err(|error| SettingsError::Format {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        let mut registries = BTreeMap::new();
        for (registry, raw) in raw.registry {
            let mirrors = raw
                .mirrors
                .iter()
                .map(|text| mirror(text, &registry, raw.plain_http, path))
                .collect::<Result<_, _>>()?;
            let of_registry = OfRegistry {
                mirrors,
                ca_file: raw.ca_file,
                plain_http: raw.plain_http,
            };
            registries.insert(registry, of_registry);
        }
        Ok(Settings { registries })
    }

    /// What is set for a registry, as it stands in images' names.
    pub(crate) fn of(&self, registry: &str) -> OfRegistry {
        self.registries.get(registry).cloned().unwrap_or_default()
    }
}

fn mirror(text: &str, registry: &str, plain: bool, path: &Path) -> Result<Endpoint, SettingsError> {
    let mirror: Endpoint = text.parse().map_err(|error| SettingsError::Mirror {
        path: path.to_owned(),
        registry: registry.to_owned(),
        error,
    })?;
    if !mirror.is_plain() || mirror.is_loopback() || plain {
        return Ok(mirror);
    }
    Err(SettingsError::Plain {
        path: path.to_owned(),
        registry: registry.to_owned(),
        mirror: mirror.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, SettingsError> {
        Settings::read(text, Path::new("registries.toml"))
    }

    #[test]
    fn settings_are_read_by_registry() {
        let text = "[registry.\"docker.io\"]\nmirrors = [\"https://m.example/hub\", \"http://localhost:5000\"]\n\
                    ca_file = \"/ca.pem\"\n[registry.\"r.example\"]\nplain_http = true\n";
        let settings = read(text).unwrap();
        let hub = settings.of("docker.io");
        assert_eq!(hub.mirrors.len(), 2);
        assert_eq!(hub.ca_file, Some(PathBuf::from("/ca.pem")));
        assert!(settings.of("r.example").plain_http);
        assert_eq!(settings.of("other.example"), OfRegistry::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, word) in [
            ("[registry.a]\nmirror = []\n", "line 2"),
            ("[registry.a]\nmirrors = [\"ftp://x\"]\n", "mirrors of a"),
            (
                "[registry.a]\nmirrors = [\"http://m.example\"]\n",
                "plain_http",
            ),
            ("mirrors = []\n", "line 1"),
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains(word), "{told}");
        }
    }
}
