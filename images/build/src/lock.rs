//! What was resolved: exact versions with hashes, and nothing else.
//!
//! The text is a requirements file that pip and uv read too. It comes from uv, which read what an
//! index said and may have run a package's code; so all of it is checked, and what is handed on is
//! written anew from what was understood.

use lakekeep_environment::Digest;

use crate::error::BuildError;
use crate::lines::{Line, extras, lines, name};

/// Longest text, in bytes.
pub const MAX_LOCK_BYTES: usize = 16 << 20;

/// Begins every lock's first line.
const HEAD: &str = "# lakekeep env build, of ";
/// Begins the line that says what it is for.
const KEY: &str = "# for ";

/// Hashes that are believed, and their lengths in hexadecimal digits.
const HASHES: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// One distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// As the index writes it.
    pub name: String,
    /// Exact.
    pub version: String,
    /// Where it is wanted (PEP 508).
    pub marker: Option<String>,
    /// Of each file that it may be, such as `sha256:…`.
    pub hashes: Vec<String>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    packages: Vec<Locked>,
}

impl Lock {
    /// Reads a text. `what` names it in errors.
    ///
    /// # Errors
    /// [`BuildError::Lock`] with the line: whatever is not an exact version with hashes.
    pub fn parse(what: &str, text: &str) -> Result<Lock, BuildError> {
        let refused = |line: usize, why: String| BuildError::Lock {
            what: what.to_owned(),
            line,
            why,
        };
        if text.len() > MAX_LOCK_BYTES {
            return Err(refused(
                1,
                format!("it is longer than {MAX_LOCK_BYTES} bytes"),
            ));
        }
        let mut packages = Vec::new();
        for line in lines(text) {
            packages.push(locked(&line).map_err(|why| refused(line.number, why))?);
        }
        Ok(Lock { packages })
    }

    /// What it is for; `None`: it is none of ours.
    pub fn key_of(text: &str) -> Option<Digest> {
        let mut lines = text.lines();
        lines.next()?.strip_prefix(HEAD)?;
        lines.next()?.strip_prefix(KEY)?.trim().parse().ok()
    }

    /// Its distributions.
    pub fn packages(&self) -> &[Locked] {
        &self.packages
    }

    /// For uv and for people: `of` is the list's name, `key` what it is for.
    pub fn to_text(&self, of: &str, key: &Digest) -> String {
        let of: String = of
            .chars()
            .filter(|character| !character.is_control())
            .collect();
        let mut out = format!("{HEAD}{of}\n{KEY}{key}\n");
        for one in &self.packages {
            out.push_str(&format!("{}=={}", one.name, one.version));
            if let Some(marker) = &one.marker {
                out.push_str(&format!(" ; {marker}"));
            }
            for hash in &one.hashes {
                out.push_str(&format!(" \\\n    --hash={hash}"));
            }
            out.push('\n');
        }
        out
    }
}

fn locked(line: &Line) -> Result<Locked, String> {
    let shown = || line.text.chars().take(80).collect::<String>();
    let exact = || format!("{:?} is no exact version of a package of an index", shown());
    let (name, rest) = name(&line.text).ok_or_else(exact)?;
    let rest = extras(rest).ok_or_else(exact)?;
    let rest = rest.strip_prefix("==").ok_or_else(exact)?;
    let (wanted, hashes) = match rest.split_once(" --hash=") {
        Some((wanted, hashes)) => (wanted, hashes),
        None => return Err(format!("{:?} has no hash", shown())),
    };
    let (version, marker) = match wanted.split_once(';') {
        Some((version, marker)) => (version.trim(), Some(marker.trim())),
        None => (wanted.trim(), None),
    };
    let of_version =
        |character: char| character.is_ascii_alphanumeric() || ".+!_-".contains(character);
    if version.is_empty() || !version.chars().all(of_version) {
        return Err(exact());
    }
    if let Some(marker) = marker
        && (marker.is_empty() || !marker.chars().all(of_marker) || marker.contains("--"))
    {
        return Err(format!("{marker:?} is no condition"));
    }
    let hashes = hashes.split(" --hash=").map(|hash| hash.trim().to_owned());
    let hashes: Vec<String> = hashes.collect();
    match hashes.iter().find(|hash| !is_hash(hash)) {
        Some(hash) => Err(format!("{hash:?} is no hash such as sha256:…")),
        None => Ok(Locked {
            name: name.to_owned(),
            version: version.to_owned(),
            marker: marker.map(str::to_owned),
            hashes,
        }),
    }
}

fn of_marker(character: char) -> bool {
    character.is_ascii_alphanumeric() || " '\"<>=!~()._-+,".contains(character)
}

fn is_hash(text: &str) -> bool {
    let Some((kind, digits)) = text.split_once(':') else {
        return false;
    };
    let known = HASHES.contains(&(kind, digits.len()));
    known && digits.chars().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash() -> String {
        format!("sha256:{}", "0a".repeat(32))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (hash, key) = (hash(), Digest::of(b"x"));
        let text = format!(
            "a-b==1.0 ; python_full_version < '3.10' and (sys_platform == 'linux') \\\n    --hash={hash} \\\n    --hash={hash}\nc==2!1.0+l.1 --hash={hash}\n"
        );
        let lock = Lock::parse("x", &text).unwrap();
        assert_eq!(lock.packages().len(), 2);
        assert_eq!(lock.packages()[0].hashes.len(), 2);
        let written = lock.to_text("r.txt\n-e .", &key);
        assert_eq!(Lock::parse("x", &written).unwrap(), lock);
        assert_eq!(Lock::key_of(&written), Some(key));
        assert_eq!(Lock::key_of(&text), None);
    }

    #[test]
    fn nothing_but_exact_versions_with_hashes_is_believed() {
        let hash = hash();
        for line in [
            "a==1".to_owned(),
            format!("a>=1 --hash={hash}"),
            format!("a --hash={hash}"),
            "a==1 --hash=md5:00".to_owned(),
            "a==1 --hash=sha256:00".to_owned(),
            format!("a==1 --hash={hash} --index-url=https://x.example"),
            format!("a==1 --index-url https://x.example --hash={hash}"),
            format!("a==1 ; x --index-url y --hash={hash}"),
            "--index-url https://x.example".to_owned(),
            "-r other.txt".to_owned(),
            "-e .".to_owned(),
            format!("./x --hash={hash}"),
            format!("a @ https://x.example/a.whl --hash={hash}"),
            format!("a==* --hash={hash}"),
            format!("a===1 --hash={hash}"),
            format!("a==1,>2 --hash={hash}"),
        ] {
            assert!(Lock::parse("x", &line).is_err(), "{line}");
        }
        assert!(Lock::parse("x", &" ".repeat(MAX_LOCK_BYTES + 1)).is_err());
    }
}
