"""One session: what opens it, then calls until the engine closes."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
from lakekeep_worker.batches import Encoder
from lakekeep_worker.channel import Channel
from lakekeep_worker.crash import watch_crashes
from lakekeep_worker.failure import Refused, explained
from lakekeep_worker.function import Function
from lakekeep_worker.wire import DONE, END, ERROR, OPENED, PIECE, RESULT, VERSION, EngineGone


class Session:
    """A function that is ready, and the engine that calls it."""

    def __init__(self, channel: Channel, function: Function) -> None:
        """Takes what has been opened."""
        self.channel, self.function = channel, function
        self.encoder = Encoder(function.answered)

    def serve(self) -> None:
        """Answers calls until the engine is gone, which is raised."""
        if self.function.kind in ("batches", "table"):
            while True:
                kind, call, _, content = self.channel.receive()
                self._stream(call, kind, content)
        while True:
            _, call, _, content = self.channel.receive()
            self._call(call, content)

    def _call(self, call: int, content: Any) -> None:
        try:
            answer = self.function.answer(self.batch(content))
            if isinstance(answer, pa.RecordBatch):
                pieces = self.encoder.pieces(answer)
            else:
                pieces = self.encoder.column(answer)
        except BaseException as error:
            self.channel.send_json(ERROR, call, explained(error, self.function.row))
            return
        self.channel.send(RESULT, call, len(answer), pieces)

    def _stream(self, call: int, kind: int, content: Any) -> None:
        inputs = Inputs(self, kind, content)
        try:
            for batch in self.function.stream(inputs):
                self.channel.send(RESULT, call, batch.num_rows, self.encoder.pieces(batch))
            self.channel.send(DONE, call)
        except EngineGone:
            raise
        except BaseException as error:
            self.channel.send_json(ERROR, call, explained(error))
        inputs.drain()

    def batch(self, content: Any) -> Any:
        """The batch that a frame has."""
        return pa.ipc.read_record_batch(content, self.function.given)


class Inputs(Iterator[Any]):
    """The batches of one stream, taken from the socket as the function asks for them."""

    def __init__(self, session: Session, kind: int, content: Any) -> None:
        """Takes the stream's first frame."""
        self.session, self.kind, self.content = session, kind, content

    def __next__(self) -> Any:
        """Waits for the next batch."""
        if self.content is None and self.kind != END:
            self._receive()
        if self.kind == END:
            raise StopIteration
        content, self.content = self.content, None
        return self.session.batch(content)

    def _receive(self) -> None:
        self.kind, _, _, self.content = self.session.channel.receive()

    def drain(self) -> None:
        """What the function left over is not the next call's."""
        while self.kind != END:
            self._receive()


def opened(channel: Channel) -> Session | None:
    """The session that an engine opens; none where that failed, which it was told."""
    options, given, answered, source = (channel.receive()[3] for _ in range(4))
    try:
        options = json.loads(bytes(options))
        if options["version"] != VERSION:
            raise Refused(f"the engine speaks version {options['version']}, not {VERSION}")
        channel.memfd_from = options["memfd_from"]
        if channel.memfd_from:
            channel.may_get_memfds()
        channel.part = options.get("part", PIECE)
        if options.get("look_us"):
            channel.look, channel.rest = options["look_us"] / 1e6, 0
        schemas = (pa.ipc.read_schema(pa.BufferReader(s)) for s in (given, answered))
        session = Session(channel, Function(options, source, *schemas))
    except BaseException as error:
        channel.send_json(ERROR, 0, explained(error))
        return None
    # What was imported stays: collections need not go through it each time.
    gc.freeze()
    versions = {"python": sys.version.split()[0], "pyarrow": pa.__version__}
    # Who looks for an answer on one of these keeps it from being made.
    processors = sorted(os.sched_getaffinity(0))
    channel.send_json(OPENED, 0, {"version": VERSION, **versions, "processors": processors})
    return session


def take_socket() -> socket.socket:
    """The engine's socket, out of the way of whoever reads standard input."""
    try:
        number = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 64)
    except OSError:  # the limit of descriptors is lower
        number = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return socket.socket(fileno=number)


def main() -> None:
    """Serves the engine at descriptor 0; ends the process."""
    sock = take_socket()
    cast(Any, sys.stdout).reconfigure(line_buffering=True)
    watch_crashes(sock)
    try:
        session = opened(Channel(sock))
        if session is not None:
            session.serve()
    except (EngineGone, ConnectionError):
        pass
    sys.stdout.flush()
    sys.stderr.flush()
    # Not the interpreter's own end: threads of the user's function would hold it up.
    os._exit(0)
