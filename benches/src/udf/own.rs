//! Peers that this very process calls, as an engine in Rust does. The Python program says when
//! it is their turn, between the turns of its own.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakekeep_udf_client::Broker;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Deserialize;

use super::raw_looking::RawLooking;
use super::sandboxed::Sandboxed;
use crate::error::BenchError;

/// Who is to be measured; `benches/udf/events.py` has the fields.
#[derive(Debug, Deserialize)]
pub struct Invitation {
    pub scenario: String,
    pub peer: String,
    pub measure: String,
    pub rows: u32,
}

/// Whose turn it is.
#[derive(Debug, Deserialize)]
pub struct Turn {
    pub scenario: String,
    pub peer: String,
    pub round: u32,
    pub position: usize,
    pub calls: u32,
}

/// Who answers calls, always the same one.
pub trait Callee: Debug {
    fn call(&mut self) -> Result<RecordBatch, BenchError>;
    /// The process that answers, as this one's namespace numbers it.
    fn pid(&self) -> u32;
}

/// Calls, one after the other.
#[derive(Debug)]
pub struct Burst {
    /// Of each, nanoseconds.
    pub walls: Vec<u64>,
    /// Of each, the mean, nanoseconds of processors, of both processes; none where that
    /// cannot be seen.
    pub cpu: Option<u64>,
}

/// What peers are made with, and those that were.
#[derive(Debug)]
pub struct Host {
    pub python: PathBuf,
    pub lakekeep: PathBuf,
    /// Where the Python program's files are.
    pub folder: PathBuf,
    /// Started for the first that needs it.
    pub broker: Option<Broker>,
    callees: Vec<(String, String, Box<dyn Callee>)>,
}

impl Host {
    pub fn new(python: PathBuf, lakekeep: PathBuf, folder: PathBuf) -> Self {
        Self {
            python,
            lakekeep,
            folder,
            broker: None,
            callees: Vec::new(),
        }
    }

    /// Makes a peer whose answer is right; its process.
    ///
    /// # Errors
    /// It cannot be made, or answers wrongly: it is not measured.
    pub fn invite(&mut self, invitation: &Invitation) -> Result<u32, BenchError> {
        let arguments = arguments(invitation.rows)?;
        let mut callee: Box<dyn Callee> = match invitation.peer.as_str() {
            "lakekeep-rust" => Box::new(Sandboxed::new(self, arguments)?),
            "raw-looking" => Box::new(RawLooking::new(self, arguments)?),
            other => return Err(BenchError::NoPeer(other.to_owned())),
        };
        check(&callee.call()?, invitation.rows)?;
        let pid = callee.pid();
        let (scenario, peer) = (invitation.scenario.clone(), invitation.peer.clone());
        self.callees.push((scenario, peer, callee));
        Ok(pid)
    }

    /// Gives a peer its turn.
    ///
    /// # Errors
    /// [`BenchError::OutOfTurn`]: there is none of this name. Those of its calls.
    pub fn turn(&mut self, turn: &Turn) -> Result<Burst, BenchError> {
        let mut callees = self.callees.iter_mut();
        let found =
            callees.find(|(scenario, peer, _)| *scenario == turn.scenario && *peer == turn.peer);
        let (_, _, callee) = found.ok_or(BenchError::OutOfTurn("a peer of this process"))?;
        burst(callee.as_mut(), turn.calls)
    }
}

fn burst(callee: &mut dyn Callee, calls: u32) -> Result<Burst, BenchError> {
    // Who has not been called for a while is slow once, which the round's order decides.
    callee.call()?;
    let pid = callee.pid();
    let before = used(pid);
    let mut walls = Vec::new();
    for _ in 0..calls {
        let start = Instant::now();
        let answer = callee.call()?;
        walls.push(nanoseconds(start.elapsed()));
        // Not in the time: Python's calls drop their answers after it, too.
        drop(answer);
    }
    let all = used(pid)
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    let cpu = all.map(|all| nanoseconds(all / calls.max(1)));
    Ok(Burst { walls, cpu })
}

/// What this process and another have used of processors.
fn used(pid: u32) -> Option<Duration> {
    let other = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
    let own = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
    Some(Duration::from(own) + Duration::from(clock_gettime(other).ok()?))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The columns of a call.
pub fn given() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    Schema::new(vec![field("_0"), field("_1")]).into()
}

/// The column of an answer.
pub fn answered() -> SchemaRef {
    Schema::new(vec![Field::new("answer", DataType::Int64, true)]).into()
}

/// What `benches/udf/wire.py` calls its peers with.
fn arguments(rows: u32) -> Result<RecordBatch, BenchError> {
    let count = |from: u32| Int64Array::from_iter_values((from..rows + from).map(i64::from));
    let columns = vec![Arc::new(count(0)) as _, Arc::new(count(7)) as _];
    Ok(RecordBatch::try_new(given(), columns)?)
}

fn check(answer: &RecordBatch, rows: u32) -> Result<(), BenchError> {
    let right = Int64Array::from_iter_values((0..rows).map(|row| 2 * i64::from(row) + 7));
    match answer.columns() {
        [column] if **column == right => Ok(()),
        _ => Err(BenchError::Answer("the peer's answer is wrong")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_is_seen() {
        let answer = |values: Vec<i64>| {
            let column = Arc::new(Int64Array::from(values)) as _;
            RecordBatch::try_new(answered(), vec![column]).unwrap()
        };
        assert!(check(&answer(vec![7, 9, 11]), 3).is_ok());
        for wrong in [vec![7, 9], vec![7, 9, 12], vec![]] {
            assert!(check(&answer(wrong), 3).is_err());
        }
        assert!(check(&arguments(3).unwrap(), 3).is_err());
    }

    #[test]
    fn who_was_not_invited_has_no_turn() {
        let nowhere = || PathBuf::from("/nonexistent");
        let mut host = Host::new(nowhere(), nowhere(), nowhere());
        let (scenario, peer) = ("call-1-row".to_owned(), "stranger".to_owned());
        let turn = Turn {
            scenario: scenario.clone(),
            peer: peer.clone(),
            round: 0,
            position: 0,
            calls: 1,
        };
        assert!(matches!(host.turn(&turn), Err(BenchError::OutOfTurn(_))));
        let invitation = Invitation {
            scenario,
            peer,
            measure: "raw".to_owned(),
            rows: 1,
        };
        let refused = host.invite(&invitation);
        assert!(matches!(refused, Err(BenchError::NoPeer(_))));
    }

    #[test]
    fn processor_time_is_of_both_processes() {
        let own = used(std::process::id()).unwrap();
        let alone = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
        // This process is both: its time counts twice, and no less than before.
        assert!(own <= 2 * Duration::from(alone) && own > Duration::from(alone));
        assert!(used(u32::MAX).is_none());
    }
}
