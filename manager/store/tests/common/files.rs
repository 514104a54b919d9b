//! What is in a log's folder, and changing it.

use std::path::{Path, PathBuf};

use lakekeep_store::audit::AuditLog;

use crate::common::{NOW, Place, event};

impl Place {
    pub fn open(&self, max_bytes: u64) -> AuditLog {
        let opened = AuditLog::open(&self.log(), &self.options(max_bytes), NOW).unwrap();
        assert_eq!(opened.torn, None);
        opened.log
    }

    /// A closed log of this many events.
    pub fn written(events: u64, max_bytes: u64) -> Place {
        let place = Place::new();
        let log = place.open(max_bytes);
        for number in 0..events {
            log.append(event(number)).unwrap();
        }
        log.close().unwrap();
        place
    }

    /// The files of the log in their order.
    pub fn files(&self) -> Vec<PathBuf> {
        files(&self.log(), ".jsonl")
    }
}

pub fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub fn write_lines(path: &Path, lines: &[String]) {
    let text: String = lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect();
    std::fs::write(path, text).unwrap();
}
