//! One run of uv, in a sandbox that shows uv, the interpreter, the list, the cache and the
//! environment, and that reaches the indexes.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use lakekeep_build::{Asker, CERTIFICATES, Choice, Failure, MAX_LOCK_BYTES, Step, UV, explain};
use lakekeep_egress_rules::EgressDoc;
use lakekeep_plan::{Command, HostFacts};
use lakekeep_policy::{Bytes, MountDoc, MountMode, Policy, PolicyDoc};
use lakekeep_sandbox::{Additions, Console, Kind, Launcher, Outcome, Stdio, plan_with};
use rustix::pipe::PipeFlags;

use super::super::EnvironmentError;
use super::disk::Watch;
use super::log::{self, Tail};
use crate::args::environment::{BuildArgs, Progress};
use crate::report::Messages;

/// Where programs are looked for inside.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Most memory that a step is given by itself.
const MEMORY: u64 = 4 << 30;
/// Largest file: a wheel of a library for graphics processors.
const FILE: Bytes = Bytes(16 << 30);
/// What compilers and uv's many connections need.
const PIDS: u32 = 512;
const OPEN_FILES: u64 = 4096;

/// Of a step that ran out of time, and of one that failed otherwise.
const TIMED_OUT: u8 = 124;
const FAILED: u8 = 1;

/// What the sandboxes of a build have in common.
pub struct Room<'a> {
    pub host: HostFacts,
    pub arguments: &'a BuildArgs,
    pub choice: &'a Choice,
    /// What may leave, when a step asks.
    pub rules: Vec<String>,
    pub interpreter: &'a Path,
    pub places: Places,
}

/// Real paths on the host.
pub struct Places {
    pub uv: String,
    pub certificates: Option<String>,
    pub project: String,
    pub cache: String,
    pub environment: String,
}

impl Room<'_> {
    /// Runs a step to its end, and gives what it said on standard output.
    ///
    /// # Errors
    /// [`EnvironmentError::Unbuilt`] with the reason and the remedy; those of the sandbox.
    pub fn run(&self, step: &Step) -> Result<String, EnvironmentError> {
        let policy = Policy::check(self.policy(step))?;
        let command = Command {
            arguments: step
                .words
                .iter()
                .map(|word| word.clone().into_bytes())
                .collect(),
            path: PATH.to_owned(),
            ..Command::default()
        };
        let additions = Additions {
            interpreter: Some(self.interpreter),
            ..Additions::default()
        };
        let plan = plan_with(&policy, &self.host, &command, &additions)?;
        // Before any thread: a signal goes to one that does not block it.
        let console = Console::streams(None, Vec::new())?;
        let sandbox = Launcher::start(&self.host)?.create(plan)?;
        let ((output, says), (errors, complains)) = (pipe()?, pipe()?);
        let null = std::fs::File::open("/dev/null").map_err(EnvironmentError::Uv)?;
        let task = sandbox.spawn(Stdio::Given([null.into(), says, complains]))?;
        let answer = std::thread::spawn(move || whole(output));
        let words = self.listen(errors);
        let (watch, full) = self.watch()?;
        let outcome = task.attend(console.ended_by(full));
        let full = watch.end().map_err(EnvironmentError::Uv)?;
        let (answer, tail) = (joined(answer)?, joined(words)?);
        let outcome = outcome?;
        if let Some(full) = full {
            return Err(EnvironmentError::Unbuilt {
                step: step.name,
                why: full.explain(),
                code: FAILED,
            });
        }
        self.judged(step, &outcome, &tail)?;
        Ok(answer)
    }

    /// Looks at the disks that the step writes to.
    fn watch(&self) -> Result<(Watch, OwnedFd), EnvironmentError> {
        let folders = [&self.places.cache, &self.places.environment];
        let folders = folders.into_iter().map(PathBuf::from).collect();
        Watch::begin(folders, self.arguments.keep_free).map_err(EnvironmentError::Pipe)
    }

    fn policy(&self, step: &Step) -> PolicyDoc {
        let mut doc = PolicyDoc::default();
        let half = self.host.memory_total / 2;
        let memory = self.arguments.memory.unwrap_or(Bytes(MEMORY.min(half)));
        doc.limits.memory = Some(memory);
        // Build tools work in /tmp, which is memory.
        doc.limits.scratch_size = Some(Bytes(memory.get() / 2));
        doc.limits.wall_time = Some(self.arguments.timeout);
        doc.limits.file_size = Some(FILE);
        doc.limits.pids = Some(PIDS);
        doc.limits.open_files = Some(OPEN_FILES);
        doc.mounts = self.mounts();
        let variables = step.variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), value.clone()));
        doc.env.0 = variables.collect();
        if step.asks {
            doc.egress = Some(EgressDoc::from_lines("--egress", self.rules.clone()));
        }
        doc
    }

    fn mounts(&self) -> Vec<MountDoc> {
        let mount = |source: &str, target: &str, mode| MountDoc {
            source: source.to_owned(),
            target: target.to_owned(),
            mode: Some(mode),
        };
        let places = &self.places;
        let [project, cache, environment] = Asker::places();
        let mut mounts = vec![
            mount(&places.uv, UV, MountMode::ReadOnly),
            mount(&places.project, project, MountMode::ReadOnly),
            mount(&places.cache, cache, MountMode::ReadWrite),
            mount(&places.environment, environment, MountMode::ReadWrite),
        ];
        let certificates = places.certificates.iter();
        mounts.extend(certificates.map(|file| mount(file, CERTIFICATES, MountMode::ReadOnly)));
        mounts
    }

    fn listen(&self, errors: OwnedFd) -> JoinHandle<std::io::Result<Tail>> {
        let json = self.arguments.at.via.json;
        let shown = self.arguments.progress == Progress::Plain;
        std::thread::spawn(move || {
            log::listen(std::fs::File::from(errors), |line| {
                if shown {
                    log::print(json, line);
                }
            })
        })
    }

    fn messages(&self) -> Messages {
        Messages {
            json: self.arguments.at.via.json,
        }
    }

    /// Its failure, explained; and what it tried although it succeeded.
    fn judged(&self, step: &Step, outcome: &Outcome, tail: &Tail) -> Result<(), EnvironmentError> {
        let verdict = &outcome.verdict;
        let traffic = outcome.traffic.as_ref();
        let denied = traffic.and_then(|traffic| traffic.first_denial.as_deref());
        if verdict.kind == Kind::Exit && verdict.exit_code == 0 {
            if let Some(denied) = denied {
                let text = format!("warning: while {}: {denied}", step.name);
                self.messages().say("warning", &text);
            }
            return Ok(());
        }
        if self.arguments.progress == Progress::None {
            for line in tail.text().lines() {
                log::print(self.arguments.at.via.json, line);
            }
        }
        let why = match verdict.kind {
            Kind::Exit => explain(&Failure {
                said: tail.text(),
                denied,
                choice: self.choice,
                received: traffic.map_or(0, |traffic| traffic.received),
            }),
            _ => verdict.explanation.clone(),
        };
        Err(EnvironmentError::Unbuilt {
            step: step.name,
            why,
            code: match verdict.kind {
                Kind::WallTime => TIMED_OUT,
                _ => FAILED,
            },
        })
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), EnvironmentError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(EnvironmentError::Pipe)
}

/// One byte more than there may be: the parser then refuses it.
fn whole(output: OwnedFd) -> std::io::Result<String> {
    let mut said = Vec::new();
    std::fs::File::from(output)
        .take(MAX_LOCK_BYTES as u64 + 1)
        .read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn joined<T>(thread: JoinHandle<std::io::Result<T>>) -> Result<T, EnvironmentError> {
    let ended = thread.join();
    let ended = ended.unwrap_or_else(|_| Err(std::io::Error::other("a reader's thread failed")));
    ended.map_err(EnvironmentError::Uv)
}
