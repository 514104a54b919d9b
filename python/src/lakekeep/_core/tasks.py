"""Running commands: what `exec` and `attach` do, and what one does with a task."""

from __future__ import annotations

import contextlib
import os
import signal as signals
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from typing_extensions import TypedDict

from lakekeep.errors import (
    BadRequest,
    ClientClosed,
    DeadlineExceeded,
    Ended,
    LakekeepError,
)
from lakekeep.models import Position
from lakekeep.outcome import TaskResult
from lakekeep.v1 import sandboxes_pb2 as pb

from .calls import Api, Time, call, duration, seconds
from .effects import (
    Call,
    Cancel,
    Emit,
    Monitor,
    NewMonitor,
    Open,
    Operation,
    Spawn,
    Stream,
    Wait,
    now,
    receive,
)
from .methods import SIGNAL
from .session import Session

Argument = Union[str, bytes, "os.PathLike[str]"]

# How long the end of a task that nobody wants any more may take, seconds.
_KILL_TIMEOUT = 5.0


class ExecOptions(TypedDict, total=False):
    """What `exec` takes beside the command.

    Attributes:
        env: Variables, over the policy's.
        secrets: Names of secrets to give to this task.
        workdir: The working directory, absolute.
        tty: A terminal: True for 24 rows of 80 columns, or (rows, columns). All
            output then comes on stdout.
        term: What TERM says, `xterm-256color`.
        stdin: The command gets input, True; False: its input is empty.
        entrypoint: The entrypoint of the sandbox's image before the command, which may
            be empty: then the image's own follows.
        detach: It goes on when this client goes away.
        linger: Seconds that it waits for this client to come back, unless detached;
            as long as the client tries.
        explain_syscalls: Say which system calls were refused.
        query_id: A name for it in the audit log.
        request_id: At most 64 bytes; the same one twice in one sandbox starts one task.
            Made up where it is left out, so that a start whose answer was lost is asked
            for again.
    """

    env: Mapping[str, str]
    secrets: Sequence[str]
    workdir: str
    tty: Union[bool, tuple[int, int]]
    term: str
    stdin: bool
    entrypoint: bool
    detach: bool
    linger: Time
    explain_syscalls: bool
    query_id: str
    request_id: str


class Following:
    """A task's session with what carries it."""

    def __init__(self, session: Session, monitor: Monitor) -> None:
        """Not connected yet."""
        self.session = session
        self.monitor = monitor
        self.wire: Any = None
        # Why there is no more input, where that is the caller's fault.
        self.feed_error: Optional[BaseException] = None


class TaskBase(Api):
    """What is known of a task without asking."""

    def __init__(self, api: Api, args: tuple[str, ...], following: Following) -> None:
        """For a sandbox's own use."""
        super().__init__(api._driver, api._endpoint)
        self._following = following
        self.args = args

    @property
    def number(self) -> int:
        """Its number in its sandbox."""
        return self._following.session.task

    @property
    def sandbox_id(self) -> str:
        """Its sandbox's identifier."""
        return self._following.session.sandbox

    @property
    def position(self) -> Position:
        """How far its output was taken: `sandbox.attach(number, resume=position)` goes
        on from here, in another process too."""
        return self._following.session.position

    @property
    def result(self) -> Optional[TaskResult]:
        """How it ended; None as long as that is not known."""
        return self._following.session.result

    def __repr__(self) -> str:
        """Its number and state."""
        result = self.result
        state = f"exit code {result.exit_code}" if result else "running"
        return f"<Task {self.number} of sandbox {self.sandbox_id}: {state}>"

    def __del__(self) -> None:
        """Stops following a task that nobody can ask about any more."""
        following = getattr(self, "_following", None)
        if following is None or following.session.finished:
            return
        with following.monitor:
            following.session.closed = True
        self._driver.cancel_soon(following.wire)


class StdinBase(Api):
    """A task's input."""

    def __init__(self, task: TaskBase) -> None:
        """For a task's own use."""
        super().__init__(task._driver, task._endpoint)
        # Not the task itself: a cycle would keep a task that nobody has.
        self._following = task._following


# Starting.


def begin(
    api: Api, sandbox: str, argv: Sequence[Argument], options: ExecOptions
) -> Operation[tuple[tuple[str, ...], Following]]:
    """Starts a command, and waits until it runs."""
    start = _start_message(api, sandbox, argv, options)
    session = Session(sandbox, start, window=api._endpoint.reconnect_for)
    following = yield from _follow(session, api)
    return tuple(os.fsdecode(word) for word in argv), following


def take_up(
    api: Api, sandbox: str, task: int, resume: Optional[Position], read_only: bool, follow: bool
) -> Operation[tuple[tuple[str, ...], Following]]:
    """Follows a task that was started before."""
    at = resume or Position()
    attach = pb.AttachStart(
        sandbox=sandbox,
        task=task,
        stdout_offset=at.stdout,
        stderr_offset=at.stderr,
        stdin_offset=at.stdin,
        read_only=read_only,
        no_follow=not follow,
    )
    session = Session(sandbox, None, attach, api._endpoint.reconnect_for)
    following = yield from _follow(session, api)
    return (), following


def _follow(session: Session, api: Api) -> Operation[Following]:
    monitor: Monitor = yield NewMonitor()
    following = Following(session, monitor)
    yield Spawn(_pump(following))
    try:
        yield Wait(monitor, lambda: session.begun or session.finished)
    except BaseException:
        # Interrupted: a task that is just being started has no number to kill it by yet.
        if session.start is not None and not session.start.detach:
            yield Wait(monitor, lambda: session.begun or session.finished, _KILL_TIMEOUT)
            yield from end_quietly(following, api)
        yield from close(following)
        raise
    if session.error is not None and not session.begun:
        raise session.error
    return following


def _start_message(
    api: Api, sandbox: str, argv: Sequence[Argument], options: ExecOptions
) -> pb.ExecStart:
    entrypoint = options.get("entrypoint", False)
    if isinstance(argv, (str, bytes)) or not (argv or entrypoint):
        raise BadRequest(
            f"argv: {argv!r} is no list of a program and its arguments",
            remedy='write ["sh", "-c", "…"] for a line of shell',
        )
    unknown = sorted(set(options) - set(ExecOptions.__annotations__))
    if unknown:
        raise TypeError(f"exec: unknown option {unknown[0]!r}")
    tty = options.get("tty", False)
    return pb.ExecStart(
        sandbox=sandbox,
        arguments=[os.fsencode(word) for word in argv],
        environment=dict(options.get("env") or {}),
        secrets=list(options.get("secrets") or ()),
        working_directory=options.get("workdir", ""),
        terminal=_window((24, 80) if tty is True else tty) if tty else None,
        term=options.get("term", "xterm-256color") if tty else "",
        detach=options.get("detach", False),
        linger=duration(options.get("linger", api._endpoint.reconnect_for), "linger"),
        explain_syscalls=options.get("explain_syscalls", False),
        query_id=options.get("query_id", ""),
        no_stdin=not options.get("stdin", True),
        request_id=options.get("request_id") or uuid.uuid4().hex,
        entrypoint=entrypoint,
    )


def _window(size: Union[bool, tuple[int, int]]) -> pb.Window:
    if isinstance(size, bool) or not all(0 < side < 1 << 16 for side in size):
        raise BadRequest(f"tty: {size!r} is no (rows, columns)")
    rows, columns = size
    return pb.Window(rows=rows, columns=columns)


# The connection, beside everything else.


def _pump(following: Following) -> Operation[None]:
    session, monitor = following.session, following.monitor
    try:
        while not session.finished:
            yield from _epoch(following)
    except LakekeepError as error:
        with monitor:
            session.fail(error)
    except BaseException as error:
        # The client is being closed, or a fault of ours: nobody may wait for ever.
        told = ClientClosed(f"task {session.task} is not followed any more: {error!r}")
        told.__cause__ = error
        with monitor:
            session.fail(told)
        if not isinstance(error, Exception):
            raise


def _epoch(following: Following) -> Operation[None]:
    """One connection, and the pause behind it when it is lost."""
    session, monitor = following.session, following.monitor
    pause: Optional[float] = None
    with monitor:
        method, first = session.open()
        epoch = session.epoch
    try:
        following.wire = yield Open(method, _requests(following, first, epoch))
        while not session.finished:
            event = yield from receive(method, following.wire)
            with monitor:
                if event is None:
                    session.drained()
                else:
                    session.receive(event)
            yield Wait(monitor, lambda: session.has_room)
    except LakekeepError as error:
        moment = yield from now()
        chance = moment % 1.0
        with monitor:
            pause = session.lost(error, moment, chance)
    finally:
        with monitor:
            # The requests of this epoch end.
            session.epoch += 1
        wire, following.wire = following.wire, None
        if wire is not None:
            yield Cancel(wire)
    if pause is not None:
        yield Wait(monitor, lambda: session.finished, pause)


def _requests(following: Following, first: pb.ExecRequest, epoch: int) -> Stream[pb.ExecRequest]:
    session, monitor = following.session, following.monitor
    yield Emit(first)
    while True:
        yield Wait(monitor, lambda: session.sendable(epoch))
        with monitor:
            request = session.next_request(epoch)
            over = session.over(epoch)
        if request is not None:
            yield Emit(request)
        elif over:
            return


# What one does with a task.


def outputs(task: TaskBase) -> Stream[tuple[str, bytes]]:
    """Yields pieces of output, as (`stdout` or `stderr`, bytes), until the task's end."""
    # Holds the task, which would else be closed while it is iterated.
    session, monitor = task._following.session, task._following.monitor
    with monitor:
        session.readers += 1
    try:
        while True:
            yield Wait(monitor, lambda: session.readable)
            with monitor:
                item = session.take()
                over = session.finished
            if item is not None:
                yield Emit(item)
            elif over:
                if session.error is not None:
                    raise session.error
                return
    finally:
        with monitor:
            session.readers -= 1


def write(stdin: StdinBase, data: Union[bytes, bytearray, memoryview]) -> Operation[None]:
    """Gives bytes to the command's input; waits while it does not read.

    Like a pipe: when nobody takes the output either, the command may wait for that,
    and this for the command; write and iterate at the same time, or use `run`.

    Raises:
        Ended: The task has ended.
        BadRequest: The input was closed, or is only followed.
    """
    yield from give_bytes(stdin._following, data)


def give_bytes(following: Following, data: Union[bytes, bytearray, memoryview]) -> Operation[None]:
    session, monitor = following.session, following.monitor
    left = memoryview(data).cast("B")
    while True:
        with monitor:
            _check_writable(session)
            left = left[session.input.push(left) :]
        if not left:
            return
        yield Wait(monitor, lambda: session.writable)


def _check_writable(session: Session) -> None:
    if session.error is not None:
        raise session.error
    if session.finished:
        raise Ended(f"task {session.task} of sandbox {session.sandbox} has ended")
    if session.input.end:
        raise BadRequest("stdin: it was closed")
    if session.read_only or (session.start is not None and session.start.no_stdin):
        raise BadRequest("stdin: the task has none here", remedy="start it with stdin=True")


def end_input(stdin: StdinBase) -> Operation[None]:
    """Nothing follows: the command reads its input's end."""
    following = stdin._following
    with following.monitor:
        following.session.input.end = True
    yield from ()


def resize(task: TaskBase, rows: int, columns: int) -> Operation[None]:
    """Gives the terminal another size.

    Raises:
        BadRequest: The task has no terminal.
    """
    _window((rows, columns))
    following = task._following
    start = following.session.start
    if start is not None and not start.HasField("terminal"):
        raise BadRequest("resize: the task has no terminal", remedy="start it with tty=True")
    with following.monitor:
        following.session.resize(rows, columns)
    yield from ()


def send_signal(task: TaskBase, signal: Union[int, str]) -> Operation[None]:
    """Sends a signal to the command: a number, or a name such as `SIGTERM`.

    Raises:
        Ended: The task has ended.
    """
    yield from signal_task(task, task.sandbox_id, task.number, signal)


def kill(task: TaskBase) -> Operation[None]:
    """Ends the command at once; nothing when it has ended."""
    try:
        yield from send_signal(task, signals.SIGKILL)
    except Ended:
        return


def signal_task(api: Api, sandbox: str, task: int, signal: Union[int, str]) -> Operation[None]:
    """Sends a signal to a task's command."""
    request = pb.SignalRequest(sandbox=sandbox, task=task, signal=_signal_number(signal))
    yield from call(api, SIGNAL, request)


def _signal_number(signal: Union[int, str]) -> int:
    if isinstance(signal, int):
        return int(signal)
    name = signal if signal.startswith("SIG") else f"SIG{signal}"
    try:
        return int(signals.Signals[name])
    except KeyError:
        raise BadRequest(f"signal: {signal!r} is none of signal(7)") from None


def wait(task: TaskBase, timeout: Optional[Time] = None) -> Operation[TaskResult]:
    """Waits for the task's end, at most `timeout` (seconds).

    Output that nobody iterates meanwhile is dropped once it is more than 256 KiB;
    `sandbox.attach(number)` reads it again from the manager.

    Raises:
        DeadlineExceeded: It still runs; it goes on.
        LakekeepError: Its streams were lost for good.
    """
    following = task._following
    session, monitor = following.session, following.monitor
    began = yield from now()
    dropped = False
    while not session.finished:
        left = None
        if timeout is not None:
            left = seconds(timeout, "timeout") - ((yield from now()) - began)
        if left is not None and left <= 0:
            raise DeadlineExceeded(f"task {session.task} still runs", remedy="raise timeout=")
        # Only a full buffer of which nobody takes keeps the end from coming.
        yield Wait(
            monitor,
            lambda: session.finished or (not session.has_room and not session.readers),
            left,
        )
        with monitor:
            if not session.has_room and not session.readers:
                dropped = True
                session.drop_output()
    if dropped:
        with monitor:
            session.drop_output()
    if session.result is not None:
        return session.result
    raise session.error or ClientClosed(f"task {session.task} is not followed any more")


def close(following: Following) -> Operation[None]:
    """Stops following. The manager ends the task after `linger`, unless detached."""
    with following.monitor:
        following.session.closed = True
        wire = following.wire
    if wire is not None:
        yield Cancel(wire)


def attach_again(
    task: TaskBase,
    *,
    resume: Optional[Position] = None,
    read_only: bool = False,
    follow: bool = True,
) -> Operation[tuple[tuple[str, ...], Following]]:
    """Follows the same task once more.

    Args:
        resume: Where to begin; where this one stands when None.
        read_only: Send nothing to the task.
        follow: Wait for what is not there yet, True.

    Raises:
        OutputGone: Output behind `resume` is no longer kept.
    """
    at = task.position if resume is None else resume
    found = yield from take_up(task, task.sandbox_id, task.number, at, read_only, follow)
    return found


def close_task(task: TaskBase) -> Operation[None]:
    """Stops following; the task goes on if it was started with `detach`, and is ended
    after `linger` otherwise."""
    yield from close(task._following)


def leave_task(task: TaskBase) -> Operation[None]:
    """Kills the task unless it has ended or is detached, and stops following it."""
    session = task._following.session
    detached = session.start is None or session.start.detach
    if session.result is None and not detached:
        yield from end_quietly(task._following, task)
    yield from close(task._following)


def end_quietly(following: Following, api: Api) -> Operation[None]:
    """Kills what nobody waits for."""
    session = following.session
    if session.begun:
        request = pb.SignalRequest(
            sandbox=session.sandbox, task=session.task, signal=int(signals.SIGKILL)
        )
        # Refused when it has ended; without a manager `linger` ends it.
        with contextlib.suppress(LakekeepError):
            yield Call(SIGNAL, request, _KILL_TIMEOUT)
    yield from close(following)
