//! How long a sandbox may live, and idle.

use std::time::SystemTime;

use lakekeep_sandbox::{Kind as VerdictKind, Verdict};

use crate::sandbox::Sandbox;

/// Why a sandbox must end now, if it must.
pub fn overdue(sandbox: &Sandbox, now: SystemTime) -> Option<Verdict> {
    let meta = &sandbox.meta;
    let since = |then: SystemTime| now.duration_since(then).unwrap_or_default();
    let format = lakekeep_policy::format_duration;
    if let Some(lifetime) = meta
        .lifetime
        .filter(|lifetime| since(meta.created) >= *lifetime)
    {
        return Some(Verdict::of_sandbox(
            VerdictKind::Killed,
            format!(
                "ended after {}, the longest life of its sandbox",
                format(lifetime)
            ),
            "ask for a longer lifetime, within its profile's",
        ));
    }
    let idle = meta.idle_timeout.filter(|_| !sandbox.is_busy())?;
    (since(sandbox.last_used()) >= idle).then(|| {
        Verdict::of_sandbox(
            VerdictKind::Killed,
            format!("ended after {} without a task", format(idle)),
            "ask for a longer idle time-out, within its profile's",
        )
    })
}
