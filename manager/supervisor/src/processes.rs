//! The children, and when each is started again.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lakekeep_sandbox::{relay_command, service_command};
use lakekeep_sys::signal::Signals;
use lakekeep_sys::{memfd, socket};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use serde::Serialize;

use crate::error::SupervisorError;
use crate::places::{Places, Settings};

/// The first pause before a child that died is started again, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// The longest before a relay is started again: meanwhile nothing leaves any sandbox.
const LAST_RELAY_PAUSE: Duration = Duration::from_millis(400);

/// A child that has lived so long is well: the next pause is the first one again.
const WELL: Duration = Duration::from_secs(2);

/// All children.
#[derive(Debug)]
pub struct Processes {
    settings: Settings,
    places: Places,
    /// Its other end is the manager's: it closes with this process, however it ends.
    lifeline: Option<OwnedFd>,
    launchers: Vec<Slot>,
    relay: Slot,
    manager: Slot,
    restarts: Restarts,
}

/// How often children were started again, for the manager's metrics.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Restarts {
    manager: u64,
    launchers: u64,
    relay: u64,
}

/// The file of it in the runtime folder, which only the supervisor can write.
const RESTARTS: &str = "restarts";

impl Restarts {
    /// Replaces the file; readers find a whole one.
    fn write(self, runtime: &Path) -> std::io::Result<()> {
        let next = runtime.join("restarts.next");
        std::fs::write(&next, serde_json::to_vec(&self)?)?;
        std::fs::rename(&next, runtime.join(RESTARTS))
    }
}

/// A child's place.
#[derive(Debug)]
struct Slot {
    child: Option<Child>,
    started: Option<Instant>,
    pause: Duration,
    last_pause: Duration,
    due: Option<Instant>,
}

impl Slot {
    fn empty(last_pause: Duration) -> Self {
        Self {
            child: None,
            started: None,
            pause: FIRST_PAUSE,
            last_pause,
            due: None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.child.is_none() && self.due.is_none_or(|due| due <= now)
    }

    /// 1 where another was there before.
    fn put(&mut self, child: Child, now: Instant) -> u64 {
        let again = u64::from(self.started.is_some());
        self.child = Some(child);
        self.started = Some(now);
        self.due = None;
        again
    }

    /// Notes its death, if it has died.
    fn reap(&mut self, now: Instant) -> Result<bool, SupervisorError> {
        let Some(child) = &mut self.child else {
            return Ok(false);
        };
        let failed = |error| SupervisorError::Start {
            program: "a child".to_owned(),
            error,
        };
        if child.try_wait().map_err(failed)?.is_none() {
            return Ok(false);
        }
        self.child = None;
        let lived = self.started.map(|started| now.duration_since(started));
        if lived.is_some_and(|lived| lived >= WELL) {
            self.pause = FIRST_PAUSE;
        }
        self.due = Some(now + self.pause);
        self.pause = (self.pause * 2).min(self.last_pause);
        Ok(true)
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| {
            // Not reaped by anybody else: the number still names our child.
            Pid::from_raw(i32::try_from(child.id()).ok()?)
        });
        if let Some(pid) = pid
            && kill_process(pid, signal).is_err()
        {
            // It has ended and is reaped next.
        }
    }
}

impl Processes {
    /// None runs yet.
    pub fn new(settings: Settings, places: Places) -> Self {
        let launchers = places.launchers.iter().map(|_| Slot::empty(LAST_PAUSE));
        let launchers = launchers.collect();
        Self {
            settings,
            places,
            lifeline: None,
            launchers,
            relay: Slot::empty(LAST_RELAY_PAUSE),
            manager: Slot::empty(LAST_PAUSE),
            restarts: Restarts::default(),
        }
    }

    /// Removes what launchers left that were killed.
    ///
    /// # Errors
    /// When no launcher can be started.
    pub fn sweep(&self) -> Result<(), SupervisorError> {
        let (ours, theirs) = socket::pair().map_err(SupervisorError::kernel("socketpair"))?;
        drop(ours);
        let state = &self.places.launcher_state;
        let mut command = service_command(&self.settings.host, state, theirs)?;
        let started = command.status();
        started
            .map(drop)
            .map_err(|error| start_error(&command, error))
    }

    /// Starts what is due, launchers and relay first, and says when the next one is.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_due(&mut self, now: Instant) -> Result<Option<Duration>, SupervisorError> {
        for index in 0..self.launchers.len() {
            if self
                .launchers
                .get(index)
                .is_some_and(|slot| slot.is_due(now))
            {
                let child = self.start_launcher(index)?;
                if let Some(slot) = self.launchers.get_mut(index) {
                    self.restarts.launchers += slot.put(child, now);
                    self.count();
                }
            }
        }
        if self.relay.is_due(now) {
            let child = self.start_relay()?;
            self.restarts.relay += self.relay.put(child, now);
            self.count();
        }
        if self.manager.is_due(now) {
            let child = self.start_manager()?;
            self.restarts.manager += self.manager.put(child, now);
            self.count();
        }
        let slots = self.launchers.iter().chain([&self.relay, &self.manager]);
        let next = slots.filter_map(|slot| slot.due).min();
        Ok(next.map(|due| due.saturating_duration_since(now)))
    }

    fn count(&self) {
        if self.restarts.write(&self.settings.runtime).is_err() {
            // A full disk: the number is told after the next restart.
        }
    }

    fn start_launcher(&self, index: usize) -> Result<Child, SupervisorError> {
        let failed = SupervisorError::kernel("dup");
        let listener = self.places.launchers.get(index);
        let listener = listener.ok_or_else(|| failed(rustix::io::Errno::BADF))?;
        let copy = rustix::io::fcntl_dupfd_cloexec(listener, 3).map_err(failed)?;
        let state = &self.places.launcher_state;
        let mut command = service_command(&self.settings.host, state, copy)?;
        command
            .spawn()
            .map_err(|error| start_error(&command, error))
    }

    fn start_relay(&self) -> Result<Child, SupervisorError> {
        let copy = rustix::io::fcntl_dupfd_cloexec(&self.places.relay, 3);
        let copy = copy.map_err(SupervisorError::kernel("dup"))?;
        let mut command = relay_command(copy)?;
        command
            .spawn()
            .map_err(|error| start_error(&command, error))
    }

    /// Starts the manager with four descriptors, whose numbers it is told. They are
    /// open across exec only while this process, which has one thread, starts it.
    fn start_manager(&mut self) -> Result<Child, SupervisorError> {
        let facts = serde_json::to_vec(&self.settings.host)?;
        let facts = memfd::sealed("lakekeep-host", &facts, false)
            .map_err(SupervisorError::kernel("memfd_create"))?;
        let (lifeline, held) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(SupervisorError::kernel("pipe2"))?;
        self.lifeline = Some(held);
        let inherited = |fd: &OwnedFd| rustix::io::dup(fd).map_err(SupervisorError::kernel("dup"));
        let given = [
            inherited(&self.places.api)?,
            inherited(&self.places.functions)?,
            inherited(&facts)?,
            inherited(&lifeline)?,
        ];
        let numbers = given.each_ref().map(|fd| fd.as_raw_fd().to_string());
        let mut command = self.manager_command();
        command.arg("--descriptors").arg(numbers.join(","));
        command
            .spawn()
            .map_err(|error| start_error(&command, error))
    }

    fn manager_command(&self) -> Command {
        let mut words = self.settings.manager.iter();
        let program = words.next().map(String::as_str).unwrap_or_default();
        let mut command = Command::new(program);
        // Out of reach of a terminal: the supervisor hears its interrupt, and ends things in order.
        command
            .args(words)
            .env_clear()
            // mallopt(3): eight arenas for each processor, the default, keep what each of them
            // had at its worst; of a manager whose live memory stood still, 4 KiB a second grew.
            .env("MALLOC_ARENA_MAX", processors().to_string())
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(notify) = &self.settings.notify {
            command.env("NOTIFY_SOCKET", notify);
        }
        if let Some(account) = self.settings.account {
            // Supplementary groups go with the change of user (std::process).
            command.gid(account.gid).uid(account.uid);
        }
        command
    }

    /// Notes who has died. Sandboxes of a launcher end with it; what they leave is
    /// swept by the next one when it starts.
    ///
    /// # Errors
    /// When a child cannot be waited for.
    pub fn reap(&mut self, now: Instant) -> Result<(), SupervisorError> {
        for slot in self
            .launchers
            .iter_mut()
            .chain([&mut self.relay, &mut self.manager])
        {
            slot.reap(now)?;
        }
        Ok(())
    }

    /// Tells the manager to read its files again.
    pub fn reload_manager(&self) {
        self.manager.signal(Signal::HUP);
    }

    /// Ends the manager, which ends its sandboxes; then relay and launchers; then sweeps.
    ///
    /// # Errors
    /// When a child cannot be waited for.
    pub fn end_all(&mut self, signals: &Signals, deadline: Instant) -> Result<(), SupervisorError> {
        self.manager.signal(Signal::TERM);
        while self.manager.child.is_some() {
            let now = Instant::now();
            if now >= deadline {
                self.manager.signal(Signal::KILL);
            }
            crate::wait(
                signals,
                Some(deadline.saturating_duration_since(now).max(FIRST_PAUSE)),
            )?;
            while crate::next(signals)?.is_some() {}
            self.manager.reap(Instant::now())?;
        }
        // The process that serves dies with the launcher that watches it, a little later. It
        // becomes a child of this one, so that it can be waited for: until it is gone, what
        // it made is its own and is not swept.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(SupervisorError::kernel("prctl"))?;
        for slot in self.launchers.iter_mut().chain([&mut self.relay]) {
            slot.signal(Signal::KILL);
            if let Some(mut child) = slot.child.take() {
                child.wait().map_err(|error| SupervisorError::Start {
                    program: "a launcher or the relay".to_owned(),
                    error,
                })?;
            }
        }
        wait_for_orphans()?;
        self.sweep()
    }
}

/// Waits until this process has no child left.
fn wait_for_orphans() -> Result<(), SupervisorError> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(SupervisorError::kernel("wait")(errno)),
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn start_error(command: &Command, error: std::io::Error) -> SupervisorError {
    SupervisorError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        error,
    }
}
