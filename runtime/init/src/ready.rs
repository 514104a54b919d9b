//! A task that is ready: namespaces, /proc, scratch directories and seal are made, and
//! only its command is not known yet.
//!
//! Whoever asks for a task with the same seal then waits for a message, a filter and an
//! exec, and for nothing that can be made before. The process that waits has given up
//! all that the command will not have, save what its last steps need: streams, working
//! directory, processors and, where it would refuse these, filter. What the kernel says of
//! it is read when it has sealed itself; where something of the seal was still to come, that
//! is read again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lakekeep_protocol::Channel;
use lakekeep_protocol::facts::TaskFacts;
use lakekeep_protocol::task::{TaskSpec, TaskStep};
use lakekeep_sys::{Errno, seal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use crate::nursling::{self, Zygote};
use crate::order::{self, Order, Orders};
use crate::prepare::{Prepared, Start};
use crate::readback;
use crate::report::{Failure, Setup};
use crate::scratch::Shared;
use crate::shown::Shown;
use crate::task::{Spawned, Task};

/// How long a zygote may take over a task that somebody asked for: less than the imports
/// that an execution would take instead.
const ZYGOTES_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 300_000_000,
};

/// A task without a command.
#[derive(Debug)]
pub struct Ready {
    spec: TaskSpec,
    /// By the sandbox's zygote.
    forked: bool,
    task: Task,
    setup: Orders,
    /// Its process and what the kernel says of it, once it has sealed itself.
    sealed: Option<(i32, TaskFacts)>,
}

impl Ready {
    /// Begins one. Whether it gets there is heard on its [`Ready::voice`].
    ///
    /// # Errors
    /// Of its parts and of the clone.
    pub fn begin(
        spec: &TaskSpec,
        shared: &mut Option<Shared>,
        zygote: Option<&Zygote>,
    ) -> Result<Self, Failure> {
        let mut prepared = Prepared::new(spec, Start::Wait, shared)?;
        prepared.request = zygote.map(|zygote| zygote.request(spec, &prepared.seal));
        let (task, setup) = Task::begin(0, spec, prepared)?;
        Ok(Self {
            spec: spec.clone(),
            forked: zygote.is_some(),
            task,
            setup: Channel::new(setup),
            sealed: None,
        })
    }

    /// Readable when it has something to say; `None` when all was said.
    pub fn voice(&self) -> Option<BorrowedFd<'_>> {
        self.sealed.is_none().then(|| self.setup.as_fd())
    }

    /// Hears that it is sealed, and reads it back.
    ///
    /// # Errors
    /// It did not get there: discard it.
    pub fn hear(&mut self) -> Result<(), Failure> {
        let at = Failure::at(TaskStep::ReadBack);
        let pid = match Setup::receive(&self.setup).map_err(&at)? {
            Some((Setup::Waiting, pid)) => pid,
            Some((Setup::Failed(failure), _)) => return Err(failure),
            Some((Setup::Ready { .. }, _)) => return Err(at(Errno::PROTO)),
            None => return Err(at(Errno::CHILD)),
        };
        let mut facts = self.task.read_back(pid).map_err(&at)?;
        facts.forked = self.forked;
        if self.forked {
            nursling::verify(pid, self.task.stub().as_raw_nonzero().get()).map_err(&at)?;
            if self.spec.filter_early {
                has_both_filters(&facts).map_err(&at)?;
            }
            // While another can still be made in its place.
            facts.processors = use_processors(pid, self.spec.processors)?;
            verified(&facts, &self.spec)?;
        }
        self.sealed = Some((pid, facts));
        Ok(())
    }

    /// Waits until it is sealed, if it is not yet: a zygote may have more to do than is good
    /// for whoever waits.
    ///
    /// # Errors
    /// It did not get there: discard it.
    pub fn get_there(&mut self) -> Result<(), Failure> {
        let Some(voice) = self.voice() else {
            return Ok(());
        };
        if self.forked && !speaks(voice, ZYGOTES_TIME)? {
            return Err(Failure::at(TaskStep::Zygote)(Errno::TIMEDOUT));
        }
        self.hear()
    }

    /// Whether it got there.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Whether a zygote forks it.
    pub fn is_forked(&self) -> bool {
        self.forked
    }

    /// Whether it can become the task of `spec`.
    pub fn fits(&self, spec: &TaskSpec) -> bool {
        self.spec.seals_like(spec)
    }

    /// How it is sealed.
    pub fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    /// Whether `pid` is the process without which there is no task.
    pub fn is(&self, pid: i32) -> bool {
        self.task.stub().as_raw_nonzero().get() == pid
    }

    /// Mounts trees in its table too.
    ///
    /// # Errors
    /// As of [`Shown::attach_in`].
    pub fn show(&self, shown: &Shown<'_>) -> Result<Result<(), Errno>, Errno> {
        shown.attach_in(self.task.stub_fd())
    }

    /// Ends it. Its process is reaped as any other child.
    pub fn discard(self) -> Result<(), Errno> {
        self.task.signal(9)
    }

    /// Makes it the task of `spec`.
    ///
    /// # Errors
    /// As of a task that was not ready; nothing is left of it then.
    pub fn start(
        mut self,
        number: u32,
        spec: &TaskSpec,
        given: Vec<OwnedFd>,
    ) -> Result<Spawned, Failure> {
        let facts = match self.go(spec, given) {
            Ok(facts) => facts,
            Err(failure) => return Err(self.task.abandon(failure)),
        };
        Ok(Spawned {
            task: self.task.numbered(number),
            facts,
            controller: None,
        })
    }

    fn go(&mut self, spec: &TaskSpec, given: Vec<OwnedFd>) -> Result<TaskFacts, Failure> {
        let check = Failure::at(TaskStep::Check);
        let order = Order::new(spec).map_err(&check)?;
        let streams = given.try_into().map_err(|_| check(Errno::INVAL))?;
        self.get_there()?;
        let at = Failure::at(TaskStep::ReadBack);
        let (pid, mut facts) = self.sealed.take().ok_or_else(|| at(Errno::CHILD))?;
        let give = || order::give(&self.setup, &order, &streams);
        if spec.filter_early || self.forked {
            facts.processors = use_processors(pid, spec.processors)?;
        }
        if spec.filter_early {
            verified(&facts, spec)?;
            give().map_err(Failure::at(TaskStep::Order))?;
            drop(streams);
            self.task.wait_for_exec(self.setup.as_fd())?;
            return Ok(facts);
        }
        give().map_err(Failure::at(TaskStep::Order))?;
        drop(streams);
        self.task.admit(spec, self.setup.as_fd(), |_, ready| {
            if ready != pid {
                return Err(Errno::PERM);
            }
            readback::again(ready, &mut facts)?;
            if facts.forked {
                has_both_filters(&facts)?;
            }
            Ok(std::mem::take(&mut facts))
        })
    }
}

fn verified(facts: &TaskFacts, spec: &TaskSpec) -> Result<(), Failure> {
    readback::verify(facts, spec)
        .map_err(|index| Failure::at_index(TaskStep::ReadBack, index)(Errno::PERM))
}

/// That it has its own filter on top of the zygote's: the init did not install it.
fn has_both_filters(facts: &TaskFacts) -> Result<(), Errno> {
    match facts.process.seccomp_filters {
        0 | 1 => Err(Errno::PERM),
        _ => Ok(()),
    }
}

/// Whether something is said within `time`.
fn speaks(voice: BorrowedFd<'_>, time: Timespec) -> Result<bool, Failure> {
    let mut fds = [PollFd::from_borrowed_fd(voice, PollFlags::IN)];
    loop {
        match poll(&mut fds, Some(&time)) {
            Err(Errno::INTR) => {}
            other => {
                let heard = other.map_err(Failure::at(TaskStep::Zygote))?;
                return Ok(heard > 0);
            }
        }
    }
}

/// Chooses the processors of a process, and reads back how many it may use.
fn use_processors(pid: i32, count: u32) -> Result<u32, Failure> {
    let at = Failure::at(TaskStep::Affinity);
    let pid = Pid::from_raw(pid).ok_or_else(|| at(Errno::SRCH))?;
    seal::use_processors_of(Some(pid), count).map_err(&at)?;
    let usable = rustix::thread::sched_getaffinity(Some(pid)).map_err(&at)?;
    Ok(usable.count())
}
