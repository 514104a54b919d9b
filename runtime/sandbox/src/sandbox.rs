//! A sandbox that exists, in which tasks can be started.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use lakekeep_plan::Plan;
use lakekeep_protocol::facts::{GroupUsageFacts, TaskFacts};
use lakekeep_protocol::launch::Created;
use lakekeep_protocol::task::{TaskFailure, TaskStep};
use lakekeep_protocol::{Channel, InitReply, InitRequest};

use crate::egress::{Relay, Traffic};
use crate::error::SandboxError;
use crate::launcher::Launcher;
use crate::receipt::{self, Receipt};
use crate::task::{Started, Stdio, Task};

/// The only task of a sandbox so far.
pub(crate) const TASK: u32 = 1;

/// An init that has been started and not been heard of for so long is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox. Dropped, it is destroyed with everything in it.
#[derive(Debug)]
pub struct Sandbox {
    // Dropped first: the init ends when its manager's socket closes.
    pub(crate) init: Channel<InitRequest, InitReply>,
    pub(crate) launcher: Launcher,
    pub(crate) plan: Plan,
    pub(crate) created: Created,
    pidfd: OwnedFd,
    /// Carries what may leave it, if anything may.
    pub(crate) relay: Option<Relay>,
}

impl Sandbox {
    pub(crate) fn new(
        launcher: Launcher,
        plan: Plan,
        created: Created,
        init: Channel<InitRequest, InitReply>,
        pidfd: OwnedFd,
    ) -> Result<Self, SandboxError> {
        let sandbox = Self {
            init,
            launcher,
            plan,
            created,
            pidfd,
            relay: None,
        };
        receipt::check_limits(&sandbox.plan, &sandbox.created)?;
        match sandbox.hear()? {
            (InitReply::Started, _) => Ok(sandbox),
            _ => Err(SandboxError::OutOfTurn { peer: "init" }),
        }
    }

    /// The sandbox's identifier, which is also the name of its cgroup.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.plan.sandbox.id
    }

    /// The init's process id, as this process sees it; `None` once it ended.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn pid(&self) -> Result<Option<u32>, SandboxError> {
        lakekeep_sys::process::pid_of(self.pidfd.as_fd()).map_err(SandboxError::kernel("fdinfo"))
    }

    /// Has the init make the task ready, all but its command, and returns when it is: what
    /// then is spawned waits for nothing that can be made before. Its plan must allow it
    /// ([`Plan::allow_ready`]).
    ///
    /// # Errors
    /// When the sandbox is gone; `Zygote` when the task shall be forked and is not. A task that cannot be made ready is no error: it is made
    /// when it is spawned.
    pub fn make_ready(self) -> Result<Self, SandboxError> {
        if !self.plan.task.can_be_ready() {
            return Ok(self);
        }
        let spec = Box::new(self.plan.task.clone());
        self.init.send(&InitRequest::Prepare { spec }, &[])?;
        match self.hear()? {
            (InitReply::Ready { forked }, _) if forked == self.plan.task.forked => Ok(self),
            (InitReply::Ready { .. }, _) => Err(SandboxError::Zygote {
                words: String::new(),
                ended: false,
            }),
            _ => Err(SandboxError::OutOfTurn { peer: "init" }),
        }
    }

    /// Starts the planned command.
    ///
    /// # Errors
    /// Of the sandbox. A command that cannot be executed is no error here: it
    /// is told by the outcome of the task.
    pub fn spawn(self, stdio: Stdio) -> Result<Task, SandboxError> {
        let request = InitRequest::Spawn {
            task: TASK,
            again: false,
            spec: Box::new(self.plan.task.clone()),
        };
        self.init.send(&request, &stdio.descriptors())?;
        // The task has its copies; ours would keep its pipes from ending.
        drop(stdio);
        let started = match self.hear()? {
            (InitReply::Spawned { facts, .. }, mut descriptors) => Started::Running {
                facts,
                controller: descriptors.pop(),
            },
            (InitReply::SpawnFailed { failure, .. }, _) => Started::Failed(failure),
            _ => return Err(SandboxError::OutOfTurn { peer: "init" }),
        };
        Ok(Task::new(self, started))
    }

    /// What was enforced, with `task` as read back.
    pub(crate) fn receipt(&self, task: Option<&TaskFacts>) -> Result<Receipt, SandboxError> {
        let own = crate::service::own_namespaces()?;
        Ok(receipt::build(&self.plan, &self.created, &own, task))
    }

    /// Ends everything and says what it used, and what left it.
    pub(crate) fn destroy(mut self) -> Result<(GroupUsageFacts, Option<Traffic>), SandboxError> {
        let usage = self.launcher.destroy(&self.plan)?;
        // Nothing is sent any more: what the relay tells now is all.
        let traffic = self.relay.take().map(Relay::finish).transpose()?;
        Ok((usage, traffic))
    }

    fn hear(&self) -> Result<(InitReply, Vec<OwnedFd>), SandboxError> {
        if !crate::launcher::readable(self.init.as_fd(), PATIENCE)? {
            return Err(SandboxError::SandboxEnded);
        }
        self.init.receive()?.ok_or(SandboxError::SandboxEnded)
    }
}

/// What a step of starting a task does, for its error message.
pub(crate) fn describe(failure: &TaskFailure) -> &'static str {
    match failure.step {
        TaskStep::Check => "the init's check of the task",
        TaskStep::Prepare => "making the task's scratch file system, rules or terminal",
        TaskStep::Clone => "cloning the task into its namespaces",
        TaskStep::MountProc => "mounting the task's /proc",
        TaskStep::MaskProc => "masking the task's /proc",
        TaskStep::MountScratch => "mounting the task's writable directories",
        TaskStep::Hostname => "setting the task's host name",
        TaskStep::Fork => "forking the command",
        TaskStep::Zygote => "having the command forked by the sandbox's zygote",
        TaskStep::Session => "making the command's session",
        TaskStep::Stdio => "placing the command's standard streams",
        TaskStep::Limits => "setting the command's resource limits",
        TaskStep::Affinity => "setting the command's processors",
        TaskStep::OomScore => "setting the command's out-of-memory score",
        TaskStep::Keyring => "making the command's keyring",
        TaskStep::Capabilities => "dropping the command's capabilities",
        TaskStep::Identity => "becoming the sandbox's user",
        TaskStep::WorkingDirectory => "entering the working directory",
        TaskStep::NoNewPrivileges => "setting no_new_privs",
        TaskStep::ExecutableGain => "refusing executable memory",
        TaskStep::Landlock => "applying the Landlock rules",
        TaskStep::Order => "handing the command to a task that was ready",
        TaskStep::Seccomp => "installing the seccomp filter",
        TaskStep::ReadBack => "reading the command's seal back",
        TaskStep::Exec => "executing the command",
    }
}
