//! A running task, as the init keeps it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lakekeep_protocol::facts::TaskFacts;
use lakekeep_protocol::task::{Exited, TaskSpec, TaskStep};
use lakekeep_sys::process::{self, Cloned, Ended, Namespaces};
use lakekeep_sys::{Errno, seccomp, socket};
use rustix::process::{Pid, PidfdFlags};

use crate::prepare::{Prepared, Start};
use crate::readback;
use crate::report::{End, Failure, Setup};
use crate::scratch::Shared;
use crate::stub::{self, Sockets};

/// The namespaces that every task gets of its own. The network namespace is
/// its sandbox's, the user namespace too: neither gives a task anything, for
/// it has no capability in them.
const OWN_NAMESPACES: Namespaces = Namespaces::PID
    .with(Namespaces::MOUNT)
    .with(Namespaces::IPC)
    .with(Namespaces::UTS)
    .with(Namespaces::CGROUP);

/// Most refused system calls that are told apart.
const MAX_REFUSED: usize = 512;

/// A started task.
#[derive(Debug)]
pub struct Task {
    number: u32,
    stub: Pid,
    stub_fd: OwnedFd,
    end: OwnedFd,
    /// Nothing more will be said there.
    silent: bool,
    scratch: OwnedFd,
    listener: Option<OwnedFd>,
    missing: Vec<i32>,
    refused: BTreeMap<i32, u32>,
}

/// A task that has just been started, and what the manager is told of it.
#[derive(Debug)]
pub struct Spawned {
    pub task: Task,
    pub facts: TaskFacts,
    pub controller: Option<OwnedFd>,
}

impl Task {
    /// Clones, seals, reads back and starts a task.
    pub fn spawn(
        number: u32,
        spec: &TaskSpec,
        given: Vec<OwnedFd>,
        shared: &mut Option<Shared>,
    ) -> Result<Spawned, Failure> {
        let mut prepared = Prepared::new(spec, Start::Now(given), shared)?;
        let controller = prepared.controller.take();
        let (mut task, setup) = Self::begin(number, spec, prepared)?;
        match task.admit(spec, setup.as_fd(), Self::read_back) {
            Ok(facts) => Ok(Spawned {
                task,
                facts,
                controller,
            }),
            Err(failure) => Err(task.abandon(failure)),
        }
    }

    /// Clones a task's first process, which goes on to set it up and to seal its command's;
    /// with the init's end of the socket on which that process tells of it.
    pub fn begin(
        number: u32,
        spec: &TaskSpec,
        prepared: Prepared,
    ) -> Result<(Self, OwnedFd), Failure> {
        let prepare = Failure::at(TaskStep::Prepare);
        let (setup, child_setup) = socket::pair().map_err(&prepare)?;
        let (end, child_end) = socket::pair().map_err(&prepare)?;
        socket::want_credentials(&setup).map_err(&prepare)?;
        let sockets = Sockets {
            setup: child_setup,
            end: child_end,
        };
        let cloned =
            process::clone_process(OWN_NAMESPACES).map_err(Failure::at(TaskStep::Clone))?;
        let Cloned::Parent { pid, pidfd } = cloned else {
            stub::run(&prepared, &sockets)
        };
        // Only the child's copies of its ends may stay open.
        drop(sockets);
        let task = Self {
            number,
            stub: pid,
            stub_fd: pidfd,
            end,
            silent: false,
            // All else of it the task has copies of; ours would keep its pipes from ending.
            scratch: prepared.scratch,
            listener: None,
            missing: spec.explain.clone().unwrap_or_default(),
            refused: BTreeMap::new(),
        };
        Ok((task, setup))
    }

    /// Waits for "ready", reads the process back with `read`, lets it go on, and waits
    /// until it has become the command.
    pub fn admit(
        &mut self,
        spec: &TaskSpec,
        setup: BorrowedFd<'_>,
        read: impl FnOnce(&Self, i32) -> Result<TaskFacts, Errno>,
    ) -> Result<TaskFacts, Failure> {
        let at = Failure::at(TaskStep::ReadBack);
        let (listener, pid) = match Setup::receive(setup).map_err(&at)? {
            Some((Setup::Ready { listener }, pid)) => (listener, pid),
            Some((Setup::Failed(failure), _)) => return Err(failure),
            Some((Setup::Waiting, _)) => return Err(at(Errno::PROTO)),
            None => return Err(at(Errno::CHILD)),
        };
        let facts = read(self, pid).map_err(&at)?;
        readback::verify(&facts, spec)
            .map_err(|index| Failure::at_index(TaskStep::ReadBack, index)(Errno::PERM))?;
        if listener >= 0 {
            self.listener = Some(take_listener(pid, listener).map_err(&at)?);
        }
        rustix::io::write(setup, &[1]).map_err(&at)?;
        self.wait_for_exec(setup)?;
        Ok(facts)
    }

    /// What the kernel says of the process with this number.
    pub fn read_back(&self, pid: i32) -> Result<TaskFacts, Errno> {
        readback::read(pid, &self.scratch)
    }

    /// The same task under another number.
    pub fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// The command's end of the setup socket closes at exec.
    pub fn wait_for_exec(&mut self, setup: BorrowedFd<'_>) -> Result<(), Failure> {
        loop {
            // A filter that notifies may ask about execve itself.
            if self.listener.is_some() && !self.readable(setup)? {
                self.answer_refused();
                continue;
            }
            return match Setup::receive(setup).map_err(Failure::at(TaskStep::Exec))? {
                Some((Setup::Failed(failure), _)) => Err(failure),
                Some((Setup::Ready { .. } | Setup::Waiting, _)) => {
                    Err(Failure::at(TaskStep::Exec)(Errno::PROTO))
                }
                None => Ok(()),
            };
        }
    }

    /// Whether the setup socket, rather than the listener, has something.
    fn readable(&self, setup: BorrowedFd<'_>) -> Result<bool, Failure> {
        use rustix::event::{PollFd, PollFlags, poll};
        let Some(listener) = &self.listener else {
            return Ok(true);
        };
        let mut fds = [
            PollFd::from_borrowed_fd(setup, PollFlags::IN),
            PollFd::new(listener, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(Failure::at(TaskStep::Exec)(errno)),
            Ok(_) => Ok(!fds[0].revents().is_empty()),
        }
    }

    /// Ends what there is of a task that did not start.
    pub fn abandon(self, failure: Failure) -> Failure {
        let killed = process::kill(&self.stub_fd);
        let waited = process::wait(self.stub_fd.as_fd());
        match killed.and(waited.map(drop)) {
            // Reaped by nobody else: the init alone waits.
            Ok(()) | Err(Errno::CHILD) => failure,
            Err(errno) => Failure::at(failure.step)(errno),
        }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// The stub's pid, as wait4 will name it.
    pub fn stub(&self) -> Pid {
        self.stub
    }

    /// The stub, whatever becomes of its pid.
    pub fn stub_fd(&self) -> &OwnedFd {
        &self.stub_fd
    }

    pub fn listener(&self) -> Option<&OwnedFd> {
        self.listener.as_ref()
    }

    /// Sends a signal: 9 ends the task with all its processes.
    pub fn signal(&self, number: i32) -> Result<(), Errno> {
        if number == 9 {
            return process::kill(&self.stub_fd);
        }
        match lakekeep_sys::signal::send(self.stub.as_raw_nonzero().get(), number) {
            Err(Errno::SRCH) => Ok(()),
            other => other,
        }
    }

    /// Refuses the call that waits on the listener, and counts it.
    pub fn answer_refused(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        match seccomp::refuse_next(listener, &self.missing) {
            Ok(refused) => {
                if self.refused.len() < MAX_REFUSED || self.refused.contains_key(&refused.number) {
                    let count = self.refused.entry(refused.number).or_insert(0);
                    *count = count.saturating_add(1);
                }
            }
            // The caller was killed meanwhile: there is nothing to answer.
            Err(Errno::NOENT | Errno::INTR) => {}
            // No process is left under the filter.
            Err(_) => self.listener = None,
        }
    }

    /// What the manager is told when the stub, as `ended`, is gone.
    pub fn into_exited(self, ended: Ended) -> Exited {
        let end = End::take(&self.end).unwrap_or_else(|| End::of_stub(ended));
        self.concluded(end)
    }

    /// Where its stub says that nothing is left of it but that stub, while it can.
    pub fn voice(&self) -> Option<&OwnedFd> {
        (!self.silent).then_some(&self.end)
    }

    /// How it ended, when its stub has said so. A stub that was killed says nothing.
    pub fn hear(&mut self) -> Option<End> {
        let end = End::take(&self.end);
        self.silent = true;
        end
    }

    /// What the manager is told of its end.
    pub fn concluded(self, end: End) -> Exited {
        let free = rustix::fs::fstatvfs(&self.scratch);
        Exited {
            task: self.number,
            ended: end.ended,
            usage: end.usage,
            scratch_free: free.map_or((u64::MAX, u64::MAX), |s| {
                (s.f_bfree * s.f_frsize, s.f_ffree)
            }),
            refused: self.refused.into_iter().collect(),
        }
    }
}

fn take_listener(pid: i32, number: i32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    seccomp::take_descriptor(&process, number)
}
