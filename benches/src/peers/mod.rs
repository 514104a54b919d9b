//! The runtimes that are measured, and how each is asked for the same thing.

pub mod find;
mod name;
mod oci;
mod podman;

use std::cell::OnceCell;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use serde_json::Value;

use crate::args::{Programs, Ready};
use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::managed::{Call, Managed};
use crate::measure::{self, Sample};
use crate::peers::oci::Oci;
use crate::peers::podman::Podman;
use crate::pooled::Pooled;

pub use name::{Choice, Name};

/// The managers that this process asks, each reached when it is first needed.
#[derive(Debug)]
pub struct Manager {
    ready: Ready,
    managed: OnceCell<Rc<Managed>>,
    pooled: OnceCell<Rc<Pooled>>,
}

impl Manager {
    pub fn of(ready: Ready) -> Self {
        Self {
            ready,
            managed: OnceCell::new(),
            pooled: OnceCell::new(),
        }
    }

    /// For peers that ask none.
    pub fn none() -> Self {
        Self::of(Ready::default())
    }

    fn pool(&self, ground: &Ground) -> Result<Rc<Pooled>, BenchError> {
        if let Some(running) = self.pooled.get() {
            return Ok(Rc::clone(running));
        }
        let started = Rc::new(Pooled::start(ground, self.ready.pooled)?);
        Ok(Rc::clone(self.pooled.get_or_init(|| started)))
    }

    fn get(&self, ground: &Ground) -> Result<Rc<Managed>, BenchError> {
        if let Some(connected) = self.managed.get() {
            return Ok(Rc::clone(connected));
        }
        let folder = self.ready.manager.as_ref().ok_or(BenchError::NoManager)?;
        let connected = Rc::new(Managed::connect(ground, folder, &self.ready)?);
        Ok(Rc::clone(self.managed.get_or_init(|| connected)))
    }
}

fn call_of(name: Name) -> Call {
    match name {
        Name::Nested | Name::NestedGrpc => Call::Nested,
        _ => Call::Claim,
    }
}

/// A peer that can be run.
#[derive(Debug)]
pub struct Peer {
    pub name: Name,
    program: PathBuf,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Direct,
    /// How the group is joined.
    Groups(&'static str),
    Unshare,
    Bwrap,
    Oci(Oci),
    Lakekeep {
        /// `host`, or the shared root file system.
        image: PathBuf,
        /// The ordinary user, and the folder that is this user's own.
        user: Option<(u32, PathBuf)>,
    },
    Podman(Podman),
    /// `lakekeep run` with a manager's socket.
    Managed(Rc<Managed>),
    /// No command: a call.
    Call(Called, Call),
}

/// Who is called.
#[derive(Debug, Clone)]
pub enum Called {
    Manager(Rc<Managed>),
    Pool(Rc<Pooled>),
}

impl Called {
    /// Runs the guest that stays, and looks at it; and its outcome, as JSON.
    pub fn look<T>(
        &self,
        ground: &Ground,
        look: impl FnOnce() -> T,
    ) -> Result<(T, Value), BenchError> {
        match self {
            Self::Manager(manager) => manager.look(ground, look),
            Self::Pool(pool) => pool.look(look),
        }
    }

    fn once(&self, call: Call) -> Result<Sample, BenchError> {
        match self {
            Self::Manager(manager) => manager.once(call),
            Self::Pool(pool) => pool.once(call),
        }
    }
}

impl Peer {
    /// Finds the peer's program and prepares what it needs.
    pub fn new(
        name: Name,
        ground: &Ground,
        programs: &Programs,
        user: u32,
        manager: &Manager,
    ) -> Result<Self, BenchError> {
        let root = rustix::process::geteuid().is_root();
        let needs_root = !matches!(
            name,
            Name::Fork | Name::Unshare | Name::Bwrap | Name::LakekeepRootless
        );
        if needs_root && !root {
            return Err(BenchError::NeedsRoot);
        }
        let program = match name {
            Name::Fork => ground.root().join("bin/true"),
            Name::CgroupFloor | Name::CgroupProcs => ground.groups(),
            _ => find::program(name, programs)?,
        };
        let way = match name {
            Name::Fork => Way::Direct,
            Name::CgroupFloor => Way::Groups("self"),
            Name::CgroupProcs => Way::Groups("procs"),
            Name::Unshare => Way::Unshare,
            Name::Bwrap => Way::Bwrap,
            Name::Podman => Way::Podman(Podman::new(&program, ground)?),
            Name::Crun | Name::Runc | Name::Youki | Name::Gvisor | Name::Libcontainer => {
                Way::Oci(Oci::new(name.as_str(), ground)?)
            }
            Name::Lakekeep => Way::Lakekeep {
                image: ground.root(),
                user: None,
            },
            Name::LakekeepHost => Way::Lakekeep {
                image: "host".into(),
                user: None,
            },
            Name::LakekeepRootless => Way::Lakekeep {
                image: ground.root(),
                user: ordinary_user(ground, root.then_some(user))?,
            },
            Name::Managed => Way::Managed(manager.get(ground)?),
            Name::ClaimGrpc | Name::NestedGrpc => {
                let called = Called::Manager(manager.get(ground)?);
                Way::Call(called, call_of(name))
            }
            Name::Claim | Name::Nested => {
                Way::Call(Called::Pool(manager.pool(ground)?), call_of(name))
            }
        };
        Ok(Self { name, program, way })
    }

    /// Waits until what is kept ready is there, and nothing is being made.
    pub fn settle(&self) -> Result<(), BenchError> {
        match &self.way {
            Way::Managed(manager) | Way::Call(Called::Manager(manager), _) => manager.settle(),
            Way::Call(Called::Pool(pool), _) => pool.settle(),
            _ => Ok(()),
        }
    }

    /// Runs the guest once, and measures it.
    pub fn sample(&self, ground: &Ground, serial: u32) -> Result<Sample, BenchError> {
        match &self.way {
            Way::Call(called, call) => called.once(*call),
            _ => measure::once(&mut self.command(ground, Guest::True, serial), ground),
        }
    }

    /// Who is called, where this is no command.
    pub fn called(&self) -> Option<&Called> {
        match &self.way {
            Way::Call(called, _) => Some(called),
            _ => None,
        }
    }

    /// The command that runs `guest`; `serial` is of this run alone.
    pub fn command(&self, ground: &Ground, guest: Guest, serial: u32) -> Command {
        let mut command = Command::new(&self.program);
        let path = ground.guest(guest);
        match &self.way {
            Way::Direct => command = Command::new(ground.root().join(&path[1..])),
            Way::Groups(join) => {
                let group = format!("{}-{serial}", std::process::id());
                command.args([join, &group[..]]);
                command.arg(ground.root().join(&path[1..]));
            }
            Way::Unshare => {
                command.args([
                    "--user",
                    "--map-root-user",
                    "--mount",
                    "--uts",
                    "--ipc",
                    "--net",
                    "--pid",
                ]);
                command
                    .args(["--cgroup", "--fork", "--root"])
                    .arg(ground.root())
                    .arg(path);
            }
            Way::Bwrap => {
                command.args([
                    "--unshare-all",
                    "--unshare-user",
                    "--uid",
                    "1000",
                    "--gid",
                    "1000",
                ]);
                command.args([
                    "--die-with-parent",
                    "--new-session",
                    "--cap-drop",
                    "ALL",
                    "--ro-bind",
                ]);
                command
                    .arg(ground.root())
                    .args(["/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
                command.arg(path);
            }
            Way::Oci(oci) => {
                if self.name == Name::Youki {
                    command = with_child_signals_blocked(&self.program);
                }
                oci.run(&mut command, guest, serial);
            }
            Way::Podman(podman) => podman.run(&mut command, ground, guest, serial),
            Way::Lakekeep { image, user } => {
                command.args(["run", "--image"]).arg(image);
                if image == Path::new("host") && guest == Guest::Hold {
                    // The host has no such program: it is shown at a place of its own.
                    let mount = format!("{}:/mnt:ro", ground.root().join("bin").display());
                    command
                        .args(["--mount", &mount])
                        .args(["--", &path.replace("/bin", "/mnt")]);
                } else {
                    command.args(["--", &path]);
                }
                become_ordinary(&mut command, user.as_ref());
            }
            // Not a command.
            Way::Call(..) => {}
            Way::Managed(manager) => {
                command.args(["run", "--profile", "bench", "--", &path]);
                command.env(lakekeep_client::SOCKET_VARIABLE, manager.socket());
            }
        }
        command
    }

    /// For `lakekeep run`: the same run, which writes its outcome to standard error.
    pub fn receipt_command(&self, ground: &Ground) -> Option<Command> {
        let mut command = Command::new(&self.program);
        command.args(["run", "--receipt", "-"]);
        match &self.way {
            Way::Lakekeep { image, user } => {
                command.arg("--image").arg(image);
                become_ordinary(&mut command, user.as_ref());
            }
            Way::Managed(manager) => {
                command.args(["--profile", "bench"]);
                command.env(lakekeep_client::SOCKET_VARIABLE, manager.socket());
            }
            _ => return None,
        }
        command.args(["--", &ground.guest(Guest::True)]);
        Some(command)
    }

    /// Removes what a failed run may have left.
    pub fn clean_up(&self, serial: u32) {
        let mut command = Command::new(&self.program);
        match &self.way {
            Way::Oci(oci) => oci.delete(&mut command, serial),
            Way::Podman(podman) => podman.remove(&mut command, serial),
            _ => return,
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It may have left nothing.
        command.status().ok();
    }

    /// Words in the command line of the process that stands for a guest which is none of
    /// this host's processes.
    pub fn stands_in(&self, serial: u32) -> Option<[String; 2]> {
        (self.name == Name::Gvisor).then(|| ["boot".to_owned(), oci::id(serial)])
    }

    /// What the program says of its version.
    pub fn version(&self) -> String {
        if matches!(self.way, Way::Direct | Way::Groups(_)) {
            return String::new();
        }
        let output = Command::new(&self.program).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let text = text.unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        match &self.way {
            Way::Podman(podman) => format!("{first}, {}", podman.runtime),
            _ => first.to_owned(),
        }
    }
}

/// `youki run` blocks SIGCHLD only after it has started the container, and waits
/// for ever when that ended before. Blocked already, the signal stays pending.
/// It costs one exec more, of env(1).
fn with_child_signals_blocked(program: &Path) -> Command {
    let mut command = Command::new("env");
    command.arg("--block-signal=CHLD").arg(program);
    command
}

fn ordinary_user(ground: &Ground, user: Option<u32>) -> Result<Option<(u32, PathBuf)>, BenchError> {
    let Some(user) = user else {
        return Ok(None);
    };
    let folder = ground.folder("user")?;
    std::os::unix::fs::chown(&folder, Some(user), Some(user))
        .map_err(BenchError::file("chown", &folder))?;
    Ok(Some((user, folder)))
}

fn become_ordinary(command: &mut Command, user: Option<&(u32, PathBuf)>) {
    if let Some((id, folder)) = user {
        // Supplementary groups are dropped with the user, by the standard library.
        command
            .uid(*id)
            .gid(*id)
            .current_dir(folder)
            .env("XDG_RUNTIME_DIR", folder);
    }
}
