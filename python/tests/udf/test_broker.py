"""The client of the broker, against a process that stands where the broker does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakekeep.udf import (
    BrokerUnavailable,
    ChildBroker,
    OutOfMemory,
    Safe,
    SessionClosed,
    WorkerCrashed,
    safe,
)

VALUES = pa.array([1, 2])


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setenv("FAKE_BROKER_LOG", str(path))
    return path


@pytest.fixture
def child(tmp_path: Path, log: Path) -> Iterator[ChildBroker]:
    binary = tmp_path / "lakekeep"
    script = Path(__file__).with_name("fake_broker.py")
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    binary.chmod(0o755)
    child = ChildBroker(str(binary))
    yield child
    child.close()


def function(child: ChildBroker, **options: Any) -> Safe:
    def same(a: Any) -> Any:
        return a

    return safe(same, returns="int64", broker=child, **options)


def requests(log: Path) -> list[Any]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_what_is_asked_and_answered(child: ChildBroker, log: Path) -> None:
    options: dict[str, Any] = {
        "memory": 1 << 30,
        "cpu": 0.5,
        "session_timeout": 60,
        "user": "ada",
        "code_owner": "bob",
        "query": "q-1",
    }
    with function(child, **options) as same:
        assert same(VALUES).equals(VALUES)
        session = same._pool._sessions[0]
        assert session.sandbox == "fake-1"
    end = session.ended(10)
    assert end is not None
    # Its socket is closed before it is killed: either can be first.
    assert end.kind in ("exit", "signal")
    assert (end.memory_peak, end.cpu) == (999, 1.5)
    opened, killed = requests(log)
    assert opened == {
        "open": {
            "number": 1,
            "interpreter": sys.executable,
            "modules": ["pyarrow"],
            "kind": "scalar",
            "limits": {"memory": 1 << 30, "cpu": 0.5, "wall_time_ms": 60_000},
            "user": "ada",
            "profile": None,
            "code_owner": "bob",
            "query": "q-1",
        }
    }
    assert killed == {"kill": {"number": 1}}


def test_a_refusal_has_the_brokers_words(child: ChildBroker, log: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="the queue is full; wait"):
        function(child, profile="refuse")(VALUES)


def test_a_verdict_is_believed_before_the_workers_word(child: ChildBroker, log: Path) -> None:
    def ends(a: Any) -> Any:
        import os

        os.kill(os.getpid(), 9)

    with safe(ends, returns="int64", broker=child, profile="oom") as dies:
        with pytest.raises(OutOfMemory) as raised:
            dies(VALUES)
        assert (raised.value.limit, raised.value.peak, raised.value.rows) == (1000, 999, 2)
    with safe(ends, returns="int64", broker=child) as dies, pytest.raises(WorkerCrashed) as crash:
        dies(VALUES)
    assert crash.value.signal == "SIGKILL"


def test_a_sandbox_that_is_lost_has_ended(child: ChildBroker, log: Path) -> None:
    def ends(a: Any) -> Any:
        import os

        os._exit(0)

    with safe(ends, returns="int64", broker=child, profile="lost") as dies:
        with pytest.raises(BrokerUnavailable, match="lost: its launcher is gone; look"):
            dies(VALUES)
        with pytest.raises(BrokerUnavailable, match="lost"):
            dies(VALUES)


def test_a_silent_broker_is_not_waited_for_longer_than_asked(child: ChildBroker, log: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="within 2 s"):
        function(child, profile="silent", open_timeout=2)(VALUES)


def test_a_broker_that_ends_is_replaced(child: ChildBroker, log: Path) -> None:
    with function(child) as same:
        same(VALUES)
        session = same._pool._sessions[0]
        with pytest.raises(BrokerUnavailable, match="ended"):
            function(child, profile="die")(VALUES)
        end = session.ended(10)
        assert end is not None
        assert end.kind == "broker"
        with function(child) as other:
            assert other(VALUES).equals(VALUES)
    assert len([one for one in requests(log) if "open" in one]) == 3


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_starts_a_broker_of_its_own(child: ChildBroker, log: Path) -> None:
    with function(child) as same:
        same(VALUES)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                answer = same(VALUES)
                # Numbers begin anew: it is another broker.
                code = (
                    0
                    if answer.equals(VALUES) and same._pool._sessions[0].sandbox == "fake-1"
                    else 2
                )
                child.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert same(VALUES).equals(VALUES)


def test_it_ends_with_its_last_descriptor(child: ChildBroker, log: Path) -> None:
    same = function(child)
    same(VALUES)
    process, session = child._process, same._pool._sessions[0]
    assert process is not None
    child.close()
    assert process.returncode == 0
    with pytest.raises((WorkerCrashed, BrokerUnavailable, SessionClosed)):
        session.call(pa.RecordBatch.from_arrays([VALUES], schema=session.given))
