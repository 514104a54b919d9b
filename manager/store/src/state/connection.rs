//! Opening the database.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::error::{Sql, StoreError};
use super::migrate::{self, STATE, Schema};
use crate::files::{self, Named};

/// How long a statement waits for another connection's lock.
const BUSY: Duration = Duration::from_secs(10);
/// Prepared statements that are kept.
const STATEMENTS: usize = 64;

/// The manager's state. May be shared by threads; calls block.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// What it commits is on the disk (`synchronous=FULL`).
    durable: Mutex<Connection>,
    /// Reads, and writes that a loss of power may undo (`synchronous=NORMAL`).
    /// Not held up while the other waits for the disk.
    relaxed: Mutex<Connection>,
}

impl Store {
    /// Opens the database, or makes it; brings an older one to this version.
    ///
    /// # Errors
    /// [`StoreError`]: damaged, newer, not ours, or not accessible. The file is
    /// then as it was.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let durable = open(path, &STATE)?;
        let relaxed = connect(path, "NORMAL")?;
        Ok(Store {
            path: path.to_owned(),
            durable: Mutex::new(durable),
            relaxed: Mutex::new(relaxed),
        })
    }

    /// The database's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For changes that are acknowledged.
    pub(crate) fn durable(&self) -> MutexGuard<'_, Connection> {
        // A panic rolled its transaction back; the connection is good.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For reads, and changes that may be lost.
    pub(crate) fn relaxed(&self) -> MutexGuard<'_, Connection> {
        self.relaxed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the write-ahead log into the database, so that content which was
    /// overwritten is no longer in it.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let connection = self.durable();
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .sql("move the write-ahead log into the database")
    }
}

/// A transaction that writes: it takes the lock at its start, so that what it
/// has read is still so when it writes.
pub(crate) fn transaction<'a>(
    connection: &'a mut Connection,
    operation: &'static str,
) -> Result<Transaction<'a>, StoreError> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .sql(operation)
}

/// Opens a database whose commits are on the disk (`synchronous=FULL`), or makes it, and
/// brings it to this version.
pub(crate) fn open(path: &Path, schema: &Schema) -> Result<Connection, StoreError> {
    make_private(path)?;
    let mut durable = connect(path, "FULL").map_err(|error| corrupt(path, error))?;
    migrate::check_ours(&durable, schema, path).map_err(|error| corrupt(path, error))?;
    quick_check(&durable, path)?;
    migrate::migrate(&mut durable, schema)?;
    Ok(durable)
}

/// SQLite gives its -wal and -shm the mode of the database.
fn make_private(path: &Path) -> Result<(), StoreError> {
    files::private_folder(files::parent(path))?;
    let mut options = files::private();
    let opened = options.read(true).write(true).create(true).open(path);
    let file = opened.named("open", path)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    file.set_permissions(mode).named("make private", path)?;
    Ok(())
}

/// A further connection to a database that is there.
pub(crate) fn connect(path: &Path, synchronous: &str) -> Result<Connection, StoreError> {
    const OPERATION: &str = "open the database";
    // No mutex of SQLite's: ours is around the connection. No URI: a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    // NOFOLLOW refuses links in folders too, which are the administrator's own.
    let path = path.canonicalize().named("find", path)?;
    let connection = Connection::open_with_flags(&path, flags).sql(OPERATION)?;
    connection.busy_timeout(BUSY).sql(OPERATION)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // `trusted_schema=OFF`: a changed schema cannot call functions. `secure_delete`:
    // what is removed is overwritten.
    let pragmas = format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA foreign_keys=ON;
         PRAGMA trusted_schema=OFF; PRAGMA secure_delete=ON; PRAGMA cell_size_check=ON;"
    );
    connection.execute_batch(&pragmas).sql(OPERATION)?;
    Ok(connection)
}

fn quick_check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: rusqlite::Result<String> =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match found.sql("check the database") {
        Ok(found) if found == "ok" => Ok(()),
        Ok(what) => Err(StoreError::Corrupt {
            path: path.to_owned(),
            what,
        }),
        Err(error) => Err(corrupt(path, error)),
    }
}

/// Names damage as such.
fn corrupt(path: &Path, error: StoreError) -> StoreError {
    let StoreError::Sql { error: sql, .. } = &error else {
        return error;
    };
    match sql.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
            path: path.to_owned(),
            what: sql.to_string(),
        },
        _ => error,
    }
}
