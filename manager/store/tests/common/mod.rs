//! Logs to test on.

use std::path::PathBuf;
use std::time::Duration;

use lakekeep_store::Timestamp;
use lakekeep_store::audit::{AuditKey, Event, Options, Report, verify};

pub const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// A folder with a log and its key.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("audit.key")
    }

    pub fn key(&self) -> AuditKey {
        AuditKey::read(&self.key_file()).unwrap()
    }

    /// Small files, so that rotation happens.
    pub fn options(&self, max_bytes: u64) -> Options {
        Options {
            max_bytes,
            max_age: Duration::from_secs(3600),
            keep: 10_000,
            key: Some(self.key_file()),
        }
    }

    pub fn verify(&self) -> Report {
        verify(&self.log(), Some(&self.key())).unwrap()
    }
}

pub fn event(number: u64) -> Event {
    Event::allowed(NOW, "uid:1000", "sandbox.exec")
        .with_as_whom("alice")
        .with_extra("number", &number.to_string())
}
