//! What a task can never get back: capabilities, identity, new privileges.
//!
//! Every function here runs in a cloned child before exec: none allocates.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets, CpuSet};

use crate::process::last_errno;

/// Drops every capability from the bounding set: no exec can gain one again.
/// Needs CAP_SETPCAP.
pub fn empty_bounding_set() -> Result<(), Errno> {
    // The kernel's highest capability is not a constant of this build: go on
    // until it says that there is no such number (capabilities(7)).
    for number in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes an integer. rustix's wrapper only
        // accepts the capabilities that it knows by name.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } == -1 {
            return match last_errno() {
                Errno::INVAL => Ok(()),
                errno => Err(errno),
            };
        }
    }
    Ok(())
}

/// The rules by which user id 0 would mean capabilities, off for good.
pub const SECURE_BITS: CapabilitiesSecureBits = CapabilitiesSecureBits::NO_ROOT
    .union(CapabilitiesSecureBits::NO_ROOT_LOCKED)
    .union(CapabilitiesSecureBits::NO_SETUID_FIXUP)
    .union(CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED)
    .union(CapabilitiesSecureBits::KEEP_CAPS_LOCKED)
    .union(CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE)
    .union(CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED);

/// Sets [`SECURE_BITS`]. Needs CAP_SETPCAP.
pub fn lock_secure_bits() -> Result<(), Errno> {
    rustix::thread::set_capabilities_secure_bits(SECURE_BITS)
}

/// Leaves the calling thread exactly the capabilities of `kept` (a bit set as
/// in capabilities(7)), effective and permitted, none inheritable or ambient.
pub fn keep_capabilities(kept: u64) -> Result<(), Errno> {
    rustix::thread::clear_ambient_capability_set()?;
    let kept = CapabilitySet::from_bits_retain(kept);
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// The calling thread's capabilities as the kernel holds them now.
pub fn capabilities() -> Result<CapabilitySets, Errno> {
    rustix::thread::capabilities(None)
}

/// Becomes `user` and `group`, with no supplementary group.
///
/// `setgroups` is refused in a user namespace whose map its owner wrote without
/// privilege (`/proc/self/setgroups` is `deny`, user_namespaces(7)). Groups that
/// are there then stay, and the read-back tells.
pub fn become_user(user: u32, group: u32) -> Result<(), Errno> {
    match rustix::thread::set_thread_groups(&[]) {
        Err(Errno::PERM) => {}
        other => other?,
    }
    let group = rustix::process::Gid::from_raw(group);
    rustix::thread::set_thread_res_gid(group, group, group)?;
    let user = rustix::process::Uid::from_raw(user);
    rustix::thread::set_thread_res_uid(user, user, user)
}

/// No exec can give this process or a child of it more than it has.
pub fn no_new_privileges() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)
}

/// Keeps others of the same user from tracing or reading this process.
pub fn not_dumpable() -> Result<(), Errno> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}

/// Refuses memory that is or was writable and becomes executable
/// (`PR_SET_MDWE`, Linux 6.3). `EINVAL` where the kernel does not know it.
pub fn refuse_executable_gain() -> Result<(), Errno> {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    // SAFETY: takes integers; no safe wrapper exists.
    match unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// A new, empty session keyring: keys of the host's session cannot be searched
/// (keyctl(2)). `ENOSYS` where the kernel has no keyrings.
pub fn fresh_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring; nothing is written.
    match unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// Sets soft and hard limit of `resource` to `value`. For CPU time the hard one
/// is a second more: at the soft one comes a SIGXCPU, which names the cause; at
/// the hard one a SIGKILL, which does not (getrlimit(2)).
pub fn limit(resource: Resource, value: u64) -> Result<(), Errno> {
    let wanted = match resource {
        Resource::Cpu => value.saturating_add(1),
        _ => value,
    };
    // A hard limit that the caller has already cannot be raised again; it is
    // stricter, and read back.
    let hard = rustix::process::getrlimit(resource).maximum;
    let maximum = hard.map_or(wanted, |hard| hard.min(wanted));
    let limit = Rlimit {
        current: Some(value.min(maximum)),
        maximum: Some(maximum),
    };
    rustix::process::setrlimit(resource, limit)
}

/// The execution domain of a plain Linux program (personality(2)): what the
/// caller changed, such as no address-space randomisation, is not inherited.
pub fn default_personality() -> Result<(), Errno> {
    // SAFETY: takes an integer; PER_LINUX is 0.
    match unsafe { libc::personality(0) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// Restricts the calling thread, and what it starts, to `count` of the processors
/// that it may use now, beginning with the one it runs on: the scheduler put it
/// where there was room, and not every sandbox on the first. `count` 0 changes
/// nothing.
pub fn use_processors(count: u32) -> Result<(), Errno> {
    use_processors_of(None, count)
}

/// The same for another process of the caller's user namespace, beginning with the processor
/// that the caller runs on. Needs CAP_SYS_NICE there.
pub fn use_processors_of(process: Option<Pid>, count: u32) -> Result<(), Errno> {
    if count == 0 {
        return Ok(());
    }
    let available = rustix::thread::sched_getaffinity(process)?;
    let mut chosen = CpuSet::new();
    let here = rustix::thread::sched_getcpu();
    let all = (here..CpuSet::MAX_CPU).chain(0..here);
    let usable = all.filter(|cpu| available.is_set(*cpu));
    for cpu in usable.take(count as usize) {
        chosen.set(cpu);
    }
    rustix::thread::sched_setaffinity(process, &chosen)
}

/// Writes a small file of `/proc/self`, such as `oom_score_adj`.
pub fn write_proc(file: &std::ffi::CStr, contents: &[u8]) -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags};
    let fd = rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::io::write(fd.as_fd(), contents)? {
        written if written == contents.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}
