//! Requests that may come twice, and delegations that no longer count.

use rusqlite::{Connection, OptionalExtension};

use super::connection::Store;
use super::error::{Sql, StoreError, bounded};
use super::sandboxes::LONGEST_NAME;
use crate::{Digest, Timestamp};

/// What makes two requests the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Who asked: another's request of the same id is another request.
    pub principal: String,
    /// The id that the client chose.
    pub request: String,
    /// Digest of what was asked for.
    pub digest: Digest,
}

/// Whether a sandbox is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is.
    New,
    /// The same request was made before, and nothing was changed.
    Before {
        /// The sandbox of that time.
        sandbox: String,
    },
}

/// Records a request, or gives the sandbox that it had.
pub(super) fn claim(
    connection: &Connection,
    key: &RequestKey,
    sandbox: &str,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    const OPERATION: &str = "record the request";
    bounded("the principal", &key.principal, LONGEST_NAME)?;
    bounded("the request's id", &key.request, LONGEST_NAME)?;
    let sql = "SELECT digest, sandbox FROM requests WHERE principal = ?1 AND request = ?2";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let before: Option<(String, String)> = statement
        .query_row((&key.principal, &key.request), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .sql(OPERATION)?;
    let digest = key.digest.to_string();
    match before {
        Some((other, _)) if other != digest => {
            let request = key.request.clone();
            Err(StoreError::RequestDiffers { request })
        }
        Some((_, sandbox)) => Ok(Some(sandbox)),
        None => {
            let sql = "INSERT INTO requests (principal, request, digest, sandbox, created)
                 VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
            let values = (&key.principal, &key.request, digest, sandbox, now.to_sql());
            statement.execute(values).sql(OPERATION)?;
            Ok(None)
        }
    }
}

impl Store {
    /// Ends a delegation before its time. `expires` is when it would have ended
    /// by itself: until then it is remembered.
    ///
    /// # Errors
    /// [`StoreError`] if the id is empty or too long, or the database cannot be written.
    pub fn revoke_delegation(
        &self,
        id: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "revoke the delegation";
        bounded("the delegation's id", id, 2 * LONGEST_NAME)?;
        let sql = "INSERT INTO revoked_delegations (id, revoked, expires) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET revoked = max(revoked, excluded.revoked),
                 expires = max(expires, excluded.expires)";
        let connection = self.durable();
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        statement
            .execute((id, now.to_sql(), expires.to_sql()))
            .sql(OPERATION)?;
        Ok(())
    }

    /// Ends every delegation that a user gave so far.
    ///
    /// # Errors
    /// As of [`Store::revoke_delegation`].
    pub fn revoke_user(
        &self,
        user: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.revoke_delegation(&format!("user:{user}"), expires, now)
    }

    /// Up to when a user's delegations were revoked, if they were.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read; none must then be believed.
    pub fn revoked_before(&self, user: &str) -> Result<Option<Timestamp>, StoreError> {
        use rusqlite::OptionalExtension;
        const OPERATION: &str = "look up the user's delegations";
        let connection = self.relaxed();
        let sql = "SELECT revoked FROM revoked_delegations WHERE id = ?1";
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        let found = statement.query_row([format!("user:{user}")], |row| row.get(0));
        let found: Option<i64> = found.optional().sql(OPERATION)?;
        Ok(found.map(Timestamp::from_sql))
    }

    /// Whether a delegation was revoked.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read; the delegation must then
    /// not be believed.
    pub fn is_revoked(&self, id: &str) -> Result<bool, StoreError> {
        const OPERATION: &str = "look up the delegation";
        let connection = self.relaxed();
        let sql = "SELECT 1 FROM revoked_delegations WHERE id = ?1";
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        statement.exists([id]).sql(OPERATION)
    }
}
