"""What is counted of sessions."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from udf.bare import Bare

from lakekeep.udf import UserFunctionError, map_batches, safe

VALUES = pa.array([1, 2, 3])


def test_calls_rows_and_bytes_of_a_function(bare: Bare) -> None:
    def double(a: Any) -> Any:
        import pyarrow.compute as pc

        if a[0].as_py() < 0:
            raise ValueError
        return pc.multiply(a, 2)

    with safe(double, returns="int64", broker=bare) as doubled:
        assert doubled.stats.calls == 0
        doubled(VALUES)
        doubled(VALUES)
        with pytest.raises(UserFunctionError):
            doubled(pa.array([-1]))
        stats = doubled.stats
    assert (stats.calls, stats.failed, stats.rows_in, stats.rows_out) == (3, 1, 7, 6)
    # Three int64 of each batch, and what Arrow says of it.
    assert stats.bytes_in > 3 * 8 * 2
    assert stats.bytes_out > 3 * 8 * 2
    assert 0 < stats.waited < 60
    assert 0 < stats.spawn < 60
    # Its broker was told before the end, and the sums stay.
    (process,) = bare.opened
    assert process.stats is not None
    assert process.stats.counts()["rows_in"] == 7
    assert doubled.stats == stats


def test_a_stream_counts_too(bare: Bare) -> None:
    def halves(batches: Any) -> Any:
        for batch in batches:
            yield batch.slice(0, batch.num_rows // 2)

    batches = [pa.RecordBatch.from_arrays([pa.array(range(100))], names=["a"]) for _ in range(5)]
    schema = batches[0].schema
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    answer = map_batches(reader, halves, returns=schema, broker=bare).read_all()
    assert answer.num_rows == 250
    (process,) = bare.opened
    assert process.ended(20) is not None
    stats = process.stats
    assert stats is not None
    assert (stats.calls, stats.rows_in, stats.rows_out) == (5, 500, 250)
    assert stats.bytes_in > 5 * 100 * 8
    assert stats.bytes_out > 5 * 50 * 8
