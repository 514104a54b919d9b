//! Without root: a user namespace in which the launcher is root, so that the
//! rest of it need not know. The receipt says what that cannot enforce.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use lakekeep_sys::error::Context;
use lakekeep_sys::process::{self, Cloned, Ended, ExitGuard, Namespaces};
use lakekeep_sys::userns::{self, IdRange};
use lakekeep_sys::{Errno, seal};
use rustix::pipe::PipeFlags;

use crate::error::StartError;
use crate::folder;

/// User id inside of a task: the caller's own, so that the caller's files are
/// the task's.
const TASK_USER: u32 = 1000;

/// How many ids a sandbox has.
const IDS: u32 = 65_536;

/// The command line of a launcher.
#[derive(Debug)]
pub struct Arguments {
    pub state: PathBuf,
    subordinate: Option<Subordinate>,
}

/// Ranges that /etc/subuid and /etc/subgid grant, and the programs that may
/// write them into a map.
#[derive(Debug)]
struct Subordinate {
    users: u32,
    groups: u32,
    newuidmap: CString,
    newgidmap: CString,
}

impl Arguments {
    /// `lakekeep-launcher STATE_DIR [UID_START GID_START NEWUIDMAP NEWGIDMAP]`
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, StartError> {
        let all: Vec<OsString> = arguments.skip(1).collect();
        let [state, rest @ ..] = all.as_slice() else {
            return Err(StartError::Usage);
        };
        let subordinate = match rest {
            [] => None,
            [users, groups, newuidmap, newgidmap] => Some(Subordinate {
                users: number(users)?,
                groups: number(groups)?,
                newuidmap: c_string(newuidmap)?,
                newgidmap: c_string(newgidmap)?,
            }),
            _ => return Err(StartError::Usage),
        };
        let state = PathBuf::from(state);
        if !state.is_absolute() {
            return Err(StartError::Usage);
        }
        Ok(Self { state, subordinate })
    }
}

fn number(text: &OsString) -> Result<u32, StartError> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or(StartError::Usage)
}

fn c_string(text: &OsString) -> Result<CString, StartError> {
    CString::new(text.clone().into_vec()).map_err(|_| StartError::Usage)
}

/// Whether this process's user 0 is not the host's.
pub fn nested() -> Result<bool, StartError> {
    const HOST: [&str; 3] = ["0", "0", "4294967295"];
    let path = "/proc/self/uid_map";
    let map = std::fs::read_to_string(path).context("read", path)?;
    Ok(!map.split_whitespace().eq(HOST))
}

/// Enters a new user namespace as its root, and starts this program again in
/// it: what a process may be asked about, and by whom, is decided by the user
/// namespace in which its program was started (ptrace(2), mm_struct.user_ns).
pub fn enter(arguments: &Arguments) -> Result<Infallible, StartError> {
    // As the caller: inside, the folders would be a subordinate user's.
    folder::make_private(&arguments.state)?;
    folder::make_private(&arguments.state.join("launchers"))?;
    let helpers = place_map_helpers(&arguments.state)?;
    match &arguments.subordinate {
        Some(ranges) => enter_ranges(ranges)?,
        None => enter_alone()?,
    }
    let state = c_string(&arguments.state.clone().into_os_string())?;
    let path = CString::new([b"PATH=", helpers.as_os_str().as_encoded_bytes()].concat());
    let path = path.map_err(|_| StartError::Usage)?;
    process::exec(c"/proc/self/exe", &[c"lakekeep-launcher", &state], &[&path])
        .map_err(StartError::UserNamespace)
}

/// The names under which libcontainer runs a helper for a map of more than one
/// range. The real ones ask /etc/subuid about a user that they cannot see from
/// inside; this program, which has the right to write such a map, does it.
const MAP_HELPERS: [(&str, &str); 2] = [("newuidmap", "uid_map"), ("newgidmap", "gid_map")];

/// The folder is named after the program, so that a link in it is made once and never
/// changed: two launchers may do it at the same time, and one that is killed leaves nothing.
fn place_map_helpers(state: &Path) -> Result<PathBuf, StartError> {
    let program = std::fs::read_link("/proc/self/exe").context("readlink", "/proc/self/exe")?;
    let name = blake3::hash(program.as_os_str().as_encoded_bytes()).to_hex();
    let folders = state.join("map");
    let folder = folders.join(name.as_str());
    // This will be a PATH of a process with rights: nobody else may write here.
    folder::make_private(&folders)?;
    folder::make_private(&folder)?;
    for (name, _) in MAP_HELPERS {
        let link = folder.join(name);
        match std::os::unix::fs::symlink(&program, &link) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.context("symlink", link.display().to_string())?,
        }
    }
    Ok(folder)
}

/// Whether this process was started as a map helper, and for which map.
pub fn map_helper(program: &OsStr) -> Option<&'static str> {
    let name = Path::new(program).file_name()?;
    MAP_HELPERS
        .iter()
        .find(|(helper, _)| name == *helper)
        .map(|(_, map)| *map)
}

/// `newuidmap PID INSIDE OUTSIDE COUNT …`: writes the map. The kernel decides
/// whether this process may.
pub fn help_map(map: &str, arguments: impl Iterator<Item = OsString>) -> Result<(), StartError> {
    let numbers = arguments
        .skip(1)
        .map(|word| number(&word))
        .collect::<Result<Vec<u32>, _>>()?;
    let [pid, ranges @ ..] = numbers.as_slice() else {
        return Err(StartError::Usage);
    };
    let (ranges, rest) = ranges.as_chunks::<3>();
    if !rest.is_empty() {
        return Err(StartError::Usage);
    }
    let ranges: Vec<IdRange> = ranges
        .iter()
        .map(|[inside, outside, count]| IdRange {
            inside: *inside,
            outside: *outside,
            count: *count,
        })
        .collect();
    Ok(userns::write_map(&format!("/proc/{pid}/{map}"), &ranges)?)
}

/// The ids of a sandbox in the launcher's own user namespace: one to one, in
/// the ranges of which that one is made, for the kernel maps no range that
/// spans two (user_namespaces(7)).
pub fn own_ranges(count: u32) -> Vec<(u32, u32)> {
    match count {
        IDS => vec![
            (0, TASK_USER),
            (TASK_USER, 1),
            (TASK_USER + 1, IDS - TASK_USER - 1),
        ],
        count => vec![(0, count)],
    }
}

/// One id is all there is: the caller's own is user 0 inside.
fn enter_alone() -> Result<(), StartError> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    userns::unshare().map_err(StartError::UserNamespace)?;
    // Without this, the kernel lets nobody write a group map (CVE-2014-8989).
    std::fs::write("/proc/self/setgroups", "deny").context("write", "/proc/self/setgroups")?;
    let one = |outside| IdRange {
        inside: 0,
        outside,
        count: 1,
    };
    userns::write_map("/proc/self/uid_map", &[one(user)])?;
    userns::write_map("/proc/self/gid_map", &[one(group)])?;
    Ok(())
}

/// The caller's subordinate ids around the caller's own, which is the task's:
/// `0..1000` and `1001..65536` are subordinate, 1000 is the caller.
fn enter_ranges(ranges: &Subordinate) -> Result<(), StartError> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let pid = rustix::process::getpid().as_raw_nonzero().to_string();
    let users = helper(&ranges.newuidmap, &pid, ranges.users, user)?;
    let groups = helper(&ranges.newgidmap, &pid, ranges.groups, group)?;
    userns::unshare().map_err(StartError::UserNamespace)?;
    users.run()?;
    groups.run()?;
    seal::become_user(0, 0).map_err(StartError::UserNamespace)
}

/// A child that stays outside and runs a map helper when told.
#[derive(Debug)]
struct Helper {
    go: OwnedFd,
    child: OwnedFd,
    name: String,
}

fn helper(program: &CString, pid: &str, start: u32, own: u32) -> Result<Helper, StartError> {
    let rest = TASK_USER + 1;
    let words = [
        vec![pid.to_owned()],
        line(0, start, TASK_USER),
        line(TASK_USER, own, 1),
        line(rest, start + TASK_USER, IDS - rest),
    ]
    .concat();
    let mut arguments = vec![program.clone()];
    for word in words {
        arguments.push(CString::new(word).map_err(|_| StartError::Usage)?);
    }
    let (wait, go) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context("pipe2", "map helper")?;
    match process::clone_process(Namespaces::NONE).context("clone3", "map helper")? {
        Cloned::Child => {
            drop(go);
            run_helper(&wait, program, &arguments)
        }
        Cloned::Parent { pidfd, .. } => Ok(Helper {
            go,
            child: pidfd,
            name: program.to_string_lossy().into_owned(),
        }),
    }
}

fn line(inside: u32, outside: u32, count: u32) -> Vec<String> {
    [inside, outside, count]
        .map(|number| number.to_string())
        .to_vec()
}

fn run_helper(wait: &OwnedFd, program: &CString, arguments: &[CString]) -> ! {
    let _guard = ExitGuard(126);
    let told = rustix::io::read(wait, &mut [0u8]);
    if told == Ok(1) {
        let arguments: Vec<&std::ffi::CStr> =
            arguments.iter().map(|word| word.as_c_str()).collect();
        let Err(errno) = process::exec(program, &arguments, &[]);
        process::exit_now(if errno == Errno::NOENT { 127 } else { 126 });
    }
    process::exit_now(125)
}

impl Helper {
    fn run(self) -> Result<(), StartError> {
        rustix::io::write(&self.go, b"g").context("write", "map helper")?;
        match process::wait(self.child.as_fd()).context("waitid", "map helper")? {
            Ended::Exited(0) => Ok(()),
            ended => Err(StartError::MapHelper {
                helper: self.name,
                status: format!("{ended:?}"),
            }),
        }
    }
}
