//! Attempts that must be refused, and be in the audit log.

use std::fmt::Debug;

use lakekeep_api::v1::{QueryAuditRequest, VerifyAuditRequest};
use serde_json::Value;

use super::{Manager, Refused, User};
use crate::fail;

/// Counts attempts and checks each against the audit log.
#[derive(Debug)]
pub struct Refusals<'m> {
    root: User,
    count: usize,
    problems: Vec<String>,
    manager: &'m Manager,
}

impl<'m> Refusals<'m> {
    /// None yet.
    #[must_use]
    pub fn new(manager: &'m Manager) -> Self {
        Self {
            root: manager.root(),
            count: 0,
            problems: Vec::new(),
            manager,
        }
    }

    /// All events of the log.
    #[must_use]
    pub fn log(&self) -> Vec<Value> {
        self.root
            .audit(QueryAuditRequest::default())
            .unwrap_or_else(|e| fail(format_args!("the audit log: {e:?}")))
    }

    fn last(&self) -> u64 {
        let last = self
            .log()
            .iter()
            .filter_map(|event| event["seq"].as_u64())
            .max();
        last.unwrap_or(0)
    }

    /// One attempt by `who`: refused with `reason`, and noted as refused.
    pub fn attempt<T: Debug>(
        &mut self,
        what: &str,
        who: &str,
        reason: &str,
        attempt: impl FnOnce() -> Result<T, Refused>,
    ) {
        self.count += 1;
        let before = self.last();
        match attempt() {
            Ok(got) => self.problems.push(format!("{what}: allowed: {got:?}")),
            Err(refused) if refused.reason != reason => {
                self.problems
                    .push(format!("{what}: not {reason} but {refused:?}"));
            }
            Err(_) => {}
        }
        let noted = |event: &Value| {
            event["seq"].as_u64() > Some(before)
                && event["outcome"] == "denied"
                && (event["who"] == who || event["actor"] == who)
                && event["extra"]["code"] == reason
                && event["reason"].as_str().is_some_and(|why| !why.is_empty())
        };
        // Once, and no more.
        match self.log().iter().filter(|event| noted(event)).count() {
            1 => {}
            count => self
                .problems
                .push(format!("{what}: {count} times in the audit log")),
        }
    }

    /// Ends the test if any attempt went otherwise, or the log's chain is broken.
    ///
    /// # Panics
    /// In these cases, with all of them.
    #[track_caller]
    pub fn finish(self, least: usize) {
        let verified = self.root.verify_audit(VerifyAuditRequest {});
        match verified {
            Ok(answer) if answer.whole && answer.events > 0 => {}
            other => fail(format_args!("the audit log's chain: {other:?}")),
        }
        if self.count < least || !self.problems.is_empty() {
            fail(format_args!(
                "{} attempts, of which went otherwise:\n  {}\n{}",
                self.count,
                self.problems.join("\n  "),
                self.manager.log()
            ));
        }
    }
}
