"""A function of a stranger's over pandas: python udf_pandas.py flights.parquet."""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd

import lakekeep


def speed(distance: Any, minutes: Any) -> Any:
    """Miles an hour."""
    return distance / minutes * 60


def main(path: str) -> None:
    """Prints the fastest flights."""
    frame = pd.read_parquet(path)
    with lakekeep.safe(speed, kind="pandas", returns="float64", memory=1 << 30) as function:
        frame["speed"] = function(frame["distance"], frame["air_time"])
    print(frame.nlargest(5, "speed")[["carrier", "origin", "dest", "speed"]])


if __name__ == "__main__":
    main(sys.argv[1])
