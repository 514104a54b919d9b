//! What the relay gives up before it hears of a sandbox: it reads bytes of the code inside
//! and of everybody whom that may reach.

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
