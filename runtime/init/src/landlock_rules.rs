//! The Landlock rule set of a task, built before its clone.

use std::os::fd::{AsFd, OwnedFd};

use lakekeep_protocol::task::LandlockRules;
use lakekeep_sys::Errno;
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{Mode, OFlags};

/// Builds the rule set: everything that Landlock knows is refused but what
/// `rules` and the open `scratch` directories allow. Abstract sockets and
/// signals stay within the task (ABI 6).
///
/// # Errors
/// `ENOENT` and the like for a path that cannot be opened; `EINVAL` when the
/// kernel refuses the set.
pub fn build(rules: &LandlockRules, scratch: &[&OwnedFd]) -> Result<OwnedFd, Errno> {
    let abi = ABI::from(i32::try_from(rules.abi).unwrap_or(i32::MAX));
    let read = AccessFs::from_read(abi);
    let write = AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let devices = AccessFs::from_file(abi) & !AccessFs::Execute | AccessFs::ReadDir;
    let mut set = create(abi).map_err(refused)?;
    for (paths, access) in [
        (&rules.read, read),
        (&rules.write, write),
        (&rules.devices, devices),
    ] {
        for path in paths {
            set = allow(set, open(path)?, access)?;
        }
    }
    for directory in scratch {
        set = allow(set, directory.as_fd(), write)?;
    }
    Option::<OwnedFd>::from(set).ok_or(Errno::NOSYS)
}

fn create(abi: ABI) -> Result<RulesetCreated, RulesetError> {
    let set = Ruleset::default().handle_access(AccessFs::from_all(abi))?;
    let scopes = Scope::from_all(abi);
    // There are none before ABI 6, and the crate refuses an empty set of them.
    let set = if scopes.is_empty() {
        set
    } else {
        set.scope(scopes)?
    };
    set.create()
}

fn allow(
    set: RulesetCreated,
    place: impl AsFd,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Errno> {
    set.add_rule(PathBeneath::new(place, access))
        .map_err(refused)
}

fn open(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// The crate's error tells which right of which rule; the plan names both, so
/// the errno is enough.
fn refused(_: RulesetError) -> Errno {
    Errno::INVAL
}
