"""What a worker makes of an array is what Arrow makes of its batch, whatever came before."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from udf.bare import SOURCE

from lakekeep.udf import BadFunction, Broker, safe

# One after the other, to one encoder: what is as long as the last one is sent the short way.
LENGTHS = (1, 1, 0, 1, 8, 8, 9, 8, 5000, 5000, 3)


@pytest.fixture(scope="module")
def encoder() -> Any:
    names: dict[str, Any] = {"__name__": "worker"}
    exec(compile(SOURCE, "<string>", "exec"), names)  # noqa: S102
    return names["program"].batches.Encoder


def numbers(rows: int, kind: Any) -> Any:
    narrow = pa.int32() if kind.bit_width <= 32 else pa.int64()
    return pa.array([number % 100 for number in range(rows)], narrow).cast(kind)


def forms(rows: int, kind: Any) -> list[Any]:
    """Arrays as long: plain, a slice, with a null, and with room for nulls."""
    plain = numbers(rows, kind)
    null = pa.concat_arrays([plain.slice(1), pa.nulls(min(rows, 1), kind)])
    long = pa.concat_arrays([pa.nulls(3, kind), numbers(rows + 4, kind)])
    return [plain, numbers(rows + 5, kind).slice(3, rows), null, long.slice(3, rows), plain]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()),
        *(pa.bool_(), pa.string(), pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns")),
        *(pa.timestamp("us", "UTC"), pa.duration("ms"), pa.decimal128(38, 2)),
    ],
    ids=str,
)
def test_an_array_is_sent_as_its_batch_is(encoder: Any, kind: Any) -> None:
    if pa.types.is_string(kind):
        made = {rows: [pa.array([str(one) for one in range(rows)])] * 2 for rows in LENGTHS}
    elif pa.types.is_boolean(kind):
        made = {rows: [pa.array([one % 3 == 0 for one in range(rows)])] * 2 for rows in LENGTHS}
    else:
        made = {rows: forms(rows, kind) for rows in LENGTHS}
    schema = pa.schema([("answer", kind)])
    sender = encoder(schema)
    for rows in LENGTHS:
        for array in made[rows]:
            message = b"".join(bytes(piece) for piece in sender.column(array))
            batch = pa.RecordBatch.from_arrays([array], schema=schema)
            assert message == bytes(batch.serialize())


def both(a: Any, b: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.add(pc.cast(a, pa.float64()), pc.cast(b, pa.float64()))


def test_calls_may_bring_other_columns_than_the_last_one(broker: Broker) -> None:
    whole, half = pa.array([1, 2]), pa.array([0.5, 0.25])
    chunks = pa.chunked_array([[1], [2]])
    codes = pa.array([1.0, 2.0]).dictionary_encode()
    with safe(both, returns="float64", broker=broker) as function:
        for _ in range(2):
            assert function(whole, whole).to_pylist() == [2, 4]
        assert function(whole, half).to_pylist() == [1.5, 2.25]
        assert isinstance(function(chunks, half), pa.ChunkedArray)
        assert function(codes, half).to_pylist() == [1.5, 2.25]
        assert function(half, 1).to_pylist() == [1.5, 1.25]
        for _ in range(2):
            assert function(whole, whole).to_pylist() == [2, 4]
        with pytest.raises(BadFunction, match=r"\[2, 1\] rows"):
            function(whole, whole.slice(1))
        with pytest.raises(BadFunction, match="no argument is a column"):
            function()


def test_columns_are_cast_however_often(broker: Broker) -> None:
    whole, half = pa.array([1, 2]), pa.array([1.0, 2.0])
    with safe(both, returns="float64", args=["int64", "int64"], broker=broker) as function:
        for columns in ((whole, whole), (whole, whole), (half, whole), (whole, half)):
            assert function(*columns).to_pylist() == [2, 4]
        with pytest.raises(BadFunction, match="3 columns for a function of 2"):
            function(whole, whole, whole)
