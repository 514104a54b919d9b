//! From one version of the database to the next.

use std::path::Path;

use rusqlite::Connection;

use super::connection::transaction;
use super::error::{Sql, StoreError};

/// What tells one kind of our databases from others, and brings it to this version.
#[derive(Debug)]
pub(crate) struct Schema {
    /// `PRAGMA application_id`.
    pub(crate) application: i64,
    /// Each brings the version before it to its own; the first makes an empty
    /// database one of version 1. A released one is never changed.
    pub(crate) migrations: &'static [&'static str],
}

/// The state's; `lkst`.
pub(super) const STATE: Schema = Schema {
    application: 0x6c6b_7374,
    migrations: &[
        include_str!("../migrations/0001.sql"),
        include_str!("../migrations/0002.sql"),
        include_str!("../migrations/0003.sql"),
    ],
};

fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .sql("read the version of the database")
}

/// Refuses a database that is not ours, or newer.
pub(crate) fn check_ours(
    connection: &Connection,
    schema: &Schema,
    path: &Path,
) -> Result<(), StoreError> {
    const OPERATION: &str = "read the database's header";
    let application: i64 = connection
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .sql(OPERATION)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .sql(OPERATION)?;
    if application != schema.application && (application != 0 || tables != 0) {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    let found = version(connection)?;
    let known = i64::try_from(schema.migrations.len()).unwrap_or(i64::MAX);
    if found > known || found < 0 {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}

/// Applies what is missing, each migration with its version in one transaction.
pub(crate) fn migrate(connection: &mut Connection, schema: &Schema) -> Result<(), StoreError> {
    const OPERATION: &str = "bring the database to this version";
    for (sql, number) in schema.migrations.iter().zip(1_i64..) {
        let transaction = transaction(connection, OPERATION)?;
        // In the transaction: another process may have been faster.
        if version(&transaction)? >= number {
            continue;
        }
        transaction.execute_batch(sql).sql(OPERATION)?;
        let application = schema.application;
        let stamp = format!("PRAGMA application_id={application}; PRAGMA user_version={number};");
        transaction.execute_batch(&stamp).sql(OPERATION)?;
        transaction.commit().sql(OPERATION)?;
    }
    Ok(())
}
