"""A client of Spark's worker protocol, for tests: what the engine does, a step at a time."""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import cloudpickle
import grpc
import pyarrow as pa
from udf.edges.spark_protocol import Spark

# Seconds; a test that waits longer has failed.
PATIENCE = 90
NUMBERS = pa.schema([pa.field("x", pa.int64())])
# What Spark allows, both ways.
MESSAGE = 128 << 20


def binaries() -> tuple[str, str]:
    """The programs `lakekeep-udf` and `lakekeep`."""
    lakekeep = os.environ.get("LAKEKEEP_BIN", "lakekeep")
    beside = str(Path(lakekeep).with_name("lakekeep-udf"))
    return os.environ.get("LAKEKEEP_UDF_EDGE", beside), lakekeep


def command(connection: Path, *options: str) -> list[str]:
    """How the engine starts a worker."""
    program, lakekeep = binaries()
    words = [program, "spark", "--lakekeep", lakekeep, "--interpreter", sys.executable]
    return [*words, *options, "--id", "test", "--connection", str(connection)]


def numbers(*values: Optional[int]) -> Any:
    """A batch of one column."""
    return pa.record_batch([pa.array(values, pa.int64())], schema=NUMBERS)


class Worker:
    """One worker process, and a channel to it."""

    def __init__(self, spark: Spark, *options: str) -> None:
        """Starts it; returns when it answers."""
        self.spark = spark
        # A socket's path is short.
        self.folder = tempfile.TemporaryDirectory(prefix="lk-")
        self.socket = Path(self.folder.name, "worker.sock")
        self.process = subprocess.Popen(command(self.socket, *options))
        self.channel = grpc.insecure_channel(
            f"unix:{self.socket}",
            options=[
                # As Spark's own channel: the socket's path, gRPC's default, is no authority
                # that HTTP/2 allows.
                ("grpc.default_authority", "localhost"),
                ("grpc.max_receive_message_length", MESSAGE),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 100),
            ],
        )
        self.stub = spark.stub(self.channel)
        grpc.channel_ready_future(self.channel).result(timeout=PATIENCE)

    def heartbeat(self) -> dict[str, int]:
        """The worker's figures."""
        answer = self.manage(heartbeat=self.spark.messages.Heartbeat())
        assert answer.WhichOneof("manage") == "heartbeat"
        return {name: int(value) for name, value in answer.heartbeat.metrics.items()}

    def shut_down(self, cancel: bool) -> bool:
        """Whether all streams had ended when it answered."""
        request = self.spark.messages.ShutdownRequest(cancel_sessions=cancel)
        answer = self.manage(shutdown=request)
        assert answer.WhichOneof("manage") == "shutdown"
        return bool(answer.shutdown.sessions_settled)

    def manage(self, **operation: Any) -> Any:
        request = self.spark.messages.WorkerRequest(**operation)
        return self.stub.Manage(request, timeout=PATIENCE)

    def close(self) -> None:
        """Ends it as the engine does; it must leave nothing behind."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            assert self.process.wait(PATIENCE) == 0
            assert not self.socket.exists()
        finally:
            self.process.kill()
            self.process.wait()
            self.folder.cleanup()


class Call:
    """One Execute stream."""

    def __init__(self, worker: Worker) -> None:
        """Opens it; nothing is said yet."""
        self.spark = worker.spark
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # One for each request that gRPC has asked for.
        self.taken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.rpc = worker.stub.Execute(iter(self._take, None), timeout=PATIENCE)

    def _take(self) -> Any:
        self.taken.put(None)
        return self.requests.get()

    def data(self, batch: Any) -> None:
        """Sends a batch, or bytes in its place."""
        data = batch if isinstance(batch, bytes) else batch.serialize().to_pybytes()
        messages = self.spark.messages
        self.requests.put(messages.UdfRequest(data=messages.DataRequest(data=data)))

    def control(self, **word: Any) -> None:
        """Sends a control message."""
        messages = self.spark.messages
        control = messages.UdfControlRequest(**word)
        self.requests.put(messages.UdfRequest(control=control))

    def init(self, function: Any = None, **changed: Any) -> None:
        """Sends Init for a function of one number, or what else is asked for."""
        self.control(init=self.an_init(function, **changed))

    def an_init(self, function: Any = None, **changed: Any) -> Any:
        udf = {"format": "cloudpickle", "name": "f"}
        if function is not None:
            udf["payload"] = cloudpickle.dumps(function)
        fields = {
            "protocol_version": 1,
            "data_format": self.spark.common.ARROW,
            "input_schema": NUMBERS.serialize().to_pybytes(),
            "output_schema": NUMBERS.serialize().to_pybytes(),
        }
        for name, value in changed.items():
            into: dict[str, Any] = fields if name in init_fields(self.spark) else udf
            into[name] = value
        payload = self.spark.messages.UdfPayload(**udf)
        return self.spark.messages.Init(udf=payload, **fields)

    def chunks(self, function: Any, pieces: int, **changed: Any) -> None:
        """Sends Init, and the function in chunks behind it."""
        whole = cloudpickle.dumps(function)
        declared = {"payload_size": len(whole), "payload_crc32": zlib.crc32(whole)}
        self.init(is_chunking_payload=True, **{**declared, **changed})
        size = -(-len(whole) // pieces)
        for start in range(0, len(whole), size):
            # Non-final chunks omit the field.
            last = {"last": True} if start + size >= len(whole) else {}
            chunk = self.spark.messages.PayloadChunk(data=whole[start : start + size], **last)
            self.control(payload=chunk)

    def finish(self) -> None:
        self.control(finish=self.spark.messages.Finish())

    def cancel(self) -> None:
        self.control(cancel=self.spark.messages.Cancel(reason="test"))

    def next(self) -> tuple[str, Any]:
        """What is answered: `data` and a batch, or the word of a control message and that."""
        response = next(self.rpc)
        if response.WhichOneof("response") == "data":
            message = pa.ipc.read_message(response.data.data)
            return "data", pa.ipc.read_record_batch(message, NUMBERS)
        word = response.control.WhichOneof("control")
        return word, getattr(response.control, word)

    def expect(self, word: str) -> Any:
        """The next answer, which is this one, without an error."""
        found, message = self.next()
        assert found == word, (found, message)
        if word in ("init", "finish", "cancel"):
            assert not message.HasField("error"), message
        return message

    def error(self, word: str, kind: str) -> Any:
        """The error of the next answer, which is this one, of this kind."""
        found, message = self.next()
        assert (found, message.error.WhichOneof("kind")) == (word, kind), (found, message)
        error = getattr(message.error, kind)
        assert error.message
        return error

    def values(self) -> list[Any]:
        """The values of the next answer, which is a batch."""
        values: list[Any] = self.expect("data").column(0).to_pylist()
        return values

    def over(self) -> None:
        """The stream ends in order, and nothing more is said."""
        rest = list(self.rpc)
        assert not rest, rest
        assert self.rpc.code() is grpc.StatusCode.OK, self.rpc.details()
        self.requests.put(None)


def init_fields(spark: Spark) -> Sequence[str]:
    """The names of Init's own fields."""
    return [field.name for field in spark.messages.Init.DESCRIPTOR.fields]


def run(worker: Worker, function: Callable[..., Any], *batches: Any, **changed: Any) -> list[Any]:
    """One whole stream: the values that came of each batch."""
    call = Call(worker)
    call.init(function, **changed)
    call.expect("init")
    answers = []
    for batch in batches:
        call.data(batch)
        answers.append(call.values())
    call.finish()
    call.expect("finish")
    call.over()
    return answers


def processes(namespace: int) -> list[int]:
    """Descriptors (pidfd) of all processes in a pid namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(entry / "ns" / "pid") == f"pid:[{namespace}]":
                found.append(os.pidfd_open(int(entry.name)))
        except OSError:
            continue
    return found


def all_end(pidfds: list[int]) -> bool:
    """Waits for the end of processes; whether all have ended in time."""
    assert pidfds, "there was none"
    ended = [bool(select.select([one], [], [], PATIENCE)[0]) for one in pidfds]
    for one in pidfds:
        os.close(one)
    return all(ended)


def kill(pidfds: list[int]) -> None:
    """Kills processes."""
    for one in pidfds:
        signal.pidfd_send_signal(one, signal.SIGKILL)
