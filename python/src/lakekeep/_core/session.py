"""The streams of one task, across connections. Pure: no clock, no input, no output.

One connection is an *epoch*. The client begins it with `start` or `attach`, the
manager answers `started`, and from then on:

| who     | sends             | the other                                          |
|---------|-------------------|----------------------------------------------------|
| client  | `stdin`           | gives it to the task, answers `stdin_accepted`     |
| client  | `window`          | resizes the terminal                               |
| manager | `stdout`/`stderr` | takes what is new of it, by its offset             |
| manager | `ended`           | closes                                             |

When the connection is lost, the next epoch attaches with the offsets so far. What
the task has not accepted of its input is kept and sent again from where the manager
says that it stands.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Optional

from lakekeep.errors import Conflict, LakekeepError, ProtocolError, StreamBroken, Unavailable
from lakekeep.models import Position
from lakekeep.outcome import TaskResult
from lakekeep.v1 import sandboxes_pb2 as pb

from .methods import ATTACH, EXEC, Method
from .retry import Backoff

# The largest piece of a stream in one message, bytes.
CHUNK = 64 << 10
# Output that was received and nobody took yet, bytes; more is left at the manager.
READ_AHEAD = 256 << 10
# Input that the task has not accepted yet, bytes; whoever writes more waits.
WRITE_AHEAD = 256 << 10

STDOUT, STDERR = "stdout", "stderr"


@dataclass
class Input:
    """What is on its way to the task."""

    # The stream's offset of the first byte in `kept`: what the task has accepted.
    base: int = 0
    # Not accepted yet.
    kept: bytearray = field(default_factory=bytearray)
    # Up to where it was sent in this epoch.
    sent: int = 0
    end: bool = False
    end_sent: bool = False
    # Anything was ever written.
    begun: bool = False

    def room(self) -> int:
        """How many bytes can be written now."""
        return max(0, WRITE_AHEAD - len(self.kept))

    def push(self, data: memoryview) -> int:
        """Takes what there is room for; returns how much that is."""
        taken = data[: self.room()]
        self.kept += taken
        self.begun = self.begun or len(taken) > 0
        return len(taken)

    def rewind(self, offset: int) -> None:
        """A new epoch: the task waits for the byte at `offset`."""
        if not self.begun:
            # Somebody else wrote before.
            self.base = offset
        elif not self.base <= offset <= self.base + len(self.kept):
            raise StreamBroken(
                f"input cannot be taken up again: the task waits for byte {offset}, and bytes"
                f" {self.base} to {self.base + len(self.kept)} are known",
                remedy="start the task again",
            )
        self.accept(offset)
        self.sent = self.base
        self.end_sent = False

    def accept(self, offset: int) -> None:
        """The task has everything before `offset`."""
        if offset > self.base + len(self.kept):
            raise ProtocolError(f"the manager accepted {offset} bytes of input, which nobody sent")
        if offset > self.base:
            del self.kept[: offset - self.base]
            self.base = offset
            self.sent = max(self.sent, offset)

    def pending(self) -> bool:
        """There is something to send."""
        return self.sent < self.base + len(self.kept) or (self.end and not self.end_sent)

    def next(self) -> pb.StdinData:
        """The next piece to send."""
        begin = self.sent - self.base
        data = bytes(self.kept[begin : begin + CHUNK])
        message = pb.StdinData(offset=self.sent, data=data)
        self.sent += len(data)
        if self.end and self.sent == self.base + len(self.kept):
            message.end = self.end_sent = True
        return message


class Session:
    """The streams of one task, and where they stand."""

    def __init__(
        self,
        sandbox: str,
        start: Optional[pb.ExecStart],
        attach: Optional[pb.AttachStart] = None,
        window: float = 60.0,
    ) -> None:
        """Of a task to be started, or of a task that runs; `window`: seconds in which a
        lost connection is made again."""
        self.sandbox = sandbox
        self.start = start
        self.task = attach.task if attach else 0
        self.read_only = attach.read_only if attach else False
        self.no_follow = attach.no_follow if attach else False
        self.epoch = 0
        # The manager answered in this epoch.
        self.connected = False
        # It has answered in any.
        self.begun = False
        self.result: Optional[TaskResult] = None
        self.error: Optional[LakekeepError] = None
        # Nothing more is wanted: by the caller, or because all was sent.
        self.closed = False
        self.readers = 0
        self.input = Input(base=attach.stdin_offset if attach else 0)
        self._received = {
            STDOUT: attach.stdout_offset if attach else 0,
            STDERR: attach.stderr_offset if attach else 0,
        }
        self._taken = dict(self._received)
        self._pending: deque[tuple[str, bytes]] = deque()
        self._pending_bytes = 0
        self._window: Optional[pb.Window] = None
        self._window_sent = True
        self._backoff = Backoff(window)

    # What others ask.

    @property
    def finished(self) -> bool:
        """Nothing more will be received."""
        return self.result is not None or self.error is not None or self.closed

    @property
    def readable(self) -> bool:
        """There is output, or there will be none."""
        return bool(self._pending) or self.finished

    @property
    def has_room(self) -> bool:
        """More output can be received now."""
        return self._pending_bytes < READ_AHEAD or self.finished

    @property
    def writable(self) -> bool:
        """Input can be written now, or never again."""
        return self.input.room() > 0 or self.finished

    @property
    def position(self) -> Position:
        """How far the caller has followed the streams."""
        return Position(self._taken[STDOUT], self._taken[STDERR], self.input.base)

    # What the connection does.

    def open(self) -> tuple[Method[pb.ExecRequest, pb.ExecEvent], pb.ExecRequest]:
        """Begins an epoch: the method and its first request."""
        self.epoch += 1
        self.connected = False
        if not self.begun and self.start is not None:
            return EXEC, pb.ExecRequest(start=self.start)
        attach = pb.AttachStart(
            sandbox=self.sandbox,
            task=self.task,
            stdout_offset=self._received[STDOUT],
            stderr_offset=self._received[STDERR],
            stdin_offset=self.input.base,
            read_only=self.read_only,
            no_follow=self.no_follow,
        )
        return ATTACH, pb.ExecRequest(attach=attach)

    def over(self, epoch: int) -> bool:
        """Nothing more is to be sent in this epoch."""
        return self.finished or epoch != self.epoch

    def sendable(self, epoch: int) -> bool:
        """There is a request to send, or there will be none in this epoch."""
        return self.over(epoch) or (
            self.connected and (not self._window_sent or self.input.pending())
        )

    def next_request(self, epoch: int) -> Optional[pb.ExecRequest]:
        """The next request to send, if there is one."""
        if self.over(epoch) or not self.connected or self.read_only:
            return None
        if not self._window_sent and self._window is not None:
            self._window_sent = True
            return pb.ExecRequest(window=self._window)
        if self.input.pending():
            return pb.ExecRequest(stdin=self.input.next())
        return None

    def receive(self, event: pb.ExecEvent) -> None:
        """What the manager sent."""
        kind = event.WhichOneof("event")
        if kind == "started":
            self._started(event.started)
        elif not self.connected:
            raise ProtocolError("the manager sent output before it said which task it is of")
        elif kind == "stdout":
            self._output(STDOUT, event.stdout)
        elif kind == "stderr":
            self._output(STDERR, event.stderr)
        elif kind == "stdin_accepted":
            self.input.accept(event.stdin_accepted)
        elif kind == "ended":
            self.result = TaskResult.parse(event.ended.exit_code, event.ended.outcome)
        # What a newer manager says beside is not for us.

    def _started(self, started: pb.TaskStarted) -> None:
        self.task = started.task
        self.sandbox = started.sandbox or self.sandbox
        self.input.rewind(started.stdin_offset)
        self.connected = self.begun = True
        # A terminal's size may have been lost on the way.
        self._window_sent = self._window is None

    def _output(self, stream: str, output: pb.OutputData) -> None:
        at = self._received[stream]
        if output.offset > at:
            raise Unavailable(f"bytes {at} to {output.offset} of {stream} were left out")
        new = output.data[at - output.offset :]
        if new:
            self._received[stream] = at + len(new)
            self._pending.append((stream, new))
            self._pending_bytes += len(new)
            self._backoff.progressed()

    def drained(self) -> None:
        """The manager closed in good order."""
        if self.no_follow and self.connected:
            self.closed = True
        elif not self.finished:
            raise Unavailable("the manager closed the stream before the task's end")

    def lost(self, error: LakekeepError, now: float, chance: float) -> float:
        """The connection is lost: seconds to wait before the next epoch.

        Raises the error when there is no point in one.
        """
        self.connected = False
        starting = not self.begun and self.start is not None
        if starting and not (self.start and self.start.request_id):
            # Whether the task was started nobody can say; it is not started twice.
            raise error
        # With a word of its own, the same start is one task; it may be being answered.
        answering = isinstance(error, Conflict) and error.retry_after is not None
        if not _resumable(error) and not (starting and answering):
            raise error
        pause = self._backoff.after(now, chance, error.retry_after)
        if pause is None:
            raise error
        return pause

    def fail(self, error: LakekeepError) -> None:
        """Nothing can be done any more."""
        if not self.finished:
            self.error = error

    # What the caller does.

    def take(self) -> Optional[tuple[str, bytes]]:
        """The next piece of output, if there is one."""
        if not self._pending:
            return None
        stream, data = self._pending.popleft()
        self._pending_bytes -= len(data)
        self._taken[stream] += len(data)
        return stream, data

    def drop_output(self) -> None:
        """Forgets output that nobody takes."""
        while self.take() is not None:
            pass

    def resize(self, rows: int, columns: int) -> None:
        """The terminal has another size."""
        self._window = pb.Window(rows=rows, columns=columns)
        self._window_sent = False


def _resumable(error: LakekeepError) -> bool:
    """Whether attaching again can help: the manager did not refuse."""
    if isinstance(error, Unavailable):
        return True
    # Of the transport's making: the manager's own errors carry its reasons.
    transport = ("UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL")
    return error.code in transport and error.reason == LakekeepError.REASON
