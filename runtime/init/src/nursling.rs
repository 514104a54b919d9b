//! A task's process that is forked from the sandbox's zygote, and not from its stub.
//!
//! The zygote runs outside of the sandbox, and forks into it on request (`zygote.py`). What
//! it is asked for is all that a process needs to seal itself; whether it did is read back,
//! as of any task, and more: that it brought no memory along that it shares, that it is where
//! the stub is, and in the sandbox's cgroups.

use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use lakekeep_protocol::ZYGOTE_FD;
use lakekeep_protocol::task::{TaskSpec, TaskStep};
use lakekeep_sys::readback::NamespaceIds;
use lakekeep_sys::{Errno, process, seal, socket};
use rustix::process::{Pid, PidfdFlags};

use crate::prepare::{Seal, resource};
use crate::report::Failure;

/// Steps that a forked process reports by these words' numbers.
const STEPS: [(&str, TaskStep); 14] = [
    ("session", TaskStep::Session),
    ("limits", TaskStep::Limits),
    ("score", TaskStep::OomScore),
    ("keyring", TaskStep::Keyring),
    ("capabilities", TaskStep::Capabilities),
    ("identity", TaskStep::Identity),
    ("mdwe", TaskStep::ExecutableGain),
    ("landlock", TaskStep::Landlock),
    ("readback", TaskStep::ReadBack),
    ("stdio", TaskStep::Stdio),
    ("seccomp", TaskStep::Seccomp),
    ("order", TaskStep::Order),
    ("directory", TaskStep::WorkingDirectory),
    ("exec", TaskStep::Exec),
];

/// What this sandbox has of its zygote.
#[derive(Debug, Clone)]
pub struct Zygote {
    connection: Rc<OwnedFd>,
    /// Where a process's number makes it a member of the sandbox's cgroups.
    doors: Rc<Vec<OwnedFd>>,
}

/// A request to it, made before the clone.
#[derive(Debug)]
pub struct Request {
    zygote: Zygote,
    text: String,
}

impl Zygote {
    /// What the launcher left.
    ///
    /// # Errors
    /// When it is not there.
    pub fn inherited() -> Result<Self, Errno> {
        let left = process::inherited(ZYGOTE_FD)?;
        let mut descriptors = socket::receive(&left, &mut [0])?.descriptors.into_iter();
        Ok(Self {
            connection: Rc::new(descriptors.next().ok_or(Errno::BADF)?),
            doors: Rc::new(descriptors.collect()),
        })
    }

    /// The request for a task that is sealed like this.
    pub fn request(&self, spec: &TaskSpec, seal: &Seal) -> Request {
        let mut text = String::new();
        for (name, step) in STEPS {
            line(&mut text, format_args!("step {name} {}", step as u8));
        }
        for (kind, value) in &spec.limits {
            line(
                &mut text,
                format_args!("limit {} {value}", resource(*kind) as u32),
            );
        }
        for (name, number) in [
            ("user", i64::from(seal.user)),
            ("group", i64::from(seal.group)),
            ("umask", i64::from(seal.umask)),
            ("score", i64::from(spec.oom_score_adj)),
            ("early", i64::from(seal.filter_early)),
            ("mdwe", i64::from(seal.refuse_executable_gain)),
            ("securebits", i64::from(seal::SECURE_BITS.bits())),
        ] {
            line(&mut text, format_args!("{name} {number}"));
        }
        let filter: String = spec.filter.iter().fold(String::new(), |mut hex, byte| {
            hex.push_str(&format!("{byte:02x}"));
            hex
        });
        line(&mut text, format_args!("filter {filter}"));
        Request {
            zygote: self.clone(),
            text,
        }
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    if writeln!(text, "{words}").is_err() {
        // A String takes whatever memory there is.
    }
}

impl Request {
    /// In the stub: has its process forked, and takes it into the sandbox's cgroups. The
    /// process's number, in the stub's pid namespace.
    pub fn fork(&self, setup: &OwnedFd, rules: Option<&OwnedFd>) -> Result<i32, Failure> {
        let at = Failure::at(TaskStep::Zygote);
        let myself = Pid::from_raw(1).ok_or(Errno::SRCH).map_err(&at)?;
        let myself = rustix::process::pidfd_open(myself, PidfdFlags::empty()).map_err(&at)?;
        let (answer, theirs) = socket::pair().map_err(&at)?;
        let mut given = vec![myself.as_fd(), setup.as_fd(), theirs.as_fd()];
        given.extend(rules.map(AsFd::as_fd));
        let connection = &self.zygote.connection;
        socket::send(connection, self.text.as_bytes(), &given).map_err(&at)?;
        drop(theirs);
        let mut number = [0; 16];
        let length = socket::receive(&answer, &mut number).map_err(&at)?.length;
        let number = number.get(..length).unwrap_or_default();
        let pid = std::str::from_utf8(number)
            .ok()
            .and_then(|text| text.parse().ok());
        // 1 is the stub itself; 0 and less are groups to kill(2).
        let pid: Option<i32> = pid.filter(|pid| *pid > 1);
        let pid = pid.ok_or(Errno::CHILD).map_err(&at)?;
        for door in self.zygote.doors.iter() {
            rustix::io::write(door, number).map_err(&at)?;
        }
        socket::send(&answer, &[1], &[]).map_err(&at)?;
        Ok(pid)
    }
}

/// Holds what was forked against what a clone of the stub's would be.
///
/// # Errors
/// `EPERM` when it is elsewhere, or has memory that another process has too.
pub fn verify(pid: i32, stub: i32) -> Result<(), Errno> {
    let proc = Path::new("/proc");
    let namespaces =
        |pid: i32| NamespaceIds::read(proc, &pid.to_string()).map_err(|error| error.errno);
    let text = |pid: &str, file: &str| {
        std::fs::read_to_string(proc.join(pid).join(file))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    let pid_text = pid.to_string();
    let maps = text(&pid_text, "maps")?;
    let here = namespaces(pid)? == namespaces(stub)?;
    let member = text(&pid_text, "cgroup")? == text("self", "cgroup")?;
    match here && member && !maps.lines().any(is_shared) {
        true => Ok(()),
        false => Err(Errno::PERM),
    }
}

/// Whether a line of /proc/<pid>/maps is of memory that another process may write
/// (proc_pid_maps(5)). What has a name in a file system was opened in the zygote's, where
/// nothing can be written: the C library has such.
fn is_shared(mapping: &str) -> bool {
    let mut fields = mapping.split_whitespace();
    match fields.nth(1) {
        Some(permissions) if permissions.ends_with('p') => false,
        Some("r--s") => {
            let path = fields.nth(3).unwrap_or_default();
            !path.starts_with('/') || mapping.ends_with(" (deleted)")
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_mapping_is_found_and_a_line_that_is_none_is_taken_for_one() {
        assert!(!is_shared(
            "7f00-7f01 r-xp 00000000 fd:00 12 /usr/lib/libc.so.6"
        ));
        assert!(is_shared(
            "7f00-7f01 rw-s 00000000 00:01 12 /memfd:x (deleted)"
        ));
        assert!(is_shared(
            "7f00-7f01 r--s 00000000 00:01 12 /SYSV00000000 (deleted)"
        ));
        assert!(is_shared("7f00-7f01 r--s 00000000 00:01 12 "));
        assert!(!is_shared(
            "7f00-7f01 r--s 00000000 fd:00 12 /usr/lib/gconv/gconv-modules.cache"
        ));
        assert!(is_shared("what"));
    }
}
