//! Where the receipts of flows go.

use std::fmt::Debug;
use std::sync::Arc;

use lakekeep_protocol::relay::{self, FlowReceipt, RuleMode};
use lakekeep_store::flows::{FlowKind, FlowLog, FlowMode, FlowRow, FlowVerdict};

use super::Whose;
use crate::gate::now;

/// Who keeps receipts of flows. Called by the thread that hears the relay, which hears nothing
/// else meanwhile: it must not wait.
pub trait FlowSink: Debug + Send + Sync {
    /// A flow has ended, or was refused. `whose` is `None` for a sandbox that ended before this
    /// manager's time. After a manager's death the last flows may be told once more.
    fn note(&self, whose: Option<&Whose>, receipt: &FlowReceipt);

    /// So many were forgotten, for there was no manager for long.
    fn lost(&self, flows: u64);
}

/// Keeps them in the log of flows.
#[derive(Debug)]
pub struct Flows(pub Arc<FlowLog>);

impl FlowSink for Flows {
    fn note(&self, whose: Option<&Whose>, receipt: &FlowReceipt) {
        self.0.note(row(whose, receipt));
    }

    fn lost(&self, flows: u64) {
        tracing::warn!("{flows} receipts of flows were lost while no manager ran");
        self.0.forgotten(flows, now());
    }
}

/// What is written of a flow. Of a sandbox that is known no more nobody knows whose it was.
fn row(whose: Option<&Whose>, receipt: &FlowReceipt) -> FlowRow {
    let known =
        |of: fn(&Whose) -> &String| whose.map_or_else(|| "?".to_owned(), |it| of(it).clone());
    let (task, query) = whose.and_then(Whose::task).unzip();
    FlowRow {
        at: now(),
        principal: known(|it| &it.owner),
        identity: known(|it| &it.identity),
        profile: known(|it| &it.profile),
        sandbox: receipt.sandbox.clone(),
        task,
        query: query.filter(|query| !query.is_empty()),
        kind: match receipt.kind {
            relay::FlowKind::Connection => FlowKind::Connection,
            relay::FlowKind::Name => FlowKind::Name,
        },
        name: receipt.name.clone(),
        address: receipt.address,
        port: receipt.port,
        rule: receipt.rule.clone(),
        mode: match receipt.mode {
            RuleMode::Enforce => FlowMode::Enforce,
            RuleMode::DryRun => FlowMode::DryRun,
            RuleMode::Off => FlowMode::Off,
        },
        verdict: match receipt.verdict {
            relay::FlowVerdict::Allowed => FlowVerdict::Allowed,
            relay::FlowVerdict::WouldBeDenied => FlowVerdict::WouldBeDenied,
            relay::FlowVerdict::Denied => FlowVerdict::Denied,
            relay::FlowVerdict::Failed => FlowVerdict::Failed,
        },
        words: receipt.words.clone(),
        sent: receipt.sent,
        received: receipt.received,
        duration_us: receipt.duration_us,
    }
}
