"""Serves a function that adds two columns: `python flight_server.py arrow-udf|databend-udf`.

In the mode of each that is fastest: a whole batch at a time, as lists of Python values. The
port is told on standard output.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

TYPES = ["BIGINT", "BIGINT"]
LOCATION = "127.0.0.1:0"


def add(low: list[int], high: list[int]) -> list[int]:
    """All rows of a batch."""
    return [a + b for a, b in zip(low, high)]


def server(name: str) -> Any:
    """A server that has the function."""
    if name == "arrow-udf":
        import arrow_udf

        served = arrow_udf.UdfServer(location=LOCATION)
        served.add_function(arrow_udf.udf(TYPES, "BIGINT", batch=True)(add))
    else:
        import databend_udf

        served = databend_udf.UDFServer(LOCATION)
        served.add_function(databend_udf.udf(TYPES, "BIGINT", batch_mode=True)(add))
    return served


def end_with_parent() -> None:
    """Whoever started this holds the other end of standard input, however it ends."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    serving = server(sys.argv[1])
    print("port", serving.port, flush=True)
    serving.serve()
