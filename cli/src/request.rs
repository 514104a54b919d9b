//! From flags to a plan.

use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use lakekeep_plan::{Command, HostFacts, Plan};
use lakekeep_policy::{DocumentError, MountDoc, MountMode, Policy, PolicyDoc, PolicyErrors};
use lakekeep_sandbox::{PlanningError, host, plan_for};

use crate::args::SandboxArgs;

/// Where programs are looked for inside.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a request is refused, before anything is made.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("policy {path} cannot be read; check the path and its permissions")]
    UnreadablePolicy {
        path: String,
        #[source]
        error: std::io::Error,
    },
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Policy(#[from] PolicyErrors),
    #[error(
        "--mount {0:?} is not SRC:DST[:ro|rw]; write, for example, --mount data.csv:/data.csv:ro"
    )]
    Mount(String),
    #[error("--env {0}: this program has no such variable; write {0}=VALUE")]
    NoVariable(String),
    #[error("{0:?} is not UTF-8; rename it, or mount its folder")]
    NotText(PathBuf),
    #[error(
        "the working directory of this program cannot be told, so {0:?} cannot be made absolute"
    )]
    NoWorkingDirectory(PathBuf, #[source] std::io::Error),
    #[error("this host cannot be examined")]
    Host(#[from] host::ProbeError),
    #[error(transparent)]
    Planning(#[from] PlanningError),
}

/// A plan, and the facts that it was made on.
#[derive(Debug)]
pub struct Request {
    pub host: HostFacts,
    pub plan: Plan,
}

/// Lays the flags over the policy file, checks, looks at the host, plans.
pub fn request(
    arguments: &SandboxArgs,
    terminal: Option<(u16, u16)>,
) -> Result<Request, RequestError> {
    let file = match &arguments.policy {
        Some(path) => read_policy(path)?,
        None => PolicyDoc::default(),
    };
    let policy = Policy::check(file.overlay(flags(arguments)?))?;
    let host = host::probe()?;
    let command = Command {
        arguments: arguments
            .command
            .iter()
            .map(|word| word.clone().into_vec())
            .collect(),
        path: search_path(arguments),
        terminal,
        term: terminal.and_then(|_| std::env::var("TERM").ok()),
        explain: arguments.explain_syscalls,
    };
    let plan = plan_for(&policy, &host, &command, arguments.interpreter.as_deref())?;
    Ok(Request { host, plan })
}

fn read_policy(path: &Path) -> Result<PolicyDoc, RequestError> {
    let name = path.display().to_string();
    let text = read_bounded(path).map_err(|error| RequestError::UnreadablePolicy {
        path: name.clone(),
        error,
    })?;
    Ok(match path.extension() {
        Some(extension) if extension == "json" => PolicyDoc::from_json(&name, &text)?,
        _ => PolicyDoc::from_toml(&name, &text)?,
    })
}

/// One byte more than a document may have: the parser then refuses it.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let limit = lakekeep_policy::MAX_DOCUMENT_BYTES as u64 + 1;
    std::fs::File::open(path)?
        .take(limit)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn flags(arguments: &SandboxArgs) -> Result<PolicyDoc, RequestError> {
    let mut doc = PolicyDoc {
        preset: arguments.preset,
        image: image(arguments)?,
        workdir: arguments.workdir.clone(),
        ..PolicyDoc::default()
    };
    doc.limits.memory = arguments.memory;
    doc.limits.swap = arguments.swap;
    doc.limits.cpus = arguments.cpus;
    doc.limits.pids = arguments.pids;
    doc.limits.wall_time = arguments.timeout;
    doc.limits.cpu_time = arguments.cpu_time;
    doc.limits.open_files = arguments.open_files;
    doc.limits.file_size = arguments.file_size;
    doc.limits.scratch_size = arguments.scratch_size;
    doc.limits.scratch_inodes = arguments.scratch_inodes;
    doc.limits.output = arguments.output_limit;
    doc.floor.require.clone_from(&arguments.require);
    for text in &arguments.mounts {
        doc.mounts.push(mount(text)?);
    }
    for text in &arguments.variables {
        let (name, value) = variable(text)?;
        doc.env.0.insert(name, value);
    }
    Ok(doc)
}

fn image(arguments: &SandboxArgs) -> Result<Option<String>, RequestError> {
    match &arguments.image {
        None => Ok(None),
        Some(path) if path == Path::new("host") => Ok(Some("host".to_owned())),
        Some(path) => text(&absolute(path)?).map(Some),
    }
}

fn mount(flag: &str) -> Result<MountDoc, RequestError> {
    let malformed = || RequestError::Mount(flag.to_owned());
    let parts: Vec<&str> = flag.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source, target] => (*source, *target, None),
        [source, target, "ro"] => (*source, *target, Some(MountMode::ReadOnly)),
        [source, target, "rw"] => (*source, *target, Some(MountMode::ReadWrite)),
        _ => return Err(malformed()),
    };
    if source.is_empty() || target.is_empty() {
        return Err(malformed());
    }
    Ok(MountDoc {
        source: text(&absolute(Path::new(source))?)?,
        target: target.to_owned(),
        mode,
    })
}

fn variable(flag: &str) -> Result<(String, String), RequestError> {
    if let Some((name, value)) = flag.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    match std::env::var(flag) {
        Ok(value) => Ok((flag.to_owned(), value)),
        Err(_) => Err(RequestError::NoVariable(flag.to_owned())),
    }
}

/// Absolute by words alone: no link is followed, `.` and `..` are removed.
fn absolute(path: &Path) -> Result<PathBuf, RequestError> {
    let full = std::path::absolute(path)
        .map_err(|error| RequestError::NoWorkingDirectory(path.to_path_buf(), error))?;
    let mut plain = PathBuf::new();
    for part in full.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    Ok(plain)
}

fn text(path: &Path) -> Result<String, RequestError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| RequestError::NotText(path.to_path_buf()))
}

fn search_path(arguments: &SandboxArgs) -> String {
    let real = arguments
        .interpreter
        .as_ref()
        .and_then(|path| std::fs::canonicalize(path).ok());
    match real
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::to_str)
    {
        Some(folder) => format!("{folder}:{PATH}"),
        None => PATH.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_written() {
        let doc = mount("/a:/b").unwrap();
        assert_eq!(
            (doc.source.as_str(), doc.target.as_str(), doc.mode),
            ("/a", "/b", None)
        );
        assert_eq!(mount("/a:/b:rw").unwrap().mode, Some(MountMode::ReadWrite));
        for flag in ["/a", ":/b", "/a:", "/a:/b:xx", "/a:/b:ro:z"] {
            assert!(mount(flag).is_err(), "{flag}");
        }
    }

    #[test]
    fn a_path_is_made_absolute_without_following_links() {
        assert_eq!(
            absolute(Path::new("/a/./b/../c")).unwrap(),
            Path::new("/a/c")
        );
        assert!(absolute(Path::new("x")).unwrap().is_absolute());
    }
}
