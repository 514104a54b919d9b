"""Environments whose imports take their time, or fail: nobody else's session waits for them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pyarrow as pa
import pytest
from udf import host
from udf.faults.gates import Gate, Raw

from lakekeep.udf import (
    BrokerUnavailable,
    ChildBroker,
    EnvironmentFailed,
    EnvironmentSlow,
    Safe,
    safe,
)

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"
pytestmark = pytest.mark.skipif(not REAL, reason="needs real sandboxes: LAKEKEEP_UDF_BROKER=1")
VALUES = pa.array([1, 2])
# Seconds for imports that a test lets go on, on a busy machine; and for those that it does not.
AMPLE, SHORT = 120.0, 5.0
# What may wait for one environment (udf/broker/src/kind.rs).
QUEUE = 64


@pytest.fixture
def gates() -> Iterator[Callable[..., Gate]]:
    made: list[Gate] = []

    def make(name: str, last: str = "") -> Gate:
        made.append(Gate(name, last))
        return made[-1]

    yield make
    for gate in made:
        gate.remove()


@pytest.fixture
def own() -> Iterator[ChildBroker]:
    """A broker that waits long enough for whatever a test holds up."""
    child = ChildBroker(zygote_timeout=AMPLE)
    yield child
    child.close()


@pytest.fixture
def hasty() -> Iterator[ChildBroker]:
    child = ChildBroker(zygote_timeout=SHORT)
    yield child
    child.close()


@pytest.fixture
def raw() -> Iterator[Raw]:
    started = Raw("--zygote-timeout", f"{AMPLE:.0f}s")
    yield started
    started.close()


def pid(broker: ChildBroker) -> int:
    process = host.eventually(lambda: broker._process)
    assert process is not None, "it has not been started"
    return process.pid


def function(broker: ChildBroker, gate: Optional[Gate] = None, **options: Any) -> Safe:
    if gate is not None:
        options["modules"] = gate.modules
    options.setdefault("open_timeout", AMPLE)
    return safe(lambda a: a, returns="int64", broker=broker, **options)


class Call(threading.Thread):
    """A call of a function in a session that is opened for it, in a thread of its own."""

    def __init__(self, called: Safe) -> None:
        super().__init__()
        self.called = called
        self.answer: Any = None
        self.error: Optional[BaseException] = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self.called(VALUES)
        except BaseException as error:
            self.error = error

    def result(self) -> Any:
        self.join(AMPLE)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.answer


def left(places: set[tuple[str, str]]) -> list[str]:
    """What launchers and their sandboxes still have on the host."""
    roots = [host.GROUPS, *host.GROUPS.iterdir()]
    folders = [host.STATE / "launchers", *(root / "lakekeep" for root in roots)]
    launchers = {folder / name for folder in folders for name, _ in places}
    return [
        *(f"launcher {path}" for path in launchers if path.exists()),
        *(one for _, sandbox in places for one in host.left_of(sandbox)),
    ]


def begun(gate: Gate, broker: int) -> set[int]:
    """Its zygote, which has been started and stands before the gate."""
    found = host.eventually(lambda: gate.zygotes(broker), AMPLE)
    assert found, "its zygote has not been started"
    return found


def test_others_are_served_while_an_environment_is_imported(
    own: ChildBroker, gates: Callable[..., Gate]
) -> None:
    gate = gates("slow")
    first = function(own)
    assert first(VALUES).equals(VALUES)
    session = first._pool._sessions[0]
    with function(own, gate) as slow:
        call = Call(slow)
        try:
            begun(gate, pid(own))
            first.close()
            assert session.ended(host.PATIENCE) is not None, "another user's session waits"
            with function(own) as second:
                assert second(VALUES).equals(VALUES), "and a new one is not opened"
            assert call.is_alive(), "it is still being imported"
        finally:
            gate.open()
        assert call.result().equals(VALUES), "and is served in the end"


def test_two_slow_environments_at_once(own: ChildBroker, gates: Callable[..., Gate]) -> None:
    one, other = gates("one"), gates("other")
    with function(own, one) as first, function(own, other) as second:
        calls = Call(first), Call(second)
        try:
            begun(one, pid(own))
            begun(other, pid(own))
            other.open()
            assert calls[1].result().equals(VALUES), "that which came last is there first"
            assert calls[0].is_alive()
        finally:
            one.open()
            other.open()
        assert calls[0].result().equals(VALUES)


def test_all_who_wait_are_served(own: ChildBroker, gates: Callable[..., Gate]) -> None:
    gate = gates("shared")
    functions = [function(own, gate) for _ in range(4)]
    calls = [Call(one) for one in functions]
    try:
        zygotes = begun(gate, pid(own))
    finally:
        gate.open()
    assert all(call.result().equals(VALUES) for call in calls)
    assert gate.zygotes(pid(own)) >= zygotes, "one zygote for all of them"
    for one in functions:
        one.close()


def test_who_goes_away_while_it_waits(raw: Raw, gates: Callable[..., Gate]) -> None:
    gate = gates("left")
    raw.open(1, gate.modules)
    begun(gate, raw.process.pid)
    waits = raw.descriptors()
    raw.open(2, gate.modules)
    raw.open(3, gate.modules)
    assert host.eventually(lambda: raw.descriptors() == waits + 6)
    raw.kill(2)
    kind, told = raw.hear() or ("nothing", {})
    assert (kind, told["number"]) == ("failed", 2)
    assert "before it had a sandbox" in told["message"]
    # Another's engine is gone, or has lost its patience.
    raw.ends[3].close()
    kind, told = raw.hear() or ("nothing", {})
    assert (kind, told["number"]) == ("failed", 3)
    assert "was closed" in told["message"]
    assert host.eventually(lambda: raw.descriptors() == waits), "their streams are kept"
    # Who stayed is served, and the numbers of the others are free.
    gate.open()
    kind, told = raw.hear(AMPLE) or ("nothing", {})
    assert (kind, told["number"]) == ("opened", 1)
    raw.open(2, gate.modules)
    kind, told = raw.hear(AMPLE) or ("nothing", {})
    assert (kind, told["number"]) == ("opened", 2)


def test_a_client_that_loses_its_patience(own: ChildBroker, gates: Callable[..., Gate]) -> None:
    gate = gates("patience")
    impatient = function(own, gate, open_timeout=SHORT)
    with impatient, pytest.raises(BrokerUnavailable, match=f"within {SHORT:g} s") as raised:
        impatient(VALUES)
    assert raised.value.remedy == "raise open_timeout="
    # What it waited for goes on, and is whoever's that comes next.
    zygotes = gate.zygotes(pid(own))
    assert zygotes
    gate.open()
    with function(own, gate) as patient:
        assert patient(VALUES).equals(VALUES)
    assert gate.zygotes(pid(own)) >= zygotes


def test_imports_that_never_end(hasty: ChildBroker, gates: Callable[..., Gate]) -> None:
    gate = gates("never")
    # So little that it is imported in time on any machine; the worker imports the rest.
    alone: dict[str, Any] = {"modules": (gate.module,)}
    with function(hasty, modules=()) as other:
        assert other(VALUES).equals(VALUES)
        start = time.monotonic()
        with function(hasty, **alone) as never:
            call = Call(never)
            zygotes, places = begun(gate, pid(hasty)), gate.places(pid(hasty))
            assert places
            with pytest.raises(EnvironmentSlow) as raised:
                call.result()
        assert time.monotonic() - start >= SHORT
        words = str(raised.value)
        for named in (gate.module, sys.executable, f"within {SHORT:g} s"):
            assert named in words
        assert "zygote_timeout=" in raised.value.remedy
        assert raised.value.retryable
        # Of its launcher, its zygote and its sandboxes; those of others live.
        assert not host.gone(lambda: host.living(zygotes)), "its zygote is left"
        assert not host.gone(lambda: left(places))
        assert other(VALUES).equals(VALUES)
        # The next one begins anew.
        gate.open()
        with function(hasty, **alone) as again:
            assert again(VALUES).equals(VALUES)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import there_is_no_such_module\n", "there_is_no_such_module"),
        ("import sys\nsys.exit('it will not do')\n", "it will not do"),
        ("import ctypes\nctypes.string_at(0)\n", "Fatal Python error: Segmentation fault"),
    ],
)
def test_imports_that_fail(
    own: ChildBroker, gates: Callable[..., Gate], last: str, words: str
) -> None:
    gate = gates("fails", last)
    with function(own, gate) as broken:
        call = Call(broken)
        begun(gate, pid(own))
        gate.open()
        with pytest.raises(EnvironmentFailed, match="cannot import") as raised:
            call.result()
        told = str(raised.value)
        assert words in told, "the interpreter's own reason"
        assert gate.module in told
        assert raised.value.remedy
        assert not raised.value.retryable
        assert not host.gone(lambda: gate.zygotes(pid(own)))
        gate.mend()
        assert broken(VALUES).equals(VALUES), "once it is mended, the next one works"


def test_a_zygote_that_ends_without_a_word(own: ChildBroker, gates: Callable[..., Gate]) -> None:
    """As where the host ran out of memory: the worker makes the imports that it needs itself."""
    gate = gates("silent", "import os\nos._exit(9)\n")
    gate.open()
    with function(own, gate) as called:
        assert called(VALUES).equals(VALUES)
        assert not host.gone(lambda: gate.zygotes(pid(own)))


def test_a_launcher_that_is_killed_meanwhile(own: ChildBroker, gates: Callable[..., Gate]) -> None:
    gate = gates("launcher")
    with function(own, gate) as called:
        call = Call(called)
        first = begun(gate, pid(own))
        killed = [
            one
            for one in host.children(pid(own))
            if first <= host.descendants(one) and "lakekeep-launcher" in host.command_line(one)[0]
        ]
        assert len(killed) == 1
        family = host.descendants(killed[0])
        os.kill(killed[0], signal.SIGKILL)
        assert host.eventually(lambda: gate.zygotes(pid(own)) - first, AMPLE), "another is begun"
        assert not host.gone(lambda: host.living(family))
        gate.open()
        assert call.result().equals(VALUES)


def test_the_queue_of_an_environment_is_bounded(raw: Raw, gates: Callable[..., Gate]) -> None:
    gate = gates("crowd")
    for number in range(1, QUEUE + 1):
        raw.open(number, gate.modules)
    begun(gate, raw.process.pid)
    assert raw.hear(0.0) is None, "all of them wait"
    raw.open(QUEUE + 1, gate.modules)
    kind, told = raw.hear() or ("nothing", {})
    assert (kind, told["number"], told["code"]) == ("failed", QUEUE + 1, "QUEUE_FULL")
    assert told["retry_after_ms"] > 0
    # Another environment has a queue of its own.
    raw.open(QUEUE + 2)
    kind, told = raw.hear(AMPLE) or ("nothing", {})
    assert (kind, told["number"]) == ("opened", QUEUE + 2)
    # Whoever leaves makes room.
    raw.kill(1)
    assert raw.hear() is not None
    raw.open(QUEUE + 1, gate.modules)
    for number in range(2, QUEUE + 1):
        raw.kill(number)
    failed = [raw.hear() for _ in range(2, QUEUE + 1)]
    assert all(one is not None and one[0] == "failed" for one in failed)
    gate.open()
    kind, told = raw.hear(AMPLE) or ("nothing", {})
    assert (kind, told["number"]) == ("opened", QUEUE + 1)


def test_an_engine_that_ends_while_its_sessions_wait(gates: Callable[..., Gate]) -> None:
    gate = gates("orphan")
    raw = Raw("--zygote-timeout", f"{AMPLE:.0f}s")
    raw.open(1, gate.modules)
    begun(gate, raw.process.pid)
    family, places = host.descendants(raw.process.pid), gate.places(raw.process.pid)
    assert places
    raw.close()
    assert raw.process.returncode == 0
    assert not host.gone(lambda: host.living(family))
    assert not host.gone(lambda: left(places))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e9])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="zygote_timeout="):
        ChildBroker(zygote_timeout=seconds)
