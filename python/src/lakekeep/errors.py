"""Errors: one class for each reason that the manager gives.

Every error is a `LakekeepError`. `reason` is the manager's word for what went
wrong, or one of this client's for what went wrong on the way to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Optional

if TYPE_CHECKING:
    from .outcome import CompletedTask


class LakekeepError(Exception):
    """Something failed.

    Attributes:
        reason: A word that a program can act on, such as `NOT_FOUND`.
        message: What failed, on what, and why.
        remedy: What to do about it; may be empty.
        retry_after: Seconds after which trying again can help; None where it cannot.
        code: The gRPC status code's name; empty when the request got no answer.
        details: More about it, by name.
    """

    REASON: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: Optional[str] = None,
        remedy: str = "",
        retry_after: Optional[float] = None,
        code: str = "",
        details: Optional[Mapping[str, str]] = None,
    ) -> None:
        """Takes the attributes; `reason` is the class's own unless given."""
        super().__init__(message)
        self.message = message
        self.reason = reason or self.REASON
        self.remedy = remedy
        self.retry_after = retry_after
        self.code = code
        self.details: dict[str, str] = dict(details or {})

    def __str__(self) -> str:
        """The message, and the remedy where the message does not hold it."""
        if self.remedy and self.remedy not in self.message:
            return f"{self.message}; {self.remedy}"
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process boundaries, in a pool of workers for one."""
        return (_rebuild, (type(self), self.message, self.__dict__))


def _rebuild(kind: type[LakekeepError], message: str, state: dict[str, Any]) -> LakekeepError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


# The manager's reasons.


class BadRequest(LakekeepError, ValueError):
    """The request itself is malformed; the message names the field."""

    REASON = "BAD_REQUEST"


class BadPolicy(LakekeepError, ValueError):
    """The policy document is refused, with line and field."""

    REASON = "BAD_POLICY"


class Unauthenticated(LakekeepError):
    """Nobody is authenticated: no token, or an expired or wrong one."""

    REASON = "UNAUTHENTICATED"


class Denied(LakekeepError):
    """The caller may not do this."""

    REASON = "DENIED"


class NoIdentity(LakekeepError):
    """No identity rule matches the caller."""

    REASON = "NO_IDENTITY"


class NotFound(LakekeepError, LookupError):
    """There is no such sandbox, task, profile or file for this caller."""

    REASON = "NOT_FOUND"


class Conflict(LakekeepError):
    """The name is taken, or the version is not the present one."""

    REASON = "CONFLICT"


class QuotaExceeded(LakekeepError):
    """A quota is used up; waiting may help."""

    REASON = "QUOTA_EXCEEDED"


class DeadlineInQueue(LakekeepError, TimeoutError):
    """The request waited in the queue until its deadline."""

    REASON = "DEADLINE_IN_QUEUE"


class QueueFull(LakekeepError):
    """The queue is full."""

    REASON = "QUEUE_FULL"


class Ended(LakekeepError):
    """The sandbox or task has ended."""

    REASON = "ENDED"


class Frozen(LakekeepError):
    """The sandbox is frozen; thaw it."""

    REASON = "FROZEN"


class OutputGone(LakekeepError):
    """The output asked for is no longer kept."""

    REASON = "OUTPUT_GONE"


class NotEnforced(LakekeepError):
    """A layer of the floor cannot be enforced on the manager's host."""

    REASON = "NOT_ENFORCED"


class Unavailable(LakekeepError):
    """The manager is starting or stopping, or a launcher is being replaced."""

    REASON = "UNAVAILABLE"


class Internal(LakekeepError):
    """A fault of the manager's or its host's."""

    REASON = "INTERNAL"


# This client's reasons.


class Unreachable(Unavailable, ConnectionError):
    """Nothing answers there, or the connection was lost."""

    REASON = "UNREACHABLE"


class DeadlineExceeded(LakekeepError, TimeoutError):
    """The manager did not answer within the call's `timeout`."""

    REASON = "DEADLINE"


class BadTarget(LakekeepError, ValueError):
    """The manager's address, a token or a certificate cannot be used."""

    REASON = "BAD_TARGET"


class Unsupported(LakekeepError):
    """The manager does not know this request: it is older than this client."""

    REASON = "UNSUPPORTED"


class ProtocolError(LakekeepError):
    """The manager's answer makes no sense: it is another version, or broken."""

    REASON = "PROTOCOL"


class StreamBroken(LakekeepError):
    """A task's streams cannot be taken up again without loss."""

    REASON = "STREAM_BROKEN"


class ClientClosed(LakekeepError):
    """The client was closed."""

    REASON = "CLOSED"


class OutputTooLarge(LakekeepError):
    """The task printed more than `capture_limit` bytes; it was killed."""

    REASON = "OUTPUT_TOO_LARGE"


class TaskTimeout(LakekeepError, TimeoutError):
    """The task ran longer than `timeout`; it was killed.

    `stdout` and `stderr` hold what it had printed, as bytes.
    """

    REASON = "TASK_TIMEOUT"

    def __init__(self, message: str, *, stdout: bytes = b"", stderr: bytes = b"") -> None:
        """Takes what was captured until then."""
        super().__init__(message, remedy="raise timeout=, or make it do less")
        self.stdout = stdout
        self.stderr = stderr


class TaskFailed(LakekeepError):
    """The task failed, and `check` was asked for; `completed` tells everything."""

    REASON = "TASK_FAILED"

    def __init__(self, completed: CompletedTask[Any]) -> None:
        """Takes what `run` would have returned."""
        verdict = completed.verdict
        what = verdict.explanation or f"it exited with {completed.exit_code}"
        super().__init__(f"{completed.command()}: {what}", remedy=verdict.remedy)
        self.completed = completed


# Reasons of which the manager may tell; the client's own are not among them.
BY_REASON: dict[str, type[LakekeepError]] = {
    kind.REASON: kind
    for kind in (
        BadRequest,
        BadPolicy,
        Unauthenticated,
        Denied,
        NoIdentity,
        NotFound,
        Conflict,
        QuotaExceeded,
        DeadlineInQueue,
        QueueFull,
        Ended,
        Frozen,
        OutputGone,
        NotEnforced,
        Unavailable,
        Internal,
    )
}
