//! Rules that changed while sandboxes live.

use std::sync::Arc;

use lakekeep_profiles::ProfileSet;

use crate::gate::Gate;
use crate::registry::Registry;
use crate::sandbox::{Phase, Sandbox};

use super::documents;

/// Has each live sandbox's rules follow its profile and the administrator's. Flows that they do
/// not allow any more end.
pub fn refresh(gate: &Gate, registry: &Registry) {
    let set = gate.profiles.current();
    for sandbox in registry.all() {
        follow(&set, &sandbox);
    }
}

/// The same for one that was made by `before`, if other profiles are in force meanwhile: when
/// they changed it was not there yet.
pub fn catch_up(gate: &Gate, sandbox: &Sandbox, before: &Arc<ProfileSet>) {
    let set = gate.profiles.current();
    if !Arc::ptr_eq(&set, before) {
        follow(&set, sandbox);
    }
}

fn follow(set: &ProfileSet, sandbox: &Sandbox) {
    let live = !matches!(sandbox.phase(), Phase::Ended(..));
    let Some(outlet) = sandbox.outlet().filter(|_| live) else {
        return;
    };
    let stored = set.get(&sandbox.meta.profile);
    let bounds = stored.and_then(|stored| stored.profile().egress());
    match documents::again(&outlet.rules(), bounds) {
        Ok(rules) if rules.digest == outlet.digest() => {}
        Ok(rules) => {
            let (id, digest) = (sandbox.id(), &rules.digest);
            tracing::info!("sandbox {id}: other rules of egress hold now: {digest}");
            outlet.update(rules);
        }
        // It was read when the sandbox was made. Nobody knows what it meant: nothing leaves.
        Err(fault) => {
            tracing::error!("sandbox {}: nothing leaves it: {fault}", sandbox.id());
            outlet.close();
        }
    }
}
