//! The audit log, read and verified.

use lakekeep_api::Reason;
use lakekeep_api::v1;
use lakekeep_profiles::{Action, Resource};
use lakekeep_store::audit::{self, AuditKey, Outcome};
use tonic::Request;

use super::Streamed;
use crate::fault::Fault;
use crate::moments;
use crate::who::Caller;

/// Most events of one query.
const MOST_EVENTS: u32 = 100_000;

use super::Service;

impl Service {
    pub(super) async fn audited(
        &self,
        request: Request<v1::QueryAuditRequest>,
    ) -> Result<Streamed<v1::AuditEvent>, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        self.may_audit(&caller, &asked.profile)?;
        let some = |text: String| (!text.is_empty()).then_some(text);
        let outcome = match asked.outcome.as_str() {
            "" => None,
            "allowed" => Some(Outcome::Allowed),
            "denied" => Some(Outcome::Denied),
            "error" => Some(Outcome::Error),
            _ => {
                return Err(Fault::new(
                    Reason::BadRequest,
                    "outcome: allowed, denied or error",
                ));
            }
        };
        let filter = audit::Filter {
            since: moments::asked(asked.since),
            until: moments::asked(asked.until),
            who: some(asked.who),
            action: some(asked.action),
            profile: some(asked.profile),
            sandbox: some(asked.sandbox),
            outcome,
            after: None,
            limit: Some(usize::try_from(asked.limit.clamp(0, MOST_EVENTS)).unwrap_or(0))
                .filter(|limit| *limit > 0),
        };
        let folder = self.gate.audit_folder.clone();
        let (to, events) = tokio::sync::mpsc::channel(64);
        tokio::task::spawn_blocking(move || {
            let found = audit::query(&folder, filter);
            let records = match found {
                Ok(records) => records,
                Err(error) => {
                    let fault = Fault::internal("read the audit log", &error);
                    drop(to.blocking_send(Err(fault.into())));
                    return;
                }
            };
            for record in records {
                let event = record.map(|record| v1::AuditEvent {
                    json: record.to_json(),
                });
                let event =
                    event.map_err(|error| Fault::internal("read the audit log", &error).into());
                if to.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(
            events,
        )))
    }

    pub(super) fn may_audit(&self, caller: &Caller, profile: &str) -> Result<(), Fault> {
        let set = self.gate.profiles.current();
        match profile {
            "" => self
                .gate
                .check(caller, Action::ReadAudit, Resource::Manager),
            name => {
                let stored = self.gate.profile(&set, caller, name)?;
                self.gate.check(
                    caller,
                    Action::ReadAudit,
                    Resource::Profile(stored.profile()),
                )
            }
        }
    }

    pub(super) async fn verified(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<v1::VerifyAuditResponse, Fault> {
        let caller = self.caller(&request).await?;
        self.may_audit(&caller, "")?;
        let (folder, key) = (self.gate.audit_folder.clone(), self.audit_key.clone());
        self.blocking(move |_| {
            let key = AuditKey::read(&key)
                .map_err(|error| Fault::internal("read the audit key", &error))?;
            let report = audit::verify(&folder, Some(&key));
            let report = report.map_err(|error| Fault::internal("verify the audit log", &error))?;
            Ok(v1::VerifyAuditResponse {
                whole: report.is_intact(),
                events: report.events,
                problem: report
                    .broken
                    .map(|broken| broken.to_string())
                    .unwrap_or_default(),
            })
        })
        .await
    }
}
