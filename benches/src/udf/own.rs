//! Peers that this very process calls, as an engine in Rust does. The Python program says when
//! it is their turn, between the turns of its own.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakekeep_udf_client::Broker;
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
    pub calls: u32,
}

/// Who answers calls, always the same one.
pub trait Callee: Debug {
    fn call(&mut self) -> Result<RecordBatch, BenchError>;
    /// The process that answers, as this one's namespace numbers it.
    fn pid(&self) -> u32;
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

    /// Gives a peer its turn; the nanoseconds of each of its calls.
    ///
    /// # Errors
    /// [`BenchError::OutOfTurn`]: there is none of this name. Those of its calls.
    pub fn turn(&mut self, turn: &Turn) -> Result<Vec<u64>, BenchError> {
        let mut callees = self.callees.iter_mut();
        let found =
            callees.find(|(scenario, peer, _)| *scenario == turn.scenario && *peer == turn.peer);
        let (_, _, callee) = found.ok_or(BenchError::OutOfTurn("a peer of this process"))?;
        burst(callee.as_mut(), turn.calls)
    }
}

fn burst(callee: &mut dyn Callee, calls: u32) -> Result<Vec<u64>, BenchError> {
    // Who has not been called for a while is slow once, which the round's order decides.
    callee.call()?;
    let mut walls = Vec::new();
    for _ in 0..calls {
        let start = Instant::now();
        let answer = callee.call()?;
        let wall = start.elapsed();
        // Not in the time: Python's calls drop their answers after it, too.
        drop(answer);
        walls.push(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(walls)
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
}
