//! Why a request failed.

use std::error::Error;
use std::time::Duration;

use lakekeep_api::Reason;
use tonic::{Code, Status};

use crate::target::TargetError;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The manager answered, and refused or failed.
    Manager(Reason),
    /// A manager of another version answered with a word that is not known here.
    Unknown(Code),
    /// Nobody answers where the manager should be.
    Unreachable,
    /// The connection broke: whether the request was done is not known.
    Lost,
    /// The manager said something that makes no sense.
    Protocol,
    /// A task's input cannot be taken up again without doubling or losing bytes.
    InputLost,
    /// A token or certificate of the caller's cannot be read.
    Credentials,
    /// The task takes no more input: it has ended, or nobody follows it.
    Closed,
}

/// A failed request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    cause: Cause,
    message: String,
    remedy: Option<String>,
    retry_after: Option<Duration>,
}

impl ClientError {
    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
            remedy: None,
            retry_after: None,
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The manager's reason, where it gave one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.cause {
            Cause::Manager(reason) => Some(reason),
            _ => None,
        }
    }

    /// What happened to what, and the remedy.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do, where the manager says it apart; it is in the message too.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Trying again after so long may help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same request can succeed once the manager is there again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.cause {
            Cause::Unreachable | Cause::Lost | Cause::Manager(Reason::Unavailable) => true,
            // The same request is being answered: soon its answer can be had.
            Cause::Manager(Reason::Conflict) => self.retry_after.is_some(),
            _ => false,
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let word = Reason::of(&status);
        let cause = match word.as_deref().map(reason_of) {
            Some(Some(reason)) => Cause::Manager(reason),
            Some(None) => Cause::Unknown(status.code()),
            None => cause_of(&status),
        };
        let message = match cause {
            Cause::Lost => format!("the connection to the manager broke: {}", story(&status)),
            Cause::Protocol => format!(
                "the manager does not know this request ({}); is it of another version?",
                status.message()
            ),
            _ => status.message().to_owned(),
        };
        Self {
            cause,
            message,
            remedy: Reason::remedy_of(&status),
            retry_after: delay(&status),
        }
    }
}

impl From<TargetError> for ClientError {
    fn from(error: TargetError) -> Self {
        let message = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self::new(Cause::Credentials, message)
    }
}

fn delay(status: &Status) -> Option<Duration> {
    use tonic_types::StatusExt;
    status.get_details_retry_info()?.retry_delay
}

/// Of a status that carries none of our reasons: the transport made it.
fn cause_of(status: &Status) -> Cause {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal => Cause::Lost,
        Code::Unimplemented | Code::OutOfRange | Code::DataLoss => Cause::Protocol,
        code => Cause::Unknown(code),
    }
}

/// The innermost cause says most: `connection refused`, not `transport error`.
pub(crate) fn story(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn reason_of(word: &str) -> Option<Reason> {
    let mut all = Reason::ALL.iter().copied();
    all.find(|reason| reason.name() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_managers_reason_message_and_hint_are_kept() {
        let text = "quota: 3 of 3; end one";
        let status = Reason::QuotaExceeded.status(text, Some(Duration::from_secs(2)));
        let error = ClientError::from(status);
        assert_eq!(error.reason(), Some(Reason::QuotaExceeded));
        assert_eq!(error.message(), text);
        assert_eq!(error.remedy(), Some("end one"));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        assert!(!error.is_transient());
    }

    #[test]
    fn the_transports_failures_are_transient_and_the_managers_are_not() {
        for code in [Code::Unavailable, Code::Cancelled, Code::Unknown] {
            let error = ClientError::from(Status::new(code, "x"));
            assert_eq!(error.cause(), Cause::Lost);
            assert!(error.is_transient());
        }
        let internal = ClientError::from(Reason::Internal.status("x", None));
        assert!(!internal.is_transient());
        assert!(ClientError::from(Reason::Unavailable.status("x", None)).is_transient());
        let conflict = |after| ClientError::from(Reason::Conflict.status("x", after));
        assert!(conflict(Some(Duration::from_millis(200))).is_transient());
        assert!(!conflict(None).is_transient());
    }
}
