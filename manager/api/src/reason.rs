//! Why a request failed, as one word that a program can act on.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `google.rpc.ErrorInfo.domain` of every error of ours.
pub const DOMAIN: &str = "lakekeep";

/// Where `google.rpc.ErrorInfo.metadata` has the remedy.
pub const REMEDY: &str = "remedy";

/// Longest remedy that stands apart, bytes: the details go in a header.
const LONGEST_REMEDY: usize = 300;

/// Longest message, bytes. A letter that is not ASCII takes three times as many in a header
/// for each of its own, and the details have it once more as base64.
const LONGEST_MESSAGE: usize = 1536;

/// What a message that was cut may say of that, bytes.
const ROOM_FOR_COUNT: usize = 32;

/// The `reason` of an error, with the gRPC code that it goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The request itself is malformed: a field is named in the message.
    BadRequest,
    /// The policy document is refused, with line and field.
    BadPolicy,
    /// Nobody is authenticated.
    Unauthenticated,
    /// The caller may not do this.
    Denied,
    /// No identity rule matches the caller.
    NoIdentity,
    /// There is no such sandbox, task, profile or file for this caller.
    NotFound,
    /// The name is taken, or the version is not the present one.
    Conflict,
    /// A quota is used up; waiting may help.
    QuotaExceeded,
    /// The request waited in the queue until its deadline.
    DeadlineInQueue,
    /// The queue is full.
    QueueFull,
    /// The sandbox or task has ended.
    Ended,
    /// The sandbox is frozen.
    Frozen,
    /// The output asked for is no longer kept.
    OutputGone,
    /// A layer of the floor cannot be enforced on this host.
    NotEnforced,
    /// The manager is starting or stopping, or a launcher is being replaced.
    Unavailable,
    /// A fault of the manager's or the host's.
    Internal,
}

impl Reason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::BadRequest,
        Self::BadPolicy,
        Self::Unauthenticated,
        Self::Denied,
        Self::NoIdentity,
        Self::NotFound,
        Self::Conflict,
        Self::QuotaExceeded,
        Self::DeadlineInQueue,
        Self::QueueFull,
        Self::Ended,
        Self::Frozen,
        Self::OutputGone,
        Self::NotEnforced,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::BadPolicy => "BAD_POLICY",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Denied => "DENIED",
            Self::NoIdentity => "NO_IDENTITY",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::DeadlineInQueue => "DEADLINE_IN_QUEUE",
            Self::QueueFull => "QUEUE_FULL",
            Self::Ended => "ENDED",
            Self::Frozen => "FROZEN",
            Self::OutputGone => "OUTPUT_GONE",
            Self::NotEnforced => "NOT_ENFORCED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// Its gRPC status code.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::BadRequest | Self::BadPolicy => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Denied | Self::NoIdentity => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Conflict => Code::Aborted,
            Self::QuotaExceeded | Self::QueueFull => Code::ResourceExhausted,
            Self::DeadlineInQueue => Code::DeadlineExceeded,
            Self::Ended | Self::Frozen | Self::NotEnforced => Code::FailedPrecondition,
            Self::OutputGone => Code::OutOfRange,
            Self::Unavailable => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }

    /// What helps where a message names nothing better.
    fn remedy(self) -> &'static str {
        match self {
            Self::BadRequest => "correct the field that the message names",
            Self::BadPolicy => "correct the policy at the place that the message names",
            Self::Unauthenticated => "show a token, a certificate or an account that is configured",
            Self::Denied => "ask the profile's owner, or an administrator",
            Self::NoIdentity => "ask an administrator for an identity rule",
            Self::NotFound => "check the name; `lakekeep ps -a` lists sandboxes",
            Self::Conflict => "read the present state, and ask again",
            Self::QuotaExceeded => "end something, or wait for a place with a deadline",
            Self::DeadlineInQueue => "wait longer, or end something",
            Self::QueueFull => "try again later",
            Self::Ended => "make another sandbox",
            Self::Frozen => "thaw the sandbox first",
            Self::OutputGone => "begin again at what is kept",
            Self::NotEnforced => "`lakekeep doctor` says what this host lacks",
            Self::Unavailable => "try again",
            Self::Internal => "an administrator finds more in the manager's log",
        }
    }

    /// The status for this reason; `retry`: when trying again can help. What stands after
    /// the message's last semicolon is its remedy.
    #[must_use]
    pub fn status(self, message: &str, retry: Option<Duration>) -> Status {
        let mut details = ErrorDetails::new();
        let remedy = said_remedy(message).unwrap_or_else(|| self.remedy());
        let metadata = HashMap::from([(REMEDY.to_owned(), remedy.to_owned())]);
        details.set_error_info(self.name(), DOMAIN, metadata);
        if let Some(after) = retry {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(self.code(), message, details)
    }

    /// The reason that a status carries, where it is one of ours.
    #[must_use]
    pub fn of(status: &Status) -> Option<String> {
        let info = status.get_error_details().error_info()?.clone();
        (info.domain == DOMAIN).then_some(info.reason)
    }
}

impl Reason {
    /// The remedy that a status carries, where it is one of ours.
    #[must_use]
    pub fn remedy_of(status: &Status) -> Option<String> {
        let info = status.get_error_details().error_info()?.clone();
        let ours = info.domain == DOMAIN;
        info.metadata.get(REMEDY).filter(|_| ours).cloned()
    }
}

/// What stands after a message's last semicolon, outside of the names that it quotes.
fn said_remedy(message: &str) -> Option<&str> {
    let (mut quoted, mut escaped, mut last) = (false, false, None);
    for (at, letter) in message.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => last = Some(at),
            _ => {}
        }
    }
    let remedy = message.get(last?..)?.strip_prefix("; ")?;
    let plain = !quoted && remedy.len() <= LONGEST_REMEDY && !remedy.contains('\n');
    plain.then_some(remedy)
}

/// A message that a status can carry: it travels in headers, once as it is and once in the
/// details, and clients take some 8 KiB of these (gRPC's limit; hyper's is 16). What is
/// too long ends at the end of a line, and keeps its remedy.
#[must_use]
pub fn bounded(message: String) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message;
    }
    let remedy = said_remedy(&message).map_or_else(String::new, |remedy| format!("; {remedy}"));
    let room = LONGEST_MESSAGE - remedy.len() - ROOM_FOR_COUNT;
    let cut = message
        .get(..message.floor_char_boundary(room))
        .unwrap_or_default();
    let kept = cut.rsplit_once('\n').map_or(cut, |(lines, _)| lines);
    let more = message.lines().count() - kept.lines().count();
    match more {
        0 => format!("{kept}...{remedy}"),
        more => format!("{kept}\nand {more} more{remedy}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_its_reason_and_when_to_try_again() {
        let status = Reason::QuotaExceeded.status("full", Some(Duration::from_secs(2)));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(Reason::of(&status).as_deref(), Some("QUOTA_EXCEEDED"));
        let details = status.get_error_details();
        let after = details.retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn every_status_tells_a_remedy() {
        let status = Reason::Ended.status("sandbox x has ended (why; so); make another", None);
        let remedy = Reason::remedy_of(&status);
        assert_eq!(remedy.as_deref(), Some("make another"));
        for reason in Reason::ALL {
            let lines = reason.status("first; line\nsecond", None);
            let remedy = Reason::remedy_of(&lines).unwrap();
            assert_eq!(remedy, reason.remedy());
        }
        assert_eq!(Reason::remedy_of(&Status::internal("x; y")), None);
    }

    #[test]
    fn a_name_that_is_quoted_gives_no_remedy() {
        for message in ["no volume \"a; \"", "no volume \"a; \\\"b\" here"] {
            let status = Reason::NotFound.status(message, None);
            let remedy = Reason::remedy_of(&status);
            assert_eq!(
                remedy.as_deref(),
                Some(Reason::NotFound.remedy()),
                "{message}"
            );
        }
        let status = Reason::NotFound.status("no volume \"a; b\"; look again", None);
        assert_eq!(Reason::remedy_of(&status).as_deref(), Some("look again"));
    }

    #[test]
    fn a_long_message_keeps_whole_lines_and_its_remedy() {
        let lines: String = (0..200)
            .map(|n| format!("mount {n} is refused\n"))
            .collect();
        let short = bounded(format!("{lines}last; do so"));
        assert!(short.len() <= LONGEST_MESSAGE, "{}", short.len());
        assert!(short.starts_with("mount 0 is refused\nmount 1 "));
        assert!(short.ends_with(" more; do so"), "{short}");
        let kept = short.lines().count() - 1;
        assert!(
            short.contains(&format!("and {} more", 201 - kept)),
            "{short}"
        );
        let one = bounded("é".repeat(5000));
        assert!(one.len() <= LONGEST_MESSAGE && one.ends_with("é..."));
        assert_eq!(bounded("short; so".to_owned()), "short; so");
    }

    #[test]
    fn a_strangers_status_has_no_reason_of_ours() {
        assert_eq!(Reason::of(&Status::internal("x")), None);
    }
}
