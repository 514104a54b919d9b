"""Peers that are servers of user functions over Arrow Flight, on loopback: `batch-8k`."""

from __future__ import annotations

import importlib.util
import subprocess
from typing import Any, Callable

import pyarrow as pa
import wire
from peer import Absent, Peer, Setting, child


def _flight(name: str, rows: int) -> Callable[[Setting], Peer]:
    """One exchange for each call, as their engines' clients do."""

    def make(_: Setting) -> Peer:
        if importlib.util.find_spec(name.replace("-", "_")) is None:
            raise Absent(f"{name} is not installed; pip install {name}")
        pipe = subprocess.PIPE
        process = child("flight_server.py", name, stdin=pipe, stdout=pipe)
        try:
            return Peer(name, _call(_port(process), rows), lambda: [process.pid], _end(process))
        except BaseException:
            _end(process)()
            raise

    return make


def _port(process: subprocess.Popen[bytes]) -> int:
    for line in process.stdout or ():
        word, _, number = line.decode().partition(" ")
        if word == "port":
            return int(number)
    raise Absent(f"its server ended with code {process.wait()}; its words are above")


def _call(port: int, rows: int) -> Callable[[], Any]:
    import pyarrow.flight as flight

    client = flight.FlightClient(f"grpc://127.0.0.1:{port}")
    descriptor = flight.FlightDescriptor.for_path("add")
    info = client.get_flight_info(descriptor)
    given = pa.schema(list(info.schema)[: len(wire.GIVEN)])
    batch = pa.RecordBatch.from_arrays(list(wire.columns(rows)), schema=given)

    def call() -> Any:
        writer, reader = client.do_exchange(descriptor)
        with writer:
            writer.begin(given)
            writer.write_batch(batch)
            writer.done_writing()
            return reader.read_all()

    return call


def _end(process: subprocess.Popen[bytes]) -> Callable[[], None]:
    def end() -> None:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    return end


SERVERS = dict.fromkeys(("arrow-udf", "databend-udf"), _flight)
