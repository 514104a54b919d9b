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
use rustix::process::Pid;

use crate::order::{self, Order, Orders};
use crate::prepare::{Prepared, Start};
use crate::readback;
use crate::report::{Failure, Setup};
use crate::scratch::Shared;
use crate::task::{Spawned, Task};

/// A task without a command.
#[derive(Debug)]
pub struct Ready {
    spec: TaskSpec,
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
    pub fn begin(spec: &TaskSpec, shared: &mut Option<Shared>) -> Result<Self, Failure> {
        let prepared = Prepared::new(spec, Start::Wait, shared)?;
        let (task, setup) = Task::begin(0, spec, prepared)?;
        Ok(Self {
            spec: spec.clone(),
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
        let facts = self.task.read_back(pid).map_err(&at)?;
        self.sealed = Some((pid, facts));
        Ok(())
    }

    /// Waits until it is sealed, if it is not yet.
    ///
    /// # Errors
    /// It did not get there: discard it.
    pub fn get_there(&mut self) -> Result<(), Failure> {
        match self.sealed {
            Some(_) => Ok(()),
            None => self.hear(),
        }
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
        if spec.filter_early {
            facts.processors = use_processors(pid, spec.processors)?;
            readback::verify(&facts, spec)
                .map_err(|index| Failure::at_index(TaskStep::ReadBack, index)(Errno::PERM))?;
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
            Ok(std::mem::take(&mut facts))
        })
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
