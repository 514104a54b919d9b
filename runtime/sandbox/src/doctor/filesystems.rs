//! Filesystems that layers and images are made of.

use lakekeep_plan::host::HostFacts;

use super::{Check, as_root};

pub(super) fn overlay(facts: &HostFacts) -> Check {
    let effect = "root filesystem: no writable layer over a read-only image";
    filesystem(facts, "overlay", facts.filesystems.overlay, effect)
}

pub(super) fn erofs(facts: &HostFacts) -> Check {
    let effect = "images: they are unpacked into directories instead of mounted";
    filesystem(facts, "erofs", facts.filesystems.erofs, effect)
}

fn filesystem(facts: &HostFacts, name: &str, registered: bool, effect: &str) -> Check {
    if registered {
        return Check::ok(name, "present");
    }
    let remedy = as_root(facts, &format!("modprobe {name}"));
    Check::degraded(name, "not loaded", effect, remedy)
}
