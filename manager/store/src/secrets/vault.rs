//! Setting, reading and listing secrets; a new key for all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::envelope::{Envelope, LONGEST_SECRET, parse_envelope};
use super::error::SecretError;
use super::keys::{self, Closed, Key};
use super::plaintext::Plaintext;
use crate::canonical::Canonical;
use crate::state::{Levels, Scope, Sql, Store, StoreError, check_secret_name, transaction};
use crate::{Digest, Timestamp};

/// Which secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretName<'a> {
    /// At which level.
    pub scope: Scope,
    /// The profile, project or user.
    pub owner: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// What is known of a secret without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// Its version: no two values ever have the same.
    pub version: u64,
    /// When it was set.
    pub updated: Timestamp,
}

/// What a task gets under one name, unopened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveSecret {
    /// The level that it is of.
    pub from: Scope,
    /// The owner at that level.
    pub owner: String,
    /// Its version.
    pub version: u64,
    /// The levels whose secrets it replaced, weakest first.
    pub replaced: Vec<Scope>,
}

/// What a rotation of the key did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// How many secrets were encrypted anew.
    pub secrets: u64,
    /// The new key's public part.
    pub recipient: String,
}

/// The secrets of a [`Store`], and the key to them. May be shared by threads.
pub struct Vault {
    store: Arc<Store>,
    path: PathBuf,
    /// Held for writing by a rotation, so that nobody encrypts to the old key.
    key: RwLock<Key>,
}

/// Shows nothing of the key.
impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the secrets with the key in `path`, which is made at the first
    /// start; finishes or takes back a rotation that a crash interrupted.
    ///
    /// # Errors
    /// [`SecretError`]: the key is missing, unreadable, or not that of the secrets.
    pub fn open(store: Arc<Store>, path: &Path) -> Result<Vault, SecretError> {
        let key = open_key(&store, path)?;
        let vault = Vault {
            store,
            path: path.to_owned(),
            key: RwLock::new(key),
        };
        vault.check_key()?;
        Ok(vault)
    }

    /// Sets a secret and returns its version.
    ///
    /// # Errors
    /// [`SecretError`]; the old value, if there is one, then stays.
    pub fn set(
        &self,
        which: SecretName<'_>,
        value: &Plaintext,
        now: Timestamp,
    ) -> Result<u64, SecretError> {
        const OPERATION: &str = "set the secret";
        check_secret_name(which.name)?;
        crate::state::check_owner(which.owner)?;
        let bytes = value.expose().len();
        if bytes > LONGEST_SECRET {
            return Err(SecretError::TooLong { bytes });
        }
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        let mut connection = self.store.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        let version = next_version(&transaction)?;
        let ciphertext = seal(&key, which, version, value.expose())?;
        put(
            &transaction,
            which,
            (version, &ciphertext, key.recipient()),
            now,
        )?;
        let sql = "SELECT count(*) FROM secrets WHERE scope = ?1 AND owner = ?2";
        crate::state::check_count(&transaction, sql, "secrets", (which.scope, which.owner))?;
        transaction.commit().sql(OPERATION)?;
        Ok(version)
    }

    /// Decrypts one secret.
    ///
    /// # Errors
    /// [`SecretError`]: missing, of another key, changed, or exchanged.
    pub fn get(&self, which: SecretName<'_>) -> Result<Plaintext, SecretError> {
        const OPERATION: &str = "read the secret";
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT version, recipient, ciphertext FROM secrets
             WHERE scope = ?1 AND owner = ?2 AND name = ?3";
        let found: Option<Sealed> = {
            let connection = self.store.relaxed();
            let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
            let values = (which.scope, which.owner, which.name);
            statement
                .query_row(values, Sealed::read)
                .optional()
                .sql(OPERATION)?
        };
        let sealed = found.ok_or_else(|| SecretError::Missing {
            scope: which.scope,
            owner: which.owner.to_owned(),
            name: which.name.to_owned(),
        })?;
        self.unseal(&key, which, &sealed)
    }

    /// Removes a secret; `false` if there was none.
    ///
    /// # Errors
    /// [`SecretError`] if the database cannot be written.
    pub fn remove(&self, which: SecretName<'_>) -> Result<bool, SecretError> {
        const OPERATION: &str = "remove the secret";
        let sql = "DELETE FROM secrets WHERE scope = ?1 AND owner = ?2 AND name = ?3";
        let values = (which.scope, which.owner, which.name);
        let removed = self.store.durable().execute(sql, values).sql(OPERATION)?;
        Ok(removed > 0)
    }

    /// The secrets of one owner by name, unopened; at most 256.
    ///
    /// # Errors
    /// [`SecretError`] if the database cannot be read.
    pub fn list(&self, scope: Scope, owner: &str) -> Result<Vec<SecretRow>, SecretError> {
        Ok(of_owner(&self.store.relaxed(), scope, owner)?)
    }

    /// The secrets that a task may ask for: the user's over the project's over
    /// the profile's, unopened.
    ///
    /// # Errors
    /// [`SecretError`] if the database cannot be read.
    pub fn effective(
        &self,
        levels: Levels<'_>,
    ) -> Result<BTreeMap<String, EffectiveSecret>, SecretError> {
        let mut merged: BTreeMap<String, EffectiveSecret> = BTreeMap::new();
        let connection = self.store.relaxed();
        // One view of all levels.
        let view = connection.unchecked_transaction().sql("merge secrets")?;
        for (from, owner) in levels.each() {
            for SecretRow { name, version, .. } in of_owner(&view, from, owner)? {
                let before = merged.remove(&name);
                let replaced = before.map_or(Vec::new(), |mut before| {
                    before.replaced.push(before.from);
                    before.replaced
                });
                let owner = owner.to_owned();
                merged.insert(
                    name,
                    EffectiveSecret {
                        from,
                        owner,
                        version,
                        replaced,
                    },
                );
            }
        }
        Ok(merged)
    }

    /// The digest of names, owners and versions of [`Vault::effective`], for the
    /// trust key. No value goes into it: it tells nothing of one, and two sets
    /// share it only if they are the same.
    ///
    /// # Errors
    /// [`SecretError`] if the database cannot be read.
    pub fn set_digest(&self, levels: Levels<'_>) -> Result<Digest, SecretError> {
        let mut encoder = Canonical::new("lakekeep secret set v1");
        for (name, secret) in self.effective(levels)? {
            encoder
                .text(&name)
                .text(secret.from.as_str())
                .text(&secret.owner)
                .number(secret.version);
        }
        Ok(encoder.finish())
    }

    /// The public part of the key.
    pub fn recipient(&self) -> String {
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        key.recipient().to_owned()
    }

    /// Makes a new key and encrypts every secret anew. Until that is done the
    /// old key stays readable; a crash at any point loses nothing.
    ///
    /// # Errors
    /// [`SecretError`]: a secret does not open, or the disk refuses; the old key
    /// is then still the key.
    pub fn rotate(&self) -> Result<Rotated, SecretError> {
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        // What an earlier rotation that failed has left.
        *key = open_key(&self.store, &self.path)?;
        let next = Key::generate();
        next.write(&keys::next_path(&self.path))?;
        // The next key stays if this fails: a commit that failed may be on the
        // disk nevertheless, and only the rows of the next start can tell.
        let secrets = self.reencrypt(&key, &next)?;
        // From here on the secrets are the new key's, whatever fails.
        key.clone_from(&next);
        keys::promote(&self.path)?;
        self.store.checkpoint()?;
        let recipient = next.recipient().to_owned();
        Ok(Rotated { secrets, recipient })
    }

    pub(super) fn reencrypt(&self, old: &Key, new: &Key) -> Result<u64, SecretError> {
        const OPERATION: &str = "encrypt secrets anew";
        let mut connection = self.store.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        let all = names(&transaction)?;
        let mut select = transaction
            .prepare("SELECT version, recipient, ciphertext FROM secrets WHERE rowid = ?1")
            .sql(OPERATION)?;
        let mut update = transaction
            .prepare("UPDATE secrets SET recipient = ?1, ciphertext = ?2 WHERE rowid = ?3")
            .sql(OPERATION)?;
        for (row, scope, owner, name) in &all {
            let which = SecretName {
                scope: *scope,
                owner,
                name,
            };
            let sealed = select.query_row([row], Sealed::read).sql(OPERATION)?;
            let value = self.unseal(old, which, &sealed)?;
            let ciphertext = seal(new, which, sealed.version, value.expose())?;
            update
                .execute((new.recipient(), ciphertext, row))
                .sql(OPERATION)?;
        }
        drop((select, update));
        transaction.commit().sql(OPERATION)?;
        Ok(all.len() as u64)
    }

    fn unseal(
        &self,
        key: &Key,
        which: SecretName<'_>,
        sealed: &Sealed,
    ) -> Result<Plaintext, SecretError> {
        let (scope, owner, name) = (which.scope, which.owner.to_owned(), which.name.to_owned());
        let opened = match key.decrypt(&sealed.ciphertext) {
            Ok(opened) => opened,
            Err(Closed::Damaged) => return Err(SecretError::Damaged { scope, owner, name }),
            Err(Closed::WrongKey) => return Err(self.wrong_key(which, &sealed.recipient)),
        };
        let envelope = match parse_envelope(&opened) {
            Ok(envelope) => envelope,
            Err(error) => {
                return Err(SecretError::Envelope {
                    scope,
                    owner,
                    name,
                    error,
                });
            }
        };
        let belongs = envelope.belongs_to((scope, which.owner), which.name);
        if !belongs || envelope.version != sealed.version {
            return Err(SecretError::Swapped { scope, owner, name });
        }
        Ok(Plaintext::new(envelope.value.to_vec()))
    }

    fn wrong_key(&self, which: SecretName<'_>, recipient: &str) -> SecretError {
        SecretError::WrongKey {
            scope: which.scope,
            owner: which.owner.to_owned(),
            name: which.name.to_owned(),
            recipient: recipient.to_owned(),
            path: self.path.clone(),
        }
    }

    /// Refuses to start with a key that is not that of the secrets.
    fn check_key(&self) -> Result<(), SecretError> {
        const OPERATION: &str = "check the key of secrets";
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT scope, owner, name, recipient FROM secrets WHERE recipient <> ?1 LIMIT 1";
        let other: Option<(Scope, String, String, String)> = self
            .store
            .relaxed()
            .query_row(sql, [key.recipient()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()
            .sql(OPERATION)?;
        match other {
            None => Ok(()),
            Some((scope, owner, name, recipient)) => {
                let which = SecretName {
                    scope,
                    owner: &owner,
                    name: &name,
                };
                Err(self.wrong_key(which, &recipient))
            }
        }
    }
}

/// A row's ciphertext.
struct Sealed {
    version: u64,
    recipient: String,
    ciphertext: Vec<u8>,
}

impl Sealed {
    fn read(row: &Row<'_>) -> rusqlite::Result<Sealed> {
        let version: i64 = row.get(0)?;
        Ok(Sealed {
            version: version.cast_unsigned(),
            recipient: row.get(1)?,
            ciphertext: row.get(2)?,
        })
    }
}

/// The key, after an interrupted rotation was finished or taken back.
fn open_key(store: &Store, path: &Path) -> Result<Key, SecretError> {
    let (current, next) = (Key::read(path)?, Key::read(&keys::next_path(path))?);
    if let Some(next) = next {
        let with_next = count(store, Some(next.recipient()))?;
        // With no secret at all it makes no difference; without a key it is the key.
        if with_next > 0 || current.is_none() {
            keys::promote(path)?;
            return Ok(next);
        }
        keys::discard_next(path)?;
    }
    if let Some(current) = current {
        return Ok(current);
    }
    let secrets = count(store, None)?;
    if secrets > 0 {
        return Err(SecretError::NoKey {
            path: path.to_owned(),
            secrets,
        });
    }
    let key = Key::generate();
    key.write(path)?;
    Ok(key)
}

fn count(store: &Store, recipient: Option<&str>) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM secrets WHERE ?1 IS NULL OR recipient = ?1";
    let count: i64 = store
        .relaxed()
        .query_row(sql, [recipient], |row| row.get(0))
        .sql("count secrets")?;
    Ok(count.cast_unsigned())
}

fn seal(
    key: &Key,
    which: SecretName<'_>,
    version: u64,
    value: &[u8],
) -> Result<Vec<u8>, SecretError> {
    let envelope = Envelope {
        scope: which.scope.as_str(),
        owner: which.owner,
        name: which.name,
        version,
        value,
    };
    key.encrypt(&envelope.encode())
}

fn next_version(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "UPDATE secret_version SET last = last + 1 RETURNING last";
    let version: i64 = connection
        .query_row(sql, [], |row| row.get(0))
        .sql("count the versions of secrets")?;
    Ok(version.cast_unsigned())
}

fn put(
    connection: &Connection,
    which: SecretName<'_>,
    (version, ciphertext, recipient): (u64, &[u8], &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO secrets (scope, owner, name, version, recipient, ciphertext, updated)
         VALUES (:scope, :owner, :name, :version, :recipient, :ciphertext, :now)
         ON CONFLICT (scope, owner, name) DO UPDATE SET version = excluded.version,
         recipient = excluded.recipient, ciphertext = excluded.ciphertext, updated = excluded.updated";
    let values = named_params! {
        ":scope": which.scope, ":owner": which.owner, ":name": which.name,
        ":version": version.cast_signed(), ":recipient": recipient,
        ":ciphertext": ciphertext, ":now": now.to_sql(),
    };
    connection.execute(sql, values).sql("set the secret")?;
    Ok(())
}

type RowName = (i64, Scope, String, String);

/// Every secret, unopened.
fn names(connection: &Connection) -> Result<Vec<RowName>, StoreError> {
    const OPERATION: &str = "list secrets";
    let sql = "SELECT rowid, scope, owner, name FROM secrets ORDER BY rowid";
    let mut statement = connection.prepare(sql).sql(OPERATION)?;
    let found = statement
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .sql(OPERATION)?;
    found.collect::<rusqlite::Result<_>>().sql(OPERATION)
}

fn of_owner(
    connection: &Connection,
    scope: Scope,
    owner: &str,
) -> Result<Vec<SecretRow>, StoreError> {
    const OPERATION: &str = "list secrets";
    let sql =
        "SELECT name, version, updated FROM secrets WHERE scope = ?1 AND owner = ?2 ORDER BY name";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let found = statement
        .query_map((scope, owner), |row| {
            let version: i64 = row.get(1)?;
            Ok(SecretRow {
                name: row.get(0)?,
                version: version.cast_unsigned(),
                updated: Timestamp::from_sql(row.get(2)?),
            })
        })
        .sql(OPERATION)?;
    found.collect::<rusqlite::Result<_>>().sql(OPERATION)
}
