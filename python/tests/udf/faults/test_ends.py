"""The ends of those who hold sandboxes: engine, broker, launcher. All else ends with them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf import host

from lakekeep.udf import BrokerUnavailable, ChildBroker, safe

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"
pytestmark = pytest.mark.skipif(not REAL, reason="needs real sandboxes: LAKEKEEP_UDF_BROKER=1")
VALUES = pa.array([1, 2])

ENGINE = '''
"""An engine that is in the middle of its work when its line comes."""
import sys, threading, time
import pyarrow as pa, lakekeep
from lakekeep.udf import ChildBroker

child = ChildBroker()

def forever(a):
    print("ready", flush=True)
    while True:
        time.sleep(1)

def slowly(batches):
    for batch in batches:
        yield batch

def endless(schema):
    batch = pa.RecordBatch.from_pydict({"a": list(range(10_000))})
    return pa.RecordBatchReader.from_batches(schema, iter(lambda: batch, None))

phase = sys.argv[1]
idle = lakekeep.safe(lambda a: a, returns="int64", broker=child, max_sessions=1)
idle(pa.array([1]))
names = [idle._pool._sessions[0].sandbox]
if phase == "batch":
    busy = lakekeep.safe(forever, returns="int64", broker=child)
    thread = threading.Thread(target=lambda: busy(pa.array([1])))
    thread.start()
    while "ready" not in busy.output:
        time.sleep(0.01)
    names.append(busy._pool._sessions[0].sandbox)
    print(child._process.pid, *names, flush=True)
    thread.join()
else:
    schema = pa.schema([("a", pa.int64())])
    found = lakekeep.map_batches(endless(schema), slowly, returns=schema, broker=child)
    for number, batch in enumerate(found):
        if number == 10:
            print(child._process.pid, *names, flush=True)
'''


@pytest.mark.parametrize("phase", ["batch", "stream"])
def test_an_engine_that_is_killed(phase: str) -> None:
    path = os.pathsep.join(one for one in sys.path if one)
    launchers = set((host.STATE / "launchers").glob("*"))
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, phase],
        stdout=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=path),
    ) as engine:
        assert engine.stdout is not None
        broker, *sandboxes = engine.stdout.readline().decode().split()
        family = {int(broker)} | host.descendants(int(broker))
        assert len(family) > 5, "broker, launcher, zygote, sandboxes"
        workers = {host.worker_of(sandbox) for sandbox in sandboxes}
        assert workers <= family
        engine.kill()
    assert not host.gone(lambda: host.living(family)), "processes outlive the engine"
    assert not host.gone(lambda: [left for one in sandboxes for left in host.left_of(one)])
    assert not host.gone(lambda: set((host.STATE / "launchers").glob("*")) - launchers)


@pytest.fixture
def own() -> Iterator[ChildBroker]:
    """A broker that a test may end."""
    child = ChildBroker()
    yield child
    child.close()


def launchers(broker: int) -> list[int]:
    """The broker's launchers, the one that holds the other first."""
    found = host.descendants(broker)
    named = [pid for pid in found if Path(host.command_line(pid)[0]).name == "lakekeep-launcher"]
    return sorted(named)


def victim(own: ChildBroker, whom: str) -> int:
    assert own._process is not None
    broker = own._process.pid
    held = launchers(broker)
    assert held
    return {"broker": broker, "launcher": held[0], "its child": held[-1]}[whom]


@pytest.mark.parametrize("whom", ["broker", "launcher", "its child"])
def test_who_is_killed_under_a_session(own: ChildBroker, whom: str) -> None:
    with safe(lambda a: a, returns="int64", broker=own, timeout=30) as function:
        assert function(VALUES).equals(VALUES)
        session = function._pool._sessions[0]
        killed = victim(own, whom)
        family = {killed} | host.descendants(killed)
        workers = host.processes_of(session.sandbox)
        assert workers
        os.kill(killed, signal.SIGKILL)
        end = session.ended(host.PATIENCE)
        assert end is not None, "who waits is told"
        assert end.kind == "broker"
        assert end.remedy or whom == "broker"
        assert not host.gone(lambda: host.living(workers | family))


@pytest.mark.parametrize("whom", ["broker", "launcher"])
def test_the_next_call_when_one_was_killed(own: ChildBroker, whom: str) -> None:
    with safe(lambda a: a, returns="int64", broker=own, timeout=30) as function:
        assert function(VALUES).equals(VALUES)
        session = function._pool._sessions[0]
        os.kill(victim(own, whom), signal.SIGKILL)
        assert session.ended(host.PATIENCE) is not None
        # The kernel ends whoever made the sandbox first, and its worker last: until then it may
        # answer. A call that finds it ended is told so.
        with contextlib.suppress(BrokerUnavailable):
            while session in function._pool._sessions:
                assert function(VALUES).equals(VALUES)
        assert function(VALUES).equals(VALUES), "the first call in another session"
        assert not host.gone(lambda: host.left_of(session.sandbox))


def test_a_broker_that_is_killed_in_a_call(own: ChildBroker) -> None:
    def kills(a: Any) -> Any:
        print("ready", flush=True)
        import time

        while True:
            time.sleep(1)

    import threading

    with safe(kills, returns="int64", broker=own, timeout=60) as function:

        def kill() -> None:
            assert host.eventually(lambda: "ready" in function.output, 60)
            assert own._process is not None
            own._process.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(BrokerUnavailable, match="broker ended") as raised:
            function(VALUES)
        thread.join()
        assert raised.value.retryable
        assert raised.value.remedy
    with safe(lambda a: a, returns="int64", broker=own) as function:
        assert function(VALUES).equals(VALUES)
