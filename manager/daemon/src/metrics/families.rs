//! The metrics, by what they are about.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lakekeep_store::flows::FlowCounts;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::Book;
use super::labels::{Called, Labelled, Living, Method, Of, Stage};

/// A quarter of a millisecond to a minute: a warm start to a cold one on a busy host.
const WORK: [f64; 17] = [
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];

/// Up to the longest that anybody waits for a place.
const WAIT: [f64; 11] = [
    0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
];

/// A write to the disk, from a fast one's to a stuck one's.
const DISK: [f64; 13] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn work() -> Histogram {
    Histogram::new(WORK)
}

fn wait() -> Histogram {
    Histogram::new(WAIT)
}

/// What is so at the moment at which somebody asks.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Live sandboxes: kind, profile's label, state.
    pub sandboxes: BTreeMap<(&'static str, String, &'static str), i64>,
    /// Ended ones that are still in memory.
    pub ended: i64,
    /// Tasks that run.
    pub tasks: i64,
    /// Requests that wait for a place.
    pub queued: i64,
    /// What became of flows' rows.
    pub flows: FlowCounts,
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Sandboxes.
#[derive(Debug)]
pub struct Sandboxes {
    live: Family<Living, Gauge>,
    ended: Gauge,
    creations: Family<Of, Counter>,
    claims: Family<Labelled, Counter>,
    ends: Family<Labelled, Counter>,
    adoptions: Family<Labelled, Counter>,
}

impl Sandboxes {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            live: book.add(
                ("lakekeep_sandboxes", None),
                "Live sandboxes",
                Family::default(),
            ),
            ended: book.add(
                ("lakekeep_sandboxes_ended", None),
                "Ended sandboxes whose output is still kept",
                Gauge::default(),
            ),
            creations: book.add(
                ("lakekeep_sandbox_creations", None),
                "Sandboxes that were made",
                Family::default(),
            ),
            claims: book.add(
                ("lakekeep_sandbox_claims", None),
                "Claims that were answered, by what with",
                Family::default(),
            ),
            ends: book.add(
                ("lakekeep_sandbox_ends", None),
                "Sandboxes that ended, by why",
                Family::default(),
            ),
            adoptions: book.add(
                ("lakekeep_sandbox_adoptions", None),
                "Sandboxes that an earlier manager left, by what became of them",
                Family::default(),
            ),
        }
    }

    pub(super) fn set(&self, now: &Snapshot) {
        self.live.clear();
        for ((kind, profile, state), number) in &now.sandboxes {
            let of = Living {
                kind,
                profile: profile.clone(),
                state,
            };
            self.live.get_or_create(&of).set(*number);
        }
        self.ended.set(now.ended);
    }

    /// One was made.
    pub fn created(&self, kind: &'static str, profile: String) {
        self.creations.get_or_create(&Of { kind, profile }).inc();
    }

    /// A claim was answered with a live one, or with a new one.
    pub fn claimed(&self, reused: bool) {
        let result = if reused { "reused" } else { "made" };
        self.claims.get_or_create(&[("result", result)]).inc();
    }

    /// One ended.
    pub fn ended(&self, verdict: &'static str) {
        self.ends.get_or_create(&[("verdict", verdict)]).inc();
    }

    /// A start found so many: taken over, and ended for want of a record.
    pub fn adopted(&self, adopted: usize, strange: usize) {
        for (result, number) in [("adopted", adopted), ("ended", strange)] {
            let found = self.adoptions.get_or_create(&[("result", result)]);
            found.inc_by(count(number));
        }
    }
}

/// Tasks.
#[derive(Debug)]
pub struct Tasks {
    running: Gauge,
    starts: Family<Labelled, Counter>,
    ends: Family<Labelled, Counter>,
}

impl Tasks {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            running: book.add(("lakekeep_tasks", None), "Tasks that run", Gauge::default()),
            starts: book.add(
                ("lakekeep_task_starts", None),
                "Tasks that were started, by kind of their sandbox",
                Family::default(),
            ),
            ends: book.add(
                ("lakekeep_task_ends", None),
                "Tasks that ended, by why",
                Family::default(),
            ),
        }
    }

    pub(super) fn set(&self, now: &Snapshot) {
        self.running.set(now.tasks);
    }

    /// One started.
    pub fn started(&self, kind: &'static str) {
        self.starts.get_or_create(&[("kind", kind)]).inc();
    }

    /// One ended.
    pub fn ended(&self, verdict: &'static str) {
        self.ends.get_or_create(&[("verdict", verdict)]).inc();
    }
}

/// What tasks print.
#[derive(Debug, Clone)]
pub struct Output(Counter);

impl Output {
    pub(super) fn new(book: &mut Book) -> Self {
        Self(book.add(
            ("lakekeep_output", Some(Unit::Bytes)),
            "Output of tasks that was spooled",
            Counter::default(),
        ))
    }

    /// So many bytes more.
    pub fn spooled(&self, bytes: u64) {
        self.0.inc_by(bytes);
    }
}

/// Waiting for a place.
#[derive(Debug)]
pub struct Queue {
    length: Gauge,
    wait: Histograms<Labelled>,
}

impl Queue {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            length: book.add(
                ("lakekeep_queue_length", None),
                "Requests that wait for a place within a quota",
                Gauge::default(),
            ),
            wait: book.add(
                ("lakekeep_queue_wait", Some(Unit::Seconds)),
                "How long requests waited for a place, by how that ended",
                Family::new_with_constructor(wait as fn() -> Histogram),
            ),
        }
    }

    pub(super) fn set(&self, now: &Snapshot) {
        self.length.set(now.queued);
    }

    /// A request has waited.
    pub fn waited(&self, admitted: bool, time: Duration) {
        let result = if admitted { "admitted" } else { "refused" };
        let wait = self.wait.get_or_create(&[("result", result)]);
        wait.observe(time.as_secs_f64());
    }
}

/// What launchers are asked.
#[derive(Debug, Clone)]
pub struct Launchers {
    requests: Family<Labelled, Counter>,
    failures: Family<Labelled, Counter>,
    time: Histograms<Labelled>,
    connections: Counter,
    losses: Counter,
}

impl Launchers {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            requests: book.add(
                ("lakekeep_launcher_requests", None),
                "Requests that launchers were asked",
                Family::default(),
            ),
            failures: book.add(
                ("lakekeep_launcher_failures", None),
                "Requests that launchers refused or did not answer",
                Family::default(),
            ),
            time: book.add(
                ("lakekeep_launcher_request", Some(Unit::Seconds)),
                "Time to a launcher's answer, with the wait for its turn",
                Family::new_with_constructor(work as fn() -> Histogram),
            ),
            connections: book.add(
                ("lakekeep_launcher_connections", None),
                "Connections that were made to launchers",
                Counter::default(),
            ),
            losses: book.add(
                ("lakekeep_launcher_losses", None),
                "Connections to launchers that were lost: one that died, as a rule",
                Counter::default(),
            ),
        }
    }

    /// A request was answered, or failed.
    pub fn asked(&self, request: &'static str, time: Duration, failed: bool) {
        let of = [("request", request)];
        self.requests.get_or_create(&of).inc();
        self.time.get_or_create(&of).observe(time.as_secs_f64());
        if failed {
            self.failures.get_or_create(&of).inc();
        }
    }

    /// A connection was made.
    pub fn connected(&self) {
        self.connections.inc();
    }

    /// A connection was lost.
    pub fn lost(&self) {
        self.losses.inc();
    }
}

/// Sandboxes made ahead.
#[derive(Debug, Clone)]
pub struct Parked {
    ready: Gauge,
    claims: Family<Labelled, Counter>,
}

impl Parked {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            ready: book.add(
                ("lakekeep_parked", None),
                "Sandboxes that wait for whoever asks",
                Gauge::default(),
            ),
            claims: book.add(
                ("lakekeep_parked_claims", None),
                "New sandboxes that were asked for, by whether one was ready",
                Family::default(),
            ),
        }
    }

    /// So many are ready.
    pub fn ready(&self, number: usize) {
        self.ready.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// One was asked for.
    pub fn asked(&self, found: bool) {
        let result = if found { "ready" } else { "none" };
        self.claims.get_or_create(&[("result", result)]).inc();
    }
}

/// The audit log.
#[derive(Debug)]
pub struct Audit {
    append: Histogram,
    failures: Counter,
}

impl Audit {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            append: book.add(
                ("lakekeep_audit_append", Some(Unit::Seconds)),
                "Time until an event was on the disk",
                Histogram::new(DISK),
            ),
            failures: book.add(
                ("lakekeep_audit_failures", None),
                "Events that could not be written; what they were of was refused",
                Counter::default(),
            ),
        }
    }

    /// An event was written, or could not be.
    pub fn appended(&self, time: Duration, failed: bool) {
        self.append.observe(time.as_secs_f64());
        if failed {
            self.failures.inc();
        }
    }
}

/// Calls of the interface.
#[derive(Debug)]
pub struct Calls {
    open: Gauge,
    calls: Family<Called, Counter>,
    time: Histograms<Method>,
    refusals: Family<Labelled, Counter>,
}

impl Calls {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            open: book.add(
                ("lakekeep_grpc_calls_open", None),
                "Calls that are being answered",
                Gauge::default(),
            ),
            calls: book.add(
                ("lakekeep_grpc_calls", None),
                "Calls that ended, by method and gRPC status",
                Family::default(),
            ),
            time: book.add(
                ("lakekeep_grpc_call", Some(Unit::Seconds)),
                "Time of calls, of streams to their end",
                Family::new_with_constructor(work as fn() -> Histogram),
            ),
            refusals: book.add(
                ("lakekeep_refusals", None),
                "Calls that ended with an error of ours, by its reason",
                Family::default(),
            ),
        }
    }

    /// One has begun.
    pub fn began(&self) {
        self.open.inc();
    }

    /// One has ended.
    pub fn ended(&self, called: &Called, time: Duration) {
        self.open.dec();
        self.calls.get_or_create(called).inc();
        let method = Method {
            method: called.method.clone(),
        };
        self.time.get_or_create(&method).observe(time.as_secs_f64());
    }

    /// One was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&[("reason", reason)]).inc();
    }
}

/// Stages of making sandboxes and tasks.
#[derive(Debug)]
pub struct Stages(Histograms<Labelled>);

impl Stages {
    pub(super) fn new(book: &mut Book) -> Self {
        Self(book.add(
            ("lakekeep_spawn_stage", Some(Unit::Seconds)),
            "Time of each stage of making a sandbox and a task",
            Family::new_with_constructor(work as fn() -> Histogram),
        ))
    }

    /// A stage was passed, or has failed.
    pub fn observe(&self, stage: Stage, time: Duration) {
        let of = [("stage", stage.name())];
        self.0.get_or_create(&of).observe(time.as_secs_f64());
    }
}

/// What is written down of sandboxes and tasks for later.
#[derive(Debug, Clone)]
pub struct History {
    written: Counter,
    lost: Counter,
}

impl History {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            written: book.add(
                ("lakekeep_history_records", None),
                "Records of sandboxes and tasks that were written to the history",
                Counter::default(),
            ),
            lost: book.add(
                ("lakekeep_history_lost", None),
                "Records that the history could not take",
                Counter::default(),
            ),
        }
    }

    /// So many were written.
    pub fn written(&self, number: usize) {
        self.written.inc_by(count(number));
    }

    /// So many are missing.
    pub fn lost(&self, number: usize) {
        self.lost.inc_by(count(number));
    }
}

/// The log of flows, which counts by itself.
#[derive(Debug)]
pub struct Flows {
    written: Counter,
    lost: Counter,
}

impl Flows {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            written: book.add(
                ("lakekeep_flows_written", None),
                "Flows that were written to their log",
                Counter::default(),
            ),
            lost: book.add(
                ("lakekeep_flows_lost", None),
                "Flows that the log could not take",
                Counter::default(),
            ),
        }
    }

    pub(super) fn set(&self, now: &Snapshot) {
        for (counter, count) in [
            (&self.written, now.flows.written),
            (&self.lost, now.flows.lost),
        ] {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

/// Services that are answered inside of sandboxes.
#[derive(Debug, Clone)]
pub struct LocalServices {
    open: Family<Labelled, Gauge>,
    connections: Family<[(&'static str, &'static str); 2], Counter>,
    failures: Family<Labelled, Counter>,
}

impl LocalServices {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            open: book.add(
                ("lakekeep_service_connections_open", None),
                "Connections of sandboxes that a service is answering",
                Family::default(),
            ),
            connections: book.add(
                ("lakekeep_service_connections", None),
                "Connections of sandboxes to services, by what became of them",
                Family::default(),
            ),
            failures: book.add(
                ("lakekeep_service_failures", None),
                "Connections of which it was not said whose they are, by why",
                Family::default(),
            ),
        }
    }

    /// One is being answered; dropped, it was.
    pub fn answering(&self, service: &'static str) -> Open {
        self.counted(service, "answered");
        let open = self.open.get_or_create(&[("service", service)]).clone();
        open.inc();
        Open(open)
    }

    /// One above the bound: it was told so, or closed.
    pub fn too_many(&self, service: &'static str, told: bool) {
        let result = if told { "told_to_wait" } else { "closed" };
        self.counted(service, result);
    }

    /// Nobody said whose it is, or who did is not believed.
    pub fn failed(&self, reason: &'static str) {
        self.failures.get_or_create(&[("reason", reason)]).inc();
    }

    fn counted(&self, service: &'static str, result: &'static str) {
        let of = [("service", service), ("result", result)];
        self.connections.get_or_create(&of).inc();
    }
}

/// One that is counted while it lives.
#[derive(Debug)]
pub struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A number with a fraction.
pub(super) type Fraction = Gauge<f64, AtomicU64>;
