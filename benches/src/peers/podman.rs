//! podman: with a configuration and a store of its own, on the shared root file system.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::measure;
use crate::peers::oci;

/// What podman's files are called below its folder.
const CONFIG: &str = "containers.conf";
const STORAGE: &str = "storage.conf";
const FILTER: &str = "seccomp.json";

/// The OCI runtimes that it is tried with, in its own order of preference. crun refuses
/// some hosts on which runc runs.
const RUNTIMES: [&str; 2] = ["crun", "runc"];

/// Empty files that podman mounts its own on; with ids mapped it cannot make them itself.
const PLACES: [&str; 4] = [
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "run/.containerenv",
];

/// What the OCI runtimes' bundle asks for.
const OPTIONS: [&str; 16] = [
    "--rm",
    "--interactive",
    "--user=1000:1000",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp",
    "--network=none",
    "--cgroupns=private",
    "--memory=2g",
    "--memory-swap=2g",
    "--pids-limit=258",
    "--cpus=1",
    "--no-hosts",
    "--passwd=false",
];

/// podman's folder, and the runtime that it runs with.
#[derive(Debug)]
pub struct Podman {
    folder: PathBuf,
    pub runtime: &'static str,
}

impl Podman {
    /// Prepares it, and finds a runtime with which it runs here.
    pub fn new(program: &Path, ground: &Ground) -> Result<Self, BenchError> {
        for place in PLACES {
            write(&ground.root().join(place), "")?;
        }
        let folder = ground.folder("podman")?;
        configure(&folder)?;
        let mut why = None;
        for runtime in RUNTIMES {
            let podman = Self {
                folder: folder.clone(),
                runtime,
            };
            let mut command = Command::new(program);
            podman.run(&mut command, ground, Guest::True, 0);
            match measure::once(&mut command, ground) {
                Ok(_) => return Ok(podman),
                // The first is the one that podman prefers.
                Err(error) => why = why.or(Some(error)),
            }
        }
        Err(why.unwrap_or(BenchError::Missing {
            program: "an OCI runtime for podman".to_owned(),
            remedy: "install crun or runc",
        }))
    }

    /// `podman --runtime RUNTIME run … --rootfs ROOT GUEST`
    pub fn run(&self, command: &mut Command, ground: &Ground, guest: Guest, serial: u32) {
        let ids = format!("0:{}:65536", oci::FIRST_ID);
        self.with_its_files(command)
            .args(["--runtime", self.runtime, "run"])
            .args(OPTIONS)
            .args(["--name", &oci::id(serial)])
            .args(["--uidmap", &ids, "--gidmap", &ids])
            .arg(format!("--cgroup-parent={}", oci::group("podman")))
            .arg(format!(
                "--security-opt=seccomp={}",
                self.folder.join(FILTER).display()
            ))
            .arg("--rootfs")
            .arg(ground.root())
            .arg(ground.guest(guest));
    }

    /// `podman rm --force NAME`
    pub fn remove(&self, command: &mut Command, serial: u32) {
        self.with_its_files(command)
            .args(["rm", "--force", "--ignore", "--time", "0", &oci::id(serial)])
            .stdin(Stdio::null());
    }

    fn with_its_files<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("CONTAINERS_CONF", self.folder.join(CONFIG))
            .env("CONTAINERS_STORAGE_CONF", self.folder.join(STORAGE))
    }
}

/// Locks, state and images in `folder`: whatever else podman does on this host is not met.
fn configure(folder: &Path) -> Result<(), BenchError> {
    let config = format!(
        "[containers]\n\
         default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"none\"\n\
         lock_type = \"file\"\n\
         tmp_dir = {:?}\n",
        folder.join("tmp")
    );
    write(&folder.join(CONFIG), &config)?;
    // With --rootfs there is no image whose layers a faster driver would stack.
    let storage = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n",
        folder.join("store"),
        folder.join("run")
    );
    write(&folder.join(STORAGE), &storage)?;
    write(&folder.join(FILTER), &oci::seccomp()?.to_string())
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(BenchError::file("write", path))
}
