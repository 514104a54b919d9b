//! What is written, and what is removed.

use rusqlite::{Connection, named_params};

use super::gap::{Gap, GapCause};
use super::log::Retention;
use super::row::FlowRow;
use crate::Timestamp;
use crate::state::{Schema, Sql, StoreError, transaction};

/// `lkfl`
pub(super) const SCHEMA: Schema = Schema {
    application: 0x6c6b_666c,
    migrations: &[include_str!("../migrations/flows-0001.sql")],
};

/// Rows of one transaction that removes some.
const BATCH: u64 = 2000;

/// Writes rows and gaps, all or none.
pub(super) fn append(
    connection: &mut Connection,
    rows: &[FlowRow],
    gaps: &[Gap],
) -> Result<(), StoreError> {
    const OPERATION: &str = "write the log of flows";
    let transaction = transaction(connection, OPERATION)?;
    for row in rows {
        insert(&transaction, row)?;
    }
    for gap in gaps {
        insert_gap(&transaction, gap)?;
    }
    transaction.commit().sql(OPERATION)
}

fn insert(connection: &Connection, row: &FlowRow) -> Result<(), StoreError> {
    const OPERATION: &str = "write a flow";
    let sql = "INSERT INTO flows (time, principal, identity, profile, sandbox, task, query, kind,
         name, address, port, rule, mode, verdict, words, sent, received, duration_us)
         VALUES (:time, :principal, :identity, :profile, :sandbox, :task, :query, :kind,
         :name, :address, :port, :rule, :mode, :verdict, :words, :sent, :received, :duration)";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let values = named_params! {
        ":time": row.at.to_sql(), ":principal": row.principal, ":identity": row.identity,
        ":profile": row.profile, ":sandbox": row.sandbox, ":task": row.task,
        ":query": row.query, ":kind": row.kind, ":name": row.name,
        ":address": row.address.map(|address| address.to_string()), ":port": row.port,
        ":rule": row.rule, ":mode": row.mode, ":verdict": row.verdict, ":words": row.words,
        ":sent": row.sent.cast_signed(), ":received": row.received.cast_signed(),
        ":duration": row.duration_us.cast_signed(),
    };
    statement.execute(values).map(drop).sql(OPERATION)
}

fn insert_gap(connection: &Connection, gap: &Gap) -> Result<(), StoreError> {
    const OPERATION: &str = "write a gap of the log of flows";
    let sql = "INSERT INTO gaps (first, last, rows, cause) VALUES (?1, ?2, ?3, ?4)";
    let rows = gap.rows.map(u64::cast_signed);
    let values = (gap.first.to_sql(), gap.last.to_sql(), rows, gap.cause);
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    statement.execute(values).map(drop).sql(OPERATION)
}

/// Marks that somebody writes. That somebody did already is a gap, from the last row on.
pub(super) fn begin(
    connection: &mut Connection,
    now: Timestamp,
) -> Result<Option<Gap>, StoreError> {
    const OPERATION: &str = "begin the log of flows";
    let transaction = transaction(connection, OPERATION)?;
    let open: bool = transaction
        .query_row("SELECT open FROM writer", [], |row| row.get(0))
        .sql(OPERATION)?;
    let gap = match open {
        false => None,
        true => Some(after_the_last(&transaction, now)?),
    };
    if let Some(gap) = &gap {
        insert_gap(&transaction, gap)?;
    }
    mark(&transaction, true)?;
    transaction.commit().sql(OPERATION)?;
    Ok(gap)
}

fn after_the_last(connection: &Connection, now: Timestamp) -> Result<Gap, StoreError> {
    const OPERATION: &str = "look for the last flow";
    let sql = "SELECT time FROM flows ORDER BY number DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let mut rows = statement.query([]).sql(OPERATION)?;
    let last = match rows.next().sql(OPERATION)? {
        Some(row) => Timestamp::from_sql(row.get(0).sql(OPERATION)?),
        None => now,
    };
    Ok(Gap {
        first: last.min(now),
        last: last.max(now),
        rows: None,
        cause: GapCause::Killed,
    })
}

/// Marks whether somebody writes.
pub(super) fn mark(connection: &Connection, open: bool) -> Result<(), StoreError> {
    const OPERATION: &str = "mark the log of flows";
    let mut statement = connection
        .prepare_cached("UPDATE writer SET open = ?1")
        .sql(OPERATION)?;
    statement.execute([open]).map(drop).sql(OPERATION)
}

/// Forgets what is too old or too much, in short transactions; the number of rows that were
/// removed.
pub(super) fn prune(
    connection: &mut Connection,
    keep: &Retention,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let old = now.minus(keep.age);
    let mut removed = 0;
    loop {
        let many = remove_old(connection, old)?;
        removed += many;
        if many < BATCH {
            break;
        }
    }
    loop {
        let many = excess(connection, keep)?.min(BATCH);
        if many == 0 {
            return Ok(removed);
        }
        removed += remove_first(connection, many)?;
    }
}

fn remove_old(connection: &Connection, before: Timestamp) -> Result<u64, StoreError> {
    const OPERATION: &str = "forget old flows";
    let sql = "DELETE FROM flows WHERE number IN
         (SELECT number FROM flows WHERE time < ?1 ORDER BY time LIMIT ?2)";
    let values = (before.to_sql(), BATCH.cast_signed());
    let removed = connection.execute(sql, values).sql(OPERATION)?;
    let gaps = "DELETE FROM gaps WHERE last < ?1";
    connection.execute(gaps, [before.to_sql()]).sql(OPERATION)?;
    Ok(removed as u64)
}

/// How many of the oldest rows must go; where bytes are too many, some of them, to look again.
fn excess(connection: &Connection, keep: &Retention) -> Result<u64, StoreError> {
    const OPERATION: &str = "measure the log of flows";
    // Rows go at the one end and come at the other; a hole between, which a clock that was
    // set has left, counts as rows.
    let sql = "SELECT coalesce((SELECT max(number) FROM flows)
         - (SELECT min(number) FROM flows) + 1, 0)";
    let rows: i64 = connection
        .query_row(sql, [], |row| row.get(0))
        .sql(OPERATION)?;
    let rows = rows.max(0).cast_unsigned();
    let over = rows.saturating_sub(keep.rows);
    if over > 0 || rows == 0 || used_bytes(connection)? <= keep.bytes {
        return Ok(over);
    }
    Ok((rows / 20).max(1))
}

/// Bytes of the database that hold something; what is free is used again.
fn used_bytes(connection: &Connection) -> Result<u64, StoreError> {
    let number = |pragma| {
        connection
            .query_row(pragma, [], |row| row.get::<_, i64>(0))
            .sql("measure the log of flows")
    };
    let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
    let bytes = pages.saturating_mul(number("PRAGMA page_size")?);
    Ok(bytes.max(0).cast_unsigned())
}

/// Removes the rows with the lowest numbers: at least one, if there is any, though holes
/// are among them.
fn remove_first(connection: &Connection, many: u64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM flows WHERE number IN
         (SELECT number FROM flows ORDER BY number LIMIT ?1)";
    let removed = connection
        .execute(sql, [many.cast_signed()])
        .sql("forget the oldest flows")?;
    Ok(removed as u64)
}
