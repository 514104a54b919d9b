//! The init's only loop: the manager's frames, ended children, refused calls.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use lakekeep_protocol::task::{Exited, MAX_ENDS};
use lakekeep_protocol::{Channel, InitReply, InitRequest, ProtocolError};
use lakekeep_sys::Errno;
use lakekeep_sys::mount;
use lakekeep_sys::process::{self, Reaped};
use lakekeep_sys::signal::Signals;
use rustix::event::{PollFd, PollFlags, poll};

use crate::scratch::Shared;
use crate::task::{Spawned, Task};

const SIGCHLD: i32 = 17;

/// Why the init stops before its manager does.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The manager cannot be understood.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The kernel refused what the loop needs.
    #[error("the init's loop")]
    Kernel(#[from] Errno),
}

/// The state of PID 1.
#[derive(Debug)]
pub struct Supervisor {
    manager: Channel<InitReply, InitRequest>,
    children: Signals,
    tasks: Vec<Task>,
    /// Told, and not acknowledged: a manager may die between hearing and writing down.
    ends: VecDeque<Exited>,
    /// Of the tasks that share one.
    scratch: Option<Shared>,
}

/// What the loop woke up for.
#[derive(Debug, Clone, Copy, Default)]
struct Woken {
    manager: bool,
    children: bool,
    /// Index of a task with a refused call.
    refused: Option<usize>,
}

impl Supervisor {
    pub fn new(manager: Channel<InitReply, InitRequest>) -> Result<Self, Failed> {
        let children = Signals::open(&[SIGCHLD])?;
        manager.send(&InitReply::Started, &[])?;
        Ok(Self {
            manager,
            children,
            tasks: Vec::new(),
            ends: VecDeque::new(),
            scratch: None,
        })
    }

    /// Serves until the manager closes its end.
    pub fn serve(mut self) -> Result<(), Failed> {
        loop {
            let woken = self.wait()?;
            if woken.children {
                self.reap()?;
            }
            if let Some(task) = woken.refused.and_then(|index| self.tasks.get_mut(index)) {
                task.answer_refused();
            }
            if woken.manager && !self.hear()? {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Result<Woken, Errno> {
        let mut fds = vec![
            PollFd::new(&self.manager, PollFlags::IN),
            PollFd::new(&self.children, PollFlags::IN),
        ];
        let listening: Vec<usize> = (0..self.tasks.len())
            .filter(|index| self.listener(*index).is_some())
            .collect();
        for index in &listening {
            if let Some(listener) = self.listener(*index) {
                fds.push(PollFd::from_borrowed_fd(listener, PollFlags::IN));
            }
        }
        match poll(&mut fds, None) {
            Err(Errno::INTR) => return Ok(Woken::default()),
            other => other?,
        };
        let hot = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        let refused = (0..listening.len()).find(|at| hot(at + 2));
        Ok(Woken {
            manager: hot(0),
            children: hot(1),
            refused: refused.and_then(|at| listening.get(at).copied()),
        })
    }

    fn listener(&self, index: usize) -> Option<BorrowedFd<'_>> {
        Some(self.tasks.get(index)?.listener()?.as_fd())
    }

    /// Handles one frame; `false` when the manager has ended.
    fn hear(&mut self) -> Result<bool, Failed> {
        let Some((request, descriptors)) = self.manager.receive()? else {
            return Ok(false);
        };
        match request {
            InitRequest::Spawn { task, spec } => {
                let spawned = Task::spawn(task, &spec, descriptors, &mut self.scratch);
                self.answer_spawn(task, spawned)?;
            }
            InitRequest::Signal { task, signal } => self.signal(task, signal)?,
            InitRequest::Place { target } => {
                let placed = place(&target, descriptors);
                let errno = placed.err().map_or(0, Errno::raw_os_error);
                self.manager.send(&InitReply::Placed { errno }, &[])?;
            }
            InitRequest::List { nonce } => self.list(nonce)?,
            InitRequest::Acknowledge { task } => self.ends.retain(|end| end.task != task),
        }
        Ok(true)
    }

    fn answer_spawn(
        &mut self,
        number: u32,
        spawned: Result<Spawned, crate::report::Failure>,
    ) -> Result<(), Failed> {
        match spawned {
            Ok(Spawned {
                task,
                facts,
                controller,
            }) => {
                let reply = InitReply::Spawned {
                    task: number,
                    facts: Box::new(facts),
                };
                let descriptors: Vec<BorrowedFd<'_>> =
                    controller.iter().map(OwnedFd::as_fd).collect();
                self.tasks.push(task);
                self.manager.send(&reply, &descriptors)?;
            }
            Err(failure) => {
                let reply = InitReply::SpawnFailed {
                    task: number,
                    failure: failure.to_wire(),
                };
                self.manager.send(&reply, &[])?;
            }
        }
        Ok(())
    }

    fn list(&self, nonce: u64) -> Result<(), Failed> {
        let reply = InitReply::Tasks {
            nonce,
            running: self.tasks.iter().map(Task::number).collect(),
            ended: self.ends.iter().cloned().collect(),
        };
        Ok(self.manager.send(&reply, &[])?)
    }

    fn signal(&self, number: u32, signal: i32) -> Result<(), Errno> {
        // A task that has ended meanwhile is not an error: its Exited frame is
        // on the way to the manager that asked.
        match self.tasks.iter().find(|task| task.number() == number) {
            Some(task) => task.signal(signal),
            None => Ok(()),
        }
    }

    fn reap(&mut self) -> Result<(), Failed> {
        while self.children.next()?.is_some() {}
        while let Some(reaped) = process::reap()? {
            self.ended(&reaped)?;
        }
        Ok(())
    }

    fn ended(&mut self, reaped: &Reaped) -> Result<(), Failed> {
        let is_stub = |task: &Task| task.stub().as_raw_nonzero().get() == reaped.pid;
        if let Some(index) = self.tasks.iter().position(is_stub) {
            let exited = self.tasks.swap_remove(index).into_exited(reaped.ended);
            if self.ends.len() == MAX_ENDS {
                self.ends.pop_front();
            }
            self.ends.push_back(exited.clone());
            self.manager.send(&InitReply::Exited(exited), &[])?;
        }
        Ok(())
    }
}

/// Mounts a tree in the init's own table, of which every later task has a copy.
fn place(target: &str, trees: Vec<OwnedFd>) -> Result<(), Errno> {
    let [tree]: [OwnedFd; 1] = trees.try_into().map_err(|_| Errno::INVAL)?;
    let relative = target.strip_prefix('/').ok_or(Errno::INVAL)?;
    let root = mount::host_place(Path::new("/"))?;
    mount::attach(tree, mount::beneath(root, Path::new(relative))?)
}
