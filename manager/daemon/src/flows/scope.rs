//! Whose flows a caller may see.

use lakekeep_profiles::{Action, Resource};

use crate::fault::Fault;
use crate::gate::Gate;
use crate::who::Caller;

/// Whose flows; `None` is everybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Of this user.
    pub user: Option<String>,
    /// In this profile.
    pub profile: Option<String>,
}

/// What is asked for, or less where no user is named: a caller's own are always to be seen,
/// others' by whoever may read the audit log of their profile, or the manager's.
///
/// # Errors
/// `Denied` where another user is named whose flows are not to be seen; `NotFound` for a
/// profile that the caller may not see.
pub fn of(gate: &Gate, caller: &Caller, user: &str, profile: &str) -> Result<Scope, Fault> {
    // A delegation for one profile is for nothing else.
    let profile = match (&caller.bound_to, profile) {
        (Some(bound), "") => bound,
        (_, named) => named,
    };
    let whole = gate.may(caller, Action::ReadAudit, Resource::Manager);
    let others = match profile {
        "" => whole,
        // Administrators also see flows of a profile that is gone.
        _ if whole => true,
        name => {
            let set = gate.profiles.current();
            let stored = gate.profile(&set, caller, name)?;
            let resource = Resource::Profile(stored.profile());
            if !user.is_empty() && user != caller.user() {
                gate.check(caller, Action::ReadAudit, resource)?;
            }
            gate.may(caller, Action::ReadAudit, resource)
        }
    };
    let user = match user {
        "" if others => None,
        "" => Some(caller.user()),
        named => Some(named),
    };
    if !others && user != Some(caller.user()) {
        gate.check(caller, Action::ReadAudit, Resource::Manager)?;
    }
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Scope {
        user: user.map(str::to_owned),
        profile: some(profile),
    })
}
