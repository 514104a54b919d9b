//! The OCI runtimes: a bundle that asks for what lakekeep gives.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::error::BenchError;
use crate::ground::{GROUP, Ground, Guest};

/// A filter of the size of Docker's default: an allow list with conditions on
/// clone, socket and personality, for three instruction sets on x86-64.
const SECCOMP: &str = include_str!("../../data/seccomp.json");

/// First host id of the containers; no distribution hands it out by itself.
pub const FIRST_ID: u32 = 0x5f00_0000;

/// What lakekeep's defaults are, too.
const MEMORY: u64 = 2 << 30;
const PIDS: u32 = 258;
const CPU_US: u32 = 100_000;

/// The peer that is libcontainer alone.
const LIBRARY: &str = "libcontainer";

/// One runtime's bundles and state folder.
#[derive(Debug)]
pub struct Oci {
    /// No runtime, but the library's example, which knows no verbs.
    library: bool,
    /// Before the verb.
    options: &'static [&'static str],
    state: PathBuf,
    bundle: PathBuf,
    bundle_hold: PathBuf,
}

impl Oci {
    pub fn new(runtime: &str, ground: &Ground) -> Result<Self, BenchError> {
        Ok(Self {
            library: runtime == LIBRARY,
            options: match runtime {
                // Its own network stack would otherwise take over the namespace's devices.
                "gvisor" => &["--network=none"],
                _ => &[],
            },
            state: ground.folder(&format!("{runtime}/state"))?,
            bundle: bundle(runtime, ground, Guest::True)?,
            bundle_hold: bundle(runtime, ground, Guest::Hold)?,
        })
    }

    /// `RUNTIME --root STATE OPTIONS run --bundle BUNDLE ID`, or `LIBRARY STATE BUNDLE ID`.
    pub fn run(&self, command: &mut Command, guest: Guest, serial: u32) {
        let bundle = match guest {
            Guest::True => &self.bundle,
            Guest::Hold => &self.bundle_hold,
        };
        if self.library {
            command.arg(&self.state).arg(bundle).arg(id(serial));
            return;
        }
        command
            .arg("--root")
            .arg(&self.state)
            .args(self.options)
            .args(["run", "--bundle"])
            .arg(bundle)
            .arg(id(serial));
    }

    /// `RUNTIME --root STATE delete --force ID`; the library's example has no such verb,
    /// and refuses it.
    pub fn delete(&self, command: &mut Command, serial: u32) {
        command
            .arg("--root")
            .arg(&self.state)
            .args(["delete", "--force", &id(serial)]);
    }
}

/// The name of a run's container.
pub fn id(serial: u32) -> String {
    format!("bench-{}-{serial}", std::process::id())
}

/// The group of a runtime's containers, of this process alone: a runtime removes it with
/// its container.
pub fn group(runtime: &str) -> String {
    format!("/{GROUP}/{runtime}-{}", std::process::id())
}

fn bundle(runtime: &str, ground: &Ground, guest: Guest) -> Result<PathBuf, BenchError> {
    let folder = ground.folder(&format!("{runtime}/{}", ground.name(guest)))?;
    let mut config = config(runtime, &ground.root(), &ground.guest(guest))?;
    if runtime == LIBRARY {
        ask_least(&mut config);
    }
    let file = folder.join("config.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&config)?)
        .map_err(BenchError::file("write", &file))?;
    Ok(folder)
}

fn config(runtime: &str, root: &Path, guest: &str) -> Result<Value, BenchError> {
    let none: [&str; 0] = [];
    let namespaces = ["user", "pid", "network", "ipc", "uts", "mount", "cgroup"]
        .map(|kind| json!({ "type": kind }));
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": { "path": root, "readonly": true },
        "hostname": "bench",
        "process": {
            "terminal": false,
            "user": { "uid": 1000, "gid": 1000 },
            "args": [guest],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }],
        },
        "mounts": mounts(),
        "linux": {
            "namespaces": namespaces,
            "uidMappings": [{ "containerID": 0, "hostID": FIRST_ID, "size": 65536 }],
            "gidMappings": [{ "containerID": 0, "hostID": FIRST_ID, "size": 65536 }],
            "cgroupsPath": group(runtime),
            "resources": {
                "memory": { "limit": MEMORY, "swap": MEMORY },
                "pids": { "limit": PIDS },
                "cpu": { "quota": CPU_US, "period": CPU_US },
            },
            "seccomp": seccomp()?,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }))
}

/// Leaves the namespaces, the map of ids, the root, a /proc and a /dev: what every sandbox has.
fn ask_least(config: &mut Value) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        // /proc, and /dev for the devices that libcontainer always makes.
        mounts.truncate(2);
    }
    if let Some(linux) = config["linux"].as_object_mut() {
        for asked in ["resources", "seccomp", "maskedPaths", "readonlyPaths"] {
            linux.remove(asked);
        }
    }
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=65536k"] },
    ])
}

/// The filter, for this machine.
pub fn seccomp() -> Result<Value, BenchError> {
    let mut filter: Value = serde_json::from_str(SECCOMP)?;
    if std::env::consts::ARCH == "aarch64" {
        filter["architectures"] = json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_asked_for_the_least() {
        let mut config = config(LIBRARY, Path::new("/root"), "/bin/true").unwrap();
        ask_least(&mut config);
        assert_eq!(config["mounts"].as_array().unwrap().len(), 2);
        assert_eq!(config["mounts"][0]["destination"], "/proc");
        let linux = config["linux"].as_object().unwrap();
        assert!(!linux.contains_key("seccomp") && !linux.contains_key("resources"));
        assert_eq!(linux["namespaces"].as_array().unwrap().len(), 7);
    }

    #[test]
    fn a_bundle_asks_for_every_layer() {
        let config = config("crun", Path::new("/root"), "/bin/true").unwrap();
        assert_eq!(config["linux"]["namespaces"].as_array().unwrap().len(), 7);
        assert_eq!(config["linux"]["cgroupsPath"], group("crun"));
        assert!(group("crun").starts_with("/lakekeep-bench/crun-"));
        let allowed = config["linux"]["seccomp"]["syscalls"][0]["names"]
            .as_array()
            .unwrap();
        assert!(allowed.len() > 250 && !allowed.contains(&json!("mount")));
    }
}
