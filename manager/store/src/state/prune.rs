//! Forgetting what is old.

use std::time::Duration;

use rusqlite::Connection;

use super::connection::{Store, transaction};
use super::error::{Sql, StoreError};
use crate::Timestamp;

/// Sandboxes of one call: a transaction is short, and others get their turn.
const BATCH: i64 = 200;

/// How long is remembered what is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Sandboxes, with their tasks, after their end.
    pub sandboxes: Duration,
    /// Requests that may come again.
    pub requests: Duration,
}

impl Default for Retention {
    /// 30 days, and one.
    fn default() -> Retention {
        const DAY: u64 = 24 * 60 * 60;
        Retention {
            sandboxes: Duration::from_secs(30 * DAY),
            requests: Duration::from_secs(DAY),
        }
    }
}

/// What was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Identifiers of sandboxes.
    pub sandboxes: Vec<String>,
    /// Files with their tasks' output, which are the caller's to remove.
    pub spools: Vec<String>,
    /// How many requests.
    pub requests: usize,
    /// How many revoked delegations, all expired.
    pub delegations: usize,
    /// Whether there is more: call again.
    pub more: bool,
}

impl Store {
    /// Forgets what is older than `retention` says, at most 200 sandboxes a
    /// call. Variables, secrets and managed ids stay.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was removed then.
    pub fn prune(&self, retention: &Retention, now: Timestamp) -> Result<Pruned, StoreError> {
        const OPERATION: &str = "forget what is old";
        let mut connection = self.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        let mut pruned = sandboxes(&transaction, now.minus(retention.sandboxes))?;
        pruned.requests = transaction
            .execute(
                "DELETE FROM requests WHERE created < ?1",
                [now.minus(retention.requests).to_sql()],
            )
            .sql(OPERATION)?;
        pruned.delegations = transaction
            .execute(
                "DELETE FROM revoked_delegations WHERE expires < ?1",
                [now.to_sql()],
            )
            .sql(OPERATION)?;
        transaction.commit().sql(OPERATION)?;
        Ok(pruned)
    }
}

fn sandboxes(connection: &Connection, before: Timestamp) -> Result<Pruned, StoreError> {
    const OPERATION: &str = "forget old sandboxes";
    let sql = "SELECT number, id FROM sandboxes WHERE ended < ?1 ORDER BY ended LIMIT ?2";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let old: Vec<(i64, String)> = statement
        .query_map((before.to_sql(), BATCH), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .sql(OPERATION)?
        .collect::<rusqlite::Result<_>>()
        .sql(OPERATION)?;
    let mut pruned = Pruned {
        more: old.len() as u64 == BATCH.cast_unsigned(),
        ..Pruned::default()
    };
    let mut spools = connection
        .prepare_cached("SELECT spool FROM tasks WHERE sandbox = ?1 AND spool IS NOT NULL")
        .sql(OPERATION)?;
    let mut delete = connection
        .prepare_cached("DELETE FROM sandboxes WHERE number = ?1")
        .sql(OPERATION)?;
    for (number, id) in old {
        let found = spools
            .query_map([number], |row| row.get(0))
            .sql(OPERATION)?;
        let found: Vec<String> = found.collect::<rusqlite::Result<_>>().sql(OPERATION)?;
        pruned.spools.extend(found);
        delete.execute([number]).sql(OPERATION)?;
        pruned.sandboxes.push(id);
    }
    Ok(pruned)
}
