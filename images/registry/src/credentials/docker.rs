//! Docker's configuration, `~/.docker/config.json`: the part about credentials. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Credentials;
use crate::wire::Secret;

/// Docker Hub's entries have a URL of an older interface.
const HUB_SERVER: &str = "https://index.docker.io/v1/";

/// Docker Hub's other names.
const HUB: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];

/// What docker knows of registries.
#[derive(Deserialize)]
pub struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, RawAuth>,
    #[serde(default, rename = "credsStore")]
    store: String,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawAuth {
    auth: Secret,
    username: String,
    password: Secret,
    #[serde(rename = "identitytoken")]
    identity: Secret,
}

/// What the file itself has for a registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Credentials(Credentials),
    None,
    Unreadable,
}

/// What a helper is asked for.
pub(crate) fn server(key: &str) -> &str {
    if key == HUB[0] { HUB_SERVER } else { key }
}

/// `HOST[:PORT]` of an entry, which may be a URL.
fn host(entry: &str) -> &str {
    let bare = entry
        .strip_prefix("https://")
        .or_else(|| entry.strip_prefix("http://"))
        .unwrap_or(entry);
    let host = bare.split('/').next().unwrap_or_default();
    if HUB.contains(&host) { HUB[0] } else { host }
}

/// The entry that is written as it is asked for, else one for the same host.
fn entry<'m, T>(map: &'m BTreeMap<String, T>, key: &str) -> Option<&'m T> {
    let of_host = || map.iter().find(|(entry, _)| host(entry) == key);
    map.get(server(key))
        .or_else(|| of_host().map(|(_, value)| value))
}

impl DockerConfig {
    /// Reads one; `None`: it is none. What is not about credentials is passed over.
    pub fn read(content: &[u8]) -> Option<DockerConfig> {
        serde_json::from_slice(content).ok()
    }

    /// The helper that is asked about `HOST[:PORT]`, by the end of its program's name. `docker-credential-` and
    /// this is a program's name, and no path.
    pub fn helper(&self, key: &str) -> Option<&str> {
        let name = entry(&self.helpers, key).unwrap_or(&self.store);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (!name.is_empty() && name.bytes().all(plain)).then_some(name)
    }

    /// What the file itself has for `HOST[:PORT]`.
    pub(crate) fn kept(&self, key: &str) -> Kept {
        let Some(raw) = entry(&self.auths, key) else {
            return Kept::None;
        };
        if !raw.identity.0.is_empty() {
            return Kept::Credentials(Credentials::Identity(raw.identity.0.clone()));
        }
        if raw.auth.0.is_empty() {
            return match raw.username.is_empty() {
                true => Kept::None,
                false => {
                    let (user, password) = (raw.username.clone(), raw.password.0.clone());
                    Kept::Credentials(Credentials::of(user, password))
                }
            };
        }
        decoded(&raw.auth.0).map_or(Kept::Unreadable, Kept::Credentials)
    }

    /// The credentials that the file itself has for `HOST[:PORT]`.
    pub fn credentials(&self, key: &str) -> Option<Credentials> {
        match self.kept(key) {
            Kept::Credentials(credentials) => Some(credentials),
            Kept::None | Kept::Unreadable => None,
        }
    }
}

/// base64 of `NAME:PASSWORD`; docker pads with NULs.
fn decoded(auth: &str) -> Option<Credentials> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(auth.trim()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    let password = Zeroizing::new(password.trim_end_matches('\0').to_owned());
    (!user.is_empty()).then(|| Credentials::of(user.to_owned(), password))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "r.example:5000": {"username": "a", "password": "b"},
            "https://quay.example/v2/": {"auth": "PHRva2VuPjp0"},
            "i.example": {"auth": "dTpw", "identitytoken": "t"},
            "empty.example": {},
            "bad.example": {"auth": "dTpw="}
        },
        "credsStore": "secretservice",
        "credHelpers": {"ecr.example": "ecr-login", "evil.example": "../../bin/sh"},
        "HttpHeaders": {"x": "y"}
    }"#;

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::of(user.to_owned(), password.to_owned().into()))
    }

    #[test]
    fn credentials_are_found_by_host() {
        let config = DockerConfig::read(CONFIG.as_bytes()).unwrap();
        let identity = Some(Credentials::Identity("t".to_owned().into()));
        for (key, wanted) in [
            ("index.docker.io", password("u", "p")),
            ("r.example:5000", password("a", "b")),
            ("r.example", None),
            ("quay.example", identity.clone()),
            ("i.example", identity),
            ("empty.example", None),
            ("bad.example", None),
        ] {
            assert_eq!(config.credentials(key), wanted, "{key}");
        }
        assert_eq!(config.kept("bad.example"), Kept::Unreadable);
    }

    #[test]
    fn helpers_are_programs_without_a_path() {
        let config = DockerConfig::read(CONFIG.as_bytes()).unwrap();
        assert_eq!(config.helper("ecr.example"), Some("ecr-login"));
        assert_eq!(config.helper("r.example:5000"), Some("secretservice"));
        assert_eq!(config.helper("evil.example"), None);
    }

    #[test]
    fn the_hub_is_asked_for_under_its_old_name() {
        assert_eq!(server("index.docker.io"), HUB_SERVER);
        assert_eq!(server("r.example"), "r.example");
    }
}
