"""A function of a stranger's in Polars: python udf_polars.py flights.parquet."""

from __future__ import annotations

import sys
from typing import Any

import polars as pl

import lakekeep


def gained(departed: Any, arrived: Any) -> Any:
    """Minutes that a flight made up on its way."""
    import pyarrow.compute as pc

    return pc.subtract(departed, arrived)


def main(path: str) -> None:
    """Prints the carriers that make up most."""
    with lakekeep.safe(gained, returns="int64", memory=1 << 30, timeout=30) as function:
        delays = ["dep_delay", "arr_delay"]
        gain = pl.map_batches(delays, function, return_dtype=pl.Int64)
        frame = pl.read_parquet(path).with_columns(gain.alias("gain"))
        print(frame.group_by("carrier").agg(pl.col("gain").mean()).top_k(5, by="gain"))


if __name__ == "__main__":
    main(sys.argv[1])
