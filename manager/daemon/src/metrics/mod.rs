//! Numbers for an operator's monitoring.
//!
//! What they are is in docs/manager.md, which a test compares with what is registered.
//! A label is a word of this program, a method of the interface, or the name of a profile
//! that the administrator declared: nothing that a user chose, and never more of them
//! than [`MOST_PROFILES`].

mod endpoint;
mod families;
mod labels;
mod process;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use lakekeep_profiles::ProfileSet;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::{Metric, Registry, Unit};
use tracing::Instrument;

use crate::sandbox::lock;

pub use endpoint::{Endpoint, MetricsDoc};
pub use families::{
    Audit, Calls, Flows, History, Launchers, LocalServices, Output, Parked, Queue, Sandboxes,
    Snapshot, Stages, Tasks,
};
pub use labels::{Called, Stage, kind, verdict};

/// Most profiles with a label of their own; all others share [`OTHER`].
const MOST_PROFILES: usize = 100;

/// Stands for every profile that users wrote; no profile can be called so.
const USERS: &str = "_user";

/// Stands for declared profiles beyond the bound, and for those that are gone.
const OTHER: &str = "_other";

/// How the numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

/// All numbers. Counting never waits for anything but another counter.
#[derive(Debug)]
pub struct Metrics {
    pub sandboxes: Sandboxes,
    pub tasks: Tasks,
    pub output: Output,
    pub queue: Queue,
    pub launchers: Launchers,
    pub parked: Parked,
    pub audit: Audit,
    pub calls: Calls,
    pub stages: Stages,
    pub history: History,
    pub local: LocalServices,
    flows: Flows,
    process: process::Process,
    registry: Registry,
    #[cfg(test)]
    names: Vec<String>,
    /// Profiles that have a label of their own.
    profiles: Mutex<BTreeSet<String>>,
    /// One answer is written at a time: the present is set and read together.
    writing: Mutex<()>,
}

/// What is being registered.
#[derive(Debug, Default)]
pub(crate) struct Book {
    registry: Registry,
    names: Vec<String>,
}

impl Book {
    /// Registers a metric under its name, to which its unit is added.
    fn add<M: Metric + Clone>(
        &mut self,
        (name, unit): (&str, Option<Unit>),
        help: &str,
        metric: M,
    ) -> M {
        let suffix = unit.as_ref().map_or("", |unit| match unit {
            Unit::Bytes => "_bytes",
            _ => "_seconds",
        });
        self.names.push(format!("{name}{suffix}"));
        match unit {
            Some(unit) => self
                .registry
                .register_with_unit(name, help, unit, metric.clone()),
            None => self.registry.register(name, help, metric.clone()),
        }
        metric
    }
}

impl Metrics {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        let mut book = Book::default();
        Self {
            sandboxes: Sandboxes::new(&mut book),
            tasks: Tasks::new(&mut book),
            output: Output::new(&mut book),
            queue: Queue::new(&mut book),
            launchers: Launchers::new(&mut book),
            parked: Parked::new(&mut book),
            audit: Audit::new(&mut book),
            calls: Calls::new(&mut book),
            stages: Stages::new(&mut book),
            history: History::new(&mut book),
            local: LocalServices::new(&mut book),
            flows: Flows::new(&mut book),
            process: process::Process::new(&mut book),
            registry: book.registry,
            #[cfg(test)]
            names: book.names,
            profiles: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// The same, with the restarts that the supervisor counts in its folder.
    pub fn counting(runtime: &Path) -> Self {
        let metrics = Self::new();
        metrics.process.count_in(runtime.join("restarts"));
        metrics
    }

    /// Every family's name, with its unit.
    #[cfg(test)]
    fn names(&self) -> &[String] {
        &self.names
    }

    /// The label of a profile: its name only where the administrator gave it.
    pub fn profile(&self, set: &ProfileSet, name: &str) -> String {
        let Some(stored) = set.get(name) else {
            return OTHER.to_owned();
        };
        match stored.declared() {
            true => self.declared(name),
            false => USERS.to_owned(),
        }
    }

    fn declared(&self, name: &str) -> String {
        let mut known = lock(&self.profiles);
        if known.contains(name) || (known.len() < MOST_PROFILES && known.insert(name.to_owned())) {
            return name.to_owned();
        }
        OTHER.to_owned()
    }

    /// Times a stage of making a sandbox or a task, in a span of its own.
    pub async fn stage<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let name = stage.name();
        let span = tracing::info_span!("stage", otel.name = name);
        let began = Instant::now();
        let result = work.instrument(span).await;
        self.stages.observe(stage, began.elapsed());
        result
    }

    /// All of it as text, with what is so at present.
    ///
    /// # Errors
    /// Only where a metric itself cannot be written: a fault of this program's.
    pub fn text(&self, now: &Snapshot, format: Format) -> Result<String, std::fmt::Error> {
        let _writing = lock(&self.writing);
        self.sandboxes.set(now);
        self.tasks.set(now);
        self.queue.set(now);
        self.flows.set(now);
        self.process.read();
        let mut text = String::new();
        match format {
            Format::OpenMetrics => text::encode(&mut text, &self.registry)?,
            Format::Prometheus => prometheus_text::encode(&mut text, &self.registry)?,
        }
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
