//! Ways in which a sandbox's memory may leave it.

use lakekeep_plan::host::HostFacts;

use super::kernel::boot_with;
use super::{Check, Surroundings, as_root};

const MIB: u64 = 1 << 20;

pub(super) fn swap(facts: &HostFacts, around: &Surroundings) -> Check {
    let name = "swap";
    if facts.swap_total == 0 {
        return Check::ok(name, "none");
    }
    let size = format!("{} MiB", facts.swap_total / MIB);
    match around.swap_accounted {
        Some(false) => {
            let effect = "limits: a sandbox can move memory to swap beyond its limit, and \
                          secrets in it reach the disk";
            let remedy = boot_with(facts, "swapaccount=1");
            Check::degraded(name, format!("{size}, not accounted"), effect, remedy)
        }
        Some(true) => Check::ok(name, format!("{size}, limited for each sandbox")),
        None => Check::ok(name, size),
    }
}

/// Equal pages of two sandboxes become one, and the time of a write tells.
pub(super) fn same_page_merging(facts: &HostFacts, around: &Surroundings) -> Check {
    let name = "same_page_merging";
    match around.ksm_run {
        Some(1) => {
            let effect = "isolation: one sandbox can find out what is in another's memory";
            let remedy = as_root(facts, "echo 2 > /sys/kernel/mm/ksm/run");
            Check::degraded(name, "on", effect, remedy)
        }
        Some(_) => Check::ok(name, "off"),
        None => Check::ok(name, "not built in"),
    }
}
