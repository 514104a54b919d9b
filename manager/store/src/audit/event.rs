//! One event, before it has a place in the chain.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Longest text of a field in bytes; more is cut.
const LONGEST_TEXT: usize = 1024;
/// Longest name of an additional field in bytes.
const LONGEST_NAME: usize = 64;
/// Most additional fields.
const MOST_EXTRA: usize = 32;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// It was refused.
    Denied,
    /// It was allowed and failed.
    Error,
}

impl Outcome {
    /// The name used in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
            Outcome::Error => "error",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who did what. Fields keep what they are given up to 1,024 bytes; a longer
/// text is cut and says so: an event is never lost for being too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub(super) time: Timestamp,
    pub(super) who: String,
    pub(super) as_whom: Option<String>,
    pub(super) on_behalf_of: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) action: String,
    pub(super) profile: Option<String>,
    pub(super) sandbox: Option<String>,
    pub(super) task: Option<u64>,
    pub(super) image: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    pub(super) verdict: Option<String>,
    pub(super) request: Option<String>,
    pub(super) query: Option<String>,
    pub(super) extra: BTreeMap<String, String>,
    /// How many additional fields found no place.
    pub(super) extra_left_out: u64,
}

/// A setter and a getter of an optional text.
macro_rules! texts {
    ($( $field:ident, $set:ident, $doc:literal; )+) => {
        impl Event {
            $(
                #[doc = concat!("Sets ", $doc, ".")]
                #[must_use]
                pub fn $set(mut self, text: &str) -> Event {
                    self.$field = Some(bounded(text));
                    self
                }

                #[doc = concat!("Returns ", $doc, ".")]
                pub fn $field(&self) -> Option<&str> {
                    self.$field.as_deref()
                }
            )+
        }
    };
}

texts! {
    as_whom, with_as_whom, "the identity that the principal was mapped to";
    on_behalf_of, with_on_behalf_of, "the user for whom a trusted engine acted";
    actor, with_actor, "the program that acted, such as the engine";
    profile, with_profile, "the profile";
    sandbox, with_sandbox, "the sandbox's identifier";
    image, with_image, "the image's digest";
    environment, with_environment, "the environment's digest";
    policy, with_policy, "the policy's digest";
    verdict, with_verdict, "why the task ended, in one line";
    request, with_request, "the request's identifier";
    query, with_query, "the engine's identifier of the query";
}

impl Event {
    /// Something that was done: `who` as authenticated, `action` such as
    /// `sandbox.create`.
    pub fn allowed(time: Timestamp, who: &str, action: &str) -> Event {
        Event::new(time, who, action, Outcome::Allowed)
    }

    /// Something that was refused, and why.
    pub fn denied(time: Timestamp, who: &str, action: &str, reason: &str) -> Event {
        let mut event = Event::new(time, who, action, Outcome::Denied);
        event.reason = Some(bounded(reason));
        event
    }

    /// Something that was allowed and failed, and why.
    pub fn error(time: Timestamp, who: &str, action: &str, reason: &str) -> Event {
        let mut event = Event::new(time, who, action, Outcome::Error);
        event.reason = Some(bounded(reason));
        event
    }

    fn new(time: Timestamp, who: &str, action: &str, outcome: Outcome) -> Event {
        Event {
            time,
            who: bounded(who),
            as_whom: None,
            on_behalf_of: None,
            actor: None,
            action: bounded(action),
            profile: None,
            sandbox: None,
            task: None,
            image: None,
            environment: None,
            policy: None,
            outcome,
            reason: None,
            verdict: None,
            request: None,
            query: None,
            extra: BTreeMap::new(),
            extra_left_out: 0,
        }
    }

    /// Sets the task's number in its sandbox.
    #[must_use]
    pub fn with_task(mut self, task: u64) -> Event {
        self.task = Some(task);
        self
    }

    /// Adds a field. Beyond 32 of them it is counted, and left out.
    #[must_use]
    pub fn with_extra(mut self, name: &str, value: &str) -> Event {
        let name = cut(name, LONGEST_NAME).to_owned();
        if self.extra.len() < MOST_EXTRA || self.extra.contains_key(&name) {
            self.extra.insert(name, bounded(value));
        } else {
            self.extra_left_out += 1;
        }
        self
    }

    /// When it happened, as the caller said.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The authenticated principal.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// What was asked for.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The task's number in its sandbox.
    pub fn task(&self) -> Option<u64> {
        self.task
    }

    /// What became of it.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why it was refused or failed.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// How many additional fields found no place.
    pub fn extra_left_out(&self) -> u64 {
        self.extra_left_out
    }

    /// The additional fields.
    pub fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }
}

/// The text, or its beginning and how long it was.
fn bounded(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let note = format!("… [{} bytes]", text.len());
    let kept = cut(text, LONGEST_TEXT.saturating_sub(note.len()));
    format!("{kept}{note}")
}

/// At most `bytes` of the text, of whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let event = Event::allowed(NOW, &"ü".repeat(5_000), "a");
        assert!(event.who().len() <= LONGEST_TEXT);
        assert!(event.who().ends_with("ü… [10000 bytes]"));
        let whole = "x".repeat(LONGEST_TEXT);
        assert_eq!(Event::allowed(NOW, &whole, "a").who(), whole);
    }

    #[test]
    fn additional_fields_are_bounded_and_counted() {
        let mut event = Event::allowed(NOW, "alice", "a");
        for number in 0..40 {
            event = event.with_extra(&format!("{number}{}", "n".repeat(100)), "v");
        }
        assert_eq!(event.extra().len(), MOST_EXTRA);
        assert_eq!(event.extra_left_out, 8);
        assert!(event.extra().keys().all(|name| name.len() <= LONGEST_NAME));
    }
}
