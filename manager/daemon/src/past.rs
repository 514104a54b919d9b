//! Sandboxes that have ended and are no more in memory, as the history has them.

use std::sync::Arc;
use std::time::SystemTime;

use lakekeep_api::{Reason, v1};
use lakekeep_store::JsonText;
use lakekeep_store::state::{self, PastFilter, PastTask, SandboxKind, Store, StoreError};

use crate::fault::Fault;
use crate::meta::{Identity, Kind, Meta};
use crate::moments::{time, told};
use crate::wire;

/// Most tasks of one that are shown.
const TASKS: u32 = 1000;

/// Rows that are looked at in one go.
const ROWS: u32 = 500;

/// Most rows that are looked at for one page: who may see few of them gets short pages.
const SCANNED: usize = 5_000;

/// A sandbox of the history.
#[derive(Debug)]
pub struct Past {
    /// Whose it was, and what it was for.
    pub meta: Meta,
    ended: SystemTime,
    last_used: SystemTime,
    verdict: String,
    receipt: Option<JsonText>,
    tasks: Vec<PastTask>,
}

/// Looks something up where it may block.
async fn look<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Fault> {
    let store = Arc::clone(store);
    let failed =
        |error: &(dyn std::error::Error + 'static)| Fault::internal("look into the history", error);
    let found = tokio::task::spawn_blocking(move || work(&store)).await;
    found
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))
}

/// An ended sandbox by its identifier, with its last tasks.
///
/// # Errors
/// When the history cannot be read.
pub async fn find(store: &Arc<Store>, id: &str) -> Result<Option<Past>, Fault> {
    let id = id.to_owned();
    look(store, move |store| {
        let Some(row) = store.past(&id)?.filter(|row| row.sandbox.ended.is_some()) else {
            return Ok(None);
        };
        let tasks = store.past_tasks(&id, TASKS)?;
        Ok(Some(Past::new(row, tasks)))
    })
    .await
}

/// An ended task of a sandbox that may live; 0: the last.
///
/// # Errors
/// When the history cannot be read.
pub async fn task(
    store: &Arc<Store>,
    sandbox: &str,
    number: u32,
) -> Result<Option<PastTask>, Fault> {
    let sandbox = sandbox.to_owned();
    look(store, move |store| store.past_task(&sandbox, number)).await
}

/// A part of the history, in the order of identifiers.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those that were wanted, without their tasks.
    pub found: Vec<Past>,
    /// Where to go on, when not everything was looked at.
    pub rest: Option<String>,
}

/// Ended sandboxes after `after` that are `wanted`, at most `most`.
///
/// # Errors
/// When the history cannot be read.
pub async fn list(
    store: &Arc<Store>,
    after: &str,
    filter: PastFilter,
    (most, wanted): (usize, impl Fn(&Meta) -> bool),
) -> Result<Listed, Fault> {
    let mut listed = Listed::default();
    let mut cursor = after.to_owned();
    let mut scanned = 0;
    loop {
        let (from, filter) = (cursor.clone(), filter.clone());
        let rows = look(store, move |store| store.past_after(&from, &filter, ROWS)).await?;
        let last = rows.len() < usize::try_from(ROWS).unwrap_or(usize::MAX);
        scanned += rows.len();
        for row in rows {
            cursor.clone_from(&row.sandbox.made.id);
            let past = Past::new(row, Vec::new());
            if wanted(&past.meta) {
                listed.found.push(past);
            }
            if listed.found.len() == most {
                listed.rest = Some(cursor);
                return Ok(listed);
            }
        }
        if last {
            return Ok(listed);
        }
        if scanned >= SCANNED {
            listed.rest = Some(cursor);
            return Ok(listed);
        }
    }
}

impl Past {
    fn new(row: state::Past, tasks: Vec<PastTask>) -> Self {
        let sandbox = row.sandbox;
        let created = time(sandbox.created);
        let made = sandbox.made;
        let meta = Meta {
            id: made.id,
            owner: made.owner,
            identity: Identity {
                name: made.identity,
                uid: made.uid,
                gid: made.gid,
                variables: std::collections::BTreeMap::new(),
            },
            profile: made.profile,
            project: String::new(),
            kind: kind(made.kind),
            trust_key: made.trust_key,
            policy_digest: made.policy,
            policy: String::new(),
            image: made.image,
            labels: made.labels,
            created,
            idle_timeout: None,
            lifetime: None,
            volumes: row.volumes,
            owners: Vec::new(),
            interpreter: None,
            quotas: Vec::new(),
            request: String::new(),
            secrets: String::new(),
            once: false,
            environment: None,
            stored_image: None,
        };
        Self {
            meta,
            ended: sandbox.ended.map_or(created, time),
            last_used: time(sandbox.last_used),
            verdict: text(sandbox.verdict.as_ref()),
            receipt: sandbox.receipt,
            tasks,
        }
    }

    /// As callers see it.
    pub fn shown(&self) -> v1::Sandbox {
        wire::of_meta(
            &self.meta,
            v1::Sandbox {
                state: v1::State::Ended.into(),
                ended: wire::timestamp(self.ended),
                last_used: wire::timestamp(self.last_used),
                tasks: self.tasks.iter().map(shown).collect(),
                verdict: self.verdict.clone(),
                ..v1::Sandbox::default()
            },
        )
    }

    /// What was enforced for it.
    ///
    /// # Errors
    /// `NotFound`, when its manager ended before it was written down.
    pub fn receipt(&self) -> Result<String, Fault> {
        let receipt = self.receipt.as_ref().map(|text| text.as_str().to_owned());
        receipt.ok_or_else(|| {
            let id = &self.meta.id;
            Fault::new(
                Reason::NotFound,
                format!("the history has no receipt of sandbox {id}: its manager ended too soon"),
            )
        })
    }

    /// Why nothing can be done in it.
    pub fn over(&self) -> Fault {
        let id = &self.meta.id;
        let told: serde_json::Value = serde_json::from_str(&self.verdict).unwrap_or_default();
        let why = told.get("explanation").and_then(|why| why.as_str());
        let why = why.unwrap_or("nobody saw why");
        Fault::new(
            Reason::Ended,
            format!("sandbox {id} has ended ({why}); make another"),
        )
    }
}

/// A task as callers see it.
fn shown(task: &PastTask) -> v1::Task {
    v1::Task {
        task: task.number,
        state: v1::State::Ended.into(),
        tty: task.tty,
        program: task.program.clone(),
        started: told(task.started),
        ended: told(task.ended),
        exit_code: task.exit_code,
    }
}

/// A document, or nothing.
pub fn text(json: Option<&JsonText>) -> String {
    json.map_or_else(String::new, |json| json.as_str().to_owned())
}

fn kind(kind: SandboxKind) -> Kind {
    match kind {
        SandboxKind::Interactive => Kind::Interactive,
        SandboxKind::Kernel => Kind::Kernel,
        SandboxKind::Udf => Kind::Udf,
        SandboxKind::Batch => Kind::Batch,
    }
}
