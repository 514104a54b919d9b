//! Rules that changed while sandboxes live.

use crate::gate::Gate;
use crate::registry::Registry;
use crate::sandbox::{Phase, Sandbox};

use super::documents;

/// Has each live sandbox's rules follow its profile. Flows that they do not allow any more end.
pub fn refresh(gate: &Gate, registry: &Registry) {
    let live = |sandbox: &Sandbox| !matches!(sandbox.phase(), Phase::Ended(..));
    for sandbox in registry.all() {
        let Some(outlet) = sandbox.outlet().filter(|_| live(&sandbox)) else {
            continue;
        };
        let set = gate.profiles.current();
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
}
