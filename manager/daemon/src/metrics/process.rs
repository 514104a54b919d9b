//! The manager's own process, under the names that every client library gives these.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use serde::Deserialize;

use super::Book;
use super::families::Fraction;
use super::labels::Labelled;
use crate::sandbox::lock;

/// The process, read when somebody asks.
#[derive(Debug)]
pub(super) struct Process {
    resident: Gauge,
    descriptors: Gauge,
    threads: Gauge,
    processor: Counter<f64, AtomicU64>,
    restarts: Family<Labelled, Counter>,
    /// The supervisor's count.
    counted: Mutex<Option<PathBuf>>,
}

/// What the supervisor writes down.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Restarts {
    manager: u64,
    launchers: u64,
    relay: u64,
}

impl Process {
    pub(super) fn new(book: &mut Book) -> Self {
        let started: Fraction = book.add(
            ("process_start_time", Some(Unit::Seconds)),
            "When this manager started, since 1970",
            Gauge::default(),
        );
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        started.set(since.map_or(0.0, |since| since.as_secs_f64()));
        let build: Family<Labelled, Gauge> = book.add(
            ("lakekeep_build", None),
            "1, with the version of this program",
            Family::default(),
        );
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        build.get_or_create(&version).set(1);
        Self {
            resident: book.add(
                ("process_resident_memory", Some(Unit::Bytes)),
                "Memory that the manager's process has",
                Gauge::default(),
            ),
            descriptors: book.add(
                ("process_open_fds", None),
                "Descriptors that it has open",
                Gauge::default(),
            ),
            threads: book.add(("process_threads", None), "Its threads", Gauge::default()),
            processor: book.add(
                ("process_cpu", Some(Unit::Seconds)),
                "Processor time that it has used",
                Counter::default(),
            ),
            restarts: book.add(
                ("lakekeep_restarts", None),
                "Processes that the supervisor started again",
                Family::default(),
            ),
            counted: Mutex::default(),
        }
    }

    /// Where the supervisor counts.
    pub(super) fn count_in(&self, path: PathBuf) {
        *lock(&self.counted) = Some(path);
    }

    /// Reads what is so now. What cannot be read stays as it was.
    pub(super) fn read(&self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kib) = field(&status, "VmRSS:") {
            self.resident.set(kib.saturating_mul(1024));
        }
        if let Some(threads) = field(&status, "Threads:") {
            self.threads.set(threads);
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // Less the one that reads.
            let open = entries.count().saturating_sub(1);
            self.descriptors
                .set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        if let Ok(used) = std::time::Duration::try_from(used) {
            let more = used.as_secs_f64() - self.processor.get();
            self.processor.inc_by(more.max(0.0));
        }
        self.read_restarts();
    }

    fn read_restarts(&self) {
        let read = lock(&self.counted).as_ref().map(std::fs::read);
        let Some(Ok(text)) = read else {
            return;
        };
        let found: Restarts = serde_json::from_slice(&text).unwrap_or_default();
        for (process, number) in [
            ("manager", found.manager),
            ("launcher", found.launchers),
            ("relay", found.relay),
        ] {
            let counter = self.restarts.get_or_create(&[("process", process)]);
            counter.inc_by(number.saturating_sub(counter.get()));
        }
    }
}

fn field(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
