//! What the relay gives up before it hears of a sandbox: it reads bytes of the code inside
//! and of everybody whom that may reach.

use lakekeep_seccomp::{Arch, Refusal, builtin_program};
use lakekeep_sys::seccomp::Filter;
use lakekeep_sys::{Errno, seal};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, Scope,
};
use rustix::process::{Resource, Rlimit};

use crate::error::{RelayError, kernel};

/// Whom root's relay becomes: the user that owns nothing.
const NOBODY: u32 = 65_534;

/// What getaddrinfo(3) reads: its configuration, its modules and the libraries of those.
const READABLE: [&str; 6] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/dev/null",
];

/// The newest Landlock that is used: TCP ports are of 4, scopes of 6.
const NEWEST: ABI = ABI::V6;

/// Seals the process, which must have one thread, in this order:
///
/// 1. as many open files as it may have: each flow takes six;
/// 2. user and groups, which needs root, if it is root's; with them all capabilities go;
/// 3. no new privileges, without which the next is refused;
/// 4. Landlock: it reads what resolving a name reads, and writes nothing;
/// 5. no core dump, and nobody of its user looks at it.
///
/// [`confine`] is the rest.
pub fn seal() -> Result<(), RelayError> {
    open_files().map_err(kernel("setrlimit RLIMIT_NOFILE"))?;
    rustix::process::chdir("/").map_err(kernel("chdir /"))?;
    if rustix::process::geteuid().is_root() {
        seal::empty_bounding_set().map_err(kernel("emptying the bounding set"))?;
        become_nobody().map_err(kernel("becoming nobody"))?;
    }
    seal::keep_capabilities(0).map_err(kernel("dropping capabilities"))?;
    seal::no_new_privileges().map_err(kernel("PR_SET_NO_NEW_PRIVS"))?;
    landlock()?;
    seal::limit(Resource::Core, 0).map_err(kernel("setrlimit RLIMIT_CORE"))?;
    seal::not_dumpable().map_err(kernel("PR_SET_DUMPABLE"))
}

/// Installs the filter, last, so that it need not allow any step before it. A call that is not in
/// the profile (`seccomp/profiles/relay.json`) fails, and none of the runtime's threads, which are
/// made after it, is without.
pub fn confine() -> Result<(), RelayError> {
    filter()?.install().map_err(kernel("seccomp"))
}

/// The filter, compiled when this program was built.
///
/// # Errors
/// `NoFilter` on an architecture for which there is none: such a relay does not run.
fn filter() -> Result<Filter, RelayError> {
    let arch = Arch::native().ok_or(RelayError::NoFilter)?;
    let program = builtin_program("relay", arch, Refusal::Errno)?.ok_or(RelayError::NoFilter)?;
    Filter::from_bytes(&program.to_bytes()).map_err(kernel("reading the seccomp filter"))
}

fn open_files() -> Result<(), Errno> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, highest)
}

fn become_nobody() -> Result<(), Errno> {
    match seal::become_user(NOBODY, NOBODY) {
        // The root of a user namespace that has no such user: it is nobody outside.
        Err(Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// As much of it as the kernel has: on an older one, or none, the user and the missing
/// capabilities are what holds.
fn landlock() -> Result<(), RelayError> {
    let read = AccessFs::from_read(NEWEST);
    let mut set = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in READABLE {
        // What a host does not have needs no rule.
        if let Ok(place) = PathFd::new(path) {
            let access = match path {
                "/dev/null" => read & !AccessFs::ReadDir & !AccessFs::Execute,
                _ => read,
            };
            set = set.add_rule(PathBeneath::new(place, access))?;
        }
    }
    set.restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, openat};
    use rustix::net::{AddressFamily, SocketType, netlink};
    use rustix::process::{PidfdFlags, Resource, getpid, getrlimit, pidfd_open, setrlimit};

    use super::*;

    /// What only a stranger's code in the relay would ask for.
    fn attempts(file: &std::path::Path) -> [(&'static str, Result<(), Errno>); 5] {
        let written = openat(CWD, file, OFlags::WRONLY, Mode::empty()).map(drop);
        let own = pidfd_open(getpid(), PidfdFlags::empty()).map(drop);
        let limit = setrlimit(Resource::Core, getrlimit(Resource::Core));
        let memory = rustix::fs::memfd_create("a", MemfdFlags::CLOEXEC).map(drop);
        let filter = Some(netlink::NETFILTER);
        let rules = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, filter);
        [
            ("open(O_WRONLY)", written),
            ("pidfd_open", own),
            ("prlimit64", limit),
            ("memfd_create", memory),
            ("socket(NETLINK_NETFILTER)", rules.map(drop)),
        ]
    }

    /// A filter is a thread's: the test's other threads stay without.
    #[test]
    fn calls_outside_of_the_list_fail_and_each_works_without_the_filter() {
        let file = std::env::current_exe().unwrap().with_extension("scratch");
        std::fs::write(&file, "").unwrap();
        for (what, done) in attempts(&file) {
            assert_eq!(done, Ok(()), "{what}");
        }
        let path = file.clone();
        let sealed = thread::spawn(move || {
            seal::no_new_privileges().unwrap();
            filter().unwrap().install().unwrap();
            attempts(&path)
        });
        for (what, done) in sealed.join().unwrap() {
            assert_eq!(done, Err(Errno::PERM), "{what}");
        }
        std::fs::remove_file(file).unwrap();
    }
}
