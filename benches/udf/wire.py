"""Peers of a call that adds two columns: `call-1-row`, `batch-8k`, `batch-64k`."""

from __future__ import annotations

import functools
import socket
from typing import Any, Callable

import pyarrow as pa
import pyarrow.compute as pc
from peer import Peer, Setting, child

from lakekeep.udf import Function, Session, Settings, safe

GIVEN = pa.schema([("_0", pa.int64()), ("_1", pa.int64())])


def add(low: Any, high: Any) -> Any:
    """What all of them do."""
    return pc.add(low, high)


@functools.cache
def columns(rows: int) -> tuple[Any, Any]:
    """The arguments."""
    return pa.array(range(rows), pa.int64()), pa.array(range(7, rows + 7), pa.int64())


@functools.cache
def batch(rows: int) -> Any:
    """The arguments as a record batch."""
    return pa.RecordBatch.from_arrays(list(columns(rows)), schema=GIVEN)


def check(rows: int) -> Callable[[Any], None]:
    """Whether an answer, an array or a batch of one, is right."""

    def checked(answer: Any) -> None:
        found = answer if isinstance(answer, (pa.Array, pa.ChunkedArray)) else answer.column(0)
        if found.to_pylist() != pc.add(*columns(rows)).to_pylist():
            raise ValueError("the peer's answer is wrong")

    return checked


def in_process(name: str, rows: int) -> Callable[[Setting], Peer]:
    """The function, called."""
    return lambda _: Peer(name, lambda: add(*columns(rows)))


def session(name: str, rows: int) -> Callable[[Setting], Peer]:
    """A session's call, as an engine makes it that has record batches."""

    def make(setting: Setting) -> Peer:
        broker = setting.broker(name)
        function = Function.of(add, "scalar", "int64", ())
        opened = Session(function, GIVEN, Settings(broker=broker))
        return Peer(name, functools.partial(opened.call, batch(rows)), broker.pids, opened.close)

    return make


def drop_in(name: str, rows: int) -> Callable[[Setting], Peer]:
    """The callable that `lakekeep.safe` makes, on arrays."""

    def make(setting: Setting) -> Peer:
        broker = setting.broker(name)
        function = safe(add, returns="int64", broker=broker)
        call = functools.partial(function, *columns(rows))
        return Peer(name, call, broker.pids, function.close)

    return make


def raw(name: str, rows: int) -> Callable[[Setting], Peer]:
    """Two Arrow streams over a socket pair, to a worker that nobody checks or isolates."""

    def make(_: Setting) -> Peer:
        ours, theirs = socket.socketpair()
        with theirs:
            process = child("raw_worker.py", stdin=theirs)
        writer = pa.ipc.new_stream(ours.makefile("wb", buffering=0), GIVEN)
        source = ours.makefile("rb", buffering=1 << 20)
        readers: list[Any] = []

        def call() -> Any:
            writer.write_batch(batch(rows))
            if not readers:
                readers.append(pa.ipc.open_stream(source))
            return readers[0].read_next_batch()

        def close() -> None:
            ours.shutdown(socket.SHUT_RDWR)
            process.wait()

        return Peer(name, call, lambda: [process.pid], close)

    return make
