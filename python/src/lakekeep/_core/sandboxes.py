"""Making sandboxes, finding them, and what one does with one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Optional, Union

from typing_extensions import TypedDict, Unpack

from lakekeep.errors import BadRequest, Ended, LakekeepError, NotFound, ProtocolError
from lakekeep.models import (
    KINDS,
    Event,
    Position,
    SandboxInfo,
    StatsSample,
    event_of,
    sample_of,
    sandbox_of,
)
from lakekeep.outcome import Receipt, Verdict, parse_object
from lakekeep.v1 import sandboxes_pb2 as pb

from . import tasks
from .calls import Api, Time, call, duration, seconds
from .effects import Cancel, Emit, Open, Operation, Pause, Stream, now, receive
from .methods import (
    ATTACH_VOLUME,
    CLAIM,
    CREATE,
    EVENTS,
    FREEZE,
    GET,
    KILL,
    LIST,
    RECEIPT,
    STATS,
    THAW,
    VERDICT,
    Method,
)
from .policy import Document, policy_text
from .retry import Backoff, can_help

_NONE = {"": pb.KIND_UNSPECIFIED}


class CreateOptions(TypedDict, total=False):
    """What `create` and `claim` take.

    Attributes:
        profile: The profile's name; the caller's only one, or the personal one, when
            not given.
        policy: A policy that narrows the profile's: TOML text, a `Path` to a file
            (TOML, or JSON if it ends in `.json`), or a mapping.
        image: The policy's `image`.
        project: What identity rules are told.
        kind: `interactive` (as when not given), `kernel`, `udf` (ends with the
            manager) or `batch`.
        labels: Words to find it by.
        idle_timeout: Ended when no task ran for so long: seconds or a `timedelta`.
        lifetime: Ended after so long, whatever it does.
        deadline: How long to wait in the queue when a quota is used up; not at all
            when not given.
        code_owner: Who wrote the code that will run; the caller when not given.
        request_id: At most 64 bytes; the same one twice makes one sandbox. Made up
            when not given, so that a request can be repeated.
        volumes: Names of the profile's volumes to attach; those that attach by
            themselves when not given.
        interpreter: The interpreter whose prefix the host's image also shows.
        environment: The digest of an environment that was sent to the manager (with
            `LAKEKEEP_SOCKET` set, `lakekeep.capture` sends it), or that the profile shares.
    """

    profile: str
    policy: Optional[Document]
    image: Optional[str]
    project: str
    kind: str
    labels: Mapping[str, str]
    idle_timeout: Optional[Time]
    lifetime: Optional[Time]
    deadline: Optional[Time]
    code_owner: str
    request_id: str
    volumes: Sequence[str]
    interpreter: str
    environment: str


class SandboxBase(Api):
    """What is known of a sandbox without asking."""

    def __init__(self, api: Api, info: SandboxInfo) -> None:
        """For a client's own use."""
        super().__init__(api._driver, api._endpoint)
        self._info = info

    @property
    def id(self) -> str:
        """Its identifier."""
        return self._info.id

    @property
    def info(self) -> SandboxInfo:
        """As the manager described it last; `refresh` asks again."""
        return self._info

    def __repr__(self) -> str:
        """Its identifier, state and profile."""
        info = self._info
        return f"<Sandbox {info.id} {info.state}, profile {info.profile}, owner {info.owner}>"

    def _repr_html_(self) -> str:
        return self._info._repr_html_()


# Of all sandboxes.


def create(sandboxes: Api, **options: Unpack[CreateOptions]) -> Operation[SandboxInfo]:
    """Makes a sandbox, and waits until it can take tasks.

    Args:
        options: See `CreateOptions`.

    Raises:
        BadPolicy: The policy is refused, with line and field.
        Denied: The caller may not use the profile, or the policy would widen it.
        QuotaExceeded: A quota is used up, and there was no `deadline`.
        QueueFull: Too many wait already.
        DeadlineInQueue: The deadline passed in the queue.
        NotEnforced: The host cannot enforce what the policy requires.
    """
    info = yield from _make(sandboxes, CREATE, options)
    return info


def claim(sandboxes: Api, **options: Unpack[CreateOptions]) -> Operation[SandboxInfo]:
    """The caller's live sandbox for the same trust key and policy, or a new one.

    Args:
        options: See `CreateOptions`.

    Raises:
        LakekeepError: As of `create`.
    """
    info = yield from _make(sandboxes, CLAIM, options)
    return info


def _make(
    api: Api, method: Method[pb.CreateRequest, pb.Sandbox], options: CreateOptions
) -> Operation[SandboxInfo]:
    unknown = sorted(set(options) - set(CreateOptions.__annotations__))
    if unknown:
        raise TypeError(f"{method.name.lower()}: unknown option {unknown[0]!r}")
    deadline = options.get("deadline")
    queue = seconds(deadline, "deadline") if deadline is not None else 0.0
    message = yield from call(api, method, create_message(options), extra_time=queue)
    return sandbox_of(message)


def create_message(options: CreateOptions) -> pb.CreateRequest:
    """The request for these options."""
    kind = options.get("kind", "")
    if kind not in KINDS and kind not in _NONE:
        raise BadRequest(f"kind: {kind!r} is none of {', '.join(KINDS)}")
    if isinstance(options.get("volumes"), str):
        raise BadRequest("volumes: text is no list of names", remedy='write ["NAME"]')
    return pb.CreateRequest(
        profile=options.get("profile", ""),
        policy=policy_text(options.get("policy"), options.get("image")),
        project=options.get("project", ""),
        kind=KINDS.get(kind, pb.KIND_UNSPECIFIED),
        labels=dict(options.get("labels") or {}),
        idle_timeout=duration(options.get("idle_timeout"), "idle_timeout"),
        lifetime=duration(options.get("lifetime"), "lifetime"),
        deadline=duration(options.get("deadline"), "deadline"),
        code_owner=options.get("code_owner", ""),
        request_id=options.get("request_id") or uuid.uuid4().hex,
        volumes=list(options.get("volumes") or ()),
        interpreter=options.get("interpreter", ""),
        environment=options.get("environment", ""),
    )


def get(sandboxes: Api, sandbox: str) -> Operation[SandboxInfo]:
    """The sandbox with this identifier, live or ended.

    Raises:
        NotFound: There is none for the caller.
    """
    message = yield from call(sandboxes, GET, pb.SandboxRef(sandbox=sandbox))
    return sandbox_of(message)


def list_all(
    sandboxes: Api,
    *,
    profile: str = "",
    all_users: bool = False,
    ended: bool = False,
    labels: Optional[Mapping[str, str]] = None,
    page_size: int = 0,
) -> Stream[SandboxInfo]:
    """Yields descriptions of sandboxes; further pages are asked for as they are needed.

    Args:
        profile: Only of this profile; of all that the caller may list when empty.
        all_users: Also others'.
        ended: Also ended ones.
        labels: Only with all of these.
        page_size: How many to ask for at once; 0: as the manager likes.
    """
    token = ""
    while True:
        request = pb.ListRequest(
            profile=profile,
            all_users=all_users,
            ended=ended,
            labels=dict(labels or {}),
            page_size=page_size,
            page_token=token,
        )
        response = yield from call(sandboxes, LIST, request)
        for message in response.sandboxes:
            yield Emit(sandbox_of(message))
        if response.next_page_token == token:
            if token:
                raise ProtocolError("the manager's list has no end: a page names itself as next")
            return
        token = response.next_page_token
        if not token:
            return


def stats(sandboxes: Api, sandbox: str = "") -> Operation[StatsSample]:
    """What one sandbox uses now, or all of the caller's."""
    wire = yield Open(STATS, pb.StatsRequest(sandbox=sandbox), sandboxes._endpoint.timeout)
    try:
        sample = yield from receive(STATS, wire)
    finally:
        yield Cancel(wire)
    if sample is None:
        raise ProtocolError("the manager sent no sample")
    return sample_of(sample)


def watch(sandboxes: Api, sandbox: str = "", *, interval: Time = 1.0) -> Stream[StatsSample]:
    """Yields what one sandbox uses, or all of the caller's, every `interval` (seconds)."""
    request = pb.StatsRequest(sandbox=sandbox, interval=duration(interval, "interval"))
    wire = yield Open(STATS, request)
    try:
        while True:
            sample = yield from receive(STATS, wire)
            if sample is None:
                return
            yield Emit(sample_of(sample))
    finally:
        yield Cancel(wire)


def events(
    sandboxes: Api,
    *,
    sandbox: str = "",
    after: int = 0,
    all_users: bool = False,
    oldest: bool = False,
    follow: bool = True,
) -> Stream[Event]:
    """Yields what happens to the caller's sandboxes, until the iterator is closed.

    A lost connection is made again, and goes on behind the last event.

    Args:
        sandbox: Only of this one.
        after: Only events behind this number; 0: only those to come.
        all_users: Also of others' sandboxes.
        oldest: Without `after`: from the oldest that is kept.
        follow: Wait for more; False: end after those that are kept.

    Raises:
        OutputGone: Events behind `after` are no longer kept.
        Unreachable: The connection could not be made again within `reconnect_for`.
    """
    endpoint = sandboxes._endpoint
    backoff = Backoff(endpoint.reconnect_for)
    while True:
        request = pb.EventsRequest(
            sandbox=sandbox,
            after=after,
            all_users=all_users,
            from_oldest=oldest,
            no_follow=not follow,
        )
        wire = None
        try:
            wire = yield Open(EVENTS, request)
            while True:
                event = yield from receive(EVENTS, wire)
                if event is None:
                    return
                backoff.progressed()
                after = max(after, event.number)
                yield Emit(event_of(event))
        except LakekeepError as error:
            if not can_help(error, endpoint.reached):
                raise
            moment = yield from now()
            pause = backoff.after(moment, moment % 1.0, error.retry_after)
            if pause is None:
                raise
        finally:
            if wire is not None:
                yield Cancel(wire)
        yield Pause(pause)


# Of one.


def refresh(sandbox: SandboxBase) -> Operation[SandboxInfo]:
    """Asks the manager again; `info` is then what it said."""
    info = yield from _ask(sandbox, GET)
    return info


def freeze(sandbox: SandboxBase) -> Operation[SandboxInfo]:
    """Stops all its processes where they are.

    Raises:
        Ended: The sandbox has ended.
    """
    info = yield from _ask(sandbox, FREEZE)
    return info


def thaw(sandbox: SandboxBase) -> Operation[SandboxInfo]:
    """Lets a frozen sandbox go on.

    Raises:
        Ended: The sandbox has ended.
    """
    info = yield from _ask(sandbox, THAW)
    return info


def kill(sandbox: SandboxBase) -> Operation[SandboxInfo]:
    """Ends it with everything in it, and waits until nothing is left."""
    info = yield from _ask(sandbox, KILL)
    return info


def kill_at_exit(sandbox: SandboxBase, failing: bool) -> Operation[None]:
    """Ends it; that it has ended is no error, and no error hides one that is on its way."""
    try:
        yield from _ask(sandbox, KILL)
    except (Ended, NotFound):
        return
    except LakekeepError:
        if not failing:
            raise


def _ask(sandbox: SandboxBase, method: Method[pb.SandboxRef, pb.Sandbox]) -> Operation[SandboxInfo]:
    message = yield from call(sandbox, method, pb.SandboxRef(sandbox=sandbox.id))
    sandbox._info = sandbox_of(message)
    return sandbox._info


def attach_volume(sandbox: SandboxBase, volume: str) -> Operation[SandboxInfo]:
    """Shows a volume of the profile's, by its name, in the running sandbox.

    Raises:
        NotFound: The profile has none of this name.
        Conflict: It is attached already.
    """
    request = pb.AttachVolumeRequest(sandbox=sandbox.id, volume=volume)
    message = yield from call(sandbox, ATTACH_VOLUME, request)
    sandbox._info = sandbox_of(message)
    return sandbox._info


def signal(sandbox: SandboxBase, task: int, signal: Union[int, str]) -> Operation[None]:
    """Sends a signal, by number or name, to the command of a task.

    Raises:
        Ended: The task has ended.
        NotFound: There is no such task.
    """
    yield from tasks.signal_task(sandbox, sandbox.id, task, signal)


def receipt(sandbox: SandboxBase, task: int = 0) -> Operation[Receipt]:
    """What was enforced for a task, the last one when 0.

    Raises:
        NotFound: There is no such task.
    """
    request = pb.TaskRef(sandbox=sandbox.id, task=task)
    response = yield from call(sandbox, RECEIPT, request)
    return Receipt.parse(parse_object(response.receipt, "receipt"))


def verdict(sandbox: SandboxBase, task: int = 0) -> Operation[Verdict]:
    """Why a task ended, the last one when 0.

    Raises:
        NotFound: There is no such task, or it has not ended.
    """
    request = pb.TaskRef(sandbox=sandbox.id, task=task)
    response = yield from call(sandbox, VERDICT, request)
    found = parse_object(response.verdict, "verdict")
    return Verdict.parse(found) if found else Verdict("unknown", response.exit_code)


def use(sandbox: SandboxBase) -> Operation[StatsSample]:
    """What it uses now."""
    sample = yield from stats(sandbox, sandbox.id)
    return sample


def exec_task(
    sandbox: SandboxBase,
    argv: Sequence[tasks.Argument],
    **options: Unpack[tasks.ExecOptions],
) -> Operation[tuple[tuple[str, ...], tasks.Following]]:
    """Starts a command, and returns as soon as it runs.

    Args:
        argv: The program and its arguments.
        options: See `ExecOptions`.

    Raises:
        Ended: The sandbox has ended.
        Frozen: The sandbox is frozen.
        QuotaExceeded: It has as many tasks as it may.
        Unreachable: The connection broke; whether the command runs is not known.
    """
    found = yield from tasks.begin(sandbox, sandbox.id, argv, options)
    return found


def attach(
    sandbox: SandboxBase,
    task: int,
    *,
    resume: Optional[Position] = None,
    read_only: bool = False,
    follow: bool = True,
) -> Operation[tuple[tuple[str, ...], tasks.Following]]:
    """Takes a task's streams up, or reads a finished one's output.

    Args:
        task: Its number.
        resume: Where to begin: another's `position`; the beginning when None.
        read_only: Send nothing to the task.
        follow: Wait for what is not there yet, True.

    Raises:
        NotFound: There is no such task.
        OutputGone: Output behind `resume` is no longer kept.
    """
    found = yield from tasks.take_up(sandbox, sandbox.id, task, resume, read_only, follow)
    return found
