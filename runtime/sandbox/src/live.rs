//! A live process of this host, as the kernel has it now.

use std::path::Path;

use lakekeep_sys::Error;
use lakekeep_sys::readback::{NamespaceIds, Status};
use serde_json::json;

use crate::receipt::{LayerReceipt, LayerState};

/// Why a process cannot be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// It is not there, or not the caller's to look at.
    #[error("process {pid} cannot be inspected: it has ended, or is another user's (run as root)")]
    Unreadable {
        /// Its id on this host.
        pid: u32,
        /// Why.
        #[source]
        error: Error,
    },
}

/// Reads back the layers that can be read from outside.
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn inspect(pid: u32) -> Result<Vec<LayerReceipt>, LiveError> {
    let proc = Path::new("/proc");
    let unreadable = |error| LiveError::Unreadable { pid, error };
    let number = pid.to_string();
    let status = Status::read(proc, &number).map_err(unreadable)?;
    let its = NamespaceIds::read(proc, &number).map_err(unreadable)?;
    let own = NamespaceIds::read(proc, "self").map_err(unreadable)?;
    let namespaces = [
        ("user_namespace", its.user, own.user),
        ("mount_namespace", its.mount, own.mount),
        ("pid_namespace", its.pid, own.pid),
        ("ipc_namespace", its.ipc, own.ipc),
        ("uts_namespace", its.uts, own.uts),
        ("cgroup_namespace", its.cgroup, own.cgroup),
        ("network_namespace", its.network, own.network),
    ];
    let mut layers: Vec<LayerReceipt> = namespaces
        .iter()
        .map(|(name, its, own)| {
            layer(
                name,
                its != own,
                json!({ "process": its, "here": own }),
                "it is this one's",
            )
        })
        .collect();
    let sets = status.capabilities;
    layers.push(layer(
        "capabilities",
        sets.none(),
        json!({ "effective": sets.effective, "bounding": sets.bounding }),
        "it has or can get some",
    ));
    layers.push(layer(
        "no_new_privileges",
        status.no_new_privileges,
        json!(true),
        "not set",
    ));
    let filters = json!({ "mode": status.seccomp_mode, "filters": status.seccomp_filters });
    layers.push(layer(
        "seccomp",
        status.seccomp_mode == 2,
        filters,
        "no filter",
    ));
    let own_user = rustix::process::geteuid().as_raw();
    let apart = !status.users.contains(&0) && !status.users.contains(&own_user);
    let ids = json!({ "user": status.users[1], "group": status.groups[1] });
    layers.push(layer("id_range", apart, ids, "it is root, or this user"));
    Ok(layers)
}

fn layer(name: &str, holds: bool, value: serde_json::Value, otherwise: &str) -> LayerReceipt {
    LayerReceipt {
        layer: name.to_owned(),
        state: if holds {
            LayerState::Enforced
        } else {
            LayerState::Unenforced
        },
        value: if holds {
            value
        } else {
            serde_json::Value::Null
        },
        reason: (!holds).then(|| otherwise.to_owned()),
    }
}
