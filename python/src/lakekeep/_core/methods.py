"""The methods of `lakekeep.v1`, and which of them may be sent twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from lakekeep.v1 import accounts_pb2 as accounts
from lakekeep.v1 import sandboxes_pb2 as sandboxes

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Q, R]):
    """One method.

    `idempotent`: sent twice it does what it does once, so that it may be retried.
    """

    service: str
    name: str
    request: type[Q]
    response: type[R]
    idempotent: bool = False
    streams_requests: bool = False
    streams_responses: bool = False

    @property
    def path(self) -> str:
        """As HTTP/2 names it."""
        return f"/lakekeep.v1.{self.service}/{self.name}"


_S, _A = "Sandboxes", "Accounts"

# Idempotent by their request id.
CREATE = Method(_S, "Create", sandboxes.CreateRequest, sandboxes.Sandbox, True)
CLAIM = Method(_S, "Claim", sandboxes.CreateRequest, sandboxes.Sandbox, True)

EXEC = Method(
    _S,
    "Exec",
    sandboxes.ExecRequest,
    sandboxes.ExecEvent,
    streams_requests=True,
    streams_responses=True,
)
# The session does its own resuming.
ATTACH = Method(
    _S,
    "Attach",
    sandboxes.ExecRequest,
    sandboxes.ExecEvent,
    streams_requests=True,
    streams_responses=True,
)
READ_FILE = Method(
    _S, "ReadFile", sandboxes.ReadFileRequest, sandboxes.FileChunk, streams_responses=True
)
WRITE_FILE = Method(
    _S,
    "WriteFile",
    sandboxes.WriteFileRequest,
    sandboxes.WriteFileResponse,
    streams_requests=True,
)
LIST_FILES = Method(_S, "ListFiles", sandboxes.ListFilesRequest, sandboxes.ListFilesResponse, True)
GET = Method(_S, "Get", sandboxes.SandboxRef, sandboxes.Sandbox, True)
LIST = Method(_S, "List", sandboxes.ListRequest, sandboxes.ListResponse, True)
STATS = Method(_S, "Stats", sandboxes.StatsRequest, sandboxes.StatsSample, streams_responses=True)
EVENTS = Method(_S, "Events", sandboxes.EventsRequest, sandboxes.Event, streams_responses=True)
FREEZE = Method(_S, "Freeze", sandboxes.SandboxRef, sandboxes.Sandbox, True)
THAW = Method(_S, "Thaw", sandboxes.SandboxRef, sandboxes.Sandbox, True)
SIGNAL = Method(_S, "Signal", sandboxes.SignalRequest, sandboxes.SignalResponse)
KILL = Method(_S, "Kill", sandboxes.SandboxRef, sandboxes.Sandbox, True)
RECEIPT = Method(_S, "Receipt", sandboxes.TaskRef, sandboxes.ReceiptResponse, True)
VERDICT = Method(_S, "Verdict", sandboxes.TaskRef, sandboxes.VerdictResponse, True)
ATTACH_VOLUME = Method(_S, "AttachVolume", sandboxes.AttachVolumeRequest, sandboxes.Sandbox)

WHO_AM_I = Method(_A, "WhoAmI", accounts.WhoAmIRequest, accounts.WhoAmIResponse, True)
TEST_IDENTITY = Method(
    _A, "TestIdentity", accounts.TestIdentityRequest, accounts.TestIdentityResponse, True
)
# A second one would be a second token.
DELEGATE = Method(_A, "Delegate", accounts.DelegateRequest, accounts.DelegateResponse)
REVOKE = Method(
    _A,
    "RevokeDelegation",
    accounts.RevokeDelegationRequest,
    accounts.RevokeDelegationResponse,
    True,
)
CAN = Method(_A, "Can", accounts.CanRequest, accounts.CanResponse, True)
LIST_PROFILES = Method(
    _A, "ListProfiles", accounts.ListProfilesRequest, accounts.ListProfilesResponse, True
)
GET_PROFILE = Method(_A, "GetProfile", accounts.ProfileRef, accounts.Profile, True)
# A second one would find another version than it names, or nothing.
PUT_PROFILE = Method(_A, "PutProfile", accounts.PutProfileRequest, accounts.Profile)
DELETE_PROFILE = Method(
    _A, "DeleteProfile", accounts.DeleteProfileRequest, accounts.DeleteProfileResponse
)
SET_VARIABLE = Method(
    _A, "SetVariable", accounts.SetVariableRequest, accounts.SetVariableResponse, True
)
DELETE_VARIABLE = Method(_A, "DeleteVariable", accounts.VariableRef, accounts.SetVariableResponse)
LIST_VARIABLES = Method(
    _A, "ListVariables", accounts.ListVariablesRequest, accounts.ListVariablesResponse, True
)
QUERY_AUDIT = Method(
    _A, "QueryAudit", accounts.QueryAuditRequest, accounts.AuditEvent, streams_responses=True
)
VERIFY_AUDIT = Method(
    _A, "VerifyAudit", accounts.VerifyAuditRequest, accounts.VerifyAuditResponse, True
)

ALL: tuple[Method[Message, Message], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Method)
)
