"""Who waits for a packet looks for it a while, and only while that pays."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf.bare import Bare

from lakekeep.udf import BadFunction, Broker, Function, Session, Settings, TimedOut, _check, _wire
from lakekeep.udf._aside import step_aside

ONE = pa.RecordBatch.from_pydict({"a": [1]})
DONE = _wire.HEADER.pack(_wire.DONE, _wire.INLINE, 0, 1, 0, 0)


class Counted(socket.socket):
    """Remembers of each receive whether it waited."""

    def __init__(self, number: int) -> None:
        super().__init__(fileno=number)
        self.waited: list[bool] = []

    def recvmsg_into(self, buffers: Any, size: int = 0, flags: int = 0, /) -> Any:
        self.waited.append(not flags & socket.MSG_DONTWAIT)
        return super().recvmsg_into(buffers, size, flags)

    def taken(self) -> list[bool]:
        waited, self.waited = self.waited, []
        return waited


@pytest.fixture
def ends() -> Iterator[tuple[Counted, socket.socket]]:
    ours, theirs = _wire.socket_pair()
    with Counted(ours.detach()) as counted, theirs:
        yield counted, theirs


def in_vain(channel: _wire.Channel) -> None:
    channel.deadline = time.monotonic() + 0.1
    with pytest.raises(_wire.Expired):
        channel.receive()
    channel.deadline = None


def test_what_is_there_is_found_without_waiting(ends: tuple[Counted, socket.socket]) -> None:
    ours, theirs = ends
    channel = _wire.Channel(ours, 1 << 20, 4, look=0.001)
    theirs.send(DONE)
    assert channel.receive() == (_wire.DONE, 1, 0, b"")
    assert ours.taken() == [False]


def test_who_does_not_look_waits(ends: tuple[Counted, socket.socket]) -> None:
    ours, theirs = ends
    channel = _wire.Channel(ours, 1 << 20, 4)
    theirs.send(DONE)
    channel.receive()
    assert ours.taken() == [True]


def parts(theirs: socket.socket) -> None:
    """Sends a large frame."""
    theirs.send(_wire.HEADER.pack(_wire.RESULT, _wire.PARTS, 0, 1, 2 * _wire.PART_LIMIT, 1))
    for _ in range(2):
        head = _wire.HEADER.pack(_wire.PART, _wire.INLINE, 0, 1, _wire.PART_LIMIT, 0)
        theirs.sendmsg([head, bytes(_wire.PART_LIMIT)])


def test_parts_are_looked_for_and_tell_nothing_of_the_next_answer(
    ends: tuple[Counted, socket.socket],
) -> None:
    ours, theirs = ends
    channel = _wire.Channel(ours, 1 << 20, 4, look=1.0)
    channel._price = 8
    parts(theirs)
    assert channel.receive()[3].size == 2 * _wire.PART_LIMIT
    assert ours.taken() == [False] * 3
    assert channel._price == 4
    channel._rest = 3
    parts(theirs)
    channel.receive()
    assert ours.taken() == [True] * 3
    assert channel._rest == 2


def test_each_look_in_vain_makes_the_next_dearer(ends: tuple[Counted, socket.socket]) -> None:
    ours, theirs = ends
    channel = _wire.Channel(ours, 1 << 20, 4, look=0.03)
    for price in (1, 3, 7):
        in_vain(channel)
        assert channel._rest == price
        ours.taken()
        # So many packets that come soon are waited for, and the next is looked for again.
        for _ in range(price):
            theirs.send(DONE)
            channel.receive()
        assert ours.taken() == [True] * price


def test_looking_that_pays_becomes_cheaper(ends: tuple[Counted, socket.socket]) -> None:
    ours, theirs = ends
    channel = _wire.Channel(ours, 1 << 20, 4, look=1.0)
    channel._price = 7
    for _ in range(3):
        theirs.send(DONE)
        channel.receive()
    assert channel._price == 0


def test_nobody_looks_where_it_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert Settings.of({"look": 0.0002}).looking == 0.0002
    assert Settings.of({"look": None}).looking == 0
    assert Settings.of({"cpu": 0.5}).looking == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert Settings.of({"look": 0.0002}).looking == 0


def processor() -> int:
    """Where this thread is, as proc_pid_stat(5) has it."""
    return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: nowhere to go")
def test_who_is_on_the_workers_processor_leaves_it() -> None:
    before, left = os.sched_getaffinity(0), False
    # The scheduler may bring it back at any time: it need not stay away, it must have left.
    for _ in range(100):
        here = processor()
        step_aside(frozenset((here,)))
        assert os.sched_getaffinity(0) == before, "it may use what it could"
        left = left or processor() != here
    assert left


def test_who_has_nowhere_to_go_stays() -> None:
    before = os.sched_getaffinity(0)
    step_aside(frozenset(before))
    assert os.sched_getaffinity(0) == before


def test_a_look_begins_aside_and_again_after_one_in_vain(
    ends: tuple[Counted, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ends
    stepped: list[frozenset[int]] = []
    monkeypatch.setattr(_wire, "step_aside", stepped.append)
    channel = _wire.Channel(ours, 1 << 20, 4, look=0.03)
    channel.avoided = frozenset((1,))
    for _ in range(2):
        theirs.send(DONE)
        channel.receive()
    assert stepped == [{1}]
    in_vain(channel)
    # One is waited for; the next is looked for.
    for _ in range(2):
        theirs.send(DONE)
        channel.receive()
    assert stepped == [{1}, {1}]


def test_a_session_knows_its_workers_processors(bare: Bare, broker: Broker) -> None:
    with opened(bare, lambda a: a) as session:
        assert session._channel.avoided == os.sched_getaffinity(bare.opened[-1].pid)


@pytest.mark.parametrize(
    ("told", "numbers"),
    [([0, 3], {0, 3}), ([-1, True, "1", 1.0, 1 << 70, 2], {2}), (7, set()), (None, set())],
)
def test_what_a_worker_says_of_processors_is_numbers(told: Any, numbers: set[int]) -> None:
    assert _check.numbers(told) == numbers


@pytest.mark.parametrize("look", [-0.1, 1.5])
def test_a_look_has_a_bound(look: float) -> None:
    with pytest.raises(BadFunction, match="at most 1"):
        Settings.of({"look": look})


def opened(broker: Broker, function: Any, **options: Any) -> Session:
    declared = Function.of(function, "scalar", "int64", ())
    return Session(declared, ONE.schema, Settings(broker=broker, **options))


@pytest.mark.parametrize("look", [None, 100e-6, 0.05])
def test_calls_are_answered_however_long_one_looks(broker: Broker, look: Any) -> None:
    with opened(broker, lambda a: a, look=look) as session:
        for rows in (1, 5, 300_000, 2):
            batch = pa.RecordBatch.from_pydict({"a": pa.array(range(rows))})
            assert session.call(batch).column(0).equals(batch.column(0))


def test_looking_ends_at_the_deadline(broker: Broker) -> None:
    def forever(a: Any) -> Any:
        while True:
            pass

    with opened(broker, forever, look=1.0) as session, pytest.raises(TimedOut):
        session.call(ONE, timeout=0.1)


def test_an_idle_worker_uses_no_processor(bare: Bare) -> None:
    with opened(bare, lambda a: a, look=0.01) as session:
        for _ in range(50):
            session.call(ONE)
        # clock_getcpuclockid(3)
        clock = (~bare.opened[-1].pid << 3) | 2
        before = time.clock_gettime(clock)
        bare.opened[-1].over.wait(0.5)
        assert time.clock_gettime(clock) - before < 0.1
        assert session.alive
