//! Sandboxes.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::connection::{Store, transaction};
use super::error::{Sql, StoreError, at_most, bounded};
use super::page::{Page, PageOf};
use super::requests::{self, Inserted, RequestKey};
use super::rows;
use super::vocabulary::{SandboxKind, SandboxState};
use crate::json::JsonText;
use crate::{Timestamp, json};

/// Longest identifier, name or digest in bytes.
pub(super) const LONGEST_NAME: usize = 255;
/// Longest text of a policy in bytes.
const LONGEST_POLICY: usize = 64 << 10;
/// Most labels, and the longest value of one in bytes.
const MOST_LABELS: usize = 64;
const LONGEST_LABEL: usize = 1024;

/// A sandbox that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSandbox {
    /// Its identifier, unique for ever.
    pub id: String,
    /// The principal that it belongs to.
    pub owner: String,
    /// The identity that the principal was mapped to.
    pub identity: String,
    /// The identity's user id on disk.
    pub uid: u32,
    /// The identity's group id on disk.
    pub gid: u32,
    /// The profile.
    pub profile: String,
    /// Digest of the trust key.
    pub trust_key: String,
    /// The trust key's components by name.
    pub trust_parts: BTreeMap<String, String>,
    /// Digest of the policy.
    pub policy: String,
    /// The policy's text form, which has no values of variables.
    pub policy_text: String,
    /// The preset.
    pub preset: String,
    /// The image.
    pub image: String,
    /// Which launcher, counted since the manager's first start.
    pub launcher_generation: u64,
    /// The kernel's boot id.
    pub boot_id: String,
    /// What it is for.
    pub kind: SandboxKind,
    /// Whether it outlives the manager.
    pub survive: bool,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

/// A sandbox as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// What it was made with.
    pub made: NewSandbox,
    /// The order of creation; the cursor of lists.
    pub number: u64,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it last did something.
    pub last_used: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Where it is in its life.
    pub state: SandboxState,
    /// Why it ended.
    pub verdict: Option<JsonText>,
    /// What was enforced.
    pub receipt: Option<JsonText>,
}

/// Which sandboxes; an absent field takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxFilter {
    /// The owner.
    pub owner: Option<String>,
    /// The profile.
    pub profile: Option<String>,
    /// The digest of the trust key: those that could be shared.
    pub trust_key: Option<String>,
    /// Only those that are not over.
    pub live: bool,
}

/// How a sandbox ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// `Ended`, `Failed` or `Lost`.
    pub state: SandboxState,
    /// Why.
    pub verdict: Option<JsonText>,
    /// The final receipt; without one, that of before stays.
    pub receipt: Option<JsonText>,
}

const WHERE: &str =
    "(:owner IS NULL OR owner = :owner) AND (:profile IS NULL OR profile = :profile)
     AND (:trust_key IS NULL OR trust_key = :trust_key) AND (NOT :live OR ended IS NULL)";

impl Store {
    /// Records a sandbox in the state `creating`. With a request key, the same
    /// request made again gives the sandbox of the first time.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::RequestDiffers`], or a field that is
    /// empty or too long.
    pub fn insert_sandbox(
        &self,
        new: &NewSandbox,
        request: Option<&RequestKey>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        const OPERATION: &str = "insert the sandbox";
        check(new)?;
        let mut connection = self.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        if let Some(request) = request
            && let Some(sandbox) = requests::claim(&transaction, request, &new.id, now)?
        {
            return Ok(Inserted::Before { sandbox });
        }
        insert(&transaction, new, now)?;
        transaction.commit().sql(OPERATION)?;
        Ok(Inserted::New)
    }

    /// One sandbox.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn sandbox(&self, id: &str) -> Result<Option<Sandbox>, StoreError> {
        find(&self.relaxed(), id)
    }

    /// Sandboxes in the order of their creation.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn sandboxes(
        &self,
        filter: &SandboxFilter,
        page: Page,
    ) -> Result<PageOf<Sandbox>, StoreError> {
        const OPERATION: &str = "list sandboxes";
        let sql = format!(
            "SELECT * FROM sandboxes WHERE {WHERE} AND number > :after ORDER BY number LIMIT :limit"
        );
        let connection = self.relaxed();
        let mut statement = connection.prepare_cached(&sql).sql(OPERATION)?;
        let found = statement
            .query_map(
                named_params! {
                    ":owner": filter.owner, ":profile": filter.profile,
                    ":trust_key": filter.trust_key, ":live": filter.live,
                    ":after": page.after(), ":limit": page.fetch(),
                },
                read,
            )
            .sql(OPERATION)?;
        let rows = found.collect::<rusqlite::Result<_>>().sql(OPERATION)?;
        Ok(PageOf::cut(rows, page, |sandbox: &Sandbox| sandbox.number))
    }

    /// How many sandboxes there are: what quotas count, with `live`.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn count_sandboxes(&self, filter: &SandboxFilter) -> Result<u64, StoreError> {
        const OPERATION: &str = "count sandboxes";
        let sql = format!("SELECT count(*) FROM sandboxes WHERE {WHERE}");
        let connection = self.relaxed();
        let mut statement = connection.prepare_cached(&sql).sql(OPERATION)?;
        let count: i64 = statement
            .query_row(
                named_params! {
                    ":owner": filter.owner, ":profile": filter.profile,
                    ":trust_key": filter.trust_key, ":live": filter.live,
                },
                |row| row.get(0),
            )
            .sql(OPERATION)?;
        Ok(count.cast_unsigned())
    }

    /// A sandbox is there, frozen, or thawed; `receipt` says what was enforced.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Over`] if it has ended, or `state`
    /// is one that [`Store::end_sandbox`] sets.
    pub fn set_sandbox_state(
        &self,
        id: &str,
        state: SandboxState,
        receipt: Option<&JsonText>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "change the sandbox";
        let connection = self.durable();
        let changed = if state.is_over() {
            0
        } else {
            let sql = "UPDATE sandboxes SET state = :state, receipt = coalesce(:receipt, receipt),
                 last_used = max(last_used, :now) WHERE id = :id AND ended IS NULL";
            let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
            let receipt = receipt.map(JsonText::as_str);
            let values = named_params! {
                ":state": state, ":receipt": receipt, ":now": now.to_sql(), ":id": id,
            };
            statement.execute(values).sql(OPERATION)?
        };
        if changed == 0 {
            Err(refusal(&connection, id, state)?)
        } else {
            Ok(())
        }
    }

    /// A sandbox ended; its tasks that still run are lost.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Over`] if it has ended before, or
    /// the state is none of an end.
    pub fn end_sandbox(&self, id: &str, end: &Ending, now: Timestamp) -> Result<(), StoreError> {
        const OPERATION: &str = "end the sandbox";
        let mut connection = self.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        if !end.state.is_over() || !end_live(&transaction, id, end, now)? {
            return Err(refusal(&transaction, id, end.state)?);
        }
        transaction.commit().sql(OPERATION)
    }

    /// A sandbox did something: for idle time-outs. Not waited for: a loss of
    /// power may undo it. Ignores a sandbox that is over or unknown.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be written.
    pub fn touch(&self, id: &str, now: Timestamp) -> Result<(), StoreError> {
        const OPERATION: &str = "touch the sandbox";
        let sql = "UPDATE sandboxes SET last_used = max(last_used, ?1)
             WHERE id = ?2 AND ended IS NULL";
        let connection = self.relaxed();
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        statement.execute((now.to_sql(), id)).sql(OPERATION)?;
        Ok(())
    }
}

pub(super) fn check(new: &NewSandbox) -> Result<(), StoreError> {
    for (what, text) in [
        ("the sandbox's id", &new.id),
        ("the owner", &new.owner),
        ("the identity", &new.identity),
        ("the profile", &new.profile),
        ("the trust key", &new.trust_key),
        ("the policy's digest", &new.policy),
        ("the preset", &new.preset),
        ("the boot id", &new.boot_id),
    ] {
        bounded(what, text, LONGEST_NAME)?;
    }
    at_most("the image", &new.image, 4096)?;
    at_most("the policy's text", &new.policy_text, LONGEST_POLICY)?;
    for (what, map) in [
        ("labels", &new.labels),
        ("parts of the trust key", &new.trust_parts),
    ] {
        if map.len() > MOST_LABELS {
            return Err(StoreError::TooMany {
                what,
                owner: new.id.clone(),
                most: MOST_LABELS,
            });
        }
        for (name, value) in map {
            bounded("the name of a label", name, LONGEST_NAME)?;
            at_most("the value of a label", value, LONGEST_LABEL)?;
        }
    }
    Ok(())
}

pub(super) fn insert(
    connection: &Connection,
    new: &NewSandbox,
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "insert the sandbox";
    let (labels, parts) = (
        json::JsonText::of(&new.labels)?,
        json::JsonText::of(&new.trust_parts)?,
    );
    let sql =
        "INSERT INTO sandboxes (id, owner, identity, uid, gid, profile, trust_key, trust_parts,
         policy, policy_text, preset, image, launcher_generation, boot_id, kind, survive, labels,
         created, last_used, state)
         VALUES (:id, :owner, :identity, :uid, :gid, :profile, :trust_key, :trust_parts,
         :policy, :policy_text, :preset, :image, :generation, :boot_id, :kind, :survive, :labels,
         :now, :now, :state) ON CONFLICT (id) DO NOTHING";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let inserted = statement
        .execute(named_params! {
            ":id": new.id, ":owner": new.owner, ":identity": new.identity, ":uid": new.uid,
            ":gid": new.gid, ":profile": new.profile, ":trust_key": new.trust_key,
            ":trust_parts": parts.as_str(), ":policy": new.policy,
            ":policy_text": new.policy_text, ":preset": new.preset, ":image": new.image,
            ":generation": new.launcher_generation.cast_signed(), ":boot_id": new.boot_id,
            ":kind": new.kind, ":survive": new.survive, ":labels": labels.as_str(),
            ":now": now.to_sql(), ":state": SandboxState::Creating,
        })
        .sql(OPERATION)?;
    match inserted {
        0 => Err(StoreError::Exists {
            what: "sandbox",
            name: new.id.clone(),
        }),
        _ => Ok(()),
    }
}

/// Ends a sandbox that is not over; `false` if there is none.
pub(super) fn end_live(
    connection: &Connection,
    id: &str,
    end: &Ending,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "end the sandbox";
    let sql = "UPDATE sandboxes SET state = :state, ended = max(created, :now), verdict = :verdict,
         receipt = coalesce(:receipt, receipt) WHERE id = :id AND ended IS NULL RETURNING number";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let number: Option<i64> = statement
        .query_row(
            named_params! {
                ":state": end.state, ":now": now.to_sql(), ":id": id,
                ":verdict": end.verdict.as_ref().map(JsonText::as_str),
                ":receipt": end.receipt.as_ref().map(JsonText::as_str),
            },
            |row| row.get(0),
        )
        .optional()
        .sql(OPERATION)?;
    let Some(number) = number else {
        return Ok(false);
    };
    let sql = "UPDATE tasks SET state = 'lost', ended = max(started, ?1)
         WHERE sandbox = ?2 AND state = 'running'";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    statement.execute((now.to_sql(), number)).sql(OPERATION)?;
    Ok(true)
}

/// Why nothing was changed.
fn refusal(connection: &Connection, id: &str, to: SandboxState) -> Result<StoreError, StoreError> {
    Ok(match find(connection, id)? {
        None => missing(id),
        Some(sandbox) => StoreError::Over {
            sandbox: id.to_owned(),
            from: sandbox.state,
            to,
        },
    })
}

pub(super) fn missing(id: &str) -> StoreError {
    StoreError::Missing {
        what: "sandbox",
        name: id.to_owned(),
    }
}

pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<Sandbox>, StoreError> {
    const OPERATION: &str = "find the sandbox";
    let sql = "SELECT * FROM sandboxes WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    statement.query_row([id], read).optional().sql(OPERATION)
}

/// Every sandbox that is not over.
pub(super) fn all_live(connection: &Connection) -> Result<Vec<Sandbox>, StoreError> {
    const OPERATION: &str = "list live sandboxes";
    let sql = "SELECT * FROM sandboxes WHERE ended IS NULL ORDER BY number";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let found = statement.query_map([], read).sql(OPERATION)?;
    found.collect::<rusqlite::Result<_>>().sql(OPERATION)
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Sandbox> {
    let number: i64 = row.get("number")?;
    let generation: i64 = row.get("launcher_generation")?;
    Ok(Sandbox {
        made: NewSandbox {
            id: row.get("id")?,
            owner: row.get("owner")?,
            identity: row.get("identity")?,
            uid: row.get("uid")?,
            gid: row.get("gid")?,
            profile: row.get("profile")?,
            trust_key: row.get("trust_key")?,
            trust_parts: rows::map(row, "trust_parts")?,
            policy: row.get("policy")?,
            policy_text: row.get("policy_text")?,
            preset: row.get("preset")?,
            image: row.get("image")?,
            launcher_generation: generation.cast_unsigned(),
            boot_id: row.get("boot_id")?,
            kind: row.get("kind")?,
            survive: row.get("survive")?,
            labels: rows::map(row, "labels")?,
        },
        number: number.cast_unsigned(),
        created: rows::time(row, "created")?,
        last_used: rows::time(row, "last_used")?,
        ended: rows::maybe_time(row, "ended")?,
        state: row.get("state")?,
        verdict: rows::maybe_json(row, "verdict")?,
        receipt: rows::maybe_json(row, "receipt")?,
    })
}
