//! Machines of users who send environments to a manager.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lakekeep_tests::manager::{Account, Manager, Setup, account};
use lakekeep_tests::{lakekeep, skip};
use serde_json::Value;

const PYTHON: &str = "/usr/bin/python3";

/// One of a user's machines: a home of its own, with a virtual environment.
pub struct Client<'m> {
    pub manager: &'m Manager,
    account: Account,
    pub home: PathBuf,
}

impl<'m> Client<'m> {
    pub fn new(manager: &'m Manager, user: &str, name: &str) -> Self {
        let client = Client {
            manager,
            account: account(user),
            home: manager.place().path().join(name),
        };
        std::fs::create_dir(&client.home).unwrap();
        std::os::unix::fs::chown(
            &client.home,
            Some(client.account.uid),
            Some(client.account.gid),
        )
        .unwrap();
        let mut make = Command::new(PYTHON);
        make.args(["-m", "venv", "--without-pip"])
            .arg(client.home.join("venv"));
        client.succeed(&mut make);
        client.install("1.0");
        client
    }

    /// A distribution of this version, with a library that does not compress.
    pub fn install(&self, version: &str) {
        let script = "import hashlib, pathlib, sys, sysconfig\n\
            site = pathlib.Path(sysconfig.get_paths()['purelib'])\n\
            (site / 'lk_dist.py').write_text(f'version = {sys.argv[1]!r}\\n')\n\
            words = (hashlib.sha256(str(n).encode()).digest() for n in range(1 << 18))\n\
            (site / 'lk_data.bin').write_bytes(b''.join(words))\n";
        self.succeed(Command::new(self.python()).args(["-c", script, version]));
    }

    pub fn python(&self) -> PathBuf {
        self.home.join("venv/bin/python")
    }

    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("LAKEKEEP_SOCKET", self.manager.socket())
            .current_dir("/")
            .uid(self.account.uid)
            .gid(self.account.gid)
            .stdin(Stdio::null());
    }

    pub fn succeed(&self, command: &mut Command) -> Output {
        self.prepare(command);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        output
    }

    pub fn say(&self, words: &[&str]) -> Output {
        self.command(lakekeep()).args(words).output().unwrap()
    }

    pub fn refused(&self, words: &[&str]) -> String {
        let output = self.say(words);
        assert_eq!(output.status.code(), Some(125), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// What `env push --json` tells.
    pub fn push(&self, more: &[&str]) -> Value {
        let python = self.python();
        let mut command = Command::new(lakekeep());
        command
            .args(["env", "push", "--json", "--python"])
            .arg(python)
            .args(more);
        serde_json::from_slice(&self.succeed(&mut command).stdout).unwrap()
    }

    /// What a command prints that runs with an environment.
    pub fn run(&self, digest: &str, code: &str) -> String {
        let mut command = Command::new(lakekeep());
        command.args(["run", "--environment", digest, "--", "python", "-c", code]);
        String::from_utf8(self.succeed(&mut command).stdout).unwrap()
    }
}

pub fn digest(told: &Value) -> &str {
    told["digest"].as_str().unwrap()
}

pub fn number(told: &Value, name: &str) -> u64 {
    told[name].as_u64().unwrap()
}

/// A manager, where there is an interpreter. `None`: a skip was reported.
pub fn start(test: &str, setup: Setup) -> Option<Manager> {
    if !Path::new(PYTHON).exists() {
        skip(test, "python", "there is no /usr/bin/python3");
        return None;
    }
    setup.start(test)
}

/// What code prints that runs with the distribution of a [`Client`]'s.
pub const VERSION: &str = "import lk_dist, sys; print(lk_dist.version, sys.prefix)";
