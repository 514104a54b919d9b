//! Asking an interpreter where its things are.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::CaptureError;

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// The question. `-c` puts the working directory first on `sys.path`: it is taken away before
/// anything is imported, so that no module of the working directory runs.
const QUESTION: &str = r#"
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import json, os
from importlib.machinery import EXTENSION_SUFFIXES
mapped = [
    str(place)
    for name, module in list(sys.modules.items()) if name.startswith("__editable__")
    for place in getattr(module, "MAPPING", {}).values()
]
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
    /// Places that finders of editable installations lead to (PEP 660).
    pub mapped: Vec<PathBuf>,
    /// What `path` is without the caller's variables and home folder.
    #[serde(skip)]
    pub isolated: Vec<PathBuf>,
}

/// Runs `python`, with the caller's variables, and asks; and once more in isolated mode
/// (`-I`), to know which part of `sys.path` a sandbox's interpreter does not find by itself.
///
/// Python's start runs `.pth` files and `sitecustomize`, as each of the client's own starts does.
///
/// # Errors
/// [`CaptureError::Start`] and [`CaptureError::NoPython`].
pub fn ask(python: &Path) -> Result<Answer, CaptureError> {
    let mut answer = one(python, &["-c", QUESTION])?;
    answer.isolated = one(python, &["-I", "-c", QUESTION])?.path;
    Ok(answer)
}

fn one(python: &Path, arguments: &[&str]) -> Result<Answer, CaptureError> {
    let start = |error| CaptureError::Start {
        python: python.to_owned(),
        error,
    };
    let mut child = Command::new(python)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(start)?;
    let mut text = String::new();
    let read = match child.stdout.take() {
        Some(output) => output.take(MAX_ANSWER).read_to_string(&mut text),
        None => Ok(0),
    };
    let status = child.wait().map_err(start)?;
    let no_python = |said: String| CaptureError::NoPython {
        python: python.to_owned(),
        said,
    };
    if !status.success() {
        return Err(no_python(status.to_string()));
    }
    read.map_err(|error| no_python(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| no_python(error.to_string()))
}
