//! A task, from its start to its outcome.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use lakekeep_protocol::InitRequest;
use lakekeep_protocol::facts::{GroupUsageFacts, TaskFacts};
use lakekeep_protocol::task::{Exited, TaskFailure};
use serde::Serialize;

use crate::egress::Traffic;
use crate::error::SandboxError;
use crate::receipt::Receipt;
use crate::relay::{self, Console, Interaction};
use crate::sandbox::{Sandbox, TASK};
use crate::verdict::{self, Verdict};

/// A task's standard streams, as it gets them.
#[derive(Debug)]
pub enum Stdio {
    /// Three descriptors.
    Given([OwnedFd; 3]),
    /// A terminal, made by the init.
    Terminal,
}

impl Stdio {
    /// /dev/null three times.
    ///
    /// # Errors
    /// When /dev/null cannot be opened.
    pub fn null() -> std::io::Result<Self> {
        let null = || {
            File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .map(OwnedFd::from)
        };
        Ok(Self::Given([null()?, null()?, null()?]))
    }

    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Given(streams) => streams.iter().map(AsFd::as_fd).collect(),
            Self::Terminal => Vec::new(),
        }
    }
}

/// How a task's start went.
#[derive(Debug)]
pub(crate) enum Started {
    Running {
        facts: Box<TaskFacts>,
        controller: Option<OwnedFd>,
    },
    Failed(TaskFailure),
}

/// A started task.
#[derive(Debug)]
pub struct Task {
    sandbox: Sandbox,
    started: Started,
    since: Instant,
}

/// Everything that is known of a task that has ended.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The sandbox's identifier.
    pub sandbox: String,
    /// Why it ended, and what to do about it.
    pub verdict: Verdict,
    /// What was enforced.
    pub receipt: Receipt,
    /// Elapsed time of the task, microseconds.
    pub wall_us: u64,
    /// CPU time of the command and its waited-for children, microseconds.
    pub cpu_us: u64,
    /// Largest memory charge of the sandbox, bytes; of the largest process
    /// where no cgroup counted.
    pub memory_peak: u64,
    /// Refused system calls by number and count, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<(i32, u32)>,
    /// What left the sandbox and what did not, if rules let anything leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// What its manager did to a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interference {
    /// Ended for its wall time.
    pub timed_out: bool,
    /// Ended for its output.
    pub too_much_output: bool,
}

impl Task {
    pub(crate) fn new(sandbox: Sandbox, started: Started) -> Self {
        Self {
            sandbox,
            started,
            since: Instant::now(),
        }
    }

    /// Sends a signal (signal(7)) to the command; 9 ends the whole task.
    ///
    /// # Errors
    /// When the sandbox is gone.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        let request = InitRequest::Signal { task: TASK, signal };
        Ok(self.sandbox.init.send(&request, &[])?)
    }

    /// Waits for the end, within the policy's wall time, and destroys the
    /// sandbox.
    ///
    /// # Errors
    /// When the sandbox is lost; everything is then destroyed too.
    pub fn wait(self) -> Result<Outcome, SandboxError> {
        self.attend(Console::none()?)
    }

    /// As [`Task::wait`], carrying bytes, signals and window sizes between
    /// `console` and the task meanwhile.
    ///
    /// # Errors
    /// As [`Task::wait`].
    pub fn attend(mut self, console: Console) -> Result<Outcome, SandboxError> {
        let (exited, interference, facts) = match &mut self.started {
            Started::Failed(failure) => {
                let failure = *failure;
                return self.conclude_failed(failure);
            }
            Started::Running { facts, controller } => {
                let facts = facts.clone();
                let interaction = Interaction {
                    controller: controller.take(),
                    deadline: self
                        .sandbox
                        .plan
                        .wall_time
                        .map(|time| remaining(time, self.since)),
                    output: self.sandbox.plan.output,
                };
                let (exited, interference) =
                    relay::attend(&mut self.sandbox, console, interaction)?;
                (exited, interference, facts)
            }
        };
        self.conclude(&exited, interference, &facts)
    }

    fn conclude(
        self,
        exited: &Exited,
        interference: Interference,
        facts: &TaskFacts,
    ) -> Result<Outcome, SandboxError> {
        let wall_us = micros(self.since.elapsed());
        let receipt = self.sandbox.receipt(Some(facts))?;
        let plan = self.sandbox.plan.clone();
        let sandbox = self.sandbox.id().to_owned();
        let (group, traffic) = self.sandbox.destroy()?;
        let verdict =
            verdict::of_end(&plan, exited, &group, interference).mention(traffic.as_ref());
        Ok(Outcome {
            sandbox,
            verdict,
            receipt,
            wall_us,
            cpu_us: exited.usage.cpu_us(),
            memory_peak: peak(&group, exited),
            refused: exited.refused.clone(),
            traffic,
        })
    }

    fn conclude_failed(self, failure: TaskFailure) -> Result<Outcome, SandboxError> {
        let plan = self.sandbox.plan.clone();
        let receipt = self.sandbox.receipt(None)?;
        let sandbox = self.sandbox.id().to_owned();
        let wall_us = micros(self.since.elapsed());
        let (_, traffic) = self.sandbox.destroy()?;
        Ok(Outcome {
            sandbox,
            verdict: verdict::of_failure(&plan, &failure)?,
            receipt,
            wall_us,
            cpu_us: 0,
            memory_peak: 0,
            refused: Vec::new(),
            traffic,
        })
    }
}

fn remaining(time: Duration, since: Instant) -> Duration {
    time.saturating_sub(since.elapsed())
}

fn peak(group: &GroupUsageFacts, exited: &Exited) -> u64 {
    group.memory_peak.unwrap_or(exited.usage.max_rss)
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
