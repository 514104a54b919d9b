//! The workers of a run: processes that measure the same thing at the same time.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::error::BenchError;
use crate::measure::Sample;
use crate::orders::{Answer, Order};
use crate::peers::Name;

/// So many workers of one kind. Dropped, they end.
#[derive(Debug)]
pub struct Crew {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    process: Child,
    /// Absent only while it is dropped: its end is what tells the worker to end.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What a peer's first worker found of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    pub isolation: String,
    pub version: String,
}

impl Crew {
    /// Starts them; each is this program with `arguments`.
    pub fn start(count: usize, arguments: &[OsString]) -> Result<Self, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::io("find this program"))?;
        let start = |_| {
            let mut command = Command::new(&program);
            command
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let failed = |error| BenchError::Start {
                program: program.display().to_string(),
                error,
            };
            let mut process = command.spawn().map_err(failed)?;
            let (orders, answers) = (process.stdin.take(), process.stdout.take());
            Ok(Member {
                process,
                orders,
                answers: BufReader::new(answers.ok_or(BenchError::LostWorker)?),
            })
        };
        let members = (0..count).map(start).collect::<Result<_, BenchError>>()?;
        Ok(Self { members })
    }

    /// Has each prepare a peer. The first looks at it, before the others make guests too.
    pub fn enter(&mut self, name: Name) -> Result<Entered, BenchError> {
        let (first, others) = self
            .members
            .split_at_mut_checked(1)
            .ok_or(BenchError::LostWorker)?;
        let order = |look| Order::Enter { name, look };
        let entered = ask(first, &order(true))?;
        ask(others, &order(false))?;
        match entered.into_iter().next() {
            Some(Answer::Entered { isolation, version }) => Ok(Entered { isolation, version }),
            _ => Err(BenchError::OutOfTurn("a worker")),
        }
    }

    /// Has all run it once, at the same moment: a sample of each.
    pub fn sample(&mut self, name: Name, serial: u32) -> Result<Vec<Sample>, BenchError> {
        ask(&mut self.members, &Order::Settle { name })?;
        let answers = ask(&mut self.members, &Order::Run { name, serial })?;
        let sample = |answer| match answer {
            Answer::Ran { wall, cpu } => Ok(Sample { wall, cpu }),
            _ => Err(BenchError::OutOfTurn("a worker")),
        };
        answers.into_iter().map(sample).collect()
    }
}

/// Tells all, then hears all. The answers; or the first failure, when all have answered.
fn ask(members: &mut [Member], order: &Order) -> Result<Vec<Answer>, BenchError> {
    for member in &mut *members {
        member.tell(order)?;
    }
    let answers: Vec<_> = members.iter_mut().map(Member::hear).collect();
    answers.into_iter().collect()
}

impl Member {
    fn tell(&mut self, order: &Order) -> Result<(), BenchError> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        let orders = self.orders.as_mut().ok_or(BenchError::LostWorker)?;
        orders
            .write_all(line.as_bytes())
            .map_err(BenchError::io("tell a worker"))
    }

    fn hear(&mut self) -> Result<Answer, BenchError> {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line);
        match length.map_err(BenchError::io("hear a worker"))? {
            0 => Err(BenchError::LostWorker),
            _ => match serde_json::from_str(&line)? {
                Answer::Failed { absent, reason } => Err(BenchError::Worker { absent, reason }),
                answer => Ok(answer),
            },
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.orders = None;
        if self.process.wait().is_err() {
            // It was waited for already.
        }
    }
}
