"""gRPC statuses become errors of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional, Union

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from lakekeep import errors

# `google.rpc.ErrorInfo.domain` of every error of the manager's.
DOMAIN = "lakekeep"
# Where gRPC puts a google.rpc.Status.
DETAILS_KEY = "grpc-status-details-bin"

Metadata = Optional[Iterable[tuple[str, Union[str, bytes]]]]

# For statuses that do not come from the manager's own code.
_BY_CODE: dict[str, type[errors.LakekeepError]] = {
    "UNAVAILABLE": errors.Unreachable,
    "DEADLINE_EXCEEDED": errors.DeadlineExceeded,
    "UNIMPLEMENTED": errors.Unsupported,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.Denied,
    "NOT_FOUND": errors.NotFound,
    "INVALID_ARGUMENT": errors.BadRequest,
    # An answer was longer than this client takes; or too long for the manager.
    "RESOURCE_EXHAUSTED": errors.ProtocolError,
}

_REMEDIES = {
    "UNAVAILABLE": "start a manager there with `lakekeep serve`, or name another"
    " (LAKEKEEP_SOCKET, or connect's first argument)",
    "DEADLINE_EXCEEDED": "raise timeout=",
    "UNIMPLEMENTED": "update the manager",
}


def error_of(code: str, message: str, metadata: Metadata, where: str) -> errors.LakekeepError:
    """The error for a status; `where` names the manager's address."""
    info, retry = _details(metadata)
    if info is None:
        return _foreign(code, message, where, retry)
    kind = errors.BY_REASON.get(info.reason, errors.LakekeepError)
    details = dict(info.metadata)
    remedy = details.pop("remedy", "") or _remedy_in(message)
    return kind(
        message,
        reason=info.reason,
        remedy=remedy,
        retry_after=retry,
        code=code,
        details=details,
    )


def _foreign(code: str, message: str, where: str, retry: Optional[float]) -> errors.LakekeepError:
    """A status of the transport's, of a proxy's or of the framework's."""
    kind = _BY_CODE.get(code, errors.LakekeepError)
    text = f"manager at {where}: {message or code.lower()}"
    if kind is errors.Unreachable:
        text = f"no manager answers at {where}: {message or 'the connection was lost'}"
    return kind(text, remedy=_REMEDIES.get(code, ""), code=code, retry_after=retry)


def _remedy_in(message: str) -> str:
    """The manager's messages end with `; REMEDY`."""
    _, found, remedy = message.rpartition("; ")
    return remedy if found else ""


def _details(metadata: Metadata) -> tuple[Optional[ErrorInfo], Optional[float]]:
    info: Optional[ErrorInfo] = None
    retry: Optional[float] = None
    for detail in _status(metadata):
        if detail.Is(ErrorInfo.DESCRIPTOR):
            found = ErrorInfo()
            if detail.Unpack(found) and found.domain == DOMAIN:
                info = found
        elif detail.Is(RetryInfo.DESCRIPTOR):
            hint = RetryInfo()
            if detail.Unpack(hint):
                delay = hint.retry_delay
                retry = max(0.0, delay.seconds + delay.nanos / 1e9)
    return info, retry


def _status(metadata: Metadata) -> Iterable[Any]:
    for name, value in metadata or ():
        if name == DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(Status.FromString(value).details)
            except DecodeError:
                # Somebody else's; the code and the message are left.
                return []
    return []
