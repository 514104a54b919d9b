//! The service `lakekeep.v1.Egress`: the log of flows, what other rules would change, and what
//! those that hold say.

mod explain;
mod replay;
mod scope;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_api::v1::egress_server::Egress;
use lakekeep_api::{Reason, v1};
use lakekeep_egress_rules::FixedAddresses;
use lakekeep_policy::Bytes;
use lakekeep_store::audit::Event;
use lakekeep_store::flows::{Filter, FlowLog, FlowRow, FlowVerdict, Gap, Retention};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::fault::Fault;
use crate::gate::{Gate, now};
use crate::moments;
use crate::registry::Registry;
use crate::server::ManagerError;
use crate::who::Caller;
use crate::wire::answer;

/// Flows of one message: some 3 KB each at most.
const CHUNK: usize = 500;

/// Longest name in a filter, bytes.
const LONGEST_NAME: usize = 256;

/// `[flows]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowsDoc {
    /// How long flows are remembered.
    pub days: u32,
    /// How many are; the oldest go first.
    pub rows: u64,
    /// How many bytes of the database they may fill; 1 GiB if left out.
    pub bytes: Option<Bytes>,
}

impl Default for FlowsDoc {
    fn default() -> Self {
        Self {
            days: 30,
            rows: Retention::default().rows,
            bytes: None,
        }
    }
}

impl FlowsDoc {
    /// The same, as the log has it.
    fn retention(&self) -> Retention {
        let usual = Retention::default();
        Retention {
            age: Duration::from_secs(u64::from(self.days) * 24 * 60 * 60),
            rows: self.rows,
            bytes: self.bytes.map_or(usual.bytes, Bytes::get),
        }
    }
}

/// Opens the log in a manager's folder, and says what is missing of an earlier one's.
///
/// # Errors
/// When it cannot be read or written.
pub fn open(state: &Path, doc: &FlowsDoc) -> Result<Arc<FlowLog>, ManagerError> {
    let log = FlowLog::open(&state.join("flows.db"), doc.retention());
    let log = log.map_err(|error| ManagerError::start("open the log of flows")(&error))?;
    if let Some(gap) = log.killed() {
        tracing::warn!("the log of flows: {gap}");
    }
    Ok(Arc::new(log))
}

/// Writes what is left of it; nothing can be noted any more.
pub async fn close(log: Arc<FlowLog>) {
    let closed = tokio::task::spawn_blocking(move || log.close()).await;
    if let Ok(Err(error)) = closed {
        tracing::warn!("the log of flows: {}", lakekeep_sandbox::chain(&error));
    }
}

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    /// What decides.
    pub gate: Arc<Gate>,
    /// What there was.
    pub log: Arc<FlowLog>,
    /// The live sandboxes.
    pub registry: Arc<Registry>,
    /// Addresses inside that local services have as their own.
    pub fixed: Arc<FixedAddresses>,
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Who asks, and for which flows; noted.
    async fn asked<T>(
        &self,
        request: Request<T>,
        action: &str,
        filter: impl FnOnce(&mut T) -> Option<v1::FlowFilter>,
    ) -> Result<(T, Filter), Fault> {
        let caller = self.gate.authentication.caller(&request).await?;
        let mut asked = request.into_inner();
        let filter = self.filter(&caller, filter(&mut asked).unwrap_or_default())?;
        let all = |text: Option<&String>| text.cloned().unwrap_or_else(|| "all".to_owned());
        let event = Event::allowed(now(), caller.user(), action)
            .with_extra("of", &all(filter.principal.as_ref()));
        let event = match &filter.profile {
            Some(profile) => event.with_profile(profile),
            None => event,
        };
        self.gate.note(&caller, event).await?;
        Ok((asked, filter))
    }

    fn filter(&self, caller: &Caller, asked: v1::FlowFilter) -> Result<Filter, Fault> {
        let bad = |message: String| Fault::new(Reason::BadRequest, message);
        let texts = [&asked.user, &asked.profile, &asked.sandbox, &asked.name];
        if texts.into_iter().any(|text| text.len() > LONGEST_NAME) {
            return Err(bad(format!("a name is longer than {LONGEST_NAME} bytes")));
        }
        let verdict = |word: &String| {
            FlowVerdict::from_word(word).ok_or_else(|| {
                bad("verdicts: allowed, would_be_denied, denied or failed".to_owned())
            })
        };
        let verdicts = asked
            .verdicts
            .iter()
            .take(FlowVerdict::ALL.len())
            .map(verdict);
        let verdicts = verdicts.collect::<Result<Vec<_>, _>>()?;
        let scope = scope::of(&self.gate, caller, &asked.user, &asked.profile)?;
        let some = |text: String| (!text.is_empty()).then_some(text);
        Ok(Filter {
            since: moments::asked(asked.since),
            until: moments::asked(asked.until),
            principal: scope.user,
            profile: scope.profile,
            sandbox: some(asked.sandbox),
            verdicts,
            name: some(asked.name.to_ascii_lowercase()),
        })
    }

    async fn read(
        &self,
        request: Request<v1::ReadFlowsRequest>,
    ) -> Result<Streamed<v1::FlowsChunk>, Fault> {
        let (asked, filter) = self
            .asked(request, "read_flows", |asked| asked.filter.take())
            .await?;
        let limit = match asked.limit {
            0 => u64::MAX,
            limit => limit,
        };
        let (log, (to, chunks)) = (Arc::clone(&self.log), mpsc::channel(4));
        tokio::task::spawn_blocking(move || {
            if let Err(fault) = send(&log, &filter, limit, &to)
                && to.blocking_send(Err(fault.into())).is_err()
            {
                // Whoever asked has gone.
            }
        });
        Ok(Box::pin(ReceiverStream::new(chunks)))
    }

    async fn replayed(
        &self,
        request: Request<v1::ReplayFlowsRequest>,
    ) -> Result<v1::ReplayFlowsResponse, Fault> {
        let (asked, filter) = self
            .asked(request, "replay_flows", |asked| asked.filter.take())
            .await?;
        let log = Arc::clone(&self.log);
        tokio::task::spawn_blocking(move || replay::replay(&log, &filter, &asked.document))
            .await
            .map_err(|error| Fault::internal("wait for a thread", &error))?
    }
}

/// Everything that fits, in chunks.
fn send(
    log: &FlowLog,
    filter: &Filter,
    mut left: u64,
    to: &mpsc::Sender<Result<v1::FlowsChunk, Status>>,
) -> Result<(), Fault> {
    let mut gaps = gaps(log, filter)?;
    let mut after = None;
    loop {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        let page = log
            .query(filter, after, most)
            .map_err(|error| unread(&error))?;
        left = left.saturating_sub(page.rows.len() as u64);
        let chunk = v1::FlowsChunk {
            flows: page.rows.into_iter().map(flow).collect(),
            gaps: std::mem::take(&mut gaps),
        };
        if to.blocking_send(Ok(chunk)).is_err() || left == 0 {
            return Ok(());
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Gaps are everybody's: of what is missing nobody knows whose it was.
fn gaps(log: &FlowLog, filter: &Filter) -> Result<Vec<v1::FlowGap>, Fault> {
    let found = log.gaps(filter.since, filter.until);
    let found = found.map_err(|error| unread(&error))?;
    Ok(found.iter().map(gap).collect())
}

fn unread(error: &(dyn std::error::Error + 'static)) -> Fault {
    Fault::internal("read the log of flows", error)
}

fn gap(gap: &Gap) -> v1::FlowGap {
    v1::FlowGap {
        first: moments::told(gap.first),
        last: moments::told(gap.last),
        flows: gap.rows,
        words: gap.to_string(),
    }
}

fn flow(row: FlowRow) -> v1::Flow {
    v1::Flow {
        time: moments::told(row.at),
        user: row.principal,
        identity: row.identity,
        profile: row.profile,
        sandbox: row.sandbox,
        task: row.task,
        query: row.query,
        kind: row.kind.to_string(),
        name: row.name,
        address: row.address.map(|address| address.to_string()),
        port: row.port.map(u32::from),
        rule: row.rule,
        mode: row.mode.to_string(),
        verdict: row.verdict.to_string(),
        words: row.words,
        sent: row.sent,
        received: row.received,
        duration_us: row.duration_us,
    }
}

#[tonic::async_trait]
impl Egress for Service {
    type ReadFlowsStream = Streamed<v1::FlowsChunk>;

    async fn read_flows(
        &self,
        request: Request<v1::ReadFlowsRequest>,
    ) -> Result<Response<Self::ReadFlowsStream>, Status> {
        answer(self.read(request).await)
    }

    async fn replay_flows(
        &self,
        request: Request<v1::ReplayFlowsRequest>,
    ) -> Result<Response<v1::ReplayFlowsResponse>, Status> {
        answer(self.replayed(request).await)
    }

    async fn explain_egress(
        &self,
        request: Request<v1::ExplainEgressRequest>,
    ) -> Result<Response<v1::ExplainEgressResponse>, Status> {
        answer(self.explained(request).await)
    }
}
