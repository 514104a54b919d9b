"""Running a command from start to end: what `run` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Callable, Optional, Union

from typing_extensions import TypedDict

from lakekeep.errors import ClientClosed, LakekeepError, OutputTooLarge, TaskTimeout
from lakekeep.outcome import CompletedTask

from .calls import Api, Time, seconds
from .effects import Blocking, Operation, Pull, Source, Spawn, Wait, now
from .session import STDERR, STDOUT
from .sources import AsyncInput, source_of
from .tasks import Argument, ExecOptions, Following, begin, end_quietly, give_bytes

Sink = Union[IO[bytes], Callable[[bytes], object]]

# What `run` captures of both streams together, bytes.
CAPTURE_LIMIT = 64 << 20


class RunOptions(TypedDict, total=False):
    """What `run` takes beside the command.

    Attributes:
        input: What the command reads: text (sent as UTF-8), bytes, a `Path`, a file
            in binary mode, an iterable of bytes (with the async client also an
            asynchronous one). Nothing when not given.
        capture: Keep the output for the result, True; else it is dropped.
        capture_limit: The most that is kept, bytes, 64 MiB; beyond it the task is
            killed and `OutputTooLarge` raised.
        stdout: A binary file, or a function, that gets the output instead.
        stderr: The same for errors.
        timeout: Seconds after which the task is killed and `TaskTimeout` raised.
        check: Raise `TaskFailed` unless it exits with 0.
        env: Variables, over the policy's.
        secrets: Names of secrets to give to this task.
        workdir: The working directory, absolute.
        tty: As of `exec`.
        entrypoint: As of `exec`.
        explain_syscalls: Say which system calls were refused.
        query_id: A name for it in the audit log.
    """

    input: Optional[AsyncInput]
    capture: bool
    capture_limit: int
    stdout: Optional[Sink]
    stderr: Optional[Sink]
    timeout: Optional[Time]
    check: bool
    env: Mapping[str, str]
    secrets: Sequence[str]
    workdir: str
    tty: Union[bool, tuple[int, int]]
    entrypoint: bool
    explain_syscalls: bool
    query_id: str


class _Capture:
    """Output on its way to the caller."""

    def __init__(self, options: RunOptions) -> None:
        self.kept = {STDOUT: bytearray(), STDERR: bytearray()}
        self._keep = options.get("capture", True)
        self._limit = options.get("capture_limit", CAPTURE_LIMIT)
        self._sinks = {STDOUT: options.get("stdout"), STDERR: options.get("stderr")}

    def take(self, stream: str, data: bytes) -> Operation[None]:
        sink = self._sinks[stream]
        if sink is not None:
            put = sink if callable(sink) else sink.write
            yield Blocking(lambda: put(data))
        elif self._keep:
            if sum(map(len, self.kept.values())) + len(data) > self._limit:
                raise OutputTooLarge(
                    f"the task printed more than {self._limit} bytes",
                    remedy="raise capture_limit=, or give a file as stdout=",
                )
            self.kept[stream] += data


def run(
    api: Api, sandbox: str, argv: Sequence[Argument], options: RunOptions
) -> Operation[CompletedTask[bytes]]:
    """Runs a command to its end."""
    unknown = sorted(set(options) - set(RunOptions.__annotations__))
    if unknown:
        raise TypeError(f"run: unknown option {unknown[0]!r}")
    data = options.get("input")
    source = None if data is None else source_of(data)
    args, following = yield from begin(api, sandbox, argv, _exec_options(options))
    capture = _Capture(options)
    try:
        if source is not None:
            yield Spawn(_feed(following, source))
        yield from _collect(following, capture, options.get("timeout"))
    except BaseException:
        yield from end_quietly(following, api)
        raise
    session = following.session
    if session.result is None:
        raise ClientClosed(f"task {session.task} is not followed any more")
    completed = CompletedTask(
        args=args,
        stdout=bytes(capture.kept[STDOUT]),
        stderr=bytes(capture.kept[STDERR]),
        sandbox=session.sandbox,
        task=session.task,
        result=session.result,
    )
    if options.get("check", False):
        completed.check()
    return completed


def run_text(
    api: Api, sandbox: str, argv: Sequence[Argument], options: RunOptions
) -> Operation[CompletedTask[str]]:
    """Runs a command to its end; its output is text. What is no UTF-8 becomes U+FFFD."""
    unchecked: RunOptions = {**options, "check": False}
    done = yield from run(api, sandbox, argv, unchecked)
    completed = CompletedTask(
        args=done.args,
        stdout=done.stdout.decode("utf-8", "replace"),
        stderr=done.stderr.decode("utf-8", "replace"),
        sandbox=done.sandbox,
        task=done.task,
        result=done.result,
    )
    if options.get("check", False):
        completed.check()
    return completed


def _exec_options(options: RunOptions) -> ExecOptions:
    found: ExecOptions = {"stdin": options.get("input") is not None}
    for name in (
        "env",
        "secrets",
        "workdir",
        "tty",
        "entrypoint",
        "explain_syscalls",
        "query_id",
    ):
        if name in options:
            found[name] = options[name]
    return found


def _collect(following: Following, capture: _Capture, timeout: Optional[Time]) -> Operation[None]:
    session, monitor = following.session, following.monitor
    began = yield from now()
    while True:
        left = None
        if timeout is not None:
            left = max(0.0, seconds(timeout, "timeout") - ((yield from now()) - began))
        in_time = yield Wait(monitor, lambda: session.readable, left)
        if not in_time:
            text = f"task {session.task} ran longer than {seconds(timeout or 0, 'timeout'):g} s"
            kept = {stream: bytes(data) for stream, data in capture.kept.items()}
            raise TaskTimeout(text, stdout=kept[STDOUT], stderr=kept[STDERR])
        with monitor:
            item = session.take()
            over = session.finished
        if item is not None:
            yield from capture.take(*item)
        elif over:
            break
    if following.feed_error is not None:
        raise following.feed_error
    if session.error is not None:
        raise session.error


def _feed(following: Following, source: Source) -> Operation[None]:
    session, monitor = following.session, following.monitor
    try:
        while not session.finished:
            piece = yield Pull(source)
            if piece is None:
                break
            yield from give_bytes(following, piece)
        with monitor:
            session.input.end = True
    except LakekeepError:
        # The task did not read everything, which is its affair; or its session's
        # error is told anyway.
        return
    except BaseException as error:
        with monitor:
            following.feed_error = error
            session.closed = True
        if not isinstance(error, Exception):
            raise
