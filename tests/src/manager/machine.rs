//! A machine of a user's, with a Python of its own, from which environments are sent.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::Manager;
use super::accounts::{Account, account};
use crate::{fail, lakekeep, skip};

const PYTHON: &str = "/usr/bin/python3";

/// Whether there is a Python to make environments of; if not, a skip was reported.
#[must_use]
pub fn has_python(test: &str) -> bool {
    let is_there = Path::new(PYTHON).exists();
    if !is_there {
        skip(test, "python", "there is no /usr/bin/python3");
    }
    is_there
}

/// One of a user's machines: a home of its own, with a virtual environment in it that has the
/// distribution `lk_dist`.
#[derive(Debug)]
pub struct Machine<'m> {
    manager: &'m Manager,
    account: Account,
    home: PathBuf,
}

impl<'m> Machine<'m> {
    /// A machine of this user's, of this name; its home is below the manager's place.
    ///
    /// # Panics
    /// When it cannot be set up.
    #[must_use]
    #[track_caller]
    pub fn new(manager: &'m Manager, user: &str, name: &str) -> Self {
        Self::at(manager, user, &manager.place().path().join(name))
    }

    /// The same with its home in a new folder, of the caller's choice: what lies in `/tmp`, lies
    /// inside below a folder that tasks bring along.
    ///
    /// # Panics
    /// When it cannot be set up.
    #[must_use]
    #[track_caller]
    pub fn at(manager: &'m Manager, user: &str, home: &Path) -> Self {
        let machine = Self {
            manager,
            account: account(user),
            home: home.to_owned(),
        };
        let (uid, gid) = (machine.account.uid, machine.account.gid);
        let made =
            fs::create_dir(&machine.home).and_then(|()| chown(&machine.home, Some(uid), Some(gid)));
        made.unwrap_or_else(|e| fail(format_args!("{}: {e}", machine.home.display())));
        let mut make = Command::new(PYTHON);
        make.args(["-m", "venv", "--without-pip"])
            .arg(machine.home.join("venv"));
        machine.succeed(&mut make);
        machine.install("1.0");
        machine
    }

    /// Its user's home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The interpreter of its virtual environment.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.home.join("venv/bin/python")
    }

    /// Installs a distribution of this version, with a library that does not compress.
    #[track_caller]
    pub fn install(&self, version: &str) {
        let script = "import hashlib, pathlib, sys, sysconfig\n\
            site = pathlib.Path(sysconfig.get_paths()['purelib'])\n\
            (site / 'lk_dist.py').write_text(f'version = {sys.argv[1]!r}\\n')\n\
            words = (hashlib.sha256(str(n).encode()).digest() for n in range(1 << 18))\n\
            (site / 'lk_data.bin').write_bytes(b''.join(words))\n";
        self.succeed(Command::new(self.python()).args(["-c", script, version]));
    }

    /// Puts a module of this text into the environment.
    #[track_caller]
    pub fn module(&self, name: &str, text: &str) {
        let script = "import pathlib, sys, sysconfig\n\
            site = pathlib.Path(sysconfig.get_paths()['purelib'])\n\
            (site / f'{sys.argv[1]}.py').write_text(sys.argv[2])\n";
        self.succeed(Command::new(self.python()).args(["-c", script, name, text]));
    }

    /// A command that its user runs on it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
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

    /// Runs a command on it that succeeds.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn succeed(&self, command: &mut Command) -> Output {
        self.prepare(command);
        let output = output(command);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            fail(format_args!("{command:?}: {errors}"));
        }
        output
    }

    /// `lakekeep` with these words, whatever comes of it.
    #[must_use]
    #[track_caller]
    pub fn say(&self, words: &[&str]) -> Output {
        output(self.command(lakekeep()).args(words))
    }

    /// What `lakekeep` says in refusing these words.
    ///
    /// # Panics
    /// When it does not refuse them.
    #[must_use]
    #[track_caller]
    pub fn refused(&self, words: &[&str]) -> String {
        let output = self.say(words);
        if output.status.code() != Some(125) {
            fail(format_args!("{words:?}: {output:?}"));
        }
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What `env push --json` tells.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    #[track_caller]
    pub fn push(&self, more: &[&str]) -> Value {
        self.push_of(&self.python(), more)
    }

    /// The same of another interpreter.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    #[track_caller]
    pub fn push_of(&self, python: &Path, more: &[&str]) -> Value {
        let mut command = Command::new(lakekeep());
        command
            .args(["env", "push", "--json", "--python"])
            .arg(python)
            .args(more);
        let told = self.succeed(&mut command).stdout;
        serde_json::from_slice(&told).unwrap_or_else(|e| fail(format_args!("env push: {e}")))
    }

    /// What Python code prints that runs with an environment.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    #[track_caller]
    pub fn run(&self, digest: &str, code: &str) -> String {
        let mut command = Command::new(lakekeep());
        command.args(["run", "--environment", digest, "--", "python", "-c", code]);
        String::from_utf8_lossy(&self.succeed(&mut command).stdout).into_owned()
    }
}

#[track_caller]
fn output(command: &mut Command) -> Output {
    let done = command.output();
    done.unwrap_or_else(|e| fail(format_args!("{command:?}: {e}")))
}
