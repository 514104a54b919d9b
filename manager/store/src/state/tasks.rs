//! Tasks.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::connection::{Store, transaction};
use super::error::{Sql, StoreError, bounded};
use super::page::{Page, PageOf};
use super::rows;
use super::sandboxes::{LONGEST_NAME, missing};
use super::vocabulary::TaskState;
use crate::canonical::Canonical;
use crate::json::JsonText;
use crate::{Digest, Timestamp};

/// Longest text of arguments in bytes; more is cut.
const LONGEST_ARGUMENTS: usize = 1024;

/// A task that is about to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Digest of its arguments ([`arguments_digest`]).
    pub arguments_digest: Digest,
    /// Its arguments to show, cut at 1,024 bytes; absent where the policy hides
    /// them, as arguments are what users put passwords in.
    pub arguments: Option<String>,
    /// What it is, such as `command`, `udf`, `kernel`.
    pub kind: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// The file that its output is kept in.
    pub spool: Option<String>,
}

/// A task as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number in its sandbox, from 1.
    pub number: u64,
    /// What it was started with.
    pub made: NewTask,
    /// Where it is in its life.
    pub state: TaskState,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it ended.
    pub verdict: Option<JsonText>,
    /// What it used.
    pub usage: Option<JsonText>,
}

/// How a task ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskEnding {
    /// Why.
    pub verdict: Option<JsonText>,
    /// What it used.
    pub usage: Option<JsonText>,
}

/// The digest of a command's arguments.
pub fn arguments_digest<T: AsRef<[u8]>>(arguments: &[T]) -> Digest {
    let mut encoder = Canonical::new("lakekeep arguments v1");
    for argument in arguments {
        encoder.bytes(argument.as_ref());
    }
    encoder.finish()
}

impl Store {
    /// Records a task, and gives it the sandbox's next number.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no such sandbox, or it is over.
    pub fn insert_task(
        &self,
        sandbox: &str,
        new: &NewTask,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        const OPERATION: &str = "insert the task";
        bounded("the task's kind", &new.kind, LONGEST_NAME)?;
        let mut connection = self.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        let number = insert(&transaction, sandbox, new, now)?;
        transaction.commit().sql(OPERATION)?;
        number.ok_or_else(|| missing(sandbox))
    }

    /// Records the end of a task. The first end stays.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if no such task runs.
    pub fn end_task(
        &self,
        (sandbox, number): (&str, u64),
        end: &TaskEnding,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "end the task";
        let sql = "UPDATE tasks SET state = 'ended', ended = max(started, :now),
             verdict = :verdict, usage = :usage
             WHERE sandbox = (SELECT number FROM sandboxes WHERE id = :sandbox)
             AND number = :number AND state = 'running'";
        let connection = self.durable();
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        let changed = statement
            .execute(named_params! {
                ":now": now.to_sql(), ":sandbox": sandbox, ":number": number.cast_signed(),
                ":verdict": end.verdict.as_ref().map(JsonText::as_str),
                ":usage": end.usage.as_ref().map(JsonText::as_str),
            })
            .sql(OPERATION)?;
        if changed == 0 {
            let name = format!("{sandbox}/{number}");
            return Err(StoreError::Missing {
                what: "running task",
                name,
            });
        }
        Ok(())
    }

    /// One task.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn task(&self, sandbox: &str, number: u64) -> Result<Option<Task>, StoreError> {
        const OPERATION: &str = "find the task";
        let sql = "SELECT * FROM tasks WHERE number = ?2
             AND sandbox = (SELECT number FROM sandboxes WHERE id = ?1)";
        let connection = self.relaxed();
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        let found = statement.query_row((sandbox, number.cast_signed()), read);
        found.optional().sql(OPERATION)
    }

    /// A sandbox's tasks in the order of their numbers.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn tasks(&self, sandbox: &str, page: Page) -> Result<PageOf<Task>, StoreError> {
        const OPERATION: &str = "list tasks";
        let sql = "SELECT * FROM tasks WHERE number > ?2
             AND sandbox = (SELECT number FROM sandboxes WHERE id = ?1)
             ORDER BY number LIMIT ?3";
        let connection = self.relaxed();
        let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
        let found = statement
            .query_map((sandbox, page.after(), page.fetch()), read)
            .sql(OPERATION)?;
        let rows = found.collect::<rusqlite::Result<_>>().sql(OPERATION)?;
        Ok(PageOf::cut(rows, page, |task: &Task| task.number))
    }
}

fn insert(
    connection: &Connection,
    sandbox: &str,
    new: &NewTask,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    const OPERATION: &str = "insert the task";
    let sql = "INSERT INTO tasks (sandbox, number, arguments_digest, arguments, kind, tty, state,
         spool, started)
         SELECT s.number, coalesce((SELECT max(t.number) FROM tasks t WHERE t.sandbox = s.number), 0) + 1,
         :digest, :arguments, :kind, :tty, 'running', :spool, :now
         FROM sandboxes s WHERE s.id = :sandbox AND s.ended IS NULL RETURNING number";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let number: Option<i64> = statement
        .query_row(
            named_params! {
                ":digest": new.arguments_digest.to_string(),
                ":arguments": new.arguments.as_deref().map(cut),
                ":kind": new.kind, ":tty": new.tty, ":spool": new.spool,
                ":now": now.to_sql(), ":sandbox": sandbox,
            },
            |row| row.get(0),
        )
        .optional()
        .sql(OPERATION)?;
    Ok(number.map(i64::cast_unsigned))
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_ARGUMENTS))
        .unwrap_or("")
}

fn read(row: &Row<'_>) -> rusqlite::Result<Task> {
    let number: i64 = row.get("number")?;
    let digest: String = row.get("arguments_digest")?;
    Ok(Task {
        number: number.cast_unsigned(),
        made: NewTask {
            arguments_digest: digest.parse().unwrap_or(Digest::ZERO),
            arguments: row.get("arguments")?,
            kind: row.get("kind")?,
            tty: row.get("tty")?,
            spool: row.get("spool")?,
        },
        state: row.get("state")?,
        started: rows::time(row, "started")?,
        ended: rows::maybe_time(row, "ended")?,
        verdict: rows::maybe_json(row, "verdict")?,
        usage: rows::maybe_json(row, "usage")?,
    })
}
