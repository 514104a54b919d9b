"""What the manager keeps: sandboxes, profiles, variables, identities, events.

Times are aware `datetime`s in UTC, None where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple, Optional, Union

from google.protobuf.timestamp_pb2 import Timestamp

from ._core import html
from .errors import ProtocolError
from .outcome import Verdict, parse_object
from .v1 import accounts_pb2, sandboxes_pb2


class Position(NamedTuple):
    """How far a task's streams were followed, in bytes: enough to go on elsewhere."""

    stdout: int = 0
    stderr: int = 0
    # Input that the task has received.
    stdin: int = 0


@dataclass(frozen=True)
class TaskInfo:
    """A task as its sandbox lists it.

    Attributes:
        task: Its number.
        state: `running`, `frozen`, `ended`, ...
        tty: It has a terminal.
        program: The program, without its arguments.
        exit_code: Once it ended.
    """

    task: int
    state: str
    tty: bool
    program: str
    exit_code: int
    started: Optional[datetime]
    ended: Optional[datetime]


@dataclass(frozen=True)
class SandboxInfo:
    """A sandbox as the manager describes it.

    Attributes:
        owner: The user whose it is.
        identity: What the user is mapped to.
        state: `creating`, `running`, `frozen` or `ended`.
        kind: `interactive`, `kernel`, `udf` or `batch`.
        trust_key: Only requests with an equal one may share it.
        policy_digest: Digest of the policy in force.
        verdict: Why it ended, once it did.
        pid: Its init's process id on the manager's host; 0 when it ended.
        volumes: Names of those attached.
    """

    id: str
    owner: str
    identity: str
    profile: str
    state: str
    kind: str
    trust_key: str
    policy_digest: str
    image: str
    labels: Mapping[str, str]
    created: Optional[datetime]
    ended: Optional[datetime]
    last_used: Optional[datetime]
    tasks: tuple[TaskInfo, ...]
    verdict: Optional[Verdict]
    pid: int
    volumes: tuple[str, ...]

    def _repr_html_(self) -> str:
        rows = [
            ("state", self.state),
            ("owner", self.owner),
            ("profile", self.profile),
            ("kind", self.kind),
            ("image", self.image),
            ("labels", ", ".join(f"{k}={v}" for k, v in sorted(self.labels.items()))),
            ("created", str(self.created or "")),
            ("ended", str(self.ended or "")),
            ("verdict", self.verdict.explanation if self.verdict else ""),
            ("tasks", "\n".join(f"{t.task} {t.program}: {t.state}" for t in self.tasks)),
        ]
        return html.table(f"sandbox {self.id}", rows, self.state != "ended")


@dataclass(frozen=True)
class SandboxStats:
    """What one sandbox uses.

    Attributes:
        memory: Bytes now; `memory_peak` the most so far; `memory_limit` 0 for none.
        cpu_us: CPU time so far, microseconds; `throttled_us` what the limit withheld.
        pids: Processes and threads now; `pids_limit` 0 for none.
        oom_kills: Processes that the memory limit ended.
        cpus: Host CPUs that it may use.
    """

    sandbox: str
    owner: str
    profile: str
    memory: int
    memory_peak: int
    memory_limit: int
    cpu_us: int
    throttled_us: int
    pids: int
    pids_limit: int
    oom_kills: int
    cpus: float


@dataclass(frozen=True)
class StatsSample:
    """What sandboxes use at one moment."""

    time: Optional[datetime]
    sandboxes: tuple[SandboxStats, ...]


@dataclass(frozen=True)
class Event:
    """Something that happened to a sandbox.

    Attributes:
        number: Its place; `events(after=number)` goes on behind it.
        what: `created`, `started`, `exited`, `frozen`, `thawed`, `adopted`, `ended`, ...
        task: 0 when it is about the sandbox.
    """

    number: int
    time: Optional[datetime]
    what: str
    sandbox: str
    task: int
    owner: str
    profile: str
    detail: str


@dataclass(frozen=True)
class FileEntry:
    """One name in a folder.

    Attributes:
        name: As it is; bytes that are no UTF-8 as `os.fsdecode` has them.
        kind: `file`, `directory`, `symlink` or `other`.
        size: Bytes.
        mode: Permission bits.
    """

    name: str
    kind: str
    size: int
    mode: int


@dataclass(frozen=True)
class Listing:
    """What is in a folder; `truncated`: there is more."""

    entries: tuple[FileEntry, ...]
    truncated: bool


@dataclass(frozen=True)
class Identity:
    """What a user is mapped to: an owner on disk, and names for engines."""

    name: str
    uid: int
    gid: int
    variables: Mapping[str, str]
    rule: str


@dataclass(frozen=True)
class WhoAmI:
    """Who the caller is.

    Attributes:
        authenticated_by: `peer`, `jwt`, `mtls` or `delegation`.
        actor: Who acts for the user, for a delegation.
        identity: None when no rule matches; `identity_error` says why.
    """

    user: str
    groups: tuple[str, ...]
    authenticated_by: str
    actor: str
    administrator: bool
    identity: Optional[Identity]
    identity_error: str


@dataclass(frozen=True)
class IdentityTest:
    """What a user would be mapped to, and what came of each rule."""

    identity: Optional[Identity]
    tried: tuple[str, ...]


@dataclass(frozen=True)
class Delegation:
    """A token to act for the caller. It is not shown; keep it as a secret."""

    token: str
    id: str
    expires: Optional[datetime]

    def __repr__(self) -> str:
        """Without the token."""
        return f"Delegation(id={self.id!r}, expires={self.expires!r})"


@dataclass(frozen=True)
class Decision:
    """Whether somebody may do something, the rules that say so, and the remedy."""

    allowed: bool
    reasons: tuple[str, ...]
    remedy: str

    def __bool__(self) -> bool:
        """Whether it is allowed."""
        return self.allowed


@dataclass(frozen=True)
class Profile:
    """A profile.

    Attributes:
        document: TOML.
        version: Changes with the document; `profiles.put` names the one it replaces.
        declared: From an administrator's file; cannot be changed here.
        role: What the caller is in it: `owner`, `contributor`, `viewer` or
            `administrator`.
    """

    name: str
    document: str
    version: str
    declared: bool
    owner: str
    role: str


@dataclass(frozen=True)
class Variable:
    """A variable or a secret; a secret's value is never told.

    Attributes:
        scope: `user`, `project` or `profile`.
        owner: The profile or project; empty for the user's own.
        effective: It counts: no narrower scope has the same name.
    """

    name: str
    value: Optional[str]
    scope: str
    owner: str
    secret: bool
    effective: bool
    set: Optional[datetime]


@dataclass(frozen=True)
class AuditEvent:
    """One event of the audit log.

    Attributes:
        seq: Its number in the log.
        who: The user as authenticated.
        action: Such as `create_sandbox`.
        outcome: `allowed`, `denied` or `error`.
        record: All of it, as in the log.
    """

    seq: int
    time: str
    who: str
    action: str
    outcome: str
    record: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> AuditEvent:
        """From a line of the log."""
        record = parse_object(text, "audit event")
        seq = record.get("seq")
        if not isinstance(seq, int):
            raise ProtocolError("the manager's audit event has no number")
        names = ("time", "who", "action", "outcome")
        time, who, action, outcome = (_text(record.get(name)) for name in names)
        return cls(seq, time, who, action, outcome, record)


@dataclass(frozen=True)
class AuditReport:
    """Whether the audit log is whole; `problem` says what is not, and where."""

    whole: bool
    events: int
    problem: str

    def __bool__(self) -> bool:
        """Whether it is whole."""
        return self.whole


# From messages.

_STATES = {
    sandboxes_pb2.STATE_CREATING: "creating",
    sandboxes_pb2.STATE_RUNNING: "running",
    sandboxes_pb2.STATE_FROZEN: "frozen",
    sandboxes_pb2.STATE_ENDED: "ended",
}
KINDS: dict[str, sandboxes_pb2.Kind] = {
    "interactive": sandboxes_pb2.KIND_INTERACTIVE,
    "kernel": sandboxes_pb2.KIND_KERNEL,
    "udf": sandboxes_pb2.KIND_UDF,
    "batch": sandboxes_pb2.KIND_BATCH,
}
SCOPES: dict[str, accounts_pb2.Scope] = {
    "user": accounts_pb2.SCOPE_USER,
    "project": accounts_pb2.SCOPE_PROJECT,
    "profile": accounts_pb2.SCOPE_PROFILE,
}


def sandbox_of(message: sandboxes_pb2.Sandbox) -> SandboxInfo:
    """A sandbox."""
    verdict = parse_object(message.verdict, "verdict")
    return SandboxInfo(
        id=message.id,
        owner=message.owner,
        identity=message.identity,
        profile=message.profile,
        state=_state(message.state),
        kind=_word(KINDS, message.kind, "interactive"),
        trust_key=message.trust_key,
        policy_digest=message.policy_digest,
        image=message.image,
        labels=dict(message.labels),
        created=_time(message, "created"),
        ended=_time(message, "ended"),
        last_used=_time(message, "last_used"),
        tasks=tuple(_task(task) for task in message.tasks),
        verdict=Verdict.parse(verdict) if verdict else None,
        pid=message.pid,
        volumes=tuple(message.volumes),
    )


def _task(message: sandboxes_pb2.Task) -> TaskInfo:
    return TaskInfo(
        task=message.task,
        state=_state(message.state),
        tty=message.tty,
        program=message.program,
        exit_code=message.exit_code,
        started=_time(message, "started"),
        ended=_time(message, "ended"),
    )


def sample_of(message: sandboxes_pb2.StatsSample) -> StatsSample:
    """A sample of what sandboxes use."""
    found = tuple(
        SandboxStats(
            sandbox=stats.sandbox,
            owner=stats.owner,
            profile=stats.profile,
            memory=stats.memory,
            memory_peak=stats.memory_peak,
            memory_limit=stats.memory_limit,
            cpu_us=stats.cpu_us,
            throttled_us=stats.throttled_us,
            pids=stats.pids,
            pids_limit=stats.pids_limit,
            oom_kills=stats.oom_kills,
            cpus=stats.cpus_milli / 1000,
        )
        for stats in message.sandboxes
    )
    return StatsSample(_time(message, "time"), found)


def event_of(message: sandboxes_pb2.Event) -> Event:
    """An event."""
    return Event(
        number=message.number,
        time=_time(message, "time"),
        what=message.what,
        sandbox=message.sandbox,
        task=message.task,
        owner=message.owner,
        profile=message.profile,
        detail=message.detail,
    )


def identity_of(
    message: Union[accounts_pb2.WhoAmIResponse, accounts_pb2.TestIdentityResponse],
) -> Optional[Identity]:
    """The identity, if there is one."""
    if not message.HasField("identity"):
        return None
    found = message.identity
    return Identity(found.name, found.uid, found.gid, dict(found.variables), found.rule)


def profile_of(message: accounts_pb2.Profile) -> Profile:
    """A profile."""
    return Profile(
        name=message.name,
        document=message.document,
        version=message.version,
        declared=message.declared,
        owner=message.owner,
        role=message.role,
    )


def variable_of(message: accounts_pb2.Variable) -> Variable:
    """A variable or a secret."""
    ref = message.variable
    return Variable(
        name=ref.name,
        value=None if ref.secret else message.value,
        scope=_word(SCOPES, ref.scope, "user"),
        owner=ref.owner,
        secret=ref.secret,
        effective=message.effective,
        set=_time(message, "set"),
    )


def delegation_of(message: accounts_pb2.DelegateResponse) -> Delegation:
    """A delegation."""
    return Delegation(message.token, message.id, _time(message, "expires"))


def _state(state: sandboxes_pb2.State) -> str:
    return _STATES.get(state, f"state {int(state)}")


def _word(words: Mapping[str, Any], value: int, default: str) -> str:
    if value == 0:
        return default
    return next((word for word, number in words.items() if number == value), f"{value}")


def _time(message: Any, name: str) -> Optional[datetime]:
    if not message.HasField(name):
        return None
    moment: Timestamp = getattr(message, name)
    return moment.ToDatetime(tzinfo=timezone.utc)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
