//! After a start: what was recorded, compared with what is there.

use std::collections::BTreeMap;

use super::connection::{Store, transaction};
use super::error::{Sql, StoreError};
use super::sandboxes::{self, Ending, Sandbox};
use super::vocabulary::SandboxState;
use crate::Timestamp;
use crate::json::JsonText;

/// A sandbox that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its identifier.
    pub id: String,
    /// Whether it is frozen.
    pub frozen: bool,
    /// The launcher that has it now.
    pub launcher_generation: u64,
}

/// Why a recorded sandbox is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostWhy {
    /// The host was started anew.
    Rebooted,
    /// It is not there.
    Vanished,
    /// The manager ended while it was being made; nobody was told of it.
    Unfinished,
}

impl LostWhy {
    const fn explanation(self) -> &'static str {
        match self {
            LostWhy::Rebooted => "the host was started anew",
            LostWhy::Vanished => "it was gone when the manager came back",
            LostWhy::Unfinished => "the manager ended while the sandbox was being made",
        }
    }
}

/// A recorded sandbox that is no more; it is marked as lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// As it was recorded before.
    pub sandbox: Sandbox,
    /// Why.
    pub why: LostWhy,
}

/// Why a sandbox that is there is not ours to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignWhy {
    /// No row has its identifier.
    Unknown,
    /// Its row says that it ended.
    Over,
    /// Its row is of before the host's start.
    OtherBoot,
    /// It was never finished.
    Unfinished,
}

/// A sandbox that is there and must be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its identifier.
    pub id: String,
    /// Why.
    pub why: ForeignWhy,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// There and recorded; with `made.survive` false, the caller's to end.
    pub adopted: Vec<Sandbox>,
    /// Recorded and not there.
    pub lost: Vec<Lost>,
    /// There, and not to be kept.
    pub foreign: Vec<Foreign>,
}

impl Store {
    /// Compares the rows with `found`, marks what is lost, takes over state and
    /// launcher of what is adopted; all in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was marked then.
    pub fn reconcile(
        &self,
        found: &[Found],
        boot_id: &str,
        now: Timestamp,
    ) -> Result<Reconciled, StoreError> {
        const OPERATION: &str = "reconcile sandboxes";
        let mut there: BTreeMap<&str, &Found> = found
            .iter()
            .map(|found| (found.id.as_str(), found))
            .collect();
        let mut result = Reconciled::default();
        let mut connection = self.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        for row in sandboxes::all_live(&transaction)? {
            let found = there.remove(row.made.id.as_str());
            match lost_because(&row, found, boot_id) {
                None => {
                    let found = found.map_or((row.state, row.made.launcher_generation), state);
                    result.adopted.push(adopt(&transaction, row, found)?);
                }
                Some(why) => {
                    if found.is_some() {
                        let id = row.made.id.clone();
                        result.foreign.push(Foreign {
                            id,
                            why: foreign(why),
                        });
                    }
                    lose(&transaction, &row, why, now)?;
                    result.lost.push(Lost { sandbox: row, why });
                }
            }
        }
        for id in there.into_keys() {
            let why = match sandboxes::find(&transaction, id)? {
                Some(_) => ForeignWhy::Over,
                None => ForeignWhy::Unknown,
            };
            result.foreign.push(Foreign {
                id: id.to_owned(),
                why,
            });
        }
        transaction.commit().sql(OPERATION)?;
        Ok(result)
    }
}

fn lost_because(row: &Sandbox, found: Option<&Found>, boot_id: &str) -> Option<LostWhy> {
    if row.made.boot_id != boot_id {
        Some(LostWhy::Rebooted)
    } else if row.state == SandboxState::Creating {
        Some(LostWhy::Unfinished)
    } else if found.is_none() {
        Some(LostWhy::Vanished)
    } else {
        None
    }
}

/// Why a sandbox whose row is lost is there nevertheless.
const fn foreign(why: LostWhy) -> ForeignWhy {
    match why {
        LostWhy::Rebooted => ForeignWhy::OtherBoot,
        LostWhy::Vanished | LostWhy::Unfinished => ForeignWhy::Unfinished,
    }
}

const fn state(found: &Found) -> (SandboxState, u64) {
    let state = match found.frozen {
        true => SandboxState::Frozen,
        false => SandboxState::Live,
    };
    (state, found.launcher_generation)
}

fn adopt(
    connection: &rusqlite::Connection,
    mut row: Sandbox,
    (state, generation): (SandboxState, u64),
) -> Result<Sandbox, StoreError> {
    const OPERATION: &str = "adopt the sandbox";
    let sql = "UPDATE sandboxes SET state = ?1, launcher_generation = ?2 WHERE id = ?3";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let values = (state, generation.cast_signed(), &row.made.id);
    statement.execute(values).sql(OPERATION)?;
    row.state = state;
    row.made.launcher_generation = generation;
    Ok(row)
}

fn lose(
    connection: &rusqlite::Connection,
    row: &Sandbox,
    why: LostWhy,
    now: Timestamp,
) -> Result<(), StoreError> {
    let explanation = why.explanation();
    let verdict = serde_json::json!({ "kind": "lost", "explanation": explanation });
    let end = Ending {
        state: SandboxState::Lost,
        verdict: Some(JsonText::of(&verdict)?),
        receipt: None,
    };
    sandboxes::end_live(connection, &row.made.id, &end, now)?;
    Ok(())
}
