"""Real engines over real flights: a function in a sandbox answers as the engine's own does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from udf import flights

from lakekeep.udf import Broker, map_batches, safe

pytestmark = pytest.mark.usefixtures("no_leaks")
ROWS = 336_776


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flights.parquet(tmp_path_factory.mktemp("flights"))


def gained(departed: Any, arrived: Any) -> Any:
    """Minutes that a flight made up on its way."""
    import pyarrow.compute as pc

    return pc.subtract(departed, arrived)


def test_pyarrow(broker: Broker, parquet: Path) -> None:
    table = pq.read_table(parquet)
    with safe(gained, returns="int64", broker=broker) as function:
        found = function(table["dep_delay"], table["arr_delay"])
    assert found.combine_chunks().equals(
        pc.subtract(table["dep_delay"], table["arr_delay"]).combine_chunks()
    )


def test_duckdb(broker: Broker, parquet: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with safe(gained, returns="int64", broker=broker) as function, duckdb.connect() as connection:
        # As engines do that hand over 2,048 rows at a time, on one of its threads.
        connection.create_function(
            "gained",
            function,
            ["BIGINT", "BIGINT"],
            "BIGINT",
            type="arrow",
            null_handling="special",
        )
        query = "select sum({}), count({}) from '{}'"
        ours = connection.execute(query.format(*["gained(dep_delay, arr_delay)"] * 2, parquet))
        found = ours.fetchone()
        native = connection.execute(query.format(*["dep_delay - arr_delay"] * 2, parquet))
        assert found == native.fetchone()


def test_polars(broker: Broker, parquet: Path) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.read_parquet(parquet)
    with safe(gained, returns="int64", broker=broker) as function:
        found = frame.select(
            pl.map_batches(["dep_delay", "arr_delay"], function, return_dtype=pl.Int64).alias("g")
        )
    native = frame.select((pl.col("dep_delay") - pl.col("arr_delay")).alias("g"))
    assert found.equals(native)


def test_polars_strings(broker: Broker, parquet: Path) -> None:
    pl = pytest.importorskip("polars")

    def lower(words: Any) -> Any:
        import pyarrow.compute as pc

        return pc.utf8_lower(words)

    frame = pl.read_parquet(parquet, columns=["carrier"], n_rows=100_000)
    with safe(lower, returns="string", broker=broker) as function:
        found = frame.select(pl.col("carrier").map_batches(function, return_dtype=pl.String))
    assert found.equals(frame.select(pl.col("carrier").str.to_lowercase()))


def test_pandas(broker: Broker, parquet: Path) -> None:
    pandas = pytest.importorskip("pandas")

    def speed(distance: Any, minutes: Any) -> Any:
        return distance / minutes * 60

    frame = pandas.read_parquet(parquet, columns=["distance", "air_time"])[::3]
    with safe(speed, kind="pandas", returns="float64", broker=broker) as function:
        found = function(frame["distance"], frame["air_time"])
    native = frame["distance"] / frame["air_time"] * 60
    pandas.testing.assert_series_equal(found, native, check_names=False)


def test_datafusion(broker: Broker, parquet: Path) -> None:
    datafusion = pytest.importorskip("datafusion")
    with safe(gained, returns="int64", broker=broker) as function:
        context = datafusion.SessionContext()
        context.register_parquet("flights", str(parquet))
        context.register_udf(
            datafusion.udf(function, [pa.int64(), pa.int64()], pa.int64(), "immutable", "gained")
        )
        query = "select sum({}) as total from flights"
        found = context.sql(query.format("gained(dep_delay, arr_delay)")).to_pydict()
        assert found == context.sql(query.format("dep_delay - arr_delay")).to_pydict()


def test_map_batches_of_a_parquet_file(broker: Broker, parquet: Path) -> None:
    def late(batches: Any) -> Any:
        import pyarrow.compute as pc

        for batch in batches:
            yield batch.filter(pc.greater(batch["arr_delay"], 60)).select(["carrier", "arr_delay"])

    found = map_batches(
        pq.ParquetFile(parquet),
        late,
        returns={"carrier": "string", "arr_delay": "int64"},
        broker=broker,
    ).read_all()
    table = pq.read_table(parquet, columns=["carrier", "arr_delay"])
    assert found.equals(table.filter(pc.greater(table["arr_delay"], 60)).combine_chunks()) or (
        found.to_pydict() == table.filter(pc.greater(table["arr_delay"], 60)).to_pydict()
    )


def test_rows_of_a_parquet_file(broker: Broker, parquet: Path) -> None:
    def route(origin: str, destination: str) -> str:
        return f"{origin}-{destination}"

    table = pq.read_table(parquet, columns=["origin", "dest"]).slice(0, 50_000)
    with safe(route, kind="rows", returns="string", broker=broker) as function:
        found = function(table["origin"], table["dest"])
    native = pc.binary_join_element_wise(table["origin"], table["dest"], "-")
    assert found.to_pylist() == native.to_pylist()


def test_memory_is_flat(broker: Broker, parquet: Path) -> None:
    """Twenty times the file goes through; what Arrow holds does not grow with it."""

    def all_of(batches: Any) -> Any:
        yield from batches

    def batches() -> Any:
        for _ in range(20):
            yield from pq.ParquetFile(parquet).iter_batches(columns=["dep_delay", "arr_delay"])

    reader = pa.RecordBatchReader.from_batches(
        pq.ParquetFile(parquet)
        .schema_arrow.empty_table()
        .select(["dep_delay", "arr_delay"])
        .schema,
        batches(),
    )
    returns = {"dep_delay": "int64", "arr_delay": "int64"}
    most = rows = 0
    for batch in map_batches(reader, all_of, returns=returns, broker=broker):
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes())
    assert rows == 20 * ROWS
    assert most < 100 << 20
