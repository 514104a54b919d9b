//! What all peers share: one root file system with static programs in it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::error::BenchError;

/// The directories that some peer mounts on.
const PLACES: [&str; 8] = ["bin", "dev", "proc", "sys", "tmp", "etc", "run", "home"];

const TRUE: &str = include_str!("../guest/true.c");
const HOLD: &str = include_str!("../guest/hold.c");
const CLOCK: &str = include_str!("../guest/clock.c");
const GROUPS: &str = include_str!("../guest/groups.c");

/// Name below every cgroup hierarchy of the groups that OCI peers are given.
pub const GROUP: &str = "lakekeep-bench";

/// The programs of the shared root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// Ends at once.
    True,
    /// Stays until its input ends.
    Hold,
}

/// The shared folder. Dropped, it is removed with all that peers left in it.
#[derive(Debug)]
pub struct Ground {
    folder: TempDir,
    /// The root file system; a worker's is its run's.
    root: PathBuf,
    hold: String,
    /// Whether it is this one that cleans up what all share.
    own: bool,
}

impl Ground {
    /// Compiles the guests and makes the root file system.
    pub fn make() -> Result<Self, BenchError> {
        let folder = temporary()?;
        let ground = Self {
            root: folder.path().join("root"),
            folder,
            hold: format!("hold-{}", std::process::id()),
            own: true,
        };
        for place in PLACES {
            ground.folder(&format!("root/{place}"))?;
        }
        let bin = ground.root.join("bin");
        ground.compile(&bin.join("true"), TRUE, &[])?;
        ground.compile(&bin.join("clock"), CLOCK, &["-nostdlib"])?;
        ground.compile(&bin.join(&ground.hold), HOLD, &[])?;
        ground.compile(&ground.groups(), GROUPS, &[])?;
        Ok(ground)
    }

    /// A worker's own folder, beside the root file system of its run.
    pub fn share(root: &Path, hold: &str) -> Result<Self, BenchError> {
        Ok(Self {
            folder: temporary()?,
            root: root.to_path_buf(),
            hold: hold.to_owned(),
            own: false,
        })
    }

    /// A program that does the cgroup part of a sandbox and nothing else.
    pub fn groups(&self) -> PathBuf {
        self.root.with_file_name("groups")
    }

    /// The root file system.
    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// A folder of this name and of this process, made if need be.
    pub fn folder(&self, name: &str) -> Result<PathBuf, BenchError> {
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(BenchError::file("mkdir", &path))?;
        open_to_all(&path)?;
        Ok(path)
    }

    /// An empty file for a peer's last words.
    pub fn words(&self) -> Result<File, BenchError> {
        let path = self.path("words");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path);
        file.map_err(BenchError::file("open", &path))
    }

    /// What is in that file, on one line.
    pub fn read_words(&self) -> String {
        let text = fs::read_to_string(self.path("words")).unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        lines.join("; ").chars().take(300).collect()
    }

    /// Path of a guest within the root file system.
    pub fn guest(&self, guest: Guest) -> String {
        format!("/bin/{}", self.name(guest))
    }

    /// Path of the program that says when it began.
    pub fn clock() -> String {
        "/bin/clock".to_owned()
    }

    /// Name of a guest's process.
    pub fn name(&self, guest: Guest) -> &str {
        match guest {
            Guest::True => "true",
            Guest::Hold => &self.hold,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, program: &Path, source: &str, more: &[&str]) -> Result<(), BenchError> {
        let name = program.file_name().unwrap_or_default().display();
        let file = self.path(&format!("{name}.c"));
        fs::write(&file, source).map_err(BenchError::file("write", &file))?;
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(&compiler);
        command
            .args(["-static", "-Os"])
            .args(more)
            .arg("-o")
            .arg(program)
            .arg(file);
        let output = command.output().map_err(|error| BenchError::Start {
            program: compiler.clone(),
            error,
        })?;
        match output.status.success() {
            true => Ok(()),
            false => Err(BenchError::Failed {
                program: compiler,
                status: output.status.to_string(),
                words: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
        }
    }
}

impl Drop for Ground {
    /// OCI runtimes remove their groups and leave the one above, podman those of its
    /// monitors too, in every hierarchy; one that still has members stays, to be seen.
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        let hierarchies = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten();
        for hierarchy in hierarchies {
            remove_groups(&hierarchy.path().join(GROUP));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(GROUP));
    }
}

fn temporary() -> Result<TempDir, BenchError> {
    let folder = tempfile::Builder::new().prefix("lakekeep-bench-").tempdir();
    let folder = folder.map_err(BenchError::file("mkdir", &std::env::temp_dir()))?;
    // The sandboxes' ids are nobody's here: they pass by the others' bits.
    open_to_all(folder.path())?;
    Ok(folder)
}

/// Removes a group after those below it; what is no group is no folder.
fn remove_groups(top: &Path) {
    for below in fs::read_dir(top).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&below.path());
        }
    }
    fs::remove_dir(top).ok();
}

fn open_to_all(path: &Path) -> Result<(), BenchError> {
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(BenchError::file("chmod", path))
}
