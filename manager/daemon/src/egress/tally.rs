//! What one sandbox sent, by task.

use std::collections::BTreeMap;
use std::sync::Mutex;

use lakekeep_protocol::relay::FlowReceipt;
use lakekeep_sandbox::Traffic;

use crate::sandbox::lock;

/// Tasks that run, and what left their sandbox meanwhile. A flow is of the sandbox: where
/// several tasks run it counts for each of them.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<u32, Running>>);

#[derive(Debug)]
struct Running {
    query: String,
    traffic: Traffic,
}

impl Tally {
    pub fn enter(&self, task: u32, query: &str) {
        let running = Running {
            query: query.to_owned(),
            traffic: Traffic::default(),
        };
        lock(&self.0).insert(task, running);
    }

    pub fn leave(&self, task: u32) -> Option<Traffic> {
        lock(&self.0).remove(&task).map(|running| running.traffic)
    }

    pub fn note(&self, receipt: &FlowReceipt) {
        for running in lock(&self.0).values_mut() {
            running.traffic.count(receipt);
        }
    }

    /// What is known is not all.
    pub fn lost(&self, why: &str) {
        for running in lock(&self.0).values_mut() {
            running.traffic.lost.get_or_insert_with(|| why.to_owned());
        }
    }

    pub fn only(&self) -> Option<(u32, String)> {
        let running = lock(&self.0);
        let mut all = running.iter();
        match (all.next(), all.next()) {
            (Some((task, running)), None) => Some((*task, running.query.clone())),
            _ => None,
        }
    }
}
