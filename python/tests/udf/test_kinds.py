"""Every kind of function, over every kind of data and both ways to send it."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lakekeep.udf import (
    BadFunction,
    Broker,
    ResultRefused,
    Safe,
    UserFunctionError,
    map_batches,
    safe,
    udf,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


def add(a: Any, b: Any) -> Any:
    import pyarrow.compute as pc

    return pc.add(a, b)


def same(a: Any) -> Any:
    return a


def ints(count: int, start: int = 0) -> Any:
    return pc.add(pa.nulls(count, pa.int64()).fill_null(0), pa.scalar(start))


def counted(count: int) -> Any:
    import numpy

    return pa.array(numpy.arange(count))


@pytest.mark.parametrize("rows", [0, 1, 2, 4095, 4096, 8191, 8192, 65_536, 200_000])
@pytest.mark.parametrize("memfd_from", [None, 1])
def test_scalar(broker: Broker, rows: int, memfd_from: Any) -> None:
    a = counted(rows)
    with safe(add, returns="int64", broker=broker, memfd_from=memfd_from) as function:
        assert function(a, a).equals(pc.add(a, a))


@pytest.mark.parametrize("rows", [3, 20_000])
@pytest.mark.parametrize(
    "values",
    [
        [1, None, 3],
        ["", None, "žluťoučký 🐎" * 20],
        [b"", None, b"\x00\xff"],
        [True, None, False],
        [1.5, None, float("inf")],
        [datetime.date(2013, 1, 1), None, datetime.date.max],
        [datetime.datetime(2013, 1, 1, tzinfo=datetime.timezone.utc), None, None],
        [decimal.Decimal("1.50"), None, decimal.Decimal("-0.01")],
        [[1, None], None, []],
        [{"a": 1, "b": ["x", None]}, None, {"a": None, "b": None}],
        [None, None, None],
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_values_come_back_as_they_were_sent(broker: Broker, values: list[Any], rows: int) -> None:
    array = pa.array(values * (rows // 3))
    with safe(same, returns=array.type, broker=broker) as function:
        assert function(array).equals(array)
        # Slices have offsets, in bitmaps within a byte.
        assert function(array[1:]).equals(array[1:])


def test_dictionaries_and_views_are_sent_as_their_values(broker: Broker) -> None:
    words = pa.array(["a", None, "b", "a"])
    with safe(same, returns="string", broker=broker) as function:
        assert function(words.dictionary_encode()).equals(words)
        assert function(words.cast(pa.string_view())).equals(words)
    nested = pa.StructArray.from_arrays([words.dictionary_encode()], ["w"])
    with safe(same, returns=nested.type, broker=broker) as function:
        assert function(nested).to_pylist() == nested.to_pylist()


def test_map_type(broker: Broker) -> None:
    array = pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64()))
    with safe(same, returns=array.type, broker=broker) as function:
        assert function(array).equals(array)


def test_chunks_are_put_together_and_the_answer_is_in_the_same_kind(broker: Broker) -> None:
    chunked = pa.chunked_array([[1, 2], [], [None, 4]])
    with safe(add, returns="int64", broker=broker) as function:
        answer = function(chunked, chunked)
        assert isinstance(answer, pa.ChunkedArray)
        assert answer.to_pylist() == [2, 4, None, 8]
        assert (
            function(pa.chunked_array([], pa.int64()), pa.array([], pa.int64())).to_pylist() == []
        )


def test_single_values_stand_for_a_column(broker: Broker) -> None:
    with safe(add, returns="int64", broker=broker) as function:
        assert function(pa.array([1, 2]), 10).to_pylist() == [11, 12]
        assert function(5, pa.array([1, 2])).to_pylist() == [6, 7]


def test_arguments_are_cast_to_what_is_declared(broker: Broker) -> None:
    with safe(add, args=["int32", "int64"], returns="int64", broker=broker) as function:
        assert function(pa.array([1], pa.int8()), pa.array([2])).to_pylist() == [3]
        with pytest.raises(pa.ArrowInvalid):
            function(pa.array([1 << 40]), pa.array([2]))
        with pytest.raises(BadFunction, match="1 columns for a function of 2"):
            function(pa.array([1]))


def test_pandas(broker: Broker) -> None:
    def upper(words: Any) -> Any:
        return words.str.upper()

    with safe(upper, kind="pandas", returns="string", broker=broker) as function:
        assert function(pa.array(["a", None, "ž"])).to_pylist() == ["A", None, "Ž"]


def test_rows(broker: Broker) -> None:
    def describe(a: Any, b: Any) -> Any:
        return f"{a}{b}" if a is not None else None

    with safe(describe, kind="rows", returns="string", broker=broker) as function:
        answer = function(pa.array([1, None, 3]), pa.array(["x", "y", None]))
        assert answer.to_pylist() == ["1x", None, "3None"]


def test_rows_without_calls_for_nulls(broker: Broker) -> None:
    def double(a: int) -> int:
        return a * 2

    options: Any = {"kind": "rows", "returns": "int64", "broker": broker}
    with safe(double, skip_nulls=True, **options) as function:
        assert function(pa.array([1, None, 3])).to_pylist() == [2, None, 6]
    with safe(double, **options) as function, pytest.raises(UserFunctionError) as raised:
        function(pa.array([1, None, 3]))
    assert raised.value.row == 1


def test_aggregate(broker: Broker) -> None:
    def mean(a: Any) -> float:
        import pyarrow.compute as pc

        return pc.mean(a)  # type: ignore[no-any-return]

    with safe(mean, kind="aggregate", returns="float64", broker=broker) as function:
        assert function(pa.array([1, 2, 6])) == 3.0
        assert function(pa.array([], pa.int64())) is None


@pytest.mark.parametrize("pandas", [False, True])
def test_grouped(broker: Broker, pandas: bool) -> None:
    def first_two(group: Any) -> Any:
        return group.head(2) if hasattr(group, "iloc") else group.slice(0, 2)

    groups = pa.Table.from_batches(
        [
            pa.RecordBatch.from_pydict({"k": ["a"] * 3, "v": [1, 2, 3]}),
            pa.RecordBatch.from_pydict({"k": ["b"], "v": [4]}),
            pa.RecordBatch.from_pydict({"k": ["c"] * 2, "v": [5, 6]}),
        ]
    )
    found = map_batches(
        groups,
        first_two,
        kind="grouped",
        returns={"v": "int64", "k": "string"},
        pandas=pandas,
        broker=broker,
    )
    assert found.read_all().to_pydict() == {"v": [1, 2, 4, 5, 6], "k": ["a", "a", "b", "c", "c"]}


def test_batches(broker: Broker) -> None:
    def even(batches: Any) -> Any:
        import pyarrow.compute as pc

        for batch in batches:
            yield batch.filter(pc.equal(pc.bit_wise_and(batch["n"], 1), 0))

    table = pa.table({"n": counted(300_000)})
    found = map_batches(table, even, returns={"n": "int64"}, broker=broker).read_all()
    assert found["n"].equals(pa.chunked_array([pc.multiply(counted(150_000), 2)]))


def test_batches_that_stop_reading_early(broker: Broker) -> None:
    def first(batches: Any) -> Any:
        yield next(iter(batches))

    table = pa.table({"n": counted(2_000_000)})
    found = map_batches(table, first, returns={"n": "int64"}, broker=broker).read_all()
    assert found.num_rows == 65_536


def test_batches_that_answer_with_much_more_than_they_get(broker: Broker) -> None:
    def repeated(batches: Any) -> Any:
        for batch in batches:
            for _ in range(50):
                yield batch

    table = pa.table({"n": counted(200_000)})
    found = map_batches(table, repeated, returns={"n": "int64"}, broker=broker)
    assert sum(batch.num_rows for batch in found) == 10_000_000


def test_batches_of_an_empty_stream(broker: Broker) -> None:
    def one(batches: Any) -> Any:
        import pyarrow as pa

        total = sum(batch.num_rows for batch in batches)
        yield pa.RecordBatch.from_pydict({"total": [total]})

    empty = pa.schema([("n", pa.int64())]).empty_table()
    found = map_batches(empty, one, returns={"total": "int64"}, broker=broker).read_all()
    assert found.to_pydict() == {"total": [0]}


@pytest.mark.parametrize("rows", [0, 1, 8192, 20_000])
def test_table(broker: Broker, rows: int) -> None:
    def series(count: int, word: str) -> Any:
        for i in range(count):
            yield i, word * (i % 3)

    returns = {"i": "int64", "w": "string"}
    with safe(series, kind="table", returns=returns, broker=broker) as function:
        found = function(rows, "x")
        assert found.num_rows == rows
        assert found["w"].to_pylist() == ["x" * (i % 3) for i in range(rows)]


def test_table_of_tables_of_dictionaries_and_of_nothing(broker: Broker) -> None:
    def tables(word: str) -> Any:
        import pyarrow as pa

        if word == "whole":
            return pa.table({"w": [word]})
        return iter([pa.table({"w": ["a"]}), {"w": "b"}, ("c",)])

    with safe(tables, kind="table", returns={"w": "string"}, broker=broker) as function:
        assert function("whole")["w"].to_pylist() == ["whole"]
        assert sorted(function("parts")["w"].to_pylist()) == ["a", "b", "c"]


def test_the_decorator(broker: Broker) -> None:
    @udf(returns="int64", kind="rows", broker=broker)
    def triple(a: int) -> int:
        """Three times."""
        return 3 * a

    with triple:
        assert triple(pa.array([1, 2])).to_pylist() == [3, 6]
        assert (getattr(triple, "__name__", ""), triple.__doc__) == ("triple", "Three times.")
        assert repr(triple) == "<safe triple(…) -> int64, rows>"
        assert "triple" in triple._repr_html_()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ([1, 2], "scalar", "2 values for 1 rows"),
        ("x", "rows", "not as declared"),
        (None, "scalar", "not as declared"),
        ({}, "rows", "not as declared"),
    ],
)
def test_answers_of_another_type_are_refused(
    broker: Broker, answer: Any, kind: str, words: str
) -> None:
    with safe(lambda _: answer, kind=kind, returns="int64", broker=broker) as function:
        with pytest.raises(ResultRefused, match=words):
            function(pa.array([1]))
        assert function._pool.size == 1, "the session is as good as before"


@pytest.mark.parametrize(
    ("returns", "kind"),
    [("int65", "scalar"), ("int64", "scalars"), ("int64", "grouped"), ("int64", "batches")],
)
def test_bad_declarations(returns: str, kind: str) -> None:
    with pytest.raises(BadFunction):
        safe(add, returns=returns, kind=kind)


def test_bad_options_and_arguments() -> None:
    with pytest.raises(BadFunction, match="no option memry"):
        safe(add, returns="int64", memry=1)  # type: ignore[call-arg]
    with pytest.raises(BadFunction, match="ahead=0"):
        safe(add, returns="int64", ahead=0)
    function: Safe = safe(add, returns="int64")
    with pytest.raises(BadFunction, match="no argument is a column"):
        function(1, 2)
    with pytest.raises(BadFunction, match="columns of"):
        function(pa.array([1]), pa.array([1, 2]))


def test_what_cannot_be_pickled_is_said_at_once() -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(BadFunction, match="cannot be pickled"):
        safe(lambda a: (lock, a), returns="int64")
