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
        let said = message.rsplit_once("; ").map(|(_, remedy)| remedy);
        let plain = |remedy: &&str| remedy.len() <= LONGEST_REMEDY && !remedy.contains('\n');
        let remedy = said.filter(plain).unwrap_or_else(|| self.remedy());
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
    fn a_strangers_status_has_no_reason_of_ours() {
        assert_eq!(Reason::of(&Status::internal("x")), None);
    }
}
