//! What became of sandboxes and their tasks, for those who ask later.
//!
//! Written behind the event and many at once, without a wait for the disk: a loss of
//! power may undo the last of it. What must not be lost is in the audit log.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::connection::{Store, transaction};
use super::error::{Sql, StoreError, bounded};
use super::rows;
use super::sandboxes::{self, Ending, NewSandbox, Sandbox};
use super::vocabulary::TaskState;
use crate::json::JsonText;
use crate::{Digest, Timestamp};

/// Longest name of a program that is kept, bytes.
const LONGEST_PROGRAM: usize = 255;

/// Rows of one transaction that removes some.
const BATCH: i64 = 200;

/// Something to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A sandbox lives.
    Made {
        /// What it was made with.
        sandbox: Box<NewSandbox>,
        /// Names of its volumes.
        volumes: Vec<String>,
        /// When.
        at: Timestamp,
    },
    /// What is enforced for it.
    Enforced {
        /// Which sandbox.
        sandbox: String,
        /// Its receipt.
        receipt: JsonText,
    },
    /// A task of it ended.
    Task(Box<PastTask>),
    /// It ended.
    Ended {
        /// Which sandbox.
        sandbox: String,
        /// How.
        end: Ending,
        /// When a task of it last began or ended.
        last_used: Timestamp,
        /// When.
        at: Timestamp,
    },
}

/// A task that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastTask {
    /// Its sandbox.
    pub sandbox: String,
    /// Its number there, from 1.
    pub number: u32,
    /// Digest of its arguments.
    pub arguments: Digest,
    /// Its program's name; cut at 255 bytes.
    pub program: String,
    /// Whether it had a terminal.
    pub tty: bool,
    /// `Ended`, or `Lost`.
    pub state: TaskState,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// As `lakekeep run` exits.
    pub exit_code: i32,
    /// Why it ended.
    pub verdict: Option<JsonText>,
    /// What was enforced for it.
    pub receipt: Option<JsonText>,
}

/// A sandbox that is remembered, with its volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// As it was recorded.
    pub sandbox: Sandbox,
    /// Names of its volumes.
    pub volumes: Vec<String>,
}

/// Which ended sandboxes; an absent field takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastFilter {
    /// The owner.
    pub owner: Option<String>,
    /// The profile.
    pub profile: Option<String>,
}

impl Store {
    /// Writes records down, in their order, all or none. What is of a sandbox that is
    /// not recorded, or was over before, is passed over.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    pub fn record(&self, records: &[Record]) -> Result<(), StoreError> {
        const OPERATION: &str = "write the history";
        let mut connection = self.relaxed();
        let transaction = transaction(&mut connection, OPERATION)?;
        for record in records {
            write(&transaction, record)?;
        }
        transaction.commit().sql(OPERATION)
    }

    /// A sandbox that is remembered.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn past(&self, id: &str) -> Result<Option<Past>, StoreError> {
        const OPERATION: &str = "look up the history";
        let connection = self.relaxed();
        let sql = "SELECT * FROM sandboxes WHERE id = ?1";
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        statement.query_row([id], read).optional().sql(OPERATION)
    }

    /// Ended sandboxes after `after`, in the order of their identifiers.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn past_after(
        &self,
        after: &str,
        filter: &PastFilter,
        most: u32,
    ) -> Result<Vec<Past>, StoreError> {
        const OPERATION: &str = "list the history";
        let connection = self.relaxed();
        // Two statements: with an owner, the index of owners is used.
        let of_owner = match filter.owner {
            Some(_) => "owner = :owner",
            None => ":owner IS NULL",
        };
        let sql = format!(
            "SELECT * FROM sandboxes WHERE {of_owner} AND id > :after AND ended IS NOT NULL
             AND (:profile IS NULL OR profile = :profile) ORDER BY id LIMIT :most"
        );
        let mut statement = connection.prepare_cached(&sql).sql(OPERATION)?;
        let values = named_params! {
            ":owner": filter.owner, ":profile": filter.profile, ":after": after, ":most": most,
        };
        let found = statement.query_map(values, read).sql(OPERATION)?;
        found.collect::<rusqlite::Result<_>>().sql(OPERATION)
    }

    /// A sandbox's last ended tasks, at most `most`, in the order of their numbers.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn past_tasks(&self, sandbox: &str, most: u32) -> Result<Vec<PastTask>, StoreError> {
        const OPERATION: &str = "list the history's tasks";
        let connection = self.relaxed();
        let sql = "SELECT * FROM (SELECT * FROM tasks WHERE state <> 'running'
             AND sandbox = (SELECT number FROM sandboxes WHERE id = ?1)
             ORDER BY number DESC LIMIT ?2) ORDER BY number";
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        let found = statement.query_map((sandbox, most), |row| task(row, sandbox));
        let found = found.sql(OPERATION)?;
        found.collect::<rusqlite::Result<_>>().sql(OPERATION)
    }

    /// One ended task; 0: the last.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn past_task(&self, sandbox: &str, number: u32) -> Result<Option<PastTask>, StoreError> {
        const OPERATION: &str = "look up the history's task";
        let connection = self.relaxed();
        let sql = "SELECT * FROM tasks WHERE state <> 'running' AND (?2 = 0 OR number = ?2)
             AND sandbox = (SELECT number FROM sandboxes WHERE id = ?1)
             ORDER BY number DESC LIMIT 1";
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        let found = statement.query_row((sandbox, number), |row| task(row, sandbox));
        found.optional().sql(OPERATION)
    }

    /// Forgets the oldest sandboxes that ended until at most `rows` rows of sandboxes and
    /// tasks are left; where none has ended, the oldest tasks of those that live. Removes
    /// few at once; `true`: there is more.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was removed then.
    pub fn prune_rows(&self, rows: u64) -> Result<bool, StoreError> {
        const OPERATION: &str = "forget what is too much";
        let mut connection = self.relaxed();
        let transaction = transaction(&mut connection, OPERATION)?;
        let over = count(&transaction)?.saturating_sub(i64::try_from(rows).unwrap_or(i64::MAX));
        if over <= 0 {
            return Ok(false);
        }
        let most = over.min(BATCH);
        let sql = "DELETE FROM sandboxes WHERE number IN (SELECT number FROM sandboxes
             WHERE ended IS NOT NULL ORDER BY ended LIMIT ?1)";
        let mut removed = transaction.execute(sql, [most]).sql(OPERATION)?;
        if removed == 0 {
            let sql = "DELETE FROM tasks WHERE (sandbox, number) IN (SELECT sandbox, number
                 FROM tasks WHERE ended IS NOT NULL ORDER BY ended LIMIT ?1)";
            removed = transaction.execute(sql, [most]).sql(OPERATION)?;
        }
        transaction.commit().sql(OPERATION)?;
        Ok(removed > 0)
    }
}

fn count(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT (SELECT count(*) FROM sandboxes) + (SELECT count(*) FROM tasks)";
    connection
        .query_row(sql, [], |row| row.get(0))
        .sql("count the history's rows")
}

fn write(connection: &Connection, record: &Record) -> Result<(), StoreError> {
    match record {
        Record::Made {
            sandbox,
            volumes,
            at,
        } => made(connection, sandbox, volumes, *at),
        Record::Enforced { sandbox, receipt } => {
            let sql = "UPDATE sandboxes SET receipt = ?1 WHERE id = ?2";
            let values = (receipt.as_str(), sandbox);
            execute(connection, sql, values)
        }
        Record::Task(task) => ended_task(connection, task),
        Record::Ended {
            sandbox,
            end,
            last_used,
            at,
        } => {
            let sql = "UPDATE sandboxes SET last_used = max(last_used, ?1)
                 WHERE id = ?2 AND ended IS NULL";
            execute(connection, sql, (last_used.to_sql(), sandbox))?;
            sandboxes::end_live(connection, sandbox, end, *at).map(drop)
        }
    }
}

fn execute(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<(), StoreError> {
    const OPERATION: &str = "write the history";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    statement.execute(values).map(drop).sql(OPERATION)
}

fn made(
    connection: &Connection,
    sandbox: &NewSandbox,
    volumes: &[String],
    at: Timestamp,
) -> Result<(), StoreError> {
    sandboxes::check(sandbox)?;
    match sandboxes::insert(connection, sandbox, at) {
        // Taken over from an earlier manager, which wrote it down.
        Ok(()) | Err(StoreError::Exists { .. }) => {}
        Err(error) => return Err(error),
    }
    let volumes = JsonText::of(&volumes)?;
    let sql = "UPDATE sandboxes SET volumes = ?1, state = CASE state WHEN 'creating' THEN 'live'
         ELSE state END WHERE id = ?2";
    execute(connection, sql, (volumes.as_str(), &sandbox.id))
}

fn ended_task(connection: &Connection, task: &PastTask) -> Result<(), StoreError> {
    const OPERATION: &str = "write the history";
    bounded("the sandbox's id", &task.sandbox, sandboxes::LONGEST_NAME)?;
    let sql = "INSERT INTO tasks (sandbox, number, arguments_digest, program, kind, tty, state,
         started, ended, exit_code, verdict, receipt)
         SELECT s.number, :number, :digest, :program, s.kind, :tty, :state, :started, :ended,
         :code, :verdict, :receipt FROM sandboxes s WHERE s.id = :sandbox
         ON CONFLICT (sandbox, number) DO NOTHING";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let cut = task.program.floor_char_boundary(LONGEST_PROGRAM);
    let values = named_params! {
        ":sandbox": task.sandbox, ":number": task.number, ":digest": task.arguments.to_string(),
        ":program": task.program.get(..cut), ":tty": task.tty, ":state": task.state,
        ":started": task.started.to_sql(),
        ":ended": task.ended.to_sql().max(task.started.to_sql()), ":code": task.exit_code,
        ":verdict": task.verdict.as_ref().map(JsonText::as_str),
        ":receipt": task.receipt.as_ref().map(JsonText::as_str),
    };
    statement.execute(values).map(drop).sql(OPERATION)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Past> {
    let volumes: String = row.get("volumes")?;
    Ok(Past {
        sandbox: sandboxes::read(row)?,
        volumes: serde_json::from_str(&volumes).unwrap_or_default(),
    })
}

fn task(row: &Row<'_>, sandbox: &str) -> rusqlite::Result<PastTask> {
    let digest: String = row.get("arguments_digest")?;
    let started = rows::time(row, "started")?;
    Ok(PastTask {
        sandbox: sandbox.to_owned(),
        number: row.get("number")?,
        arguments: digest.parse().unwrap_or(Digest::ZERO),
        program: row.get("program")?,
        tty: row.get("tty")?,
        state: row.get("state")?,
        started,
        ended: rows::maybe_time(row, "ended")?.unwrap_or(started),
        exit_code: row.get("exit_code")?,
        verdict: rows::maybe_json(row, "verdict")?,
        receipt: rows::maybe_json(row, "receipt")?,
    })
}
