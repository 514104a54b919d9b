//! What is told of sandboxes, of those in memory and of those in the history.

use std::sync::Arc;

use lakekeep_api::v1::TaskRef;
use lakekeep_api::{Reason, v1};
use lakekeep_profiles::{Action, Resource};
use lakekeep_store::state::PastFilter;
use tonic::Request;

use crate::fault::Fault;
use crate::meta::Meta;
use crate::past::{self, Past};
use crate::sandbox::{Phase, Sandbox};
use crate::sandboxes::Service;
use crate::who::Caller;
use crate::wire;

/// Most sandboxes on one page, and how many where none is said.
const PAGE: usize = 500;

impl Service {
    /// A sandbox that is over and no more in memory, for who might do this to it. `None`
    /// also for one that lives.
    pub async fn find_past(
        &self,
        caller: &Caller,
        id: &str,
        action: Action,
    ) -> Result<Option<Past>, Fault> {
        if self.registry.get(id).is_ok() {
            return Ok(None);
        }
        let Some(past) = past::find(&self.gate.store, id).await? else {
            return Ok(None);
        };
        self.gate.check_sandbox(caller, action, &past.meta)?;
        Ok(Some(past))
    }

    /// Whether a caller may see that a sandbox is there.
    pub fn lists(&self, caller: &Caller, sandbox: &Meta) -> bool {
        let set = self.gate.profiles.current();
        if caller
            .bound_to
            .as_ref()
            .is_some_and(|bound| *bound != sandbox.profile)
        {
            return false;
        }
        match set.get(&sandbox.profile) {
            Some(stored) => {
                let resource = Resource::Profile(stored.profile());
                sandbox.owner == caller.user() || self.gate.may(caller, Action::List, resource)
            }
            None => sandbox.owner == caller.user() || caller.subject.administrator,
        }
    }

    pub async fn listed(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<v1::ListResponse, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let page = match usize::try_from(asked.page_size).unwrap_or(PAGE) {
            0 => PAGE,
            some => some.min(PAGE),
        };
        let wanted = |meta: &Meta| {
            (asked.profile.is_empty() || meta.profile == asked.profile)
                && (asked.all_users || meta.owner == caller.user())
                && asked
                    .labels
                    .iter()
                    .all(|(name, value)| meta.labels.get(name) == Some(value))
                && meta.id > asked.page_token
                && self.lists(&caller, meta)
        };
        let here = |sandbox: &Arc<Sandbox>| {
            let ended = matches!(sandbox.phase(), Phase::Ended(..));
            (asked.ended || !ended) && wanted(&sandbox.meta)
        };
        let all = self.registry.all().into_iter().filter(here).take(page + 1);
        let mut found: Vec<v1::Sandbox> = all.map(|sandbox| wire::sandbox(&sandbox)).collect();
        let mut rest = None;
        if asked.ended {
            let past = |meta: &Meta| wanted(meta) && self.registry.get(&meta.id).is_err();
            let filter = PastFilter {
                owner: (!asked.all_users).then(|| caller.user().to_owned()),
                profile: (!asked.profile.is_empty()).then(|| asked.profile.clone()),
            };
            let store = &self.gate.store;
            let listed = past::list(store, &asked.page_token, filter, (page + 1, past)).await?;
            found.extend(listed.found.iter().map(Past::shown));
            found.sort_by(|one, other| one.id.cmp(&other.id));
            // What comes after it was not looked at in the history.
            found.retain(|sandbox| listed.rest.as_ref().is_none_or(|rest| sandbox.id <= *rest));
            rest = listed.rest;
        }
        let more = found.len() > page;
        found.truncate(page);
        let last = found.last().filter(|_| more).map(|last| last.id.clone());
        Ok(v1::ListResponse {
            sandboxes: found
                .into_iter()
                .map(|sandbox| shown(&caller, sandbox))
                .collect(),
            next_page_token: last.or(rest).unwrap_or_default(),
        })
    }

    pub async fn receipt_of(
        &self,
        request: Request<TaskRef>,
    ) -> Result<v1::ReceiptResponse, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let (id, action) = (&asked.sandbox, Action::ReadReceipt);
        if let Some(past) = self.find_past(&caller, id, action).await? {
            let task = past::task(&self.gate.store, id, asked.task).await?;
            let receipt = task.and_then(|task| task.receipt);
            return Ok(v1::ReceiptResponse {
                receipt: receipt
                    .map_or_else(|| past.receipt(), |json| Ok(json.as_str().to_owned()))?,
            });
        }
        let sandbox = self.find(&caller, id, action).await?;
        let task = sandbox.task(asked.task).ok();
        if task.is_none()
            && let Some(past) = past::task(&self.gate.store, id, asked.task).await?
        {
            let receipt = past::text(past.receipt.as_ref());
            return Ok(v1::ReceiptResponse { receipt });
        }
        let receipt = match task.as_ref().filter(|task| task.ended().is_none()) {
            Some(task) => {
                let mut receipt = task.receipt(sandbox.created())?;
                sandbox.tell_quotas(&mut receipt);
                receipt
            }
            None => sandbox.receipt()?,
        };
        let ended = task.and_then(|task| task.ended());
        let text = match ended {
            Some(ended) => ended.receipt.clone(),
            None => serde_json::to_string(&receipt)
                .map_err(|error| Fault::internal("write the receipt", &error))?,
        };
        Ok(v1::ReceiptResponse { receipt: text })
    }

    pub async fn verdict_of(
        &self,
        request: Request<TaskRef>,
    ) -> Result<v1::VerdictResponse, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let (id, action) = (&asked.sandbox, Action::Inspect);
        let task = match self.find_past(&caller, id, action).await? {
            Some(_) => Err(Fault::new(
                Reason::NotFound,
                format!("the history has no task {} of sandbox {id}", asked.task),
            )),
            None => self.find(&caller, id, action).await?.task(asked.task),
        };
        let task = match task {
            Ok(task) => task,
            // Ended before this manager's time, or its whole sandbox.
            Err(fault) => {
                let past = past::task(&self.gate.store, id, asked.task).await?;
                let past = past.ok_or(fault)?;
                return Ok(v1::VerdictResponse {
                    verdict: past::text(past.verdict.as_ref()),
                    exit_code: past.exit_code,
                });
            }
        };
        let ended = task.ended().ok_or_else(|| {
            Fault::new(Reason::NotFound, format!("task {} still runs", task.number))
        })?;
        Ok(v1::VerdictResponse {
            verdict: ended.verdict.clone(),
            exit_code: ended.exit_code,
        })
    }
}

/// A sandbox as a caller may see it: what others run is theirs to know.
pub fn shown(caller: &Caller, mut sandbox: v1::Sandbox) -> v1::Sandbox {
    if sandbox.owner != caller.user() {
        let tasks = sandbox.tasks.iter_mut();
        tasks.for_each(|task| task.program.clear());
        sandbox.labels.clear();
        sandbox.trust_key.clear();
        sandbox.quotas.clear();
    }
    sandbox
}
