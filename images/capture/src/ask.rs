//! Asking an interpreter where its things are.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Deserialize;

use crate::error::CaptureError;

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// How long an interpreter may take to answer: its start may run much, on a slow disk.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The question. `-c` puts the working directory first on `sys.path`: it is taken away before
/// anything is imported, so that no module of the working directory runs.
const QUESTION: &str = r#"
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import json, os
from importlib.machinery import EXTENSION_SUFFIXES, all_suffixes
finders = [module for name, module in list(sys.modules.items()) if name.startswith("__editable__")]
mapped = [str(place) for finder in finders for place in getattr(finder, "MAPPING", {}).values()]
# A module, and not a package, is named without its suffix.
mapped = [
    place if os.path.exists(place) else place + suffix
    for place in mapped for suffix in all_suffixes()
]
mapped += [
    str(place)
    for finder in finders for some in getattr(finder, "NAMESPACES", {}).values() for place in some
]
mapped = sorted(set(mapped))
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
except (ValueError, OSError):
    libc = "not glibc"
json.dump({
    "executable": sys.executable, "version": sys.version.split()[0],
    "soabi": EXTENSION_SUFFIXES[0].split(".")[1], "cache_tag": sys.implementation.cache_tag,
    "libc": libc, "machine": os.uname().machine,
    "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "stdlib": os.path.dirname(os.__file__), "path": sys.path, "mapped": mapped,
}, sys.stdout)
"#;

/// What an interpreter says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// `sys.executable`.
    pub executable: PathBuf,
    /// Such as `3.11.7`.
    pub version: String,
    /// Such as `cpython-311-x86_64-linux-gnu`.
    pub soabi: String,
    /// In the names of its bytecode files, such as `cpython-311`.
    pub cache_tag: String,
    /// Such as `glibc 2.36`.
    pub libc: String,
    /// Such as `x86_64`.
    pub machine: String,
    /// `sys.prefix`.
    pub prefix: PathBuf,
    /// `sys.base_prefix`.
    pub base_prefix: PathBuf,
    /// The folder of the standard library.
    pub stdlib: PathBuf,
    /// `sys.path`, without the working directory.
    pub path: Vec<PathBuf>,
    /// Places that finders of editable installations lead to (PEP 660), and some that are not there.
    pub mapped: Vec<PathBuf>,
    /// What `path` is without the caller's variables and home folder.
    #[serde(skip)]
    pub isolated: Vec<PathBuf>,
}

/// Runs `python`, with the caller's variables, and asks; and once more in isolated mode
/// (`-I`), to know which part of `sys.path` a sandbox's interpreter does not find by itself.
/// Waits at most [`PATIENCE`].
///
/// Python's start runs `.pth` files and `sitecustomize`, as each of the client's own starts does.
///
/// # Errors
/// [`CaptureError::Start`], [`CaptureError::NoPython`] and [`CaptureError::Silent`].
pub fn ask(python: &Path) -> Result<Answer, CaptureError> {
    ask_within(python, PATIENCE)
}

/// The same with another patience.
///
/// # Errors
/// As [`ask`].
pub fn ask_within(python: &Path, patience: Duration) -> Result<Answer, CaptureError> {
    let deadline = Instant::now() + patience;
    // Both run at the same time.
    let free = Asked::start(python, &["-c", QUESTION])?;
    let isolated = Asked::start(python, &["-I", "-c", QUESTION])?;
    let mut answer = free.answer(deadline)?;
    answer.isolated = isolated.answer(deadline)?.path;
    Ok(answer)
}

/// An interpreter that was asked; killed when dropped.
struct Asked {
    python: PathBuf,
    child: Child,
    output: ChildStdout,
}

impl Asked {
    fn start(python: &Path, arguments: &[&str]) -> Result<Asked, CaptureError> {
        let started = Command::new(python)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // So that what it starts can be ended with it.
            .process_group(0)
            .spawn()
            .and_then(|mut child| match child.stdout.take() {
                Some(output) => Ok((child, output)),
                None => Err(std::io::ErrorKind::BrokenPipe.into()),
            });
        let (child, output) = started.map_err(|error| CaptureError::Start {
            python: python.to_owned(),
            error,
        })?;
        Ok(Asked {
            python: python.to_owned(),
            child,
            output,
        })
    }

    fn answer(mut self, deadline: Instant) -> Result<Answer, CaptureError> {
        let text = self.hear(deadline)?;
        let no_python = |said: String| CaptureError::NoPython {
            python: self.python.clone(),
            said,
        };
        if text.len() > MAX_ANSWER {
            return Err(no_python(format!("more than {MAX_ANSWER} bytes")));
        }
        // Its output has ended; it ends next, or is ended.
        let ended = rustix::process::pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty());
        let ended = ended.map_err(|errno| no_python(errno.to_string()))?;
        self.wait_for(&ended, deadline)?;
        let status = self.child.wait();
        let status = status.map_err(|error| no_python(error.to_string()))?;
        if !status.success() {
            return Err(no_python(status.to_string()));
        }
        serde_json::from_slice(&text).map_err(|error| no_python(error.to_string()))
    }

    /// Its output, to its end or a byte beyond what is taken.
    fn hear(&mut self, deadline: Instant) -> Result<Vec<u8>, CaptureError> {
        let failed = |python: &Path, error: std::io::Error| CaptureError::NoPython {
            python: python.to_owned(),
            said: error.to_string(),
        };
        let mut text = Vec::new();
        let mut buffer = [0; 8192];
        while text.len() <= MAX_ANSWER {
            self.wait_for(&self.output, deadline)?;
            match self.output.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => text.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&self.python, error)),
            }
        }
        Ok(text)
    }

    /// Until there is something to read, or an end.
    fn wait_for(&self, what: impl AsFd, deadline: Instant) -> Result<(), CaptureError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Longer than poll(2) can wait is for ever.
            let left = Timespec::try_from(left).ok();
            let mut watched = [PollFd::new(&what, PollFlags::IN)];
            match rustix::event::poll(&mut watched, left.as_ref()) {
                Ok(0) => {
                    return Err(CaptureError::Silent {
                        python: self.python.clone(),
                    });
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(CaptureError::NoPython {
                        python: self.python.clone(),
                        said: errno.to_string(),
                    });
                }
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let alive = matches!(self.child.try_wait(), Ok(None));
        // Not reaped yet: the number is still its own, and its group's.
        if alive
            && rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL)
                .is_ok()
            && self.child.wait().is_err()
        {
            // Reaped by somebody else.
        }
    }
}
