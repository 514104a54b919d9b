"""Brokers for the tests of user functions, and a check that no descriptor is left."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="needs the extra `udf`")
pytest.importorskip("cloudpickle", reason="needs the extra `udf`")

from udf.bare import Bare, Zygote

from lakekeep.udf import Broker, ChildBroker, safe

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def child_broker() -> Iterator[ChildBroker]:
    import pyarrow as pa

    child = ChildBroker()
    # Its own socket is no test's.
    with safe(lambda a: a, returns="int64", broker=child) as function:
        function(pa.array([1]))
    yield child
    child.close()


@pytest.fixture
def bare(zygote: Zygote) -> Iterator[Bare]:
    """Workers without a sandbox, of which a test knows the pids."""
    broker = Bare(zygote)
    yield broker
    broker.close()


@pytest.fixture(params=["bare", *(["broker"] if REAL else [])])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Whatever makes workers: what holds with it holds in a sandbox too."""
    name = "bare" if request.param == "bare" else "child_broker"
    found: Broker = request.getfixturevalue(name)
    return found


def descriptors() -> set[tuple[str, str]]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add((entry.name, str(entry.readlink())))
        except FileNotFoundError:
            continue
    return found


@pytest.fixture
def no_leaks(broker: Any) -> Iterator[None]:
    """Fails where a test leaves descriptors of sockets, pipes or memfds behind."""
    gc.collect()
    before = descriptors()
    yield
    if isinstance(broker, Bare):
        broker.close()
    gc.collect()
    kinds = ("socket:", "pipe:", "/memfd:")
    # The streams of a sandbox that has just been ended are read to their end first.
    until = time.monotonic() + 20
    while left := {one for one in descriptors() - before if one[1].startswith(kinds)}:
        assert time.monotonic() < until, left
        time.sleep(0.01)
