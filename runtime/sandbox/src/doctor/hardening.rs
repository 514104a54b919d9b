//! Switches of the host that help if a layer fails, and other tools of the field.

use lakekeep_plan::host::HostFacts;

use super::{Check, Surroundings, as_root};

/// A sysctl and the least value that closes something.
pub(super) struct Switch {
    pub name: &'static str,
    least: i64,
    effect: &'static str,
}

pub(super) const SWITCHES: [Switch; 5] = [
    Switch {
        name: "kernel.dmesg_restrict",
        least: 1,
        effect: "hardening: users of the host can read the kernel's log",
    },
    Switch {
        name: "kernel.kptr_restrict",
        least: 1,
        effect: "hardening: users of the host can read kernel addresses",
    },
    Switch {
        name: "kernel.perf_event_paranoid",
        least: 2,
        effect: "hardening: users of the host can measure the kernel",
    },
    Switch {
        name: "kernel.unprivileged_bpf_disabled",
        least: 1,
        effect: "hardening: users of the host can load programs into the kernel",
    },
    Switch {
        name: "kernel.yama.ptrace_scope",
        least: 1,
        effect: "hardening: a user's processes on the host can trace each other, \
                 a launcher without root among them",
    },
];

/// For comparison only; nothing here needs them.
pub(super) const PEERS: [&str; 4] = ["bwrap", "crun", "runc", "youki"];

pub(super) fn switches(facts: &HostFacts, around: &Surroundings) -> Vec<Check> {
    SWITCHES
        .iter()
        .map(|switch| judge(facts, around, switch))
        .collect()
}

fn judge(facts: &HostFacts, around: &Surroundings, switch: &Switch) -> Check {
    match around.sysctls.get(switch.name).copied().flatten() {
        None => Check::ok(switch.name, "not in this kernel, or hidden"),
        Some(value) if value >= switch.least => Check::ok(switch.name, value.to_string()),
        Some(value) => {
            let set = format!("sysctl -w {}={}", switch.name, switch.least);
            let remedy = as_root(facts, &set);
            Check::degraded(switch.name, value.to_string(), switch.effect, remedy)
        }
    }
}

pub(super) fn peers(around: &Surroundings) -> Check {
    let found: Vec<&str> = around
        .peers
        .iter()
        .filter(|(_, path)| path.is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    let list = match found.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    Check::ok(
        "peers",
        format!("{list} (optional: compared with by the benchmarks)"),
    )
}
