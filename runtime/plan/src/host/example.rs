//! Two hosts that never change, for golden tests of plans and of the doctor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{
    Caller, CgroupFacts, CgroupMode, CgroupVersion, ControllerFacts, Filesystems, HostFacts,
    IdExtent, KernelRelease, SubordinateIds, UnifiedFacts, UserNamespaceFacts,
};

const V1_CONTROLLERS: [&str; 8] = [
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids",
];
const DELEGATED_CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const DELEGATED_PARENT: &str = "/user.slice/user-1000.slice/user@1000.service";
const GIB: u64 = 1 << 30;

impl HostFacts {
    /// Root on a hybrid host of four CPUs where every layer can be enforced.
    #[must_use]
    pub fn example_root() -> Self {
        Self {
            kernel: kernel(6, 12),
            arch: "x86_64".to_owned(),
            caller: caller(0),
            user_namespaces: user_namespaces(),
            subordinate: None,
            cgroup: hybrid(),
            landlock_abi: 6,
            seccomp_actions: seccomp_actions(),
            online_cpus: 4,
            memory_total: 16 * GIB,
            swap_total: 0,
            pid_max: 4_194_304,
            lsm: Some(names(&["lockdown", "capability", "landlock", "yama"])),
            filesystems: Filesystems {
                overlay: true,
                erofs: true,
            },
            proc_fully_visible: true,
        }
    }

    /// An ordinary user on a pure version 2 host, with a delegated group and
    /// subordinate ids: what a desktop or a notebook server looks like.
    #[must_use]
    pub fn example_rootless() -> Self {
        Self {
            caller: caller(1000),
            subordinate: Some(SubordinateIds {
                uid_start: 100_000,
                uid_count: 65_536,
                gid_start: 100_000,
                gid_count: 65_536,
                newuidmap: Some(PathBuf::from("/usr/bin/newuidmap")),
                newgidmap: Some(PathBuf::from("/usr/bin/newgidmap")),
            }),
            cgroup: delegated(),
            swap_total: 2 * GIB,
            ..Self::example_root()
        }
    }
}

fn kernel(major: u32, minor: u32) -> KernelRelease {
    KernelRelease {
        major,
        minor,
        text: format!("{major}.{minor}.0-example"),
    }
}

fn caller(id: u32) -> Caller {
    let identity = vec![IdExtent {
        inside: 0,
        outside: 0,
        count: u32::MAX,
    }];
    Caller {
        euid: id,
        egid: id,
        in_user_namespace: false,
        uid_map: identity.clone(),
        gid_map: identity,
    }
}

fn user_namespaces() -> UserNamespaceFacts {
    UserNamespaceFacts {
        available: true,
        max: 63_000,
        apparmor_restricted: false,
        unprivileged_clone_sysctl: Some(true),
    }
}

fn seccomp_actions() -> Vec<String> {
    names(&[
        "kill_process",
        "kill_thread",
        "trap",
        "errno",
        "user_notif",
        "trace",
        "log",
        "allow",
    ])
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

fn hybrid() -> CgroupFacts {
    let root = Path::new("/sys/fs/cgroup");
    let controller = |name: &str| ControllerFacts {
        version: CgroupVersion::V1,
        mount: root.join(name),
        writable: true,
        own_path: Some(PathBuf::from("/")),
    };
    CgroupFacts {
        mode: CgroupMode::Hybrid,
        controllers: by_name(&V1_CONTROLLERS, controller),
        unified: Some(UnifiedFacts {
            mount: root.join("unified"),
            writable: true,
            own_path: Some(PathBuf::from("/")),
        }),
        parent: PathBuf::from("/"),
        delegated: false,
    }
}

fn delegated() -> CgroupFacts {
    let mount = PathBuf::from("/sys/fs/cgroup");
    let own = Path::new(DELEGATED_PARENT).join("app.slice/terminal.scope");
    let controller = |_: &str| ControllerFacts {
        version: CgroupVersion::V2,
        mount: mount.clone(),
        writable: true,
        own_path: Some(own.clone()),
    };
    CgroupFacts {
        mode: CgroupMode::V2,
        controllers: by_name(&DELEGATED_CONTROLLERS, controller),
        unified: Some(UnifiedFacts {
            mount: mount.clone(),
            writable: true,
            own_path: Some(own.clone()),
        }),
        parent: PathBuf::from(DELEGATED_PARENT),
        delegated: true,
    }
}

fn by_name(
    list: &[&str],
    facts: impl Fn(&str) -> ControllerFacts,
) -> BTreeMap<String, ControllerFacts> {
    list.iter()
        .map(|&name| (name.to_owned(), facts(name)))
        .collect()
}
