"""A user function's calls against a raw Arrow stream over a socket pair, in interleaved rounds.

Both add two int64 columns in an unsandboxed Python worker. Prints medians and minima in
microseconds: python benches/udf_wire.py [ROUNDS]
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from udf.bare import Bare, Zygote

from lakekeep.udf import Function, Session, Settings, safe

GIVEN = pa.schema([("_0", pa.int64()), ("_1", pa.int64())])
ANSWER = pa.schema([("answer", pa.int64())])
ROWS = (1, 2_048, 8_192, 65_536, 262_144)


def add(a: Any, b: Any) -> Any:
    """What both workers do."""
    return pc.add(a, b)


def raw_worker(end: socket.socket) -> None:
    """Answers batches of a stream with batches of a stream."""
    reader = pa.ipc.open_stream(end.makefile("rb", buffering=1 << 20))
    writer = pa.ipc.new_stream(end.makefile("wb", buffering=0), ANSWER)
    for batch in reader:
        answer = pc.add(batch.column(0), batch.column(1))
        writer.write_batch(pa.RecordBatch.from_arrays([answer], schema=ANSWER))


def raw() -> Callable[[Any], Any]:
    """A call over two streams, which nobody checks."""
    ours, theirs = socket.socketpair()
    if not os.fork():
        ours.close()
        raw_worker(theirs)
        os._exit(0)
    theirs.close()
    writer = pa.ipc.new_stream(ours.makefile("wb", buffering=0), GIVEN)
    source = ours.makefile("rb", buffering=1 << 20)
    readers: list[Any] = []

    def call(batch: Any) -> Any:
        writer.write_batch(batch)
        if not readers:
            readers.append(pa.ipc.open_stream(source))
        return readers[0].read_next_batch()

    return call


def batch_of(rows: int) -> Any:
    """Two columns."""
    import numpy

    column = pa.array(numpy.arange(rows))
    return pa.RecordBatch.from_arrays([column, column], schema=GIVEN)


def main(rounds: int) -> None:
    """Prints a line for each size."""
    calls = {"raw": raw()}
    zygote = Zygote()
    broker = Bare(zygote)
    function = Function.of(add, "scalar", "int64", ())
    calls["session"] = Session(function, GIVEN, Settings(broker=broker)).call
    calls["memfd"] = Session(function, GIVEN, Settings(broker=broker, memfd_from=1)).call
    timed = Session(function, GIVEN, Settings(broker=broker, timeout=60.0))
    calls["timeout="] = timed.call
    column = safe(add, returns="int64", broker=broker, batch_rows=None)
    calls["safe"] = lambda batch: column(*batch.columns)
    print("rows", *(f"{name:>20}" for name in calls))
    for rows in ROWS:
        batch = batch_of(rows)
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                for _ in range(50 if rows <= 8_192 else 5):
                    start = time.perf_counter()
                    call(batch)
                    taken[name].append((time.perf_counter() - start) * 1e6)
        told = (f"{statistics.median(t):10.1f} ({min(t):7.1f})" for t in taken.values())
        print(f"{rows:9,}", *told, flush=True)
    broker.close()
    zygote.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
