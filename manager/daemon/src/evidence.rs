//! The audit log, verified without a manager: the one that wrote it may have been stopped, or
//! may refuse to start on it.

use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};

use lakekeep_store::FileError;
use lakekeep_store::audit::{self, AuditKey, Fault, KeyError, Note, Report};
use serde_json::{Value, json};

/// The key's name beside the log's folder.
const KEY: &str = "audit.key";

/// The key of a log.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// Where the manager keeps it: `audit.key` beside the folder.
    Beside,
    /// In this file.
    File(&'a Path),
    /// Not to be had: hashes are not checked.
    None,
}

/// Why nothing can be said of a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The folder cannot be reached.
    #[error(
        "the folder {folder} cannot be reached; name the folder `audit` below the manager's `state`, as the manager's user or root"
    )]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is nothing of a log in it.
    #[error(
        "there is no audit log in {folder}; name the folder `audit` below the manager's `state`. If it is that one, all of the log is gone"
    )]
    Empty {
        /// Which.
        folder: PathBuf,
    },
    /// The key cannot be had.
    #[error(
        "the log's hashes cannot be checked; name its key with --key, or check only the order of its events with --no-key"
    )]
    Key(#[source] KeyError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl EvidenceError {
    /// For programs, as `lakekeep` says its own failures.
    pub fn to_json(&self) -> Value {
        json!({ "level": "error", "message": lakekeep_sandbox::chain(self) })
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Evidence(Report);

impl Evidence {
    /// Verifies a log, also one that is being written.
    ///
    /// # Errors
    /// [`EvidenceError`] when it cannot be read. That it is not whole is no error.
    pub fn verify(folder: &Path, key: Key<'_>) -> Result<Self, EvidenceError> {
        let unreachable = |error| EvidenceError::Folder {
            folder: folder.to_owned(),
            error,
        };
        let folder = folder.canonicalize().map_err(unreachable)?;
        drop(std::fs::read_dir(&folder).map_err(unreachable)?);
        let key = match key {
            Key::Beside => Some(folder.with_file_name(KEY)),
            Key::File(path) => Some(path.to_owned()),
            Key::None => None,
        };
        let key = key.map(|path| AuditKey::read(&path)).transpose();
        let key = key.map_err(EvidenceError::Key)?;
        let report = audit::verify(&folder, key.as_ref())?;
        let headless = |broken: &audit::Broken| broken.fault == Fault::HeadMissing;
        if report.files == 0 && report.broken.as_ref().is_some_and(headless) {
            return Err(EvidenceError::Empty { folder });
        }
        Ok(Self(report))
    }

    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.0.is_intact()
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let report = &self.0;
        let broken = report.broken.as_ref();
        let last = report
            .last
            .map(|(number, hash)| json!({ "seq": number, "hash": hash.to_string() }));
        let notes: Vec<String> = report.notes.iter().map(note).collect();
        json!({
            "whole": self.is_whole(),
            "events": report.events,
            "files": report.files,
            "last": last,
            "problem": broken.map(ToString::to_string).unwrap_or_default(),
            "file": broken.map(|broken| &broken.file),
            "line": broken.and_then(|broken| broken.line),
            "notes": notes,
        })
    }
}

/// For people: a line for each thing to know.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.0;
        let events = report.events;
        match &report.broken {
            None => write!(f, "whole: {events} events in {} files", report.files)?,
            Some(broken) => write!(f, "not whole after {events} events: {broken}")?,
        }
        if let Some((number, hash)) = report.last {
            write!(
                f,
                "\nthe last good event is number {number}, of hash {hash}"
            )?;
        }
        for one in &report.notes {
            f.write_char('\n')?;
            f.write_str(&note(one))?;
        }
        Ok(())
    }
}

fn note(note: &Note) -> String {
    match note {
        Note::HashesNotChecked => {
            "no hash was checked: whoever changed an event and kept its place is not found"
                .to_owned()
        }
        Note::Unfinished { file, bytes } => format!(
            "{file} ends in {bytes} bytes of an event that is being written, or that a crash cut off and nobody was told of"
        ),
        Note::Leftover { file } => {
            format!("{file} is older than what is kept; the next manager removes it")
        }
        other => format!("{other:?}"),
    }
}
