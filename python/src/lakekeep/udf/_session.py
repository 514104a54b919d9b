"""A session: one function in one sandbox, and the calls to it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar

from . import _check, _fork, _wire
from ._broker import End, Handle
from ._encode import Encoder
from ._errors import (
    BadFunction,
    BrokerUnavailable,
    Cancelled,
    ProtocolViolation,
    SessionClosed,
    TimedOut,
    UdfError,
    WorkerCrashed,
)
from ._explain import explained, fatal_stack
from ._function import Function, Settings
from ._stats import Stats
from ._stream import Stream
from ._watcher import Output

# Seconds in which a worker that has closed its socket ends by itself.
_GRACE = 2.0
# Seconds in which one ends that has said that it crashes.
_LAST_WORD = 5.0
# Seconds in which the broker tells how a sandbox ended that it was asked to kill.
_VERDICT = 10.0

T = TypeVar("T")


class Session:
    """One function in one sandbox; calls are answered in order.

    For one thread at a time, but `cancel`, which is for any. A function's own exception
    leaves the session as it is; every other failure ends it.

    Attributes:
        output: What the function prints, to standard output and error.
        stats: What it has done so far.
        sandbox: The sandbox's id.
    """

    def __init__(self, function: Function, given: Any, settings: Settings) -> None:
        """Opens it; `given` is the schema of the batches that are sent.

        Raises:
            UdfError: No sandbox, or the function cannot be had inside it.
        """
        self.function = function
        self.given = given
        self.output = Output()
        self._settings = settings
        self._encoder = Encoder(given)
        self._checker = _check.Checker(function.answers)
        self.stats = Stats()
        self._lock = threading.Lock()
        self._number = 0
        # Whose rows are asked about, for an error that tells them.
        self._rows = 0
        self._cancelled = False
        self._failure: Optional[UdfError] = None
        # What the worker says that it dies of.
        self._crash: Optional[WorkerCrashed] = None
        # The last failure of the user's code alone.
        self._survived: Optional[UdfError] = None
        limit = settings.session_timeout
        self._ends = None if limit is None else time.monotonic() + limit
        self._handle: Optional[Handle] = None
        # Before the time of opening begins: the first capture reads all there is.
        self._environment = function.chosen.digest() if function.chosen else None
        # Seconds of the present wait, and the option that they are of.
        self._limit: tuple[Optional[float], str] = None, "timeout"
        ours, theirs = _wire.socket_pair()
        self._channel = _wire.Channel(ours, settings.max_bytes, settings.ahead, settings.looking)
        _fork.watch(self)
        self.guarded(settings.open_timeout, self._open, theirs)

    def _open(self, theirs: Any) -> None:
        began = time.monotonic()
        pipes = [os.pipe(), os.pipe()]
        writers = [write for _, write in pipes]
        try:
            request = self._settings.request(self.function.kind, self._environment)
            timeout = self._settings.open_timeout
            descriptors = [theirs.fileno(), *writers]
            self._handle = self._settings.broker.open(request, descriptors, timeout)
        finally:
            # The worker's end is the worker's alone, or its death would not be noticed.
            theirs.close()
            for read, write in pipes:
                os.close(write)
                self.output.drain(read)
        self._introduce()
        frame = self._channel.receive()
        kind, call, _, content = frame
        self._unless_crashed(frame)
        if kind == _wire.ERROR and call == 0:
            raise BadFunction(
                f"{self.function.name} cannot be had in the sandbox: {_check.failure(content)}",
                remedy=self._missing(),
            )
        self._expect(kind == _wire.OPENED and call == 0, "no answer to its opening")
        opened = _check.document(content)
        version = opened.get("version")
        told = _check.text(version, 32) or type(version).__name__
        self._expect(version == _wire.VERSION, f"an OPENED that is no version 1's, but: {told}")
        self._channel.avoided = _check.numbers(opened.get("processors"))
        self.stats.spawn = time.monotonic() - began
        # From here on it is data.
        self._channel.sent = 0

    def _missing(self) -> str:
        if self._environment is None:
            return "the sandbox needs the modules that the function was pickled with"
        python = self._settings.interpreter
        return (
            f"environment {self._environment[:12]} is what was captured of this interpreter:"
            f" install what is missing ({python} -m pip install …), or name its folder in"
            " lakekeep.capture(include=…), and make the function anew"
        )

    def _introduce(self) -> None:
        function, settings = self.function, self._settings
        options = {
            "version": _wire.VERSION,
            "kind": function.kind,
            "name": function.name,
            "max_bytes": settings.max_bytes,
            "max_rows": settings.max_rows,
            "memfd_from": settings.memfd_from or 0,
            "part": _wire.PART_LIMIT,
            "look_us": int(settings.looking * 1e6),
            "skip_nulls": settings.skip_nulls,
            "pandas": settings.pandas,
            "source": function.source,
        }
        for kind, content in (
            (_wire.OPEN, json.dumps(options).encode()),
            (_wire.INPUT, self.given.serialize()),
            (_wire.OUTPUT, function.answers.serialize()),
            (_wire.FUNCTION, function.pickle),
        ):
            self._channel.send(kind, 0, 0, [content])

    # Calls.

    @property
    def sandbox(self) -> str:
        """The sandbox's id."""
        return self._handle.sandbox if self._handle else ""

    @property
    def open(self) -> bool:
        """Whether it has not ended, as far as is known here."""
        return self._failure is None

    @property
    def alive(self) -> bool:
        """Whether the next call can be sent to it; what came unasked ends it."""
        if self._failure is not None:
            return False
        # Whoever else has its end of the socket would keep it open.
        if self._channel.idle and self.ended(0) is None:
            return True
        self._end(SessionClosed("the session ended by itself", remedy="open another"))
        return False

    def call(self, batch: Any, timeout: Optional[float] = None) -> Any:
        """The record batch that answers a record batch.

        `timeout` is in seconds, and the settings' when not given.

        Raises:
            UdfError: As its class says.
        """
        return self.guarded(timeout, self._call, batch)

    def _call(self, batch: Any) -> Any:
        return self._answer(*self._send(batch))

    def map(self, batches: Iterable[Any], timeout: Optional[float] = None) -> Iterator[Any]:
        """Answers batches in order; `ahead` of them are sent before the first is answered.

        No more are taken from `batches` than that: who does not take the answers stops
        the reading. `timeout` is for each batch, in seconds.
        """
        waiting: deque[tuple[int, int]] = deque()
        try:
            for batch in batches:
                waiting.append(self.guarded(timeout, self._send, batch))
                if len(waiting) >= self._settings.ahead:
                    yield self.guarded(timeout, self._answer, *waiting.popleft())
            while waiting:
                yield self.guarded(timeout, self._answer, *waiting.popleft())
        finally:
            if waiting:
                # The answers to what was sent ahead are nobody's now.
                self.close()

    def stream(self, batches: Iterable[Any], timeout: Optional[float] = None) -> Iterator[Any]:
        """Gives all batches to one call of the function; any number comes back.

        `timeout` is for the time until the next batch comes back, in seconds.
        """
        call, source = self._new_call(), iter(batches)
        stream = Stream(self._channel, call, source, self._settings, self._encoder, self.stats)
        try:
            while (frame := self.guarded(timeout, stream.next_frame)) is not None:
                yield self.guarded(timeout, self._streamed, frame, stream.call)
            self.guarded(timeout, stream.finish)
        finally:
            if not stream.finished:
                self.close()

    def _streamed(self, frame: Any, number: int) -> Any:
        rows = frame[2]
        self._expect(rows <= self._settings.max_rows, f"a batch of {rows} rows, too many")
        return self._checked(frame, number, rows)

    def _new_call(self) -> int:
        self._number = (self._number + 1) & 0xFFFFFFFF
        return self._number

    def _send(self, batch: Any) -> tuple[int, int]:
        """Sends a call: its number and rows, as `_answer` wants them."""
        number = self._new_call()
        self._rows = rows = batch.num_rows
        pieces = self._encoder.pieces(batch)
        self._channel.send(_wire.CALL, number, rows, pieces, self._settings.memfd_from)
        stats = self.stats
        stats.calls += 1
        stats.rows_in += rows
        stats.bytes_in = self._channel.sent
        return number, rows

    def _answer(self, number: int, rows: int) -> Any:
        since = time.monotonic()
        frame = self._channel.receive()
        self.stats.waited += time.monotonic() - since
        kind = self.function.kind
        if kind == "grouped":
            rows = min(frame[2], self._settings.max_rows)
        return self._checked(frame, number, rows if kind != "aggregate" else 1)

    def _checked(self, frame: Any, number: int, rows: int) -> Any:
        kind, call, _, content = frame
        self._unless_crashed(frame)
        if call != number:
            raise ProtocolViolation(f"an answer to call {call} instead of {number}")
        if kind == _wire.ERROR:
            failure = _check.failure(content)
            self._survived = failure
            self.stats.failed += 1
            raise failure
        if kind != _wire.RESULT:
            raise ProtocolViolation(f"a frame of kind {kind} instead of a result")
        batch = self._checker.batch(content, rows)
        self.stats.rows_out += rows
        self.stats.bytes_out += len(content)
        return batch

    def _unless_crashed(self, frame: Any) -> None:
        """A crash is explained by how the process ends, whatever it said of it before."""
        if frame[0] == _wire.CRASHED:
            self._crash = _check.crash(frame[3])
            raise _wire.Ended

    @staticmethod
    def _expect(holds: bool, otherwise: str) -> None:
        if not holds:
            raise ProtocolViolation(otherwise)

    # Failures and the end.

    def guarded(self, timeout: Optional[float], work: Callable[..., T], *arguments: Any) -> T:
        """Does a piece of a call: with its deadline, and with its failures explained."""
        if not self._lock.acquire(blocking=False):
            raise SessionClosed("the session is in use by another thread", remedy="open one each")
        try:
            if self._failure is not None:
                raise SessionClosed(f"the session has ended: {self._failure}")
            self._channel.deadline = self._deadline(timeout)
            return work(*arguments)
        except SessionClosed:
            raise
        except BaseException as error:
            raise self._failed(error) from None
        finally:
            self._lock.release()

    def _deadline(self, timeout: Optional[float]) -> Optional[float]:
        seconds = self._settings.timeout if timeout is None else timeout
        self._limit = seconds, "timeout" if self._handle else "open_timeout"
        if seconds is None:
            return self._ends
        deadline = time.monotonic() + seconds
        return deadline if self._ends is None else min(deadline, self._ends)

    def _failed(self, error: BaseException) -> BaseException:
        """What is to be raised; ends the session unless only the user's code failed."""
        if error is self._survived and isinstance(error, UdfError):
            error.output = self.output.text
            return error
        if self._cancelled:
            error = Cancelled("the call was cancelled")
        elif isinstance(error, _wire.Expired):
            error = self._timed_out()
        elif isinstance(error, _wire.Ended):
            error = self._explained()
        self._end(
            error if isinstance(error, UdfError) else SessionClosed(f"interrupted: {error!r}")
        )
        if isinstance(error, UdfError):
            self.output.settle()
            error.output = self.output.text
            if isinstance(error, WorkerCrashed) and "stack" not in error.details:
                error.details["stack"] = fatal_stack(error.output)
        return error

    def _timed_out(self) -> UdfError:
        if self._ends is not None and time.monotonic() >= self._ends:
            limit, option = self._settings.session_timeout, "session_timeout"
        else:
            limit, option = self._limit
        told = "" if limit is None else f" within {limit:g} s"
        return TimedOut(
            f"{self.function.name} gave no answer{told}; its session was killed",
            remedy=f"raise {option}=, send smaller batches, or make it do less",
        )

    def _explained(self) -> UdfError:
        """Why the worker is gone: by its own last word, and by what was seen from outside."""
        try:
            self._crash = self._crash or self._last_word()
        except ProtocolViolation as violation:
            return violation
        if self._handle is None:
            return BrokerUnavailable("the sandbox ended before it began")
        # A worker may have closed its socket, or say that it crashes, and live on.
        end = self._handle.ended(_GRACE if self._crash is None else _LAST_WORD)
        if end is None:
            self._handle.kill()
            end = self._handle.ended(_VERDICT)
        return explained(self.function.name, end, self._crash, self._rows)

    def _last_word(self) -> Optional[WorkerCrashed]:
        frames = self._channel.last_frames()
        words = (frame[3] for frame in frames if frame[0] == _wire.CRASHED)
        return next((_check.crash(word) for word in words), None)

    def _end(self, failure: UdfError) -> None:
        if self._failure is None:
            self._failure = failure
        self._channel.close()
        if self._handle is not None:
            self._handle.used(self.stats)
            self._handle.kill()

    def cancel(self) -> None:
        """Ends the call that another thread waits for, at once; it raises Cancelled there."""
        self._cancelled = True
        self._channel.interrupt()
        if self._handle is not None:
            self._handle.kill()

    def close(self) -> None:
        """Ends the session and its sandbox; a call in another thread is cancelled."""
        if not self._lock.acquire(blocking=False):
            self.cancel()
            return
        try:
            self._end(SessionClosed("the session was closed", remedy="open another"))
        finally:
            self._lock.release()

    def ended(self, timeout: Optional[float] = None) -> Optional[End]:
        """Waits for the end of the sandbox, seconds at most; how it ended, or None."""
        return None if self._handle is None else self._handle.ended(timeout)

    def forked(self) -> None:
        """The session is the parent's; a child keeps no end of it open."""
        self._lock = threading.Lock()
        self._failure = SessionClosed("the session is of the process that this was forked from")
        self._channel.close()

    def __enter__(self) -> Session:
        """The session itself."""
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Closes it."""
        self.close()

    def __repr__(self) -> str:
        """What runs where, and whether it still does."""
        state = "open" if self._failure is None else "ended"
        return (
            f"<Session of {self.function.name} ({self.function.kind}) in {self.sandbox}: {state}>"
        )
