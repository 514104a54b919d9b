"""Errors of user functions: one class for each way in which a call can fail."""

from __future__ import annotations

from typing import ClassVar, Optional

from ..errors import LakekeepError


class UdfError(LakekeepError):
    """A user's function could not be run, or what it answered cannot be used.

    Attributes:
        retryable: Whether the same call can succeed when it is made again.
        output: What the function had printed in its session, bounded, when it failed.
    """

    REASON = "UDF"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str = "", output: str = "") -> None:
        """Takes what happened, and what to do about it."""
        super().__init__(message, remedy=remedy)
        self.output = output


class UserFunctionError(UdfError):
    """The function raised an exception.

    Attributes:
        type: The exception's class, by name.
        traceback: The user's frames as text, with the sandbox's file names.
        row: The index of the row in its batch, where the kind tells it, or `find_row` found it.
    """

    REASON = "UDF_RAISED"

    def __init__(
        self, message: str, *, kind: str, traceback: str = "", row: Optional[int] = None
    ) -> None:
        """Takes the exception's own words; they come from a sandbox."""
        at = "" if row is None else f" in row {row}"
        super().__init__(
            f"the function raised {kind}{at}: {message}\n{traceback}".rstrip(),
            remedy="mend the function; find_row=True tells the row",
        )
        self.type = kind
        self.traceback = traceback
        self.row = row


class WorkerCrashed(UdfError):
    """The function's process ended in the middle of its work.

    Attributes:
        signal: The signal's name, such as `SIGSEGV`; empty when it was none.
        library: The library whose code was running, as the process itself said; may be empty.
        row: The index of the row that does it, where `find_row` found it.
    """

    REASON = "UDF_CRASHED"

    def __init__(
        self, message: str, *, signal: str = "", library: str = "", remedy: str = ""
    ) -> None:
        """Takes what is known of the end."""
        where = f" in {library}" if library else ""
        super().__init__(
            f"{message}{where}",
            remedy=remedy or "the next call gets a new session; find_row=True tells the row",
        )
        self.signal = signal
        self.library = library
        self.row: Optional[int] = None


class OutOfMemory(UdfError):
    """The function needed more memory than its sandbox may have.

    Attributes:
        limit: Bytes that the sandbox may have; None when unknown.
        peak: Bytes that it had at most; None when unknown.
        rows: Rows of the batch at which it happened.
    """

    REASON = "UDF_OUT_OF_MEMORY"

    def __init__(self, *, limit: Optional[int], peak: Optional[int], rows: int) -> None:
        """Takes the figures."""
        figures = [f"limit {limit} bytes"] if limit is not None else []
        figures += [f"peak {peak} bytes"] if peak is not None else []
        told = f" ({', '.join(figures)})" if figures else ""
        super().__init__(
            f"the function ran out of memory at a batch of {rows} rows{told}",
            remedy="raise memory=, send smaller batches, or set retry_halved=True",
        )
        self.limit = limit
        self.peak = peak
        self.rows = rows


class TimedOut(UdfError, TimeoutError):
    """The function took longer than it may; its session was killed."""

    REASON = "UDF_TIMED_OUT"


class Cancelled(UdfError):
    """The call was cancelled; its session was killed."""

    REASON = "UDF_CANCELLED"
    retryable = True


class ProtocolViolation(UdfError):
    """The sandbox sent what no worker sends: it is broken or hostile, and was killed."""

    REASON = "UDF_PROTOCOL"

    def __init__(self, message: str) -> None:
        """Takes which rule was broken."""
        super().__init__(
            f"the worker broke the protocol: {message}",
            remedy="the function's code tampers with its worker, or the two are of different"
            " versions; the session was killed",
        )


class ResultRefused(UdfError):
    """The function answered with other types, rows or bytes than were declared."""

    REASON = "UDF_RESULT_REFUSED"

    def __init__(self, message: str) -> None:
        """Takes what is wrong with the answer."""
        super().__init__(message, remedy="declare what the function returns, or mend it")


class SessionClosed(UdfError):
    """The session was closed before; open another."""

    REASON = "UDF_SESSION_CLOSED"
    retryable = True


class BrokerUnavailable(UdfError):
    """No sandbox can be had: the broker cannot be started, has ended, or refused."""

    REASON = "UDF_BROKER_UNAVAILABLE"
    retryable = True


class SessionRefused(BrokerUnavailable):
    """A manager made no sandbox: for want of a right, of a place in a quota, of a profile.

    Or a broker made none, for want of a place in its queue.

    Attributes:
        code: The word for it, such as `DENIED`, `QUOTA_EXCEEDED` or `QUEUE_FULL`.
        retry_after: Seconds after which to ask again may help; None: it will not.
    """

    REASON = "UDF_SESSION_REFUSED"
    retryable = False

    def __init__(self, message: str, *, code: str, retry_after: Optional[float] = None) -> None:
        """Takes the manager's words."""
        super().__init__(f"no sandbox was made: {message}")
        self.code = code
        self.retry_after = retry_after


class EnvironmentFailed(BrokerUnavailable):
    """The environment of the function's interpreter cannot import what it shall.

    The message has what the interpreter said of it, a traceback most often.
    """

    REASON = "UDF_ENVIRONMENT_FAILED"
    retryable = False


class EnvironmentDrift(BrokerUnavailable):
    """The environment that was named is not this interpreter's any more; nothing has run.

    Attributes:
        differences: Each in a sentence, such as `numpy 2.1.3 in the client, 2.0.2 in the
            environment`.
    """

    REASON = "UDF_ENVIRONMENT_DRIFT"
    retryable = False

    def __init__(self, digest: str, differences: tuple[str, ...], command: str) -> None:
        """Takes what differs, and the command that captures what is here now."""
        super().__init__(
            f"environment {digest[:12]}: {'; '.join(differences)}",
            remedy=f'say environment="auto", or name what this prints: {command}',
        )
        self.differences = differences


class EnvironmentSlow(BrokerUnavailable, TimeoutError):
    """The environment has not made its imports in the broker's `zygote_timeout`."""

    REASON = "UDF_ENVIRONMENT_SLOW"


class BadFunction(UdfError, ValueError):
    """The function, or how it was declared, cannot be used."""

    REASON = "UDF_BAD_FUNCTION"
