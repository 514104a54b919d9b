//! Everything of a task that can be made before its clone: strings, filter,
//! rule set, scratch file system, terminal. After the clone there is little left to do.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use lakekeep_protocol::task::{ProcView, ResourceKind, TaskSpec, TaskStep};
use lakekeep_sys::pty::{self, Pty};
use lakekeep_sys::seccomp::Filter;
use lakekeep_sys::{Errno, landlock};
use rustix::fs::{Gid, Uid};
use rustix::process::Resource;

use crate::landlock_rules;
use crate::nursling::Request;
use crate::order::Order;
use crate::report::Failure;
use crate::scratch::{self, Part, Shared};

/// Where the scratch file system is put for a moment, to be taken apart.
pub const SCRATCH_MOUNT: &str = "/run/lakekeep/scratch";

/// The descriptors of a task's child get numbers from here on first, clear of
/// the fixed numbers that they are then moved to.
const CLEAR_OF_FIXED_NUMBERS: i32 = 64;

/// A task, ready to be cloned.
#[derive(Debug)]
pub struct Prepared {
    pub hostname: CString,
    pub proc_options: Vec<(CString, CString)>,
    pub masks: Vec<Mask>,
    /// Source below [`SCRATCH_MOUNT`], and target.
    pub scratch_places: Vec<(CString, CString)>,
    /// The scratch file system is still to be mounted, and on it the mounts below those
    /// targets, which stay in sight: where they are, and where they shall be.
    pub scratch_mount: Option<Vec<(CString, OwnedFd)>>,
    /// A file system that is mounted for this task alone, and where.
    pub secrets: Option<OwnedFd>,
    pub secrets_place: CString,
    pub seal: Seal,
    /// The command and its streams; `None`: they come when it is sealed.
    pub start: Option<(Order, [OwnedFd; 3])>,
    pub scratch: OwnedFd,
    pub rules: Option<OwnedFd>,
    /// Has the command's process forked by the zygote.
    pub request: Option<Request>,
    /// Driven by the manager.
    pub controller: Option<OwnedFd>,
}

/// A covered path of /proc.
#[derive(Debug)]
pub enum Mask {
    EmptyFile(CString),
    EmptyDirectory(CString),
    ReadOnly(CString),
    Replaced { path: CString, with: CString },
}

/// What a task executes, and when that is known.
#[derive(Debug)]
pub enum Start {
    /// Now. The manager's three descriptors, or none for a task with a terminal.
    Now(Vec<OwnedFd>),
    /// When it is asked for.
    Wait,
}

/// What the command's own process needs to seal itself.
#[derive(Debug)]
pub struct Seal {
    pub user: u32,
    pub group: u32,
    pub limits: Vec<(Resource, u64)>,
    pub processors: u32,
    pub oom_score_adj: String,
    pub terminal: bool,
    pub umask: u32,
    pub refuse_executable_gain: bool,
    pub filter: Filter,
    pub filter_early: bool,
    pub explain: bool,
    pub file_service: bool,
}

impl Prepared {
    /// Checks `spec` and makes its parts.
    pub fn new(
        spec: &TaskSpec,
        start: Start,
        shared: &mut Option<Shared>,
    ) -> Result<Self, Failure> {
        let check = Failure::at(TaskStep::Check);
        let prepare = Failure::at(TaskStep::Prepare);
        let seal = Seal::new(spec).map_err(&check)?;
        let masks = masks(&spec.proc);
        let (start, controller) = match start {
            Start::Wait => (None, None),
            Start::Now(given) => {
                let (streams, controller) = stdio_of(spec, given).map_err(&check)?;
                let order = Order::new(spec).map_err(&check)?;
                (Some((order, streams)), controller)
            }
        };
        let mut part = Part::new(spec, shared).map_err(&prepare)?;
        let secrets = scratch::secrets(spec).map_err(&prepare)?;
        let rules = match &spec.landlock {
            Some(_) if landlock::abi() == 0 => return Err(prepare(Errno::NOSYS)),
            Some(rules) => {
                let mut open: Vec<_> = part.parts.iter().collect();
                open.extend(&secrets);
                Some(landlock_rules::build(rules, &open).map_err(&prepare)?)
            }
            None => None,
        };
        Ok(Self {
            hostname: c_string(&spec.hostname).map_err(&check)?,
            proc_options: proc_options(spec).map_err(&check)?,
            masks: masks.map_err(&check)?,
            scratch_places: scratch::scratch_places(spec).map_err(&check)?,
            scratch_mount: part.mount.take(),
            secrets: secrets.map(clear).transpose().map_err(&prepare)?,
            secrets_place: scratch::secrets_place().map_err(&check)?,
            seal,
            start,
            scratch: clear(part.root).map_err(&prepare)?,
            rules: rules.map(clear).transpose().map_err(&prepare)?,
            request: None,
            controller,
        })
    }
}

impl Seal {
    fn new(spec: &TaskSpec) -> Result<Self, Errno> {
        let limits = spec
            .limits
            .iter()
            .map(|(kind, value)| (resource(*kind), *value));
        Ok(Self {
            user: spec.user,
            group: spec.group,
            limits: limits.collect(),
            processors: spec.processors,
            oom_score_adj: spec.oom_score_adj.to_string(),
            terminal: spec.terminal.is_some(),
            umask: spec.umask,
            refuse_executable_gain: spec.refuse_executable_gain,
            filter: Filter::from_bytes(&spec.filter)?,
            filter_early: spec.filter_early,
            explain: spec.explain.is_some(),
            file_service: spec.file_service,
        })
    }
}

/// Covers for all of the init's own /proc that `view` does not show: a task's
/// has the same names.
fn masks(view: &ProcView) -> Result<Vec<Mask>, Errno> {
    let mut masks = Vec::new();
    if view.only_processes {
        return Ok(masks);
    }
    for entry in std::fs::read_dir("/proc").map_err(errno)? {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name();
        // Before it is asked what it is: of a process that ends meanwhile the kernel no longer
        // knows (proc_fill_cache() gives DT_UNKNOWN), and stat(2) would not find it.
        let process = |name: &&str| name.bytes().all(|byte| byte.is_ascii_digit());
        let Some(name) = name.to_str().filter(|name| !process(name)) else {
            continue;
        };
        let kind = entry.file_type().map_err(errno)?;
        // Links lead to what a process sees of itself.
        if !kind.is_symlink() {
            masks.extend(mask(name, kind.is_dir(), view)?);
        }
    }
    Ok(masks)
}

fn mask(name: &str, directory: bool, view: &ProcView) -> Result<Option<Mask>, Errno> {
    if view.shown.iter().any(|shown| shown == name) {
        return Ok(None);
    }
    let path = c_string(&format!("/proc/{name}"))?;
    if view.read_only.iter().any(|shown| shown == name) {
        return Ok(Some(Mask::ReadOnly(path)));
    }
    match view.replaced.iter().find(|(replaced, _)| replaced == name) {
        Some((_, with)) => Ok(Some(Mask::Replaced {
            path,
            with: c_string(with)?,
        })),
        None if directory => Ok(Some(Mask::EmptyDirectory(path))),
        None => Ok(Some(Mask::EmptyFile(path))),
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// A task's three streams, clear of the fixed numbers.
fn streams(given: Vec<OwnedFd>) -> Result<[OwnedFd; 3], Errno> {
    let [input, output, error]: [OwnedFd; 3] = given.try_into().map_err(|_| Errno::INVAL)?;
    Ok([clear(input)?, clear(output)?, clear(error)?])
}

fn stdio_of(
    spec: &TaskSpec,
    given: Vec<OwnedFd>,
) -> Result<([OwnedFd; 3], Option<OwnedFd>), Errno> {
    let Some((rows, columns)) = spec.terminal else {
        return Ok((streams(given)?, None));
    };
    if !given.is_empty() {
        return Err(Errno::INVAL);
    }
    let Pty {
        controller,
        terminal,
    } = pty::open(rows, columns)?;
    rustix::fs::fchown(
        &terminal,
        Some(Uid::from_raw(spec.user)),
        Some(Gid::from_raw(spec.group)),
    )?;
    let copy = || rustix::io::fcntl_dupfd_cloexec(&terminal, CLEAR_OF_FIXED_NUMBERS);
    Ok(([copy()?, copy()?, copy()?], Some(controller)))
}

fn proc_options(spec: &TaskSpec) -> Result<Vec<(CString, CString)>, Errno> {
    // The init and the stub are other users' processes: invisible.
    let mut options = vec![(c_string("hidepid")?, c_string("invisible")?)];
    if spec.proc.only_processes {
        options.push((c_string("subset")?, c_string("pid")?));
    }
    Ok(options)
}

pub fn resource(kind: ResourceKind) -> Resource {
    match kind {
        ResourceKind::CpuTime => Resource::Cpu,
        ResourceKind::FileSize => Resource::Fsize,
        ResourceKind::OpenFiles => Resource::Nofile,
        ResourceKind::CoreSize => Resource::Core,
        ResourceKind::LockedMemory => Resource::Memlock,
        ResourceKind::MessageQueues => Resource::Msgqueue,
        ResourceKind::Processes => Resource::Nproc,
        ResourceKind::AddressSpace => Resource::As,
        ResourceKind::RealTimePriority => Resource::Rtprio,
        ResourceKind::Nice => Resource::Nice,
        ResourceKind::PendingSignals => Resource::Sigpending,
    }
}

fn clear(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), CLEAR_OF_FIXED_NUMBERS)
}

pub fn number(value: u64) -> Result<CString, Errno> {
    c_string(&value.to_string())
}

pub fn c_string(text: &str) -> Result<CString, Errno> {
    bytes(text.as_bytes())
}

pub fn bytes(text: &[u8]) -> Result<CString, Errno> {
    CString::new(text).map_err(|_| Errno::INVAL)
}
