"""Many sessions at once, and more data than memory: the benchmark's scenarios, made small."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lakekeep.udf import ChildBroker

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"
pytestmark = pytest.mark.skipif(not REAL, reason="needs real sandboxes: LAKEKEEP_UDF_BROKER=1")
BENCH = Path(__file__).resolve().parents[2] / "benches" / "udf_scale.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("udf_scale", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["udf_scale"] = module
    spec.loader.exec_module(module)
    return module


def test_twenty_sessions_of_ten_users(bench: Any, child_broker: ChildBroker) -> None:
    found = bench.sessions(child_broker, 20, 10, openers=4, callers=10, calls=10)
    assert found.calls == 200
    # Each has what its worker needs, and the engine five descriptors at most for each.
    assert 0 < found.memory_most < 256 << 20
    assert found.engine_descriptors < 300
    assert found.engine_memory < 64 << 20


def test_a_stream_needs_no_more_memory_than_its_batches(
    bench: Any, child_broker: ChildBroker
) -> None:
    found = bench.stream(child_broker, 600_000_000)
    assert found.sent >= 600_000_000
    assert len(found.samples) > 3
    # A hundredth of what went through would be kept otherwise, and more and more of it.
    assert found.engine_growth < 48 << 20
    assert found.sandbox_growth < 48 << 20


def test_an_answer_of_another_user_is_found(bench: Any) -> None:
    """The benchmark's own check: it must not call any answer right."""
    import pyarrow as pa

    values = pa.array([1, 2])
    answers = bench.of_user(3)(values)
    batch = pa.RecordBatch.from_arrays([answers], ["answer"])
    assert bench.right(batch, values, 3, 1)
    assert not bench.right(batch, values, 4, 1)
    assert not bench.right(batch, values, 3, 2)
