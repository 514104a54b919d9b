"""Whatever goes wrong in a worker, in whatever phase: an error that helps, and nothing is left."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Optional

import pyarrow as pa
import pytest
from udf import host
from udf.faults import harm

from lakekeep.udf import (
    BadFunction,
    ChildBroker,
    OutOfMemory,
    ProtocolViolation,
    Safe,
    TimedOut,
    UdfError,
    UserFunctionError,
    WorkerCrashed,
    map_batches,
    safe,
)

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"
VALUES = pa.array([1, 2])
# Seconds that a call may take here, an opening, and either where no time-out is waited for;
# and by which an error may come later on a busy machine.
TIMEOUT, OPEN_TIMEOUT, AMPLE, LATE = 3.0, 6.0, 60.0, 30.0
MEMORY = 192 << 20
# What a function that misbehaves is told to be; the second is what its message says.
EXPECTED: dict[str, tuple[type[UdfError], str]] = {
    "kill": (WorkerCrashed, "SIGKILL"),
    "stop": (TimedOut, "within 3 s"),
    "slow": (TimedOut, "within 3 s"),
    "lie": (ProtocolViolation, "less than a header"),
    "flood": (TimedOut, "within 3 s"),
    "leak": (OutOfMemory, f"limit {MEMORY} bytes"),
    "fork": (UserFunctionError, "can't start new thread"),
    "sleep": (TimedOut, "within 3 s"),
    "segfault": (WorkerCrashed, "SIGSEGV"),
}
# In a phase without a call: what the next call raises. Not named: it has an answer, of the
# same session or of a new one.
IDLE = {name: EXPECTED[name] for name in ("stop", "sleep")}


class Opening:
    """Does it where its pickle is opened."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __reduce__(self) -> Any:
        return harm.do, (self.fault,)

    def __call__(self, a: Any) -> Any:
        return a


def calling(fault: str) -> Callable[[Any], Any]:
    def user(a: Any) -> Any:
        if a[0].as_py() == 666:
            harm.do(fault)
        if a[0].as_py() == 667:
            harm.behind(fault)
        return a

    return user


def streaming(fault: str) -> Callable[[Any], Any]:
    def user(batches: Any) -> Any:
        for number, batch in enumerate(batches):
            if number == 3:
                harm.do(fault)
            yield batch

    return user


@pytest.fixture(scope="module", autouse=True)
def warm(child_broker: ChildBroker) -> None:
    """Starts the zygote of sandboxes with this memory, for which no test's time is meant."""
    with safe(lambda a: a, returns="int64", broker=child_broker, memory=MEMORY) as function:
        function(VALUES)


@pytest.fixture
def real(child_broker: ChildBroker) -> Iterator[host.Recording]:
    """The sandboxes of a test, of which nothing may be left after it."""
    gc.collect()
    before, processes = host.open_files(), host.children(os.getpid())
    recording = host.Recording(child_broker)
    yield recording
    gc.collect()
    for handle in recording.handles:
        handle.kill()
    for handle in recording.handles:
        assert handle.ended(host.PATIENCE) is not None
    assert host.gone(recording.left) == []
    assert not host.gone(lambda: host.children(os.getpid()) - processes)
    kinds = ("socket:", "pipe:", "/memfd:")
    assert not host.gone(
        lambda: {one for one in host.open_files() - before if one[1].startswith(kinds)}
    )


def options(real: host.Recording, fault: str, **more: Any) -> Any:
    slow = EXPECTED[fault][0] is TimedOut
    limits = {
        "memory": MEMORY,
        "timeout": TIMEOUT if slow else AMPLE,
        "max_sessions": 1,
    }
    return {"broker": real, "by_value": [harm], **limits, **more}


class FromOutside:
    """Does to the newest worker what is done from the host, once it is there."""

    def __init__(self, real: host.Recording, fault: str, ready: Callable[[], bool]) -> None:
        self.real, self.ready = real, ready
        self.signal = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}.get(fault)
        self.before = len(real.handles)
        self.pid = 0
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        if self.signal is None:
            return
        sandbox = host.eventually(lambda: self.real.newest(self.before))
        self.pid = host.eventually(lambda: host.worker_of(sandbox or "none"))
        if self.pid and host.eventually(self.ready):
            os.kill(self.pid, self.signal)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        assert self.signal is None or self.pid, "the host found no worker to harm"


def fails(expected: tuple[type[UdfError], str], call: Callable[[], Any]) -> None:
    """The error is of its class, says what to do, and comes in time."""
    import time

    kind, words = expected
    start = time.monotonic()
    with pytest.raises(kind, match=words) as raised:
        call()
    assert raised.type is kind
    assert time.monotonic() - start < OPEN_TIMEOUT + LATE
    assert raised.value.remedy
    assert raised.value.remedy in str(raised.value)


def printed(function: Safe) -> Callable[[], bool]:
    return lambda: "ready" in function.output


pytestmark = pytest.mark.skipif(not REAL, reason="needs real sandboxes: LAKEKEEP_UDF_BROKER=1")
each_fault = pytest.mark.parametrize("fault", harm.FAULTS)


@each_fault
def test_while_opening(real: host.Recording, fault: str) -> None:
    kind, words = EXPECTED[fault]
    if fault == "fork":
        kind = BadFunction
    more = options(real, fault)
    if kind is TimedOut:
        more["open_timeout"] = OPEN_TIMEOUT
    outside = FromOutside(real, fault, lambda: True)
    with safe(Opening(fault), returns="int64", **more) as function, outside:
        fails((kind, words.replace("3 s", "6 s")), lambda: function(VALUES))
    with safe(calling(fault), returns="int64", **options(real, fault)) as function:
        assert function(VALUES).equals(VALUES)


@each_fault
def test_in_a_call(real: host.Recording, fault: str) -> None:
    with safe(calling(fault), returns="int64", **options(real, fault)) as function:
        with FromOutside(real, fault, printed(function)):
            fails(EXPECTED[fault], lambda: function(pa.array([666])))
        assert function(VALUES).equals(VALUES), "the next call works"
        # Only the user's own exception leaves a session as it was.
        assert len(real.handles) == (1 if fault == "fork" else 2)


@each_fault
def test_in_the_middle_of_a_stream(real: host.Recording, fault: str) -> None:
    batches = [pa.RecordBatch.from_pydict({"a": [number] * 10}) for number in range(8)]
    given = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    more = options(real, fault, ahead=1)
    found = map_batches(given, streaming(fault), returns={"a": "int64"}, **more)
    taken = []

    def read() -> None:
        while True:
            taken.append(found.read_next_batch())

    # What was answered before is there.
    with FromOutside(real, fault, lambda: len(taken) >= 3):
        fails(EXPECTED[fault], read)
    assert [batch.column(0)[0].as_py() for batch in taken] == [0, 1, 2]
    given = pa.RecordBatchReader.from_batches(batches[0].schema, batches[:3])
    again = map_batches(given, streaming(fault), returns={"a": "int64"}, **options(real, fault))
    assert again.read_all().num_rows == 30


@each_fault
def test_while_idle(real: host.Recording, fault: str) -> None:
    with safe(calling(fault), returns="int64", **options(real, fault)) as function:
        with FromOutside(real, fault, printed(function)):
            assert function(pa.array([667])).to_pylist() == [667]
            assert host.eventually(printed(function))
        session = function._pool._sessions[0]
        if fault in ("kill", "leak", "segfault"):
            assert session.ended(host.PATIENCE) is not None
        elif fault == "lie":
            assert host.eventually(lambda: not session._channel.idle)
        expected: Optional[tuple[type[UdfError], str]] = IDLE.get(fault)
        if expected is not None:
            fails(expected, lambda: function(VALUES))
        assert function(VALUES).equals(VALUES)
        assert len(real.handles) == (1 if fault in ("slow", "flood", "fork") else 2)


@each_fault
def test_at_close(real: host.Recording, fault: str) -> None:
    function = safe(calling(fault), returns="int64", **options(real, fault))
    with FromOutside(real, fault, printed(function)):
        function(pa.array([667]))
        assert host.eventually(printed(function))
    session = function._pool._sessions[0]
    function.close()
    end = session.ended(LATE)
    assert end is not None, "it ends whatever it does"
    assert not host.gone(lambda: host.left_of(session.sandbox))
