"""`map_batches`: a data set of any size through a function, in a bounded memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional, TextIO

import pyarrow as pa
from typing_extensions import Unpack

from . import _values
from ._call import call
from ._errors import BadFunction
from ._function import COLUMN_KINDS, STREAMS, Function, Options, Settings, plain_schema
from ._pool import Pool


def map_batches(
    reader: Any,
    function: Callable[..., Any],
    *,
    returns: Any,
    kind: str = "batches",
    progress: Optional[bool] = None,
    **options: Unpack[Options],
) -> Any:
    """Streams record batches through a function that runs in a sandbox.

    At any time `ahead` batches are in memory, however large the data set is; who does
    not read the answers stops the reading.

    Args:
        reader: A RecordBatchReader, Table, Dataset, Scanner or ParquetFile, or an iterable
            of record batches of one schema.
        function: As `kind` says; see `safe`.
        returns: The schema of what comes back, or names and types; for kinds that answer
            with one column, its type.
        kind: `batches`, `grouped` (each batch is a group), or one of the kinds that
            answer each batch with a column.
        progress: Whether a line on standard error tells of the rows; None: if that is
            a terminal.
        options: See Options.

    Returns:
        A pyarrow.RecordBatchReader. Closing it, or forgetting it, ends the sandbox.

    Raises:
        BadFunction: It cannot be pickled, or is declared wrongly.
    """
    if kind == "table":
        raise BadFunction("kind 'table' takes single values", remedy="use safe")
    settings = Settings.of(options)
    declared = Function.declared(function, kind, returns, settings)
    schema, batches = _source(reader)
    given = plain_schema(schema)
    plain = (_values.plain_batch(one, given) for one in batches)
    answers = _answers(declared, settings, given, _divided(plain, settings.batch_rows))
    shown = sys.stderr.isatty() if progress is None else progress
    if shown:
        answers = _with_progress(answers, declared.name, sys.stderr)
    return pa.RecordBatchReader.from_batches(declared.answers, answers)


def _source(reader: Any) -> tuple[Any, Iterable[Any]]:
    """The schema and the batches of whatever has batches."""
    if isinstance(reader, pa.RecordBatchReader):
        return reader.schema, reader
    for name in ("to_reader", "iter_batches", "to_batches"):
        read = getattr(reader, name, None)
        if read is not None:
            return _schema(reader), read()
    batches = iter(reader)
    first = next(batches, None)
    if first is None:
        raise BadFunction("no batches and no schema", remedy="give a RecordBatchReader")
    return first.schema, _chained(first, batches)


def _schema(reader: Any) -> Any:
    """A scanner's is that of its projection, a Parquet file's is in Parquet's terms."""
    for name in ("schema_arrow", "projected_schema", "schema"):
        found = getattr(reader, name, None)
        if found is not None:
            return found
    raise BadFunction(f"a {type(reader).__name__} has no schema")


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _divided(batches: Iterable[Any], rows: Optional[int]) -> Iterator[Any]:
    for batch in batches:
        if rows is None or batch.num_rows <= rows:
            yield batch
        else:
            yield from (batch.slice(at, rows) for at in range(0, batch.num_rows, rows))


def _answers(
    function: Function, settings: Settings, given: Any, batches: Iterator[Any]
) -> Iterator[Any]:
    pool = Pool(function, settings)
    try:
        retries = settings.retry_halved or settings.find_row
        if retries and function.kind in COLUMN_KINDS:
            yield from (call(pool, batch) for batch in batches)
            return
        session = pool.take(given)
        yield from session.stream(batches) if function.kind in STREAMS else session.map(batches)
    finally:
        pool.close()


def _with_progress(answers: Iterator[Any], name: str, out: TextIO) -> Iterator[Any]:
    """Tells a few times a second how far it is."""
    start = shown = time.monotonic()
    rows = 0
    try:
        for answer in answers:
            yield answer
            rows += answer.num_rows
            now = time.monotonic()
            if now - shown > 0.2:
                shown = now
                out.write(f"\r{name}: {rows:,} rows, {rows / (now - start):,.0f} a second\x1b[K")
                out.flush()
    finally:
        seconds = time.monotonic() - start
        out.write(f"\r{name}: {rows:,} rows in {seconds:.1f} s\x1b[K\n")
        out.flush()
