//! An embedded manager: a pool of sandboxes in this process, and what is measured of it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use lakekeep_plan::{Command, Plan};
use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_sandbox::{Claimed, Job, Kind, Outcome, Pool, Stdio, host, plan_for};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::Value;

use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::managed::{Call, first_instruction, monotonic};
use crate::measure::Sample;

/// A pool, and a sandbox of it that stays.
#[derive(Debug)]
pub struct Pooled {
    // Dropped first.
    warm: RefCell<Claimed>,
    pool: RefCell<Pool>,
    clock: Job,
    guest: Job,
    hold: Job,
}

impl Pooled {
    /// Starts it with `parked` ready at a time, and fills it.
    pub fn start(ground: &Ground, parked: usize) -> Result<Self, BenchError> {
        let facts = host::probe().map_err(BenchError::plan)?;
        let mut pool = Pool::start(&facts, plan(ground)?, parked)?;
        while pool.refill()? {}
        let mut warm = pool.claim()?;
        let guest = Job::new([ground.guest(Guest::True)]);
        run(&mut warm, &guest)?;
        warm.settle()?;
        Ok(Self {
            warm: RefCell::new(warm),
            pool: RefCell::new(pool),
            clock: clock(),
            guest,
            hold: Job::new([ground.guest(Guest::Hold)]),
        })
    }

    /// Asks once, of a pool that is full, and a warm sandbox with a task that is ready.
    pub fn once(&self, call: Call) -> Result<Sample, BenchError> {
        let wall = match call {
            Call::Claim => self.claim()?,
            Call::Nested => self.nested()?,
        };
        Ok(Sample { wall, cpu: None })
    }

    /// Makes what is lacking.
    pub fn settle(&self) -> Result<(), BenchError> {
        while self.pool.borrow_mut().refill()? {}
        Ok(())
    }

    fn claim(&self) -> Result<Duration, BenchError> {
        claim(&mut self.pool.borrow_mut(), &self.clock)
    }

    fn nested(&self) -> Result<Duration, BenchError> {
        let mut warm = self.warm.borrow_mut();
        let stdio = Stdio::null().map_err(BenchError::io("open /dev/null"))?;
        let began = Instant::now();
        let task = warm.spawn(&self.guest, stdio)?;
        end(&mut warm, task)?;
        let wall = began.elapsed();
        warm.settle()?;
        Ok(wall)
    }

    /// Runs the guest that stays, and looks at it; and its outcome, as JSON.
    pub fn look<T>(&self, look: impl FnOnce() -> T) -> Result<(T, Value), BenchError> {
        let mut warm = self.warm.borrow_mut();
        let ((input, stop), (says, output)) = (pipe()?, pipe()?);
        let task = warm.spawn(&self.hold, Stdio::Given([input, output, null()?]))?;
        File::from(says)
            .read_exact(&mut [0])
            .map_err(BenchError::io("read a task's output"))?;
        let found = look();
        // The end of its input ends the guest.
        File::from(stop)
            .flush()
            .map_err(BenchError::io("end a task's input"))?;
        let outcome = end(&mut warm, task)?;
        warm.settle()?;
        Ok((found, serde_json::to_value(&outcome)?))
    }
}

/// The guest that says when it began, alone in its sandbox.
pub fn clock() -> Job {
    Job {
        last: true,
        ..Job::new([Ground::clock()])
    }
}

/// One of the pool's, to the first instruction of its only task, and its end.
pub fn claim(pool: &mut Pool, clock: &Job) -> Result<Duration, BenchError> {
    let (read, write) = pipe()?;
    let stdio = Stdio::Given([null()?, write, null()?]);
    let before = monotonic();
    let mut sandbox = pool.claim()?;
    let task = sandbox.spawn(clock, stdio)?;
    let mut stamp = Vec::new();
    File::from(read)
        .read_to_end(&mut stamp)
        .map_err(BenchError::io("read a task's output"))?;
    end(&mut sandbox, task)?;
    sandbox.end()?;
    first_instruction(&stamp, before)
}

/// As `lakekeep run` plans it, with the shared root file system as image.
pub fn plan(ground: &Ground) -> Result<Plan, BenchError> {
    plan_with(ground, PolicyDoc::default())
}

/// The same by another policy.
pub fn plan_with(ground: &Ground, doc: PolicyDoc) -> Result<Plan, BenchError> {
    let doc = PolicyDoc {
        image: Some(ground.root().display().to_string()),
        ..doc
    };
    let policy = Policy::check(doc).map_err(BenchError::plan)?;
    let command = Command {
        arguments: vec![ground.guest(Guest::True).into_bytes()],
        path: "/bin".to_owned(),
        ..Command::default()
    };
    plan_for(
        &policy,
        &host::probe().map_err(BenchError::plan)?,
        &command,
        None,
    )
    .map_err(BenchError::plan)
}

/// Runs a job to its good end.
pub fn run(sandbox: &mut Claimed, job: &Job) -> Result<(), BenchError> {
    let stdio = Stdio::null().map_err(BenchError::io("open /dev/null"))?;
    let task = sandbox.spawn(job, stdio)?;
    end(sandbox, task).map(drop)
}

/// Waits for a task, which must end well.
fn end(sandbox: &mut Claimed, task: u32) -> Result<Outcome, BenchError> {
    let outcome = sandbox.wait(task)?;
    let verdict = &outcome.verdict;
    match verdict.kind {
        Kind::Exit if verdict.exit_code == 0 => Ok(outcome),
        _ => Err(BenchError::Failed {
            program: "a task".to_owned(),
            status: verdict.explanation.clone(),
            words: verdict.remedy.clone(),
        }),
    }
}

pub fn pipe() -> Result<(OwnedFd, OwnedFd), BenchError> {
    let made = pipe_with(PipeFlags::CLOEXEC);
    made.map_err(|errno| BenchError::io("make a pipe")(errno.into()))
}

pub fn null() -> Result<OwnedFd, BenchError> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.map(OwnedFd::from)
        .map_err(BenchError::io("open /dev/null"))
}
