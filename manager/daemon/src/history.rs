//! What became of sandboxes and tasks, written down behind them: nobody waits for it.
//!
//! One thread writes many records at once. Where it cannot follow, records are missing
//! and counted; what must not be missing is in the audit log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use lakekeep_sandbox::{Kind as VerdictKind, Verdict, chain};
use lakekeep_store::JsonText;
use lakekeep_store::state::{
    Ending, Found, NewSandbox, PastTask, Record, Retention, SandboxKind, SandboxState, Store,
    StoreError, TaskState, arguments_digest,
};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::gate::now;
use crate::meta::{Kind, Meta};
use crate::metrics;
use crate::moments::stored;
use crate::sandbox::{Phase, Sandbox};
use crate::task::{self, Ended, Task};

/// Records that wait to be written.
const WAITING: usize = 20_000;

/// Records of one transaction.
const BATCH: usize = 500;

/// How often what is old is looked for.
const PRUNE: Duration = Duration::from_secs(60);

/// How long an end waits for the last records.
const FLUSH: Duration = Duration::from_secs(5);

/// The preset of a sandbox whose policy is not looked at any more.
const UNKNOWN: &str = "unknown";

/// A day.
const DAY: u64 = 24 * 60 * 60;

/// `[history]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryDoc {
    /// How long ended sandboxes are remembered.
    pub days: u32,
    /// How many sandboxes and tasks are; the oldest go first. 0: none.
    pub rows: u64,
}

impl Default for HistoryDoc {
    fn default() -> Self {
        Self {
            days: 30,
            rows: 1_000_000,
        }
    }
}

/// What the thread hears.
#[derive(Debug)]
enum Message {
    /// To be written.
    Record(Record),
    /// Somebody waits until all before is written.
    Flush(oneshot::Sender<()>),
}

/// What a sandbox's folder told of it that no launcher holds any more.
#[derive(Debug)]
pub struct Orphan {
    /// Whose it was.
    pub meta: Meta,
    /// Its tasks, also those whose end is known.
    pub tasks: Vec<(u32, task::Record)>,
}

/// Where records go. Clones write to the same place.
#[derive(Debug, Clone)]
pub struct History {
    /// `None`: nothing is to be remembered.
    to: Option<SyncSender<Message>>,
    store: Arc<Store>,
    counts: metrics::History,
    boot: Arc<str>,
}

impl History {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        store: Arc<Store>,
        doc: HistoryDoc,
        counts: metrics::History,
    ) -> std::io::Result<Self> {
        let (to, records) = sync_channel(WAITING);
        let writer = Writer {
            store: Arc::clone(&store),
            doc,
            counts: counts.clone(),
        };
        std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || writer.work(&records))?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self {
            to: (doc.rows > 0).then_some(to),
            store,
            counts,
            boot: boot.trim().into(),
        })
    }

    /// Waits until everything so far is written, or a patient while is over.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if let Some(to) = &self.to
            && to.try_send(Message::Flush(done)).is_ok()
            && tokio::time::timeout(FLUSH, written).await.is_err()
        {
            tracing::warn!("the end of the history is not written: the disk is too slow");
        }
    }

    /// After a start: writes down what was taken over, and that all else has ended.
    ///
    /// # Errors
    /// When the database cannot be changed.
    pub fn reconcile(
        &self,
        adopted: &[Arc<Sandbox>],
        orphans: Vec<Orphan>,
    ) -> Result<(), StoreError> {
        if self.to.is_none() {
            return Ok(());
        }
        for sandbox in adopted {
            self.made(&sandbox.meta, sandbox.maker.policy().preset().as_str());
        }
        for orphan in orphans {
            self.store.record(&self.lost(&orphan))?;
        }
        let found = adopted.iter().map(|sandbox| Found {
            id: sandbox.id().to_owned(),
            frozen: sandbox.phase() == Phase::Frozen,
            launcher_generation: 0,
        });
        let found: Vec<Found> = found.collect();
        self.store.reconcile(&found, &self.boot, now()).map(drop)
    }

    /// The records of a sandbox that ended while no manager saw it.
    fn lost(&self, orphan: &Orphan) -> Vec<Record> {
        let verdict = Verdict::of_sandbox(
            VerdictKind::Lost,
            "it ended while no manager ran".to_owned(),
            "start it again",
        );
        let text = JsonText::of(&verdict).ok();
        let id = &orphan.meta.id;
        let tasks = orphan.tasks.iter().map(|(number, record)| {
            let started = stored(record.started);
            Record::Task(Box::new(PastTask {
                sandbox: id.clone(),
                number: *number,
                arguments: arguments_digest(&record.plan.task.arguments),
                program: record.program(),
                tty: record.plan.task.terminal.is_some(),
                state: TaskState::Lost,
                started,
                ended: now(),
                exit_code: verdict.exit_code,
                verdict: text.clone(),
                receipt: None,
            }))
        });
        let made = Record::Made {
            sandbox: Box::new(self.sandbox(&orphan.meta, UNKNOWN)),
            volumes: orphan.meta.volumes.clone(),
            at: stored(orphan.meta.created),
        };
        let ended = Record::Ended {
            sandbox: id.clone(),
            end: Ending {
                state: SandboxState::Lost,
                verdict: text.clone(),
                receipt: None,
            },
            last_used: stored(orphan.meta.created),
            at: now(),
        };
        std::iter::once(made).chain(tasks).chain([ended]).collect()
    }

    fn write(&self, record: Record) {
        let Some(to) = &self.to else {
            return;
        };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            to.try_send(Message::Record(record))
        {
            self.counts.lost(1);
        }
    }

    /// A sandbox lives.
    pub fn made(&self, meta: &Meta, preset: &str) {
        self.write(Record::Made {
            sandbox: Box::new(self.sandbox(meta, preset)),
            volumes: meta.volumes.clone(),
            at: stored(meta.created),
        });
    }

    fn sandbox(&self, meta: &Meta, preset: &str) -> NewSandbox {
        NewSandbox {
            id: meta.id.clone(),
            owner: meta.owner.clone(),
            identity: meta.identity.name.clone(),
            uid: meta.identity.uid,
            gid: meta.identity.gid,
            profile: meta.profile.clone(),
            trust_key: meta.trust_key.clone(),
            trust_parts: BTreeMap::new(),
            policy: meta.policy_digest.clone(),
            // Variables may be in it; the digest tells which it was.
            policy_text: String::new(),
            preset: preset.to_owned(),
            image: meta.image.clone(),
            launcher_generation: 0,
            boot_id: self.boot.to_string(),
            kind: kind(meta.kind),
            survive: meta.survives(),
            labels: meta.labels.clone(),
        }
    }

    /// What is enforced for a sandbox.
    pub fn enforced(&self, id: &str, receipt: &lakekeep_sandbox::Receipt) {
        let Ok(receipt) = JsonText::of(receipt) else {
            self.counts.lost(1);
            return;
        };
        self.write(Record::Enforced {
            sandbox: id.to_owned(),
            receipt,
        });
    }

    /// A task ended.
    pub fn task(&self, sandbox: &str, task: &Task, ended: &Ended, lost: bool) {
        let arguments = &task.record.plan.task.arguments;
        self.write(Record::Task(Box::new(PastTask {
            sandbox: sandbox.to_owned(),
            number: task.number,
            arguments: arguments_digest(arguments),
            program: task.program(),
            tty: task.is_tty(),
            state: if lost {
                TaskState::Lost
            } else {
                TaskState::Ended
            },
            started: stored(task.record.started),
            ended: stored(ended.at),
            exit_code: ended.exit_code,
            verdict: JsonText::new(ended.verdict.clone()).ok(),
            receipt: JsonText::new(ended.receipt.clone()).ok(),
        })));
    }

    /// A sandbox ended.
    pub fn ended(&self, id: &str, verdict: &Verdict, last_used: SystemTime) {
        let state = match verdict.kind {
            VerdictKind::Lost => SandboxState::Lost,
            _ => SandboxState::Ended,
        };
        self.write(Record::Ended {
            sandbox: id.to_owned(),
            end: Ending {
                state,
                verdict: JsonText::of(verdict).ok(),
                receipt: None,
            },
            last_used: stored(last_used),
            at: now(),
        });
    }
}

/// The thread's side.
struct Writer {
    store: Arc<Store>,
    doc: HistoryDoc,
    counts: metrics::History,
}

impl Writer {
    fn work(&self, messages: &Receiver<Message>) {
        let mut next = Instant::now() + PRUNE;
        loop {
            let patience = next.saturating_duration_since(Instant::now());
            match messages.recv_timeout(patience) {
                Ok(first) => {
                    let more = messages.try_iter().take(BATCH - 1);
                    self.hear(std::iter::once(first).chain(more));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next {
                if let Err(error) = self.prune() {
                    tracing::warn!("the history cannot be pruned: {}", chain(&error));
                }
                next = Instant::now() + PRUNE;
            }
        }
    }

    fn hear(&self, messages: impl Iterator<Item = Message>) {
        let (mut batch, mut waiting) = (Vec::new(), Vec::new());
        for message in messages {
            match message {
                Message::Record(record) => batch.push(record),
                Message::Flush(done) => waiting.push(done),
            }
        }
        self.write(&batch);
        for done in waiting {
            if done.send(()).is_err() {
                // Whoever waited does no longer.
            }
        }
    }

    fn write(&self, batch: &[Record]) {
        if batch.is_empty() {
            return;
        }
        if self.store.record(batch).is_ok() {
            self.counts.written(batch.len());
            return;
        }
        // One of them is not to be written, or none: each for itself.
        for record in batch {
            match self.store.record(std::slice::from_ref(record)) {
                Ok(()) => self.counts.written(1),
                Err(error) => {
                    self.counts.lost(1);
                    tracing::warn!("the history has a gap: {}", chain(&error));
                }
            }
        }
    }

    fn prune(&self) -> Result<(), StoreError> {
        let retention = Retention {
            sandboxes: Duration::from_secs(u64::from(self.doc.days) * DAY),
            ..Retention::default()
        };
        while self.store.prune(&retention, now())?.more {}
        while self.store.prune_rows(self.doc.rows)? {}
        Ok(())
    }
}

fn kind(kind: Kind) -> SandboxKind {
    match kind {
        Kind::Interactive => SandboxKind::Interactive,
        Kind::Kernel => SandboxKind::Kernel,
        Kind::Udf => SandboxKind::Udf,
        Kind::Batch => SandboxKind::Batch,
    }
}
