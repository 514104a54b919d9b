//! Ids on disk for users who have no account on the host.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension};

use super::connection::{Store, transaction};
use super::error::{Sql, StoreError, bounded};
use super::sandboxes::LONGEST_NAME;
use crate::Timestamp;

const OPERATION: &str = "assign a managed id";

impl Store {
    /// The user's id, or a new one that nobody ever had. It stays the user's.
    ///
    /// # Errors
    /// [`StoreError::NoIds`] if all of the range were used;
    /// [`StoreError::IdOutside`] if the range was changed and the user's id is no
    /// longer in it: it may now be a host account's.
    pub fn managed_id(
        &self,
        user: &str,
        range: RangeInclusive<u32>,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        bounded("the user", user, LONGEST_NAME)?;
        let (first, last) = (*range.start(), *range.end());
        let mut connection = self.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        if let Some(uid) = existing(&transaction, user)? {
            if range.contains(&uid) {
                return Ok(uid);
            }
            let user = user.to_owned();
            return Err(StoreError::IdOutside {
                user,
                uid,
                first,
                last,
            });
        }
        let uid = unused(&transaction, first, last)?.ok_or(StoreError::NoIds { first, last })?;
        let sql = "INSERT INTO managed_ids (user, uid, assigned) VALUES (?1, ?2, ?3)";
        let mut statement = transaction.prepare_cached(sql).sql(OPERATION)?;
        statement
            .execute((user, uid, now.to_sql()))
            .sql(OPERATION)?;
        drop(statement);
        transaction.commit().sql(OPERATION)?;
        Ok(uid)
    }

    /// The user's id, if one was ever assigned; assigns nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn managed_id_of(&self, user: &str) -> Result<Option<u32>, StoreError> {
        existing(&self.relaxed(), user)
    }

    /// The user who has an id.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn user_of_managed_id(&self, uid: u32) -> Result<Option<String>, StoreError> {
        const OPERATION: &str = "find the user of a managed id";
        let connection = self.relaxed();
        let sql = "SELECT user FROM managed_ids WHERE uid = ?1";
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        statement
            .query_row([uid], |row| row.get(0))
            .optional()
            .sql(OPERATION)
    }
}

fn existing(connection: &Connection, user: &str) -> Result<Option<u32>, StoreError> {
    let sql = "SELECT uid FROM managed_ids WHERE user = ?1";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    statement
        .query_row([user], |row| row.get(0))
        .optional()
        .sql(OPERATION)
}

/// The lowest of the range that has no row. Rows stay for ever, so it is one
/// that nobody had.
fn unused(connection: &Connection, first: u32, last: u32) -> Result<Option<u32>, StoreError> {
    // Root's id is nobody's.
    let first = first.max(1);
    let sql = "SELECT min(candidate) FROM (
           SELECT ?1 AS candidate WHERE NOT EXISTS (SELECT 1 FROM managed_ids WHERE uid = ?1)
           UNION ALL
           SELECT uid + 1 FROM managed_ids a WHERE uid >= ?1 AND uid < ?2
             AND NOT EXISTS (SELECT 1 FROM managed_ids b WHERE b.uid = a.uid + 1)
         ) WHERE candidate BETWEEN ?1 AND ?2";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    statement
        .query_row((first, last), |row| row.get(0))
        .sql(OPERATION)
}
