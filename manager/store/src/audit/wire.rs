//! The form of a line, for serde: the fields in their order.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Event, Outcome};
use super::line::Record;
use crate::{Digest, Timestamp};

type Text<'a> = Cow<'a, str>;

/// A line; `hash` is absent from what the hash covers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire<'a> {
    seq: u64,
    time: Timestamp,
    who: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    as_whom: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<Text<'a>>,
    action: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sandbox: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<Text<'a>>,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "has_none")]
    extra: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extra_left_out: Option<u64>,
    prev: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<Digest>,
}

fn has_none(extra: &BTreeMap<String, String>) -> bool {
    extra.is_empty()
}

fn lent(text: &Option<String>) -> Option<Text<'_>> {
    text.as_deref().map(Cow::Borrowed)
}

impl<'a> Wire<'a> {
    /// What the hash covers.
    pub(super) fn of(seq: u64, event: &'a Event, prev: Digest) -> Wire<'a> {
        Wire {
            seq,
            time: event.time,
            who: Cow::Borrowed(&event.who),
            as_whom: lent(&event.as_whom),
            on_behalf_of: lent(&event.on_behalf_of),
            actor: lent(&event.actor),
            action: Cow::Borrowed(&event.action),
            profile: lent(&event.profile),
            sandbox: lent(&event.sandbox),
            task: event.task,
            image: lent(&event.image),
            environment: lent(&event.environment),
            policy: lent(&event.policy),
            outcome: event.outcome,
            reason: lent(&event.reason),
            verdict: lent(&event.verdict),
            request: lent(&event.request),
            query: lent(&event.query),
            extra: Cow::Borrowed(&event.extra),
            extra_left_out: Some(event.extra_left_out).filter(|number| *number > 0),
            prev,
            hash: None,
        }
    }

    /// The record, with the hash as it was read from the line's end.
    pub(super) fn into_record(self, hash: Digest) -> Record {
        let event = Event {
            time: self.time,
            who: self.who.into_owned(),
            as_whom: self.as_whom.map(Cow::into_owned),
            on_behalf_of: self.on_behalf_of.map(Cow::into_owned),
            actor: self.actor.map(Cow::into_owned),
            action: self.action.into_owned(),
            profile: self.profile.map(Cow::into_owned),
            sandbox: self.sandbox.map(Cow::into_owned),
            task: self.task,
            image: self.image.map(Cow::into_owned),
            environment: self.environment.map(Cow::into_owned),
            policy: self.policy.map(Cow::into_owned),
            outcome: self.outcome,
            reason: self.reason.map(Cow::into_owned),
            verdict: self.verdict.map(Cow::into_owned),
            request: self.request.map(Cow::into_owned),
            query: self.query.map(Cow::into_owned),
            extra: self.extra.into_owned(),
            extra_left_out: self.extra_left_out.unwrap_or_default(),
        };
        Record {
            seq: self.seq,
            event,
            prev: self.prev,
            hash,
        }
    }
}

impl Record {
    /// The event as one line of JSON, with its place in the chain.
    pub fn to_json(&self) -> String {
        let wire = Wire {
            hash: Some(self.hash()),
            ..Wire::of(self.seq(), self.event(), self.prev())
        };
        // Texts and numbers alone: there is nothing that JSON has no form for.
        serde_json::to_string(&wire).unwrap_or_default()
    }
}
