//! Weakenings announce themselves.

use std::fmt;
use std::path::Path;

use crate::policy::{Egress, MountRule, Policy};
use crate::preset::{MountMode, ProcView};
use crate::show::shown;

/// Sockets that hand control of the host to whoever can write to them.
const CONTROL_SOCKETS: &[&str] = &[
    "docker.sock",
    "podman.sock",
    "containerd.sock",
    "crio.sock",
    "system_bus_socket",
];

/// Something that the policy allows and that makes the sandbox weaker than its
/// preset, or exposes the host. For the output and the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    field: String,
    message: String,
}

impl Warning {
    fn new(field: &str, message: impl Into<String>) -> Warning {
        Warning {
            field: field.to_owned(),
            message: message.into(),
        }
    }

    /// The path of the field, such as `landlock.enabled`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is weaker, and what that means.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

pub(crate) fn warnings(policy: &Policy) -> Vec<Warning> {
    let mut found: Vec<Warning> = [landlock_off, wider_seccomp, wider_proc, swap]
        .iter()
        .filter_map(|rule| rule(policy))
        .collect();
    let egress = policy.egress.iter().flat_map(Egress::warnings);
    found.extend(egress.map(|message| Warning::new("egress", message.as_str())));
    for mount in &policy.mounts {
        let rules = [whole_host, writable_top_folder, control_socket];
        found.extend(rules.iter().filter_map(|rule| rule(mount)));
    }
    found
}

fn landlock_off(policy: &Policy) -> Option<Warning> {
    (!policy.landlock).then(|| {
        Warning::new(
            "landlock.enabled",
            "Landlock is off: only the mounts and the file permissions guard files",
        )
    })
}

fn wider_seccomp(policy: &Policy) -> Option<Warning> {
    let (own, usual) = (policy.seccomp, policy.preset.seccomp_profile());
    (own > usual).then(|| {
        let message =
            format!("profile \"{own}\" allows more system calls than the preset's \"{usual}\"");
        Warning::new("seccomp.profile", message)
    })
}

fn wider_proc(policy: &Policy) -> Option<Warning> {
    let narrower = policy.preset.proc_view() == ProcView::Pids;
    (narrower && policy.proc_view == ProcView::Full).then(|| {
        let message = format!(
            "the kernel-wide files of /proc are visible, which the preset \"{}\" leaves out",
            policy.preset
        );
        Warning::new("proc.view", message)
    })
}

fn swap(policy: &Policy) -> Option<Warning> {
    (policy.limits.swap.get() > 0).then(|| {
        Warning::new(
            "limits.swap",
            "memory of the sandbox can be written to the host's swap device",
        )
    })
}

fn whole_host(mount: &MountRule) -> Option<Warning> {
    (mount.source == Path::new("/")).then(|| {
        Warning::new(
            "mounts.source",
            "\"/\" shows every file of the host that the sandbox's user can read",
        )
    })
}

/// A folder directly beneath `/` belongs to the system, not to one user of it.
fn writable_top_folder(mount: &MountRule) -> Option<Warning> {
    let top = mount.source.parent() == Some(Path::new("/"));
    (top && mount.mode == MountMode::ReadWrite).then(|| {
        let message = format!(
            "\"{}\" of the host can be changed by the sandbox",
            shown(&mount.source.to_string_lossy())
        );
        Warning::new("mounts.source", message)
    })
}

/// Read-only makes no difference: connecting to a socket is not a write.
fn control_socket(mount: &MountRule) -> Option<Warning> {
    let name = mount.source.file_name()?.to_str()?;
    CONTROL_SOCKETS.contains(&name).then(|| {
        let message = format!(
            "\"{}\" controls services of the host; read-only does not prevent that",
            shown(&mount.source.to_string_lossy())
        );
        Warning::new("mounts.source", message)
    })
}
