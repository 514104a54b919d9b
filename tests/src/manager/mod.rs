//! A manager of one test's own: real processes, real accounts, real connections.
//!
//! ```no_run
//! use lakekeep_tests::manager::{Setup, create};
//!
//! let Some(manager) = Setup::new().start("a_test") else { return };
//! let alice = manager.alice();
//! let sandbox = alice.sandbox(create());
//! assert_eq!(alice.run(&sandbox.id, "echo hello").success(), "hello");
//! manager.end();
//! ```

mod accounts;
mod audit;
mod collector;
mod connect;
mod disk;
mod issuer;
mod keeper;
mod load;
mod machine;
mod metrics;
pub mod parked;
mod setup;
mod silent;
mod talk;
mod tls;
mod user;
mod watch;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use lakekeep_api::v1;
use rustix::process::{Pid, Signal, kill_process};

use crate::functions::Engine;
use crate::{HostSnapshot, Place, Tracked, descendants, eventually, fail};

pub use accounts::{ALICE, Account, BOB, CAROL, ENGINE, POOL, SERVICE, account, available};
pub use audit::Refusals;
pub use collector::Collector;
pub use connect::{channel, connect, connect_packets, try_channel, try_connect, wait};
pub use disk::with_volumes;
pub use issuer::Issuer;
pub use keeper::{Heard, Kept};
pub use load::{Dice, Times, Work, Wrong, cycle};
pub use machine::{Machine, has_python};
pub use metrics::{scrape, value};
pub use setup::{Setup, shared_profile};
pub use silent::{Silent, Until, raise_descriptors};
pub use talk::{Done, Talk};
pub use tls::{Authority, Client, free_port};
pub use tonic::Code;
pub use user::{Feed, Refused, User, Writing, command, of, shell};
pub use watch::{Counts, Sample, Use};

/// Namespaces. They are held open: the kernel gives the number of one that is gone to
/// the next one, which may be another test's.
#[derive(Debug, Default)]
pub struct Namespaces {
    names: BTreeSet<PathBuf>,
    _held: Vec<File>,
}

impl Namespaces {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A running manager, with its supervisor and launchers.
///
/// Dropped without [`Manager::end`], its supervisor is killed, and everything with it.
#[derive(Debug)]
pub struct Manager {
    supervisor: Tracked,
    config: PathBuf,
    folder: PathBuf,
    before: HostSnapshot,
    // Last: it goes when everything in it has gone.
    place: Place,
}

impl Manager {
    /// The test's own directory.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The API's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run/lakekeep.sock")
    }

    /// An engine of this account's, on the socket of user functions.
    ///
    /// # Panics
    /// When it cannot connect.
    #[must_use]
    #[track_caller]
    pub fn engine(&self, name: &str) -> Engine {
        let path = self.folder.join("run/lakekeep.sock.udf");
        let connected = connect_packets(&path, &account(name));
        Engine::new(connected.unwrap_or_else(|e| fail(format_args!("{}: {e}", path.display()))))
    }

    /// For what ends with the boot.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// What the manager remembers.
    #[must_use]
    pub fn kept(&self) -> PathBuf {
        self.folder.join("kept")
    }

    /// The administrator's profiles.
    #[must_use]
    pub fn profiles(&self) -> PathBuf {
        self.folder.join("profiles")
    }

    /// The administrator's rules of egress, where they have a file ([`Setup::egress`]).
    #[must_use]
    pub fn egress(&self) -> PathBuf {
        self.folder.join("egress.toml")
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// All that manager, supervisor and launchers have said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A bare connection that this account made.
    #[must_use]
    #[track_caller]
    pub fn connection(&self, name: &str) -> UnixStream {
        connect(&self.socket(), &account(name))
    }

    /// A user, on a connection of its own.
    #[must_use]
    #[track_caller]
    pub fn user(&self, name: &str) -> User {
        User::new(name, channel(self.connection(name)))
    }

    /// The same, where the manager may be killed meanwhile.
    #[must_use]
    #[track_caller]
    pub fn try_user(&self, name: &str) -> Option<User> {
        let channel = try_channel(self.connection(name)).ok()?;
        Some(User::new(name, channel))
    }

    /// Somebody with this user number, which is no account's.
    #[must_use]
    #[track_caller]
    pub fn stranger(&self, uid: u32) -> User {
        let account = Account {
            name: format!("uid {uid}"),
            uid,
            gid: uid,
        };
        User::new(&account.name, channel(connect(&self.socket(), &account)))
    }

    /// The first ordinary user.
    #[must_use]
    #[track_caller]
    pub fn alice(&self) -> User {
        self.user(ALICE)
    }

    /// The second.
    #[must_use]
    #[track_caller]
    pub fn bob(&self) -> User {
        self.user(BOB)
    }

    /// The administrator.
    #[must_use]
    #[track_caller]
    pub fn root(&self) -> User {
        self.user("root")
    }

    /// The supervisor's process.
    #[must_use]
    pub fn supervisor(&self) -> i32 {
        i32::try_from(self.supervisor.id()).unwrap_or(-1)
    }

    /// The manager's own process; `None` while there is none.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let below = descendants(self.supervisor.id()).into_iter();
        below
            .filter(|pid| words(*pid).get(1).is_some_and(|word| word == "manager"))
            .find(|pid| parent(*pid) == Some(self.supervisor()))
    }

    /// The launchers that the supervisor started.
    #[must_use]
    pub fn launchers(&self) -> Vec<i32> {
        let below = descendants(self.supervisor.id()).into_iter();
        below
            .filter(|pid| parent(*pid) == Some(self.supervisor()))
            .filter(|pid| {
                let words = words(*pid);
                words
                    .first()
                    .is_some_and(|word| word.ends_with("lakekeep-launcher"))
            })
            .collect()
    }

    /// Everything that runs for this manager.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let mut all = descendants(self.supervisor.id());
        all.push(self.supervisor());
        all
    }

    /// Kills the manager's process and waits until another answers.
    ///
    /// # Panics
    /// When there is none to kill, or none comes.
    #[track_caller]
    pub fn kill_manager(&self) {
        let old = eventually("a manager to kill", || self.pid());
        kill(old);
        eventually("another manager", || self.pid().filter(|pid| *pid != old));
        self.answers();
    }

    /// Kills the supervisor, and waits until nothing of it runs.
    ///
    /// # Panics
    /// When something goes on.
    #[track_caller]
    pub fn kill_supervisor(&mut self) {
        let all = self.processes();
        if let Err(error) = self.supervisor.kill() {
            fail(format_args!("the supervisor: {error}"));
        }
        eventually("the supervisor's end", || {
            self.supervisor.try_wait().ok().flatten()
        });
        eventually("the end of everything", || {
            let alive = all.iter().any(|pid| is_alive(*pid));
            (!alive).then_some(())
        });
    }

    /// Starts it again, in the same folders, after its supervisor ended.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.launch_again();
        self.answers();
    }

    /// The same, without waiting for an answer.
    #[track_caller]
    pub fn launch_again(&mut self) {
        self.supervisor = setup::spawn(&self.folder, &self.config);
    }

    /// Waits until the manager answers.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn answers(&self) {
        let root = account("root");
        eventually("the API's socket", || {
            UnixStream::connect(self.socket()).ok()
        });
        // A manager that refuses its files is started again and again, and never answers.
        let refused = |line: &str| line.starts_with("lakekeep: cannot ");
        eventually("an answer", || {
            if let Some(line) = self.log().lines().find(|line| refused(line)) {
                fail(format_args!("{line}"));
            }
            let user = User::new("root", channel(connect(&self.socket(), &root)));
            user.who_am_i(v1::WhoAmIRequest::default()).ok()
        });
    }

    /// Ends it as systemd does, and fails the test unless nothing is left.
    ///
    /// # Panics
    /// When it does not end, fails, or leaves something.
    #[track_caller]
    pub fn end(mut self) {
        let namespaces = self.namespaces();
        if let Some(pid) = Pid::from_raw(self.supervisor()) {
            kill_process(pid, Signal::TERM)
                .unwrap_or_else(|e| fail(format_args!("the supervisor: {e}")));
        }
        let status = eventually("the supervisor's end", || {
            self.supervisor.try_wait().ok().flatten()
        });
        if !status.success() {
            fail(format_args!("serve: {status}\n{}", self.log()));
        }
        self.nothing_is_left(&namespaces);
        for folder in ["run/sandboxes", "run/state"] {
            let left = entries(&self.folder.join(folder));
            // The file whose locks are the leases of id ranges stays.
            let left: Vec<_> = left.iter().filter(|path| !path.ends_with("ids")).collect();
            let empty = |path: &PathBuf| path.is_dir() && entries(path).is_empty();
            if !left.iter().all(|path| empty(path)) {
                fail(format_args!("left in {folder}: {left:?}"));
            }
        }
    }

    /// The namespaces of everything that runs for it and is not in the host's.
    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        let own = i32::try_from(std::process::id()).unwrap_or(-1);
        let host: BTreeSet<PathBuf> = spaces(own).into_iter().map(|(_, name)| name).collect();
        let mut all = Namespaces::default();
        for (path, name) in self.processes().into_iter().flat_map(spaces) {
            // A process that ended meanwhile has none any more.
            if !host.contains(&name)
                && !all.names.contains(&name)
                && let Ok(file) = File::open(path)
            {
                all.names.insert(name);
                all._held.push(file);
            }
        }
        all
    }

    /// Fails the test unless mounts, control groups, processes and these namespaces are
    /// gone.
    #[track_caller]
    pub fn nothing_is_left(&self, namespaces: &Namespaces) {
        self.before.assert_unchanged();
        eventually("the end of its namespaces", || {
            let living = entries(Path::new("/proc"))
                .iter()
                .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
                .flat_map(spaces)
                .any(|(_, name)| namespaces.names.contains(&name));
            (!living).then_some(())
        });
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the manager's log:\n{}", self.log());
        }
    }
}

/// Kills a process.
///
/// # Panics
/// When there is none of this number.
#[track_caller]
pub fn kill(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else {
        fail(format_args!("{pid} is no process"));
    };
    if let Err(errno) = kill_process(pid, Signal::KILL) {
        fail(format_args!("kill {pid}: {errno}"));
    }
}

/// A request for a sandbox as the caller's profile gives it.
#[must_use]
pub fn create() -> v1::CreateRequest {
    v1::CreateRequest::default()
}

/// A span of time on the wire.
#[must_use]
pub fn milliseconds(count: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: count / 1000,
        nanos: i32::try_from(count % 1000).unwrap_or(0) * 1_000_000,
    })
}

/// Whether a process lives: one that ended and was not waited for does not.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| Some(text.rsplit_once(')')?.1.trim().chars().next()? != 'Z'))
        .unwrap_or(false)
}

/// When a process began, as the kernel says; `None` when none of this number lives.
#[must_use]
pub fn began_at(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    (fields.next()? != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

fn parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn words(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Each namespace of a process: where it can be opened, and its name.
fn spaces(pid: i32) -> Vec<(PathBuf, PathBuf)> {
    entries(&PathBuf::from(format!("/proc/{pid}/ns")))
        .into_iter()
        .filter_map(|path| fs::read_link(&path).ok().map(|name| (path, name)))
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or_else(
        |_| Vec::new(),
        |list| list.filter_map(Result::ok).map(|e| e.path()).collect(),
    )
}
