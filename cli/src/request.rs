//! From flags to a plan.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use lakekeep_egress_rules::EgressDoc;
use lakekeep_plan::{Command, HostFacts, Plan, Preload, ZygotePlan};
use lakekeep_policy::{DocumentError, MountDoc, MountMode, Policy, PolicyDoc, PolicyErrors};
use lakekeep_sandbox::{Additions, PlanningError, host, plan_with, zygote_for};

use crate::args::{PolicyArgs, SandboxArgs};
use crate::environment::{EnvironmentError, Served, serve};
use crate::in_image::{self, InImage, InImageError};

/// Where programs are looked for inside.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Begins a mount's source that is a volume of a manager's profile.
const VOLUME: &str = "volume:";

/// The schema of the documents that are written here.
const VERSION: u32 = 1;

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
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
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
    #[error("{0} needs a manager; set LAKEKEEP_SOCKET to its socket, or leave it out")]
    NeedsManager(String),
    #[error("{0} works without a manager only; add --embedded")]
    WithoutManager(&'static str),
    #[error("the policy cannot be written down for the manager")]
    Unwritable(#[from] toml::ser::Error),
    #[error("there is no command; write it behind --")]
    NoCommand,
    #[error(transparent)]
    InImage(#[from] InImageError),
    #[error("this host cannot be examined")]
    Host(#[from] host::ProbeError),
    #[error(transparent)]
    Planning(#[from] PlanningError),
}

/// What is asked for, checked as far as that can be without looking at the host.
#[derive(Debug)]
pub struct Checked {
    policy: Policy,
    command: Command,
    interpreter: Option<PathBuf>,
    /// Stays until the run is over, and with it the image.
    image: Option<InImage>,
    environment: Option<Served>,
}

/// Lays the flags over the policy file, and checks.
pub fn check(
    arguments: &SandboxArgs,
    terminal: Option<(u16, u16)>,
) -> Result<Checked, RequestError> {
    let policy = &arguments.policy;
    let image = in_image::asked(policy)?;
    let mut doc = read(policy)?.overlay(match &image {
        None => flags(policy)?,
        Some(image) => image.flags(plain_flags(policy)?),
    });
    if let Some(image) = &image {
        image.lay_under(&mut doc);
    }
    if let Some(mount) = doc.mounts.iter().find(|mount| is_volume(&mount.source)) {
        return Err(RequestError::NeedsManager(format!(
            "--mount {}",
            mount.source
        )));
    }
    let environment = match &arguments.environment {
        Some(digest) => Some(serve(digest, arguments.environment_of.as_deref())?),
        None => None,
    };
    let wished = image.as_ref().and_then(InImage::search_path);
    let path = wished.map_or_else(|| search_path(policy), str::to_owned);
    let command = Command {
        arguments: words(arguments, image.as_ref())?,
        path,
        terminal,
        term: terminal.and_then(|_| std::env::var("TERM").ok()),
        explain: arguments.explain_syscalls,
    };
    Ok(Checked {
        policy: Policy::check(doc)?,
        command,
        interpreter: policy.interpreter.clone(),
        image,
        environment,
    })
}

/// The command, with what the image puts before it, or has in its place.
fn words(arguments: &SandboxArgs, image: Option<&InImage>) -> Result<Vec<Vec<u8>>, RequestError> {
    let given = arguments.command.iter().map(|word| word.clone().into_vec());
    let given: Vec<Vec<u8>> = given.collect();
    let words = match image {
        Some(image) if !arguments.no_entrypoint => image.words(given),
        _ => given,
    };
    if words.is_empty() {
        return Err(RequestError::NoCommand);
    }
    Ok(words)
}

impl Checked {
    /// What of the image's wishes is not granted.
    pub fn notes(&self) -> Vec<String> {
        self.image.iter().filter_map(InImage::note).collect()
    }

    /// A zygote that serves one sandbox.
    pub fn zygote(&self, host: &HostFacts, python: &str) -> Result<ZygotePlan, RequestError> {
        let preload = Preload {
            interpreter: python.to_owned(),
            modules: Vec::new(),
            sandboxes: 1,
        };
        Ok(zygote_for(&self.policy, host, &preload)?)
    }

    /// Plans it for this host.
    pub fn plan(&self, host: &HostFacts) -> Result<Plan, RequestError> {
        let additions = Additions {
            interpreter: self.interpreter.as_deref(),
            view: self.environment.as_ref().map(|served| &served.view),
        };
        Ok(plan_with(&self.policy, host, &self.command, &additions)?)
    }
}

/// The policy that is asked of a manager, as a document that it lays over the profile's.
/// What a manager decides is not checked here.
pub fn for_sandbox(arguments: &PolicyArgs) -> Result<String, RequestError> {
    write(read(arguments)?.overlay(flags(arguments)?))
}

/// The same for a sandbox of one task, with that task's variables and without its working
/// directory: those are the task's.
pub fn for_task(
    arguments: &PolicyArgs,
) -> Result<(String, BTreeMap<String, String>), RequestError> {
    let mut doc = flags(arguments)?;
    let variables = std::mem::take(&mut doc.env).0;
    doc.workdir = None;
    Ok((write(read(arguments)?.overlay(doc))?, variables))
}

/// A policy as a manager takes it; nothing where it says nothing.
pub fn write(mut doc: PolicyDoc) -> Result<String, RequestError> {
    if doc == PolicyDoc::default() {
        return Ok(String::new());
    }
    doc.version.get_or_insert(VERSION);
    Ok(toml::to_string(&doc)?)
}

fn read(arguments: &PolicyArgs) -> Result<PolicyDoc, RequestError> {
    match &arguments.policy {
        Some(path) => read_policy(path),
        None => Ok(PolicyDoc::default()),
    }
}

/// Reads a policy document, JSON if its name says so.
pub fn read_policy(path: &Path) -> Result<PolicyDoc, RequestError> {
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

fn flags(arguments: &PolicyArgs) -> Result<PolicyDoc, RequestError> {
    let mut doc = plain_flags(arguments)?;
    doc.image = image(arguments)?;
    Ok(doc)
}

/// All flags but the image.
fn plain_flags(arguments: &PolicyArgs) -> Result<PolicyDoc, RequestError> {
    let mut doc = PolicyDoc {
        preset: arguments.preset,
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
    if !arguments.egress.is_empty() {
        doc.egress = Some(EgressDoc::from_lines("--egress", arguments.egress.clone()));
    }
    for text in &arguments.mounts {
        doc.mounts.push(mount(text)?);
    }
    for text in &arguments.variables {
        let (name, value) = variable(text)?;
        doc.env.0.insert(name, value);
    }
    Ok(doc)
}

fn image(arguments: &PolicyArgs) -> Result<Option<String>, RequestError> {
    match &arguments.image {
        None => Ok(None),
        Some(path) if path == Path::new("host") => Ok(Some("host".to_owned())),
        // Of the manager's own store.
        Some(path) if in_image::is_name(path) => text(path).map(Some),
        Some(path) => text(&absolute(path)?).map(Some),
    }
}

fn mount(flag: &str) -> Result<MountDoc, RequestError> {
    let malformed = || RequestError::Mount(flag.to_owned());
    // A volume's name holds no slash, and a path inside begins with one.
    let volume = flag.strip_prefix(VOLUME).and_then(|rest| {
        let (name, rest) = rest.split_once(':')?;
        (!name.contains('/')).then_some((name, rest))
    });
    let (volume, flag) = match volume {
        Some(("", _)) => return Err(malformed()),
        Some((name, _)) => (Some(format!("{VOLUME}{name}")), &flag[VOLUME.len()..]),
        None => (None, flag),
    };
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
        source: match volume {
            Some(volume) => volume,
            None => text(&absolute(Path::new(source))?)?,
        },
        target: target.to_owned(),
        mode,
    })
}

/// Whether a mount's source is a volume of a manager's profile.
fn is_volume(source: &str) -> bool {
    source.starts_with(VOLUME)
}

/// `NAME=VALUE`, or the caller's value of NAME.
pub fn variable(flag: &str) -> Result<(String, String), RequestError> {
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

fn search_path(arguments: &PolicyArgs) -> String {
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
    fn a_volume_is_a_source_of_its_own() {
        let doc = mount("volume:home:/home/user:rw").unwrap();
        assert_eq!(
            (doc.source.as_str(), doc.target.as_str(), doc.mode),
            ("volume:home", "/home/user", Some(MountMode::ReadWrite))
        );
        assert!(mount("volume::/x").is_err());
        // A folder of this name, as before.
        let folder = mount("volume:/data").unwrap();
        assert!(folder.source.ends_with("/volume"));
    }

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    fn flags_of(words: &[&str]) -> PolicyArgs {
        use clap::Parser;
        let words = std::iter::once("x").chain(words.iter().copied());
        Flags::parse_from(words).policy
    }

    #[test]
    fn a_manager_is_sent_the_flags_as_a_document_that_reads_back() {
        let words = [
            "--memory",
            "64MiB",
            "--cpus",
            "1.5",
            "--timeout",
            "90s",
            "--preset",
            "udf",
            "--mount",
            "volume:ref:/data:ro",
            "--require",
            "seccomp",
            "--env",
            "A=b",
            "--workdir",
            "/tmp",
        ];
        let (text, variables) = for_task(&flags_of(&words)).unwrap();
        assert_eq!(variables, [("A".to_owned(), "b".to_owned())].into());
        let doc = PolicyDoc::from_toml("flags", &text).unwrap();
        assert_eq!(doc.limits.memory.unwrap().to_string(), "64MiB");
        assert_eq!(
            doc.limits.wall_time,
            Some(std::time::Duration::from_secs(90))
        );
        assert_eq!(doc.mounts[0].source, "volume:ref");
        assert_eq!(doc.floor.require, ["seccomp"]);
        assert_eq!(doc.workdir, None);
        assert!(doc.env.0.is_empty());
        let text = for_sandbox(&flags_of(&words)).unwrap();
        let doc = PolicyDoc::from_toml("flags", &text).unwrap();
        assert_eq!(doc.workdir.as_deref(), Some("/tmp"));
        assert_eq!(doc.env.0["A"], "b");
    }

    #[test]
    fn no_flags_are_no_document() {
        assert_eq!(for_task(&flags_of(&[])).unwrap().0, "");
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
