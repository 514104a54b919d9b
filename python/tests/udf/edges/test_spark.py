"""Spark's worker protocol in real sandboxes, spoken by a client generated from Spark's files."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

pytest.importorskip("grpc_tools", reason="needs the extra `generate`")

from udf.edges.spark_client import (
    PATIENCE,
    Call,
    Worker,
    all_end,
    command,
    kill,
    numbers,
    processes,
    run,
)
from udf.edges.spark_protocol import MISSING, Spark, find_jar

pytestmark = pytest.mark.skipif(
    os.environ.get("LAKEKEEP_UDF_BROKER") != "1", reason="needs LAKEKEEP_UDF_BROKER=1"
)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Spark:
    jar = find_jar()
    if jar is None:
        required = os.environ.get("LAKEKEEP_TESTS_REQUIRE", "").split(",")
        if {"spark", "all"} & set(required):
            pytest.fail(f"{MISSING}, and LAKEKEEP_TESTS_REQUIRE asks for it")
        pytest.skip(MISSING)
    return Spark(jar, tmp_path_factory.mktemp("spark"))


@pytest.fixture(scope="module")
def worker(spark: Spark) -> Iterator[Worker]:
    worker = Worker(spark)
    yield worker
    worker.close()


@pytest.fixture
def call(worker: Worker) -> Call:
    return Call(worker)


def functions() -> tuple[Any, Any, Any]:
    """Functions of no module: the sandbox does not have this one."""

    def double(x: Any) -> Any:
        import pyarrow.compute as pc

        return pc.multiply(x, 2)

    def here() -> int:
        """The inode of the sandbox's pid namespace, by which the host can tell it."""
        import os

        return int(os.readlink("/proc/self/ns/pid").split("[")[1][:-1])

    def where(x: Any) -> Any:
        return [here()] * len(x)

    def then_waits(batches: Any) -> Any:
        import threading

        import pyarrow as pa

        yield pa.record_batch({"x": [here()]})
        threading.Event().wait()

    return double, where, then_waits


DOUBLE, WHERE, THEN_WAITS = functions()


def waiting(worker: Worker) -> tuple[Call, list[int]]:
    """A stream whose function waits for ever, and the processes of its sandbox."""
    call = Call(worker)
    call.init(THEN_WAITS, eval_type="batches")
    call.expect("init")
    # A function begins with its first batch.
    call.data(numbers(1))
    found = processes(call.values()[0])
    assert found
    return call, found


# What is computed.


def test_a_function_over_batches(worker: Worker) -> None:
    batches = [numbers(*range(start, start + 1000)) for start in range(0, 5000, 1000)]
    answers = run(worker, DOUBLE, *batches, numbers(), numbers(None, 1))
    expected = [[2 * x for x in range(start, start + 1000)] for start in range(0, 5000, 1000)]
    assert answers == [*expected, [], [None, 2]]


def test_batches_are_sent_ahead_and_answered_in_order(call: Call) -> None:
    call.init(DOUBLE)
    call.expect("init")
    for value in range(50):
        call.data(numbers(value))
    call.finish()
    assert [call.values() for _ in range(50)] == [[2 * value] for value in range(50)]
    metrics = call.expect("finish").metrics
    assert (metrics["batches_in"], metrics["rows_out"]) == ("50", "50")
    assert int(metrics["memory_peak"]) > 1 << 20
    call.over()


def test_a_generator_answers_before_it_has_read_anything(call: Call) -> None:
    def ahead(batches: Any) -> Any:
        import pyarrow as pa

        yield pa.record_batch({"x": [0]})
        for batch in batches:
            yield batch
            yield batch

    call.init(ahead, eval_type="batches")
    call.expect("init")
    call.data(numbers(1))
    assert [call.values() for _ in range(3)] == [[0], [1], [1]]
    call.finish()
    call.expect("finish")
    call.over()


def test_a_function_that_stops_reading_is_finished_in_order(call: Call) -> None:
    def first(batches: Any) -> Any:
        yield next(batches)

    call.init(first, eval_type="batches")
    call.expect("init")
    for value in range(100):
        call.data(numbers(value))
    assert call.values() == [0]
    call.finish()
    call.expect("finish")
    call.over()


def test_no_batch_at_all(call: Call) -> None:
    call.init(DOUBLE)
    call.expect("init")
    call.finish()
    assert call.expect("finish").metrics["batches_in"] == "0"
    call.over()


# The payload.


@pytest.mark.parametrize("pieces", [1, 3, 100])
def test_a_payload_in_chunks(call: Call, pieces: int) -> None:
    call.chunks(DOUBLE, pieces)
    call.expect("init")
    call.data(numbers(21))
    assert call.values() == [42]
    call.cancel()
    call.expect("cancel")
    call.over()


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"payload_crc32": 1}, "payload_crc32"),
        ({"payload_size": 1 << 20}, "payload_size"),
        ({"payload_size": 10}, "payload_size"),
        ({"payload_size": -1}, "payload_size"),
        ({"payload_size": 1 << 40}, "--max-payload"),
    ],
)
def test_a_payload_that_is_not_as_declared(call: Call, declared: Any, told: str) -> None:
    call.chunks(DOUBLE, 3, **declared)
    assert told in call.error("init", "protocol").message
    call.cancel()
    call.expect("cancel")
    call.over()


def test_a_payload_larger_than_allowed(spark: Spark) -> None:
    worker = Worker(spark, "--max-payload", "1K")
    try:
        call = Call(worker)
        call.init(payload=bytes(1025))
        assert "--max-payload" in call.error("init", "protocol").message
        call.cancel()
        call.expect("cancel")
        call.over()
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"protocol_version": 2}, "protocol_version"),
        ({"data_format": 0}, "data_format"),
        ({"data_format": 9}, "data_format"),
        ({"format": "wasm"}, "cloudpickle"),
        ({"eval_type": "101"}, "scalar"),
        ({"input_schema": b"no schema"}, "input_schema"),
        ({"output_schema": b""}, "output_schema"),
        ({"parameters": b"x"}, "parameters"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_remedy(call: Call, changed: Any, told: str) -> None:
    call.init(DOUBLE, **changed)
    assert told in call.error("init", "protocol").message
    call.cancel()
    call.expect("cancel")
    call.over()


# The order.


def test_what_comes_before_init_is_out_of_order(worker: Worker) -> None:
    def data(call: Call) -> None:
        call.data(numbers(1))

    def chunk(call: Call) -> None:
        call.control(payload=call.spark.messages.PayloadChunk(data=b"x", last=True))

    for early in (data, chunk, Call.finish):
        call = Call(worker)
        early(call)
        assert "Init" in call.error("init", "protocol").message
        call.expect("cancel")
        call.over()


def test_data_before_the_answer_to_init_is_out_of_order(call: Call) -> None:
    call.init(DOUBLE)
    call.data(numbers(1))
    assert "InitResponse" in call.error("init", "protocol").message
    call.expect("cancel")
    call.over()


def test_what_is_out_of_order_later_ends_the_stream(worker: Worker) -> None:
    def chunk(call: Call) -> None:
        call.control(payload=call.spark.messages.PayloadChunk(data=b"x", last=True))

    def empty(call: Call) -> None:
        call.data(b"")

    def nothing(call: Call) -> None:
        call.control()

    def other(call: Call) -> None:
        call.data(b"no batch")

    for late in (Call.init, chunk, empty, nothing):
        call = Call(worker)
        call.init(DOUBLE)
        call.expect("init")
        late(call)
        call.error("error", "protocol")
        call.expect("cancel")
        call.over()
    call = Call(worker)
    call.init(DOUBLE)
    call.expect("init")
    other(call)
    assert "record batch" in call.error("error", "protocol").message
    call.cancel()
    call.expect("cancel")
    call.over()


def test_a_batch_of_another_schema_is_refused(call: Call) -> None:
    import pyarrow as pa

    call.init(DOUBLE)
    call.expect("init")
    call.data(pa.record_batch({"x": ["text"], "y": ["more"]}))
    call.error("error", "protocol")
    call.cancel()
    call.expect("cancel")
    call.over()


def test_a_message_larger_than_allowed(call: Call) -> None:
    call.init(DOUBLE)
    call.expect("init")
    call.data(bytes((128 << 20) + 1))
    assert "smaller" in call.error("error", "protocol").message
    call.expect("cancel")
    call.over()


# Cancel.


def test_cancel_before_init(call: Call) -> None:
    call.cancel()
    call.expect("cancel")
    call.over()


def test_cancel_before_finish_ends_the_sandbox(worker: Worker) -> None:
    call, found = waiting(worker)
    call.cancel()
    call.expect("cancel")
    call.over()
    assert all_end(found)


def test_cancel_after_finish_ends_the_sandbox(worker: Worker) -> None:
    call, found = waiting(worker)
    call.finish()
    call.cancel()
    call.expect("cancel")
    call.over()
    assert all_end(found)


def test_cancel_after_the_answer_to_finish_is_too_late(call: Call) -> None:
    call.init(DOUBLE)
    call.expect("init")
    call.finish()
    call.expect("finish")
    call.cancel()
    call.over()


def test_cancel_while_the_function_is_being_opened(spark: Spark) -> None:
    class Opens:
        def __reduce__(self) -> Any:
            return exec, ("import threading; threading.Event().wait()",)

    worker = Worker(spark, "--max-sessions", "1", "--open-timeout", "1h")
    try:
        call = Call(worker)
        call.init(Opens())
        call.cancel()
        call.expect("cancel")
        call.over()
        # Its place is free as soon as its sandbox is gone.
        until = time.monotonic() + PATIENCE
        while True:
            call = Call(worker)
            call.init(DOUBLE)
            word, message = call.next()
            if word == "init" and not message.HasField("error"):
                break
            assert time.monotonic() < until
        call.cancel()
        call.expect("cancel")
    finally:
        worker.close()


# Errors.


def test_an_exception_of_the_users(call: Call) -> None:
    def refuses(x: Any) -> Any:
        raise ValueError("not this")

    call.init(refuses)
    call.expect("init")
    call.data(numbers(1))
    error = call.error("error", "user")
    assert (error.error_class, error.message) == ("ValueError", "not this")
    assert "in refuses" in error.traceback
    # What had been sent ahead is dropped.
    call.data(numbers(2))
    call.finish()
    call.cancel()
    call.expect("cancel")
    call.over()


def test_a_function_that_cannot_be_opened(call: Call) -> None:
    call.init(payload=b"no pickle")
    call.error("init", "user")
    call.cancel()
    call.expect("cancel")
    call.over()


def test_an_answer_that_is_not_as_declared(call: Call) -> None:
    def text(x: Any) -> Any:
        return ["text"] * len(x)

    call.init(text)
    call.expect("init")
    call.data(numbers(1))
    call.error("error", "user")
    call.cancel()
    call.expect("cancel")
    call.over()


def test_a_sandbox_killed_in_mid_stream(worker: Worker) -> None:
    call, found = waiting(worker)
    kill(found)
    error = call.error("error", "worker")
    assert "SIGKILL" in error.message or "signal 9" in error.message
    call.cancel()
    call.expect("cancel")
    call.over()
    assert all_end(found)


def test_memory_over_the_limit_is_the_workers_error(spark: Spark) -> None:
    def eats(x: Any) -> Any:
        return len(b"x" * (1 << 30))

    worker = Worker(spark, "--memory", "256M")
    try:
        call = Call(worker)
        call.init(eats)
        call.expect("init")
        call.data(numbers(1))
        kind, message = call.next()
        assert kind == "error"
        assert message.error.WhichOneof("kind") in ("worker", "user")
        assert "emory" in str(message.error)
        call.cancel()
        call.expect("cancel")
        call.over()
    finally:
        worker.close()


def test_a_time_out_is_the_workers_error(spark: Spark) -> None:
    def sleeps(x: Any) -> Any:
        import threading

        threading.Event().wait()

    worker = Worker(spark, "--timeout", "500ms")
    try:
        call = Call(worker)
        call.init(sleeps)
        call.expect("init")
        call.data(numbers(1))
        assert "time-out" in call.error("error", "worker").message
        call.cancel()
        call.expect("cancel")
        call.over()
    finally:
        worker.close()


# The engine goes.


def test_a_stream_that_breaks_ends_its_sandbox(worker: Worker) -> None:
    call, found = waiting(worker)
    call.rpc.cancel()
    assert all_end(found)


def test_an_engine_that_dies_ends_its_sandboxes(spark: Spark) -> None:
    worker = Worker(spark)
    try:
        _call, found = waiting(worker)
        worker.channel.close()
        assert all_end(found)
    finally:
        worker.close()


def test_a_worker_ends_with_the_process_that_started_it(spark: Spark, tmp_path: Path) -> None:
    starts = (
        "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]);"
        "print(p.pid, flush=True); sys.stdin.read()"
    )
    path = tmp_path / "worker.sock"
    words = [sys.executable, "-c", starts, *command(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as engine:
        assert engine.stdout is not None
        pidfd = os.pidfd_open(int(engine.stdout.readline()))
        with grpc.insecure_channel(f"unix:{path}") as channel:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        engine.kill()
    assert all_end([pidfd])
    assert not path.exists()


def test_a_function_that_reads_nothing_holds_up_its_engine_alone(spark: Spark) -> None:
    """Batches wait in the engine, not in the worker, which still answers others."""
    worker = Worker(spark)
    try:
        call, found = waiting(worker)
        batch = numbers(*range(128 << 10)).serialize().to_pybytes()
        for _ in range(500):
            call.data(batch)
        count = 0
        with contextlib.suppress(queue.Empty):
            while True:
                call.taken.get(timeout=3)
                count += 1
        # 1 MiB each: what is ahead in windows, channels and sockets, and no more.
        assert count < 100
        assert worker.heartbeat()["sessions"] == 1
        assert run(worker, DOUBLE, numbers(1)) == [[2]]
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        assert int(resident.split()[1]) < 128 << 10
        call.rpc.cancel()
        assert all_end(found)
    finally:
        worker.close()


# The worker as a whole.


def test_heartbeats_are_answered_while_functions_run(spark: Spark) -> None:
    worker = Worker(spark)
    try:
        assert worker.heartbeat()["sessions"] == 0
        call, found = waiting(worker)
        assert worker.heartbeat()["sessions"] == 1
        call.cancel()
        call.expect("cancel")
        call.over()
        assert all_end(found)
        assert run(worker, DOUBLE, numbers(1, 2)) == [[2, 4]]
        figures = worker.heartbeat()
        # One row was the first stream's.
        assert (figures["sessions_total"], figures["rows_in"]) == (2, 3)
    finally:
        worker.close()


def test_a_shutdown_lets_streams_end(spark: Spark) -> None:
    worker = Worker(spark)
    try:
        call = Call(worker)
        call.init(DOUBLE)
        call.expect("init")
        assert worker.shut_down(cancel=False) is False
        late = Call(worker)
        late.init(DOUBLE)
        assert "shut down" in late.error("init", "worker").message
        late.expect("cancel")
        late.over()
        call.data(numbers(21))
        assert call.values() == [42]
        call.finish()
        call.expect("finish")
        call.over()
        assert worker.process.wait(PATIENCE) == 0
    finally:
        worker.close()


def test_a_shutdown_cancels_streams_when_told_so(spark: Spark) -> None:
    worker = Worker(spark)
    try:
        call, found = waiting(worker)
        assert worker.shut_down(cancel=True) is True
        assert "shut down" in call.error("error", "worker").message
        call.expect("cancel")
        call.over()
        assert all_end(found)
        assert worker.process.wait(PATIENCE) == 0
    finally:
        worker.close()


def test_sigterm_ends_streams_and_worker(spark: Spark) -> None:
    worker = Worker(spark)
    try:
        call, found = waiting(worker)
        worker.process.send_signal(signal.SIGTERM)
        call.error("error", "worker")
        call.expect("cancel")
        assert all_end(found)
        assert worker.process.wait(PATIENCE) == 0
    finally:
        worker.close()


def test_an_operation_that_is_not_there_is_refused(worker: Worker) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        worker.manage()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_functions_beyond_the_limit_are_refused(spark: Spark) -> None:
    worker = Worker(spark, "--max-sessions", "1")
    try:
        first, found = waiting(worker)
        second = Call(worker)
        second.init(DOUBLE)
        assert "--max-sessions" in second.error("init", "worker").message
        second.cancel()
        second.expect("cancel")
        second.over()
        first.cancel()
        first.expect("cancel")
        assert all_end(found)
    finally:
        worker.close()


# Isolation.


def test_two_functions_are_two_sandboxes(worker: Worker) -> None:
    def leaves(x: Any) -> Any:
        import os
        import sys

        found = os.path.exists("/tmp/left") or hasattr(sys, "left")
        with open("/tmp/left", "w") as file:
            file.write("something")
        sys.left = True  # type: ignore[attr-defined]
        return [int(found)] * len(x)

    calls = [Call(worker), Call(worker)]
    for call in calls:
        call.init(leaves)
        call.expect("init")
    for call in calls:
        call.data(numbers(1))
        assert call.values() == [0]
    # The attack works within one.
    for call in calls:
        call.data(numbers(1))
        assert call.values() == [1]
        call.cancel()
        call.expect("cancel")
        call.over()
    assert run(worker, leaves, numbers(1)) == [[0]]
    places = [run(worker, WHERE, numbers(1))[0][0] for _ in range(2)]
    assert places[0] != places[1]


def test_the_engines_configuration_does_not_enter(worker: Worker) -> None:
    def looks(x: Any) -> Any:
        import os

        pages = [str(dict(os.environ))]
        for name in ("environ", "cmdline", "maps"):
            with open(f"/proc/self/{name}", "rb") as file:
                pages.append(file.read().decode(errors="replace"))
        return [int("hunter2" in page) for page in pages][: len(x)]

    secret = {"spark.hadoop.fs.s3a.secret.key": "hunter2"}
    batch = numbers(*range(4))
    context = {"session_conf": secret, "task_context": {**secret, "stageId": "1"}}
    assert run(worker, looks, batch, **context) == [[0, 0, 0, 0]]


# The socket.


def test_the_socket_is_its_users_alone(worker: Worker) -> None:
    found = worker.socket.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert [one.name for one in worker.socket.parent.iterdir()] == [worker.socket.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_another_user_is_not_served(worker: Worker) -> None:
    tries = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])\n"
        "try:\n"
        "    s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0')\n"
        "    print(len(s.recv(1)))\n"
        "except (BrokenPipeError, ConnectionResetError):\n"
        "    print(0)"
    )

    def served() -> tuple[int, str]:
        words = [sys.executable, "-c", tries, str(worker.socket)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout + done.stderr

    folder, mode = worker.socket.parent, worker.socket.stat().st_mode
    folder.chmod(0o755)
    assert "Permission" in served()[1]
    # Not by its mode alone.
    worker.socket.chmod(0o666)
    try:
        assert served() == (0, "0\n")
    finally:
        worker.socket.chmod(stat.S_IMODE(mode))
        folder.chmod(0o700)


def test_a_place_that_is_taken_or_too_long_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(taken))
        cases = [(taken, "already"), (tmp_path / ("x" * 108), "107"), (Path("x.sock"), "absolute")]
        for path, told in cases:
            done = subprocess.run(
                command(path), capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert done.returncode == 125
            assert told in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]
