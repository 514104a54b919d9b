"""A data set of any size through a function of a stranger's, in a bounded memory.

python udf_pyarrow.py flights.parquet late.parquet
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

import lakekeep


def late(batches: Any) -> Iterator[Any]:
    """The flights that came an hour late."""
    import pyarrow.compute as pc

    for batch in batches:
        yield batch.filter(pc.greater(batch["arr_delay"], 60)).select(["carrier", "arr_delay"])


def main(source: str, target: str) -> None:
    """Writes what the function answers; a terminal sees how far it is."""
    returns = {"carrier": "string", "arr_delay": "int64"}
    found = lakekeep.map_batches(pq.ParquetFile(source), late, returns=returns, memory=1 << 30)
    with pq.ParquetWriter(target, found.schema) as writer:
        for batch in found:
            writer.write_batch(batch)
    print(pq.read_metadata(target).num_rows, "flights")


if __name__ == "__main__":
    main(*sys.argv[1:])
