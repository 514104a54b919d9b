"""Brokers for attacks, and a look at the host, the engine and a neighbour after each."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf import host
from udf.attacks.arena import SECRETS, Arena, engine_state
from udf.bare import Bare, Zygote

from lakekeep.udf import ChildBroker, Safe, safe

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"
# More than an attack may cost the engine; those that want memory want more.
MEMORY_SLACK = 200 << 20


@pytest.fixture(scope="session")
def armed() -> Iterator[ChildBroker]:
    """The broker of an engine whose environment has secrets; it inherits them."""
    if not REAL:
        pytest.skip("attacks need real sandboxes: LAKEKEEP_UDF_BROKER=1 and LAKEKEEP_BIN")
    os.environ.update(SECRETS)
    child = ChildBroker()
    with safe(lambda a: a, returns="int64", broker=child) as function:
        function(pa.array([1]))
    yield child
    child.close()
    for name in SECRETS:
        del os.environ[name]


@pytest.fixture(scope="session")
def neighbour(armed: ChildBroker) -> Iterator[Safe]:
    """Another user's session, which lives through all attacks and must not feel them."""
    seen: list[int] = []

    def count(a: Any) -> Any:
        seen.append(len(seen))
        return pa.array([len(seen)] * len(a))

    with safe(count, returns="int64", broker=armed, user="neighbour", max_sessions=1) as function:
        function(pa.array([0]))
        yield function


@pytest.fixture
def real(armed: ChildBroker) -> host.Recording:
    return host.Recording(armed)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user of the host may write to; a sandbox's too, if it saw it."""
    path = Path(tempfile.mkdtemp(prefix="lkt-attack-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def arena(zygote: Zygote, real: host.Recording) -> Iterator[Arena]:
    bare = Bare(zygote)
    arena = Arena(bare, real)
    yield arena
    arena.close()


@pytest.fixture(autouse=True)
def unharmed(neighbour: Safe, arena: Arena, place: Path) -> Iterator[None]:
    """Fails a test after which the host, the engine or another session is not as before."""
    canary = bytearray(os.urandom(1 << 20))
    digest = hashlib.sha256(canary).digest()
    (place / "canary").write_bytes(canary)
    calls = neighbour(pa.array([0])).to_pylist()[0]
    process = neighbour._pool._sessions[0].sandbox
    gc.collect()
    before, open_before, memory = engine_state(), host.open_files(), host.resident()
    yield
    arena.close()
    gc.collect()
    assert hashlib.sha256(canary).digest() == digest, "the engine's memory was written to"
    assert hashlib.sha256((place / "canary").read_bytes()).digest() == digest
    assert neighbour(pa.array([0])).to_pylist() == [calls + 1], "another session was touched"
    assert neighbour._pool._sessions[0].sandbox == process
    for handle in arena.real.handles:
        assert handle.ended(host.PATIENCE) is not None, "a sandbox lives on"
    assert host.gone(arena.real.left) == []
    host.gone(lambda: host.children(os.getpid()) - before["children"])
    after = engine_state()
    assert {k: v for k, v in before.items() if after[k] != v} == {}
    kinds = ("socket:", "pipe:", "/memfd:")
    left = host.gone(
        lambda: {one for one in host.open_files() - open_before if one[1].startswith(kinds)}
    )
    assert not left
    assert host.resident() < memory + MEMORY_SLACK
