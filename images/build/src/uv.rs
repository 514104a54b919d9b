//! What uv is asked.
//!
//! Its settings are given one by one: it reads no configuration of the user's, of the project's or
//! of the machine's, fetches no interpreter, and asks no keyring.

use crate::index::Indexes;
use crate::spec::{Choice, Kind, Spec};

/// Where uv's program is inside.
pub const UV: &str = "/opt/lakekeep/bin/uv";
/// Where the environment is made inside, and where it is when it is used: pyvenv.cfg and the first
/// lines of scripts have the path.
pub const VENV: &str = "/opt/lakekeep/venv";
/// Where the certificate authorities are inside, if they are not the system's.
pub const CERTIFICATES: &str = "/opt/lakekeep/ca.pem";
/// Where the list of packages is inside.
const PROJECT: &str = "/opt/lakekeep/project";
/// Where wheels are kept inside.
const CACHE: &str = "/opt/lakekeep/cache";
/// The lock's name in [`PROJECT`].
const LOCK: &str = "lakekeep.lock.txt";
/// The first second that a zip archive can name, which build tools take for all files' times
/// (reproducible-builds.org, SOURCE_DATE_EPOCH).
const EPOCH: &str = "315532800";

/// One run of uv.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of people's messages, such as `resolving`.
    pub name: &'static str,
    /// The command, program first.
    pub words: Vec<String>,
    /// Its variables.
    pub variables: Vec<(&'static str, String)>,
    /// Whether it asks the indexes.
    pub asks: bool,
}

/// Makes the steps of one build.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// What is built.
    pub spec: &'a Spec,
    /// What of it.
    pub choice: &'a Choice,
    /// Where packages come from.
    pub indexes: &'a Indexes,
    /// The interpreter, which is at this path inside too.
    pub python: &'a str,
    /// Whether [`CERTIFICATES`] are there.
    pub certificates: bool,
}

impl Asker<'_> {
    /// Where the parts of a build are inside: list, cache, environment.
    pub fn places() -> [&'static str; 3] {
        [PROJECT, CACHE, VENV]
    }

    /// The name of the lock's file in the list's folder.
    pub fn lock_name() -> &'static str {
        LOCK
    }

    /// Says the lock on standard output.
    pub fn resolve(&self) -> Step {
        let list = format!("{PROJECT}/{}", self.spec.name());
        let mut words: Vec<String> = match self.spec.kind() {
            Kind::UvLock => {
                let export = "export --frozen --no-emit-project --no-default-groups --format requirements-txt";
                let mut words = split(export);
                words.extend(["--project".to_owned(), PROJECT.to_owned()]);
                words
            }
            Kind::Requirements | Kind::Project => {
                let mut words = split("pip compile --generate-hashes");
                words.push(list.clone());
                words
            }
        };
        words.extend(split("--no-header --no-annotate --python"));
        words.push(self.python.to_owned());
        for extra in &self.choice.extras {
            words.extend(["--extra".to_owned(), extra.clone()]);
        }
        for group in &self.choice.groups {
            let group = match self.spec.kind() {
                Kind::UvLock => group.clone(),
                Kind::Requirements | Kind::Project => format!("{list}:{group}"),
            };
            words.extend(["--group".to_owned(), group]);
        }
        self.binaries(&mut words, self.spec.kind() != Kind::UvLock);
        self.step("resolving", words, self.spec.kind() != Kind::UvLock)
    }

    /// Makes the empty environment.
    pub fn make(&self) -> Step {
        let mut words = split("venv --allow-existing --python");
        words.extend([self.python.to_owned(), VENV.to_owned()]);
        self.step("making the environment", words, false)
    }

    /// Puts into it what the lock has, and nothing else.
    pub fn install(&self) -> Step {
        let mut words = split("pip sync --require-hashes --python");
        words.push(format!("{VENV}/bin/python"));
        words.push(format!("{PROJECT}/{LOCK}"));
        self.binaries(&mut words, true);
        self.step("installing", words, true)
    }

    fn binaries(&self, words: &mut Vec<String>, matters: bool) {
        if matters && !self.choice.sources {
            words.extend(split("--only-binary :all:"));
        }
    }

    fn step(&self, name: &'static str, words: Vec<String>, asks: bool) -> Step {
        let words = std::iter::once(UV.to_owned()).chain(words).collect();
        let certificates = match self.certificates {
            true => CERTIFICATES,
            false => "/etc/ssl/certs/ca-certificates.crt",
        };
        let set = [
            ("NO_COLOR", "1"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONHASHSEED", "0"),
            ("SOURCE_DATE_EPOCH", EPOCH),
            ("SSL_CERT_FILE", certificates),
            ("UV_CACHE_DIR", CACHE),
            ("UV_KEYRING_PROVIDER", "disabled"),
            // A hard link into the cache would be changed with it.
            ("UV_LINK_MODE", "copy"),
            ("UV_NO_CONFIG", "1"),
            ("UV_NO_PROGRESS", "1"),
            ("UV_PYTHON_DOWNLOADS", "never"),
        ];
        let mut variables: Vec<(&'static str, String)> =
            set.map(|(name, value)| (name, value.to_owned())).to_vec();
        match asks {
            true => variables.extend(self.indexes.variables()),
            false => variables.push(("UV_OFFLINE", "1".to_owned())),
        }
        Step {
            name,
            words,
            variables,
            asks,
        }
    }
}

fn split(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}
