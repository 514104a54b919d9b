//! One `lakekeep run`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lakekeep_attacks::SECRET_VARIABLE;
use serde_json::Value;

use crate::{Place, Privilege, Tracked, eventually_within, fail, lakekeep};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A run in preparation.
#[derive(Debug)]
pub struct Run {
    privilege: Privilege,
    flags: Vec<OsString>,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    time: Duration,
    state: PathBuf,
    receipt: PathBuf,
    home: PathBuf,
}

/// A run that ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code, or 128 plus the signal that ended the command itself.
    pub code: i32,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: String,
    /// The receipt file's content, when there is one.
    pub receipt: Option<Value>,
    /// From start to end.
    pub elapsed: Duration,
}

impl Run {
    /// A run by this privilege, with a state directory of its own in `place`.
    #[must_use]
    pub fn new(place: &Place, privilege: Privilege) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = |name: &str| place.dir(&format!("{name}-{id}"), privilege);
        Self {
            privilege,
            flags: Vec::new(),
            command: Vec::new(),
            environment: Vec::new(),
            stdin: Vec::new(),
            time: Duration::from_secs(120),
            state: dir("state"),
            receipt: dir("out").join("receipt.json"),
            home: dir("home"),
        }
    }

    /// Adds flags before the `--`.
    #[must_use]
    pub fn flags<S: AsRef<OsStr>>(mut self, flags: impl IntoIterator<Item = S>) -> Self {
        self.flags
            .extend(flags.into_iter().map(|flag| flag.as_ref().to_owned()));
        self
    }

    /// Sets the command after the `--`.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.command = command
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// Sets the command to a shell script.
    #[must_use]
    pub fn shell(self, script: &str) -> Self {
        self.command(["/bin/sh", "-c", script])
    }

    /// Sets a variable of lakekeep's own environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives these bytes to its standard input, then ends it.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Uses the state directory of another run: the next start after a crash.
    #[must_use]
    pub fn state(mut self, state: &Path) -> Self {
        self.state = state.to_path_buf();
        self
    }

    /// Writes the receipt to this file instead of one of its own.
    #[must_use]
    pub fn receipt(mut self, file: impl Into<PathBuf>) -> Self {
        self.receipt = file.into();
        self
    }

    /// Its state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The receipt file that it will write.
    #[must_use]
    pub fn receipt_path(&self) -> &Path {
        &self.receipt
    }

    /// The process to be started, for tests that need its descriptors or signals.
    #[must_use]
    pub fn to_command(&self) -> Command {
        let mut command = Command::new(lakekeep());
        command
            .arg("run")
            .arg("--receipt")
            .arg(&self.receipt)
            .args(&self.flags);
        if !self.command.is_empty() {
            command.arg("--").args(&self.command);
        }
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", &self.home)
            .env("XDG_RUNTIME_DIR", &self.home)
            .env("LAKEKEEP_STATE_DIR", &self.state)
            .env(SECRET_VARIABLE, "of the launching process")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.privilege.apply(&mut command);
        command
    }

    /// Starts it without waiting.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self) -> Tracked {
        Tracked::spawn(&mut self.to_command())
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end in time: a hang is a failure, never a wait.
    #[must_use]
    #[track_caller]
    pub fn finish(self) -> Finished {
        let started = Instant::now();
        let mut child = self.spawn();
        let stdin = child
            .stdin
            .take()
            .map(|pipe| feed(pipe, self.stdin.clone()));
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        let Some(status) = eventually_within(self.time, || wait_now(&mut child)) else {
            let tree = crate::descendants(child.id());
            drop(child);
            fail(format_args!(
                "`lakekeep run` hangs; its processes: {tree:?}; stderr: {}",
                lossy(stderr)
            ));
        };
        join(stdin);
        Finished {
            code: code_of(status),
            stdout: join(stdout).unwrap_or_default(),
            stderr: lossy(stderr),
            receipt: read_receipt(&self.receipt),
            elapsed: started.elapsed(),
        }
    }
}

impl Finished {
    /// The verdict's kind.
    #[must_use]
    pub fn verdict(&self) -> Option<&str> {
        self.receipt.as_ref()?.get("verdict")?.get("kind")?.as_str()
    }

    /// A field of the verdict.
    #[must_use]
    pub fn verdict_field(&self, name: &str) -> Option<&Value> {
        self.receipt.as_ref()?.get("verdict")?.get(name)
    }

    /// A layer of the receipt.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<&Value> {
        self.receipt
            .as_ref()?
            .get("receipt")?
            .get("layers")?
            .as_array()?
            .iter()
            .find(|layer| layer.get("layer").and_then(Value::as_str) == Some(name))
    }

    /// Why the receipt says that a layer was not enforced; nothing when it was.
    #[must_use]
    pub fn unenforced(&self, name: &str) -> Option<String> {
        let layer = self.layer(name)?;
        let state = layer.get("state").and_then(Value::as_str)?;
        let reason = layer
            .get("reason")
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        (state == "unenforced").then(|| reason.to_owned())
    }

    /// The standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        if self.code != code {
            fail(format_args!(
                "exit {} and not {code}; verdict {:?}; stderr:\n{}",
                self.code,
                self.verdict(),
                self.stderr
            ));
        }
        self
    }

    /// Fails the test unless the verdict is of this kind.
    #[track_caller]
    pub fn assert_verdict(&self, kind: &str) -> &Self {
        if self.verdict() != Some(kind) {
            fail(format_args!(
                "verdict {:?} and not {kind}; exit {}; stderr:\n{}",
                self.receipt, self.code, self.stderr
            ));
        }
        self
    }
}

/// The exit code by the shell's convention.
fn code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn wait_now(child: &mut Tracked) -> Option<ExitStatus> {
    child
        .try_wait()
        .unwrap_or_else(|e| fail(format_args!("wait: {e}")))
}

fn feed(mut pipe: impl Write + Send + 'static, bytes: Vec<u8>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        // A command may end without reading all: that is its right.
        match pipe.write_all(&bytes) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                fail(format_args!("stdin: {error}"))
            }
            _ => Vec::new(),
        }
    })
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Err(error) = pipe.read_to_end(&mut bytes) {
            fail(format_args!("output: {error}"));
        }
        bytes
    })
}

fn join(thread: Option<JoinHandle<Vec<u8>>>) -> Option<Vec<u8>> {
    thread.map(|thread| {
        thread
            .join()
            .unwrap_or_else(|_| fail(format_args!("a pipe's thread failed")))
    })
}

fn lossy(thread: Option<JoinHandle<Vec<u8>>>) -> String {
    String::from_utf8_lossy(&join(thread).unwrap_or_default()).into_owned()
}

fn read_receipt(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    match serde_json::from_str(&text) {
        Ok(value) => Some(value),
        Err(error) => fail(format_args!(
            "{} is not JSON: {error}\n{text}",
            path.display()
        )),
    }
}
