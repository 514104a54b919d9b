//! Names of images: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` (distribution's grammar of references).

use std::fmt;
use std::str::FromStr;

use lakekeep_content::Digest;

/// Where names without a registry lead.
const REGISTRY: &str = "docker.io";

/// Before Docker Hub's repositories of one part.
const LIBRARY: &str = "library/";

/// Which of a repository's images.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Whatever this name leads to.
    Tag(String),
    /// This one.
    Digest(Digest),
}

/// An image's name, in full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Such as `docker.io` or `registry.example:5000`.
    pub registry: String,
    /// Such as `library/python`.
    pub repository: String,
    /// Such as `latest`.
    pub version: Version,
}

/// A text is no image's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an image's name: write [REGISTRY/]REPOSITORY[:TAG] in lower case, such as python:3.12, \
     or REPOSITORY@sha256:…; a folder is written ./FOLDER"
)]
pub struct NotAReference;

impl FromStr for Reference {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Reference, NotAReference> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(|_| NotAReference)?)),
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            // A colon before a slash is a port's.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => (REGISTRY, name),
        };
        let mut repository = path.to_owned();
        if registry == REGISTRY && !path.contains('/') {
            repository.insert_str(0, LIBRARY);
        }
        let tag = tag.unwrap_or("latest");
        if !is_registry(registry) || !is_repository(&repository) || !is_tag(tag) {
            return Err(NotAReference);
        }
        let version = match digest {
            Some(digest) => Version::Digest(digest),
            None => Version::Tag(tag.to_owned()),
        };
        Ok(Reference {
            registry: registry.to_owned(),
            repository,
            version,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253
        && host.split('.').all(label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_repository(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let plain = |byte: u8| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-');
        let edge = |byte: Option<u8>| byte.is_some_and(alphanumeric);
        let (first, last) = (part.bytes().next(), part.bytes().last());
        part.bytes().all(plain) && edge(first) && edge(last) && !part.contains("..")
    };
    text.len() <= 255 && text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = text.bytes().next();
    let starts = first.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    starts && text.len() <= 128 && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_full() {
        let hex = "ab".repeat(32);
        for (text, full) in [
            ("python", "docker.io/library/python:latest".to_owned()),
            ("python:3.12", "docker.io/library/python:3.12".to_owned()),
            ("a/b", "docker.io/a/b:latest".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("localhost:5000/a/b:t", "localhost:5000/a/b:t".to_owned()),
            ("quay.io/a__b/c-d:T_1", "quay.io/a__b/c-d:T_1".to_owned()),
            (
                &format!("a:t@sha256:{hex}"),
                format!("docker.io/library/a@sha256:{hex}"),
            ),
        ] {
            let read: Reference = text.parse().unwrap();
            assert_eq!(read.to_string(), full);
            assert_eq!(full.parse::<Reference>().unwrap(), read);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "a".repeat(300);
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "Python",
            "a:",
            "a:b:c",
            "a b",
            "a/../b",
            "../a",
            "./a",
            "a@",
            "a@x",
            "a@sha256:12",
            "a:-t",
            "-a",
            "a-",
            "a//b",
            "h.x:99999/a",
            "h.x:/a",
            "a\n",
            "ü",
            "-h.x/a",
            &long,
        ] {
            assert_eq!(text.parse::<Reference>(), Err(NotAReference), "{text:?}");
        }
    }
}
