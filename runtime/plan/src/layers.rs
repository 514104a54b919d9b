//! Which layers this host can enforce for this policy, and why not the others.

use lakekeep_policy::{Layer, Policy};
use serde::{Deserialize, Serialize};

use crate::host::HostFacts;

/// Whether a layer will be enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Enforcement {
    /// It will be, and read back.
    Enforced,
    /// It cannot be, or the policy gave it up.
    Unenforced {
        /// Why, and what would change it.
        reason: String,
    },
}

/// One layer of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPlan {
    /// Its name.
    pub layer: String,
    /// Whether it will be enforced.
    #[serde(flatten)]
    pub enforcement: Enforcement,
}

const NO_CGROUP: &str = "no cgroup of its own can be made: run as root, or in a delegated cgroup v2 \
    (systemd-run --user --scope -p Delegate=yes)";

/// Decides every layer.
pub fn decide(policy: &Policy, host: &HostFacts) -> Vec<LayerPlan> {
    let plan = |layer: &Layer| LayerPlan {
        layer: layer.as_str().to_owned(),
        enforcement: match refusal(*layer, policy, host) {
            None => Enforcement::Enforced,
            Some(reason) => Enforcement::Unenforced { reason },
        },
    };
    Layer::ALL.iter().map(plan).collect()
}

/// Why a layer cannot be enforced; `None` when it can.
pub fn refusal(layer: Layer, policy: &Policy, host: &HostFacts) -> Option<String> {
    match layer {
        Layer::IdRange => id_range(host),
        Layer::SeparateUid => separate_uid(host),
        Layer::Landlock => landlock(policy, host),
        Layer::MemoryLimit => controller(host, "memory"),
        Layer::SwapLimit => swap(host),
        Layer::CpuLimit => controller(host, "cpu"),
        Layer::WallTimeLimit => absent(policy.limits().wall_time().is_none(), "limits.wall_time"),
        Layer::CpuTimeLimit => absent(policy.limits().cpu_time().is_none(), "limits.cpu_time"),
        _ => None,
    }
}

fn absent(is_absent: bool, field: &str) -> Option<String> {
    is_absent.then(|| format!("the policy sets no {field}"))
}

fn id_range(host: &HostFacts) -> Option<String> {
    (!host.is_host_root()).then(|| {
        "without root every sandbox of a user has that user's own ids: run as root for a range of \
         its own"
            .to_owned()
    })
}

fn separate_uid(host: &HostFacts) -> Option<String> {
    (host.task_user() == 0).then(|| {
        "one user id is all there is: install uidmap and add the user to /etc/subuid and \
         /etc/subgid"
            .to_owned()
    })
}

fn landlock(policy: &Policy, host: &HostFacts) -> Option<String> {
    if !policy.landlock() {
        return Some("the policy switches it off (landlock.enabled = false)".to_owned());
    }
    (host.landlock_abi == 0)
        .then(|| "the kernel has no Landlock, or it is not in the lsm= boot parameter".to_owned())
}

fn controller(host: &HostFacts, name: &str) -> Option<String> {
    (!host.cgroup.enforces(name)).then(|| NO_CGROUP.to_owned())
}

fn swap(host: &HostFacts) -> Option<String> {
    // Without swap space there is nothing to limit: the limit holds by itself.
    if host.swap_total == 0 {
        return None;
    }
    controller(host, "memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakekeep_policy::PolicyDoc;

    fn policy() -> Policy {
        Policy::check(PolicyDoc::default()).unwrap()
    }

    #[test]
    fn root_on_a_full_host_enforces_all_but_what_the_policy_leaves_out() {
        let host = HostFacts::example_root();
        let refused: Vec<&str> = Layer::ALL
            .iter()
            .filter(|layer| refusal(**layer, &policy(), &host).is_some())
            .map(|layer| layer.as_str())
            .collect();
        assert_eq!(refused, ["cpu_time_limit"]);
    }

    #[test]
    fn a_host_without_landlock_or_cgroups_says_so() {
        let mut host = HostFacts::example_root();
        host.landlock_abi = 0;
        host.cgroup.controllers.clear();
        for layer in [Layer::Landlock, Layer::MemoryLimit, Layer::CpuLimit] {
            assert!(refusal(layer, &policy(), &host).is_some(), "{layer}");
        }
    }
}
