//! Where the receipts of flows go.

use std::fmt::Debug;

use lakekeep_protocol::relay::FlowReceipt;

use super::Whose;

/// Who keeps receipts of flows. Called by the thread that hears the relay, which hears nothing
/// else meanwhile: it must not wait.
pub trait FlowSink: Debug + Send + Sync {
    /// A flow has ended, or was refused. `whose` is `None` for a sandbox that ended before this
    /// manager's time. After a manager's death the last flows may be told once more.
    fn note(&self, whose: Option<&Whose>, receipt: &FlowReceipt);

    /// So many were forgotten, for there was no manager for long.
    fn lost(&self, flows: u64);
}

/// Writes them to this process's log, one line each.
#[derive(Debug)]
pub struct Flows;

impl FlowSink for Flows {
    fn note(&self, whose: Option<&Whose>, receipt: &FlowReceipt) {
        let (task, query) = whose.and_then(Whose::task).unwrap_or_default();
        let address = receipt.address.map(|address| address.to_string());
        tracing::info!(
            owner = whose.map(|whose| whose.owner.as_str()),
            identity = whose.map(|whose| whose.identity.as_str()),
            profile = whose.map(|whose| whose.profile.as_str()),
            task,
            query,
            sandbox = receipt.sandbox,
            kind = ?receipt.kind,
            name = receipt.name,
            address,
            port = receipt.port,
            verdict = ?receipt.verdict,
            rule = receipt.rule,
            sent = receipt.sent,
            received = receipt.received,
            duration_us = receipt.duration_us,
            "flow: {}",
            receipt.words
        );
    }

    fn lost(&self, flows: u64) {
        tracing::warn!("{flows} receipts of flows were lost while no manager ran");
    }
}
