//! Images, registries that serve them, and who pulls or loads them.

mod content;
mod registry;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lakekeep_tests::{Place, Privilege, lakekeep};
use serde_json::Value;

pub use content::{Content, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
pub use content::{architecture, config, noise, shell};
pub use registry::{Asked, Quirk, Registry, Reply, blob, manifest};

/// A store of a test's own, and who uses it.
pub struct Puller {
    pub privilege: Privilege,
    pub store: PathBuf,
    home: PathBuf,
}

impl Puller {
    pub fn new(place: &Place, privilege: Privilege) -> Puller {
        let home = place.dir("home", privilege);
        Puller {
            privilege,
            store: home.join("store"),
            home,
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.program(lakekeep());
        command.args(words);
        command
    }

    /// Another program, as the same user.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("LAKEKEEP_STORE", &self.store)
            .env("HOME", &self.home)
            // Who runs something keeps its state here, and not in a folder of /tmp.
            .env("XDG_RUNTIME_DIR", &self.home)
            // Where the tests were started may be closed to the ordinary user.
            .current_dir("/");
        // Nothing of whoever runs the tests: no logins, no mirrors, no manager.
        for name in [
            "DOCKER_CONFIG",
            "LAKEKEEP_SOCKET",
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
        ] {
            command.env_remove(name);
        }
        self.privilege.apply(&mut command);
        command
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn lakekeep(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// `image pull`, with what keeps a test short.
    pub fn pull(&self, name: &str, more: &[&str]) -> Output {
        let words = [
            "image",
            "pull",
            name,
            "--attempts",
            "2",
            "--connect-timeout",
            "2s",
            "--idle-timeout",
            "1s",
        ];
        self.lakekeep(&[&words[..], more].concat())
    }

    /// As a program reads it.
    pub fn pulled(&self, name: &str, more: &[&str]) -> Value {
        let output = self.pull(name, &[more, &["--json"]].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn assert_sound(&self) {
        let checked = self.lakekeep(&["store", "fsck"]);
        assert!(checked.status.success(), "{}", said(&checked));
    }

    /// Names of images.
    pub fn names(&self) -> String {
        said(&self.lakekeep(&["image", "ls"]))
    }

    pub fn partial(&self) -> Vec<u64> {
        // It is made by whoever opens the store first, who may have been killed before.
        let Ok(files) = fs::read_dir(self.store.join("partial")) else {
            return Vec::new();
        };
        let lengths = files.map(|file| file.unwrap().metadata().unwrap().len());
        lengths.collect()
    }
}

pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Everything below a folder, as `find` tells it.
pub fn tree(path: &Path) -> String {
    let format = "%P %y %s %m %T@\n";
    let found = Command::new("find")
        .args([path.as_os_str(), "-printf".as_ref(), format.as_ref()])
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap()
}
