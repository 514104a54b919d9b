//! An image's configuration.

use std::collections::BTreeMap;

use lakekeep_content::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::MAX_DOCUMENT;
use crate::descriptor::Platform;
use crate::error::DocumentError;

const CONFIG: &str = "image configuration";

/// Variables of an image.
const MAX_VARIABLES: usize = 1024;

/// Words of an image's command.
const MAX_WORDS: usize = 1024;

/// Bytes of one variable, word or path.
const MAX_TEXT: usize = 64 << 10;

/// What an image is made of, and how it wants to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it runs.
    pub platform: Platform,
    /// The digests of its layers' archives, decompressed; the lowest first.
    pub diff_ids: Vec<Digest>,
    /// How it wants to be run.
    pub settings: Settings,
}

/// How an image wants to be run: a wish, from a stranger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Empty: nobody in particular, which for Docker is root.
    pub user: String,
    /// Variables, by name; of a name that is there twice the last.
    pub variables: BTreeMap<String, String>,
    /// What it runs.
    pub startup: Startup,
    /// Empty: none.
    pub working_folder: String,
}

/// What an image runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Startup {
    /// What comes before the command's words.
    pub entrypoint: Vec<String>,
    /// The command, where none is given.
    pub command: Vec<String>,
}

impl Startup {
    /// The entrypoint, and behind it the words that are given, or else the image's own. Empty
    /// where there are none of either.
    pub fn words(&self, given: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let own = |words: &[String]| -> Vec<Vec<u8>> {
            words.iter().map(|word| word.clone().into_bytes()).collect()
        };
        let mut words = own(&self.entrypoint);
        if given.is_empty() {
            words.extend(own(&self.command));
        } else {
            words.extend(given);
        }
        words
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
    rootfs: RawRootfs,
    #[serde(default)]
    config: Option<RawSettings>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawSettings {
    user: String,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: String,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// What is wrong with it, field by field.
    pub fn read(content: &[u8]) -> Result<Config, DocumentError> {
        if content.len() as u64 > MAX_DOCUMENT {
            return Err(DocumentError::TooLarge {
                what: CONFIG,
                most: MAX_DOCUMENT,
            });
        }
        let raw: Raw = serde_json::from_slice(content).map_err(|error| DocumentError::Json {
            what: CONFIG,
            error,
        })?;
        if raw.rootfs.kind != "layers" {
            return Err(DocumentError::rule(
                CONFIG,
                "rootfs.type",
                "is not \"layers\"",
            ));
        }
        let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
        Ok(Config {
            platform: Platform {
                architecture: raw.architecture,
                os: raw.os,
                variant: raw.variant,
            },
            diff_ids: diff_ids
                .iter()
                .map(|text| diff_id(text))
                .collect::<Result<_, _>>()?,
            settings: settings(raw.config.unwrap_or_default())?,
        })
    }
}

fn diff_id(text: &str) -> Result<Digest, DocumentError> {
    text.parse::<Digest>()
        .ok()
        .filter(|digest| digest.algorithm() == Algorithm::Sha256)
        .ok_or_else(|| DocumentError::rule(CONFIG, "rootfs.diff_ids", "holds no SHA-256 digest"))
}

fn settings(raw: RawSettings) -> Result<Settings, DocumentError> {
    let env = raw.env.unwrap_or_default();
    let (entrypoint, command) = (
        raw.entrypoint.unwrap_or_default(),
        raw.cmd.unwrap_or_default(),
    );
    if env.len() > MAX_VARIABLES {
        return Err(DocumentError::rule(
            CONFIG,
            "config.Env",
            "has more than 1024 variables",
        ));
    }
    if entrypoint.len() + command.len() > MAX_WORDS {
        return Err(DocumentError::rule(
            CONFIG,
            "config.Cmd",
            "has more than 1024 words",
        ));
    }
    let texts = env.iter().chain(&entrypoint).chain(&command);
    for text in texts.chain([&raw.user, &raw.working_dir]) {
        if text.len() > MAX_TEXT || text.contains('\0') {
            return Err(DocumentError::rule(
                CONFIG,
                "config",
                "holds a text with a NUL, or over 64 KiB",
            ));
        }
    }
    let mut variables = BTreeMap::new();
    for text in &env {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            _ => {
                return Err(DocumentError::rule(
                    CONFIG,
                    "config.Env",
                    "is not NAME=VALUE",
                ));
            }
        }
    }
    Ok(Settings {
        user: raw.user,
        variables,
        startup: Startup {
            entrypoint,
            command,
        },
        working_folder: raw.working_dir,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":
        ["sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]},
        "config":{"User":"app","Env":["A=b=c","E="],"Entrypoint":["/run"],"Cmd":null,"WorkingDir":"/app"}}"#;

    #[test]
    fn a_configuration_is_read() {
        let config = Config::read(GOOD.as_bytes()).unwrap();
        assert_eq!(config.diff_ids.len(), 1);
        let settings = config.settings;
        assert_eq!(settings.variables["A"], "b=c");
        assert_eq!(
            (settings.user.as_str(), settings.working_folder.as_str()),
            ("app", "/app")
        );
        assert_eq!(settings.startup.entrypoint, ["/run"]);
        assert!(settings.startup.command.is_empty());
    }

    #[test]
    fn words_that_are_given_are_in_the_place_of_the_command_and_behind_the_entrypoint() {
        let of = |entrypoint: &[&str], command: &[&str], given: &[&[u8]]| {
            let texts = |words: &[&str]| words.iter().map(ToString::to_string).collect();
            let startup = Startup {
                entrypoint: texts(entrypoint),
                command: texts(command),
            };
            startup.words(given.iter().map(|word| word.to_vec()).collect())
        };
        let whole = of(&["/run", "-v"], &["a"], &[]);
        assert_eq!(whole, [b"/run".as_slice(), b"-v", b"a"]);
        let given = of(&["/run"], &["a"], &[b"b\xff", b"c"]);
        assert_eq!(given, [b"/run".as_slice(), b"b\xff", b"c"]);
        assert_eq!(of(&[], &["a"], &[]), [b"a"]);
        assert!(of(&[], &[], &[]).is_empty());
    }

    #[test]
    fn configurations_that_are_wrong_are_refused() {
        for (bad, word) in [
            (GOOD.replace("layers", "zip"), "rootfs.type"),
            (GOOD.replace("sha256:", "md5:"), "diff_ids"),
            (GOOD.replace("A=b=c", "A"), "NAME=VALUE"),
            (GOOD.replace("A=b=c", "=c"), "NAME=VALUE"),
            (GOOD.replace("/run", "a\\u0000b"), "NUL"),
            (
                GOOD.replace("\"/run\"", &["\"w\""; 2000].join(",")),
                "1024 words",
            ),
            (
                GOOD.replace("\"E=\"", &["\"E=\""; 2000].join(",")),
                "1024 variables",
            ),
            (GOOD.replace("\"/run\"", "7"), "cannot be read"),
            ("{}".to_owned(), "cannot be read"),
        ] {
            let error = Config::read(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
