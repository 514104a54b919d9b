//! Processes: clone3, exec, wait, pidfds, and the guards around them.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::error::from_nix;

bitflags_lite! {
    /// The namespaces that a new process gets of its own (`clone3(2)`).
    Namespaces {
        /// Its own mount table.
        MOUNT = libc::CLONE_NEWNS as u64,
        /// Its own process identifiers; the process is PID 1 there.
        PID = libc::CLONE_NEWPID as u64,
        /// Its own System V IPC and POSIX message queues.
        IPC = libc::CLONE_NEWIPC as u64,
        /// Its own host name.
        UTS = libc::CLONE_NEWUTS as u64,
        /// Its own view of the cgroup tree.
        CGROUP = libc::CLONE_NEWCGROUP as u64,
        /// Its own users.
        USER = libc::CLONE_NEWUSER as u64,
    }
}

/// Which side of a clone the caller is on.
#[derive(Debug)]
pub enum Cloned {
    /// The new process. It must end in [`exec`] or [`exit_now`].
    Child,
    /// The caller, with the new process's pid and a descriptor that keeps
    /// naming that very process.
    Parent {
        /// In the caller's pid namespace.
        pid: Pid,
        /// Close-on-exec.
        pidfd: OwnedFd,
    },
}

/// The kernel's `struct clone_args`, first published size and the fields up to
/// `CLONE_INTO_CGROUP` (`clone3(2)`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child process in new `namespaces`, like fork(2) but for the
/// namespaces and the pidfd.
///
/// # Errors
/// `EBUSY` when the caller has more than one thread: the child would inherit
/// locks whose holders do not exist in it. Otherwise clone3's own errno.
pub fn clone_process(namespaces: Namespaces) -> Result<Cloned, Errno> {
    ensure_single_threaded()?;
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: namespaces.bits() | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: neither glibc nor rustix wraps clone3. `args` is a live,
    // correctly sized clone_args; `pidfd` outlives the call. No CLONE_VM, so
    // the child runs on its own copy of this stack; the process has one thread
    // (checked above), so no lock is held by a thread that the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    let raw = i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?;
    match Pid::from_raw(raw) {
        Some(pid) if raw > 0 => Ok(Cloned::Parent {
            pid,
            // SAFETY: the kernel stored a new descriptor that nothing else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
        _ => Err(last_errno()),
    }
}

/// Refuses to go on when the process has more than one thread.
///
/// # Errors
/// `EBUSY` with several threads.
pub fn ensure_single_threaded() -> Result<(), Errno> {
    // unshare(2): CLONE_THREAD does nothing to a process of one thread, and is
    // refused to any other. Of /proc, this process's folder would be made for it.
    // SAFETY: takes a flag; the only one given changes nothing.
    match unsafe { libc::unshare(libc::CLONE_THREAD) } {
        0 => Ok(()),
        _ => Err(Errno::BUSY),
    }
}

/// Ends the process at once: no destructors, no buffers, no exit handlers.
///
/// After a clone, the child must never return into its parent's stack: this is
/// the only way out besides [`exec`].
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit(2) takes an integer and does not return.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Ends the process when dropped: put in a cloned child, it turns a panic or
/// an early return into an exit instead of a second life of the parent.
#[derive(Debug)]
pub struct ExitGuard(pub u8);

impl Drop for ExitGuard {
    fn drop(&mut self) {
        exit_now(self.0)
    }
}

/// Replaces the process image by the file at `path`; returns only to report
/// why not.
pub fn exec(path: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> Result<Infallible, Errno> {
    nix::unistd::execve(path, arguments, environment).map_err(from_nix)
}

/// Replaces the process image by the open file `executable` (a sealed memfd).
pub fn exec_file(
    executable: BorrowedFd<'_>,
    arguments: &[&CStr],
    environment: &[&CStr],
) -> Result<Infallible, Errno> {
    nix::unistd::fexecve(executable, arguments, environment).map_err(from_nix)
}

/// Closes every descriptor from `first` on (`close_range(2)`).
pub fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: close_range has no safe wrapper. Closing descriptors that an
    // `OwnedFd` still names would break its ownership; every caller is a child
    // about to exec or to run a loop that owns only descriptors below `first`.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn cloexec_from(first: u32) -> Result<(), Errno> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: as above, and nothing is closed before an exec.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Moves `from` to the descriptor number `to`, which stays open across exec,
/// whatever was there before.
pub fn place_at(from: BorrowedFd<'_>, to: i32) -> Result<(), Errno> {
    if from.as_raw_fd() == to {
        return rustix::io::fcntl_setfd(from, rustix::io::FdFlags::empty());
    }
    // SAFETY: dup2 replaces the descriptor `to`; the callers are single-threaded
    // children that own no `OwnedFd` with that number any more.
    match unsafe { libc::dup2(from.as_raw_fd(), to) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// Takes ownership of a descriptor that this process inherited across exec.
///
/// # Errors
/// `EBADF` when the number is not open.
pub fn inherited(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD reads a flag of any number.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(last_errno());
    }
    // SAFETY: the number is open (just checked). By contract it is named once,
    // at the start of a program that was handed it, so nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// How a process ended, in the words of wait(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It called exit with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

/// Waits for the child behind `pidfd` and reaps it.
///
/// # Errors
/// `ECHILD` when it was not a child of the caller or has been reaped.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Ended, Errno> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(None) => {}
            Ok(Some(status)) => {
                if let Some(code) = status.exit_status() {
                    return Ok(Ended::Exited(code));
                }
                if let Some(signal) = status.terminating_signal() {
                    return Ok(Ended::Signaled(signal));
                }
            }
        }
    }
}

/// Sends SIGKILL to the process behind `pidfd`; one that has ended is no error.
pub fn kill(pidfd: impl AsFd) -> Result<(), Errno> {
    match rustix::process::pidfd_send_signal(pidfd, Signal::KILL) {
        Err(Errno::SRCH) => Ok(()),
        other => other,
    }
}

/// The process behind `pidfd` in the caller's pid namespace (`Pid:` of its
/// fdinfo, pidfd_open(2)); `None` once it was reaped.
///
/// # Errors
/// Of reading fdinfo; `EBADF` when the descriptor is no pidfd; `ESRCH` when
/// the process is in no namespace below the caller's.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> Result<Option<u32>, Errno> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    match line.and_then(|number| number.trim().parse::<i32>().ok()) {
        None => Err(Errno::BADF),
        Some(0) => Err(Errno::SRCH),
        Some(number) => Ok(u32::try_from(number).ok()),
    }
}

/// What a finished child used: from wait4(2).
#[derive(Debug, Clone, Copy, Default)]
pub struct ResourceUsage {
    /// CPU time in user mode, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub system_us: u64,
    /// Largest resident set of the child and its waited-for children, bytes.
    pub max_rss: u64,
}

/// What `wait4` said: who ended, how, and what it used.
#[derive(Debug, Clone, Copy)]
pub struct Reaped {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// How it ended.
    pub ended: Ended,
    /// Its resources.
    pub usage: ResourceUsage,
}

/// Reaps one child that has ended, without waiting; `None` when there is none.
pub fn reap() -> Result<Option<Reaped>, Errno> {
    let mut status: libc::c_int = 0;
    // SAFETY: an all-zero rusage is a valid value of a struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: wait4 has no safe wrapper; both out-pointers are live and sized.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    if pid == -1 && last_errno() == Errno::CHILD {
        return Ok(None);
    }
    match pid {
        0 => Ok(None),
        -1 => Err(last_errno()),
        pid => Ok(Some(Reaped {
            pid,
            ended: decode(status),
            usage: ResourceUsage {
                user_us: micros(usage.ru_utime),
                system_us: micros(usage.ru_stime),
                max_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
            },
        })),
    }
}

fn decode(status: libc::c_int) -> Ended {
    if libc::WIFSIGNALED(status) {
        Ended::Signaled(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    }
}

fn micros(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
}

/// Gives up a real-time or deadline policy, and a real-time priority of its I/O, that came
/// with the caller (sched(7), ioprio_set(2)): what is started from here must not push the
/// host's own work aside, and a version 1 cpu group takes no real-time process.
///
/// # Errors
/// Where the kernel has no such call or refuses it.
pub fn ordinary_scheduling() -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: libc::c_long = 13;
    const CLASS_REALTIME: libc::c_long = 1;
    // SAFETY: 0 names the caller; the call reads no memory of ours.
    let policy = unsafe { libc::sched_getscheduler(0) };
    match policy {
        -1 => return Err(last_errno()),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE => {}
        _ => {
            let ordinary = libc::sched_param { sched_priority: 0 };
            // SAFETY: the kernel reads one sched_param, which lives until it returns.
            if unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary) } == -1
            {
                return Err(last_errno());
            }
        }
    }
    // SAFETY: three numbers; 0 names the caller.
    match unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) } {
        -1 => Err(last_errno()),
        priority if priority >> CLASS_SHIFT == CLASS_REALTIME => {
            // SAFETY: three numbers; 0 is no class and no level: the one of the policy.
            match unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, 0) } {
                -1 => Err(last_errno()),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Asks the kernel to kill this process when its parent (thread) ends, and
/// makes sure that it has not ended already.
///
/// # Errors
/// `ESRCH` when the parent is gone.
pub fn die_with_parent(parent: Pid) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    match rustix::process::getppid() {
        Some(now) if now == parent => Ok(()),
        _ => Err(Errno::SRCH),
    }
}

/// The errno that the last failed libc call left in this thread.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
