"""A function of a stranger's in DataFusion: python udf_datafusion.py flights.parquet."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
from datafusion import SessionContext, udf

import lakekeep


def route(origin: str, destination: str) -> str:
    """Called for one row at a time."""
    return f"{origin}-{destination}"


def main(path: str) -> None:
    """Prints the routes that are flown most."""
    options: dict[str, Any] = {"memory": 1 << 30, "timeout": 30}
    with lakekeep.safe(route, kind="rows", returns="string", **options) as function:
        context = SessionContext()
        context.register_parquet("flights", path)
        words = [pa.string(), pa.string()]
        context.register_udf(udf(function, words, pa.string(), "immutable", "route"))
        context.sql(
            "select route(origin, dest) as route, count(*) as flights from flights"
            " group by 1 order by 2 desc limit 5"
        ).show()


if __name__ == "__main__":
    main(sys.argv[1])
