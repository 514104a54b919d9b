"""A call with what to do when it fails: in halves, or down to the row that does it."""

from __future__ import annotations

from typing import Any, Callable, Optional

import pyarrow as pa

from ._errors import OutOfMemory, SessionClosed, UdfError, UserFunctionError, WorkerCrashed
from ._function import ROWWISE
from ._pool import Pool

Call = Callable[[Any], Any]


def call(pool: Pool, batch: Any, timeout: Optional[float] = None) -> Any:
    """Answers a record batch in a session of the pool, as the pool's settings say."""
    settings = pool.settings
    rowwise = pool.function.kind in ROWWISE
    try:
        return _once(pool, batch, timeout)
    except OutOfMemory:
        if not (settings.retry_halved and rowwise and batch.num_rows > 1):
            raise
        return _halved(pool, batch, timeout)
    except (UserFunctionError, WorkerCrashed) as error:
        if settings.find_row and rowwise and error.row is None:
            error.row = find_row(lambda part: _once(pool, part, timeout), batch)
            if error.row is not None:
                error.args = (f"{error.args[0]}\nrow {error.row} of the batch does it",)
                error.message = error.args[0]
        raise


def _once(pool: Pool, batch: Any, timeout: Optional[float]) -> Any:
    session = pool.take(batch.schema)
    try:
        return session.call(batch, timeout)
    finally:
        pool.give(session)


def _halved(pool: Pool, batch: Any, timeout: Optional[float]) -> Any:
    middle = batch.num_rows // 2
    halves = (batch.slice(0, middle), batch.slice(middle))
    table = pa.Table.from_batches([_once(pool, half, timeout) for half in halves])
    return table.combine_chunks().to_batches()[0]


def find_row(call: Call, batch: Any) -> Optional[int]:
    """The index of a row that fails by itself, found by halving; None if none does.

    Args:
        call: Answers a record batch, and raises a UdfError where it fails.
        batch: A record batch that fails.
    """
    start, stop = 0, batch.num_rows
    while stop - start > 1:
        middle = (start + stop) // 2
        if _fails(call, batch.slice(start, middle - start)):
            stop = middle
        else:
            start = middle
    return start if stop > start and _fails(call, batch.slice(start, 1)) else None


def _fails(call: Call, part: Any) -> bool:
    try:
        call(part)
    except SessionClosed:
        raise
    except UdfError:
        return True
    return False
