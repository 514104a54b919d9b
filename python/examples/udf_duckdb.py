"""A function of a stranger's in DuckDB: python udf_duckdb.py flights.parquet."""

from __future__ import annotations

import sys
from typing import Any

import duckdb

import lakekeep


def gained(departed: Any, arrived: Any) -> Any:
    """Minutes that a flight made up on its way."""
    import pyarrow.compute as pc

    return pc.subtract(departed, arrived)


def main(path: str) -> None:
    """Prints the carriers that make up most."""
    with lakekeep.safe(gained, returns="int64", memory=1 << 30, timeout=30) as function:
        connection = duckdb.connect()
        types = ["BIGINT", "BIGINT"]
        connection.create_function(
            "gained", function, types, "BIGINT", type="arrow", null_handling="special"
        )
        flights = connection.read_parquet(path)
        print(
            flights.aggregate("carrier, avg(gained(dep_delay, arr_delay)) as gain")
            .order("gain desc")
            .limit(5)
        )


if __name__ == "__main__":
    main(sys.argv[1])
