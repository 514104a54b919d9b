"""Record batches: how answers are encoded, and what of a function's values they are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from lakekeep_worker.failure import Refused

# Below this many rows, one copy of a batch costs less than many small writes.
GATHER_ROWS = 4096

Convert = TypeVar("Convert", bound=Callable[..., Any])


class Gather(list[Any]):
    """A file that keeps what is written to it, so that no batch is copied before sendmsg."""

    closed = False

    def write(self, piece: Any) -> int:
        """Keeps a piece as it is."""
        self.append(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""

    close = flush


class Encoder:
    """Batches of one schema as encapsulated messages, in pieces.

    Attributes:
        width: Bytes of a value of the schema's one column; 0 where it has another number of
            columns, or values of no such width.
        framed: The last metadata of that column without nulls, and its bytes of values: what
            is as long again has the same.
    """

    def __init__(self, schema: Any) -> None:
        """Takes the schema."""
        self.schema = schema
        self.width = width(schema.types[0]) if len(schema) == 1 else 0
        self.framed = b"", 0
        self.gather = Gather()
        self.writer = pa.ipc.new_stream(pa.PythonFile(self.gather, "w"), schema)
        # The first batch brings the schema with it, which is not sent.
        self.writer.write_batch(empty(schema))
        self.gather.clear()

    def column(self, array: Any) -> Sequence[Any]:
        """The message of the one column, of the schema's type: `pieces`, and sooner where it
        is as long as the last one and has no nulls either.
        """
        size = self.width * len(array)
        # The body is the values alone then, which Arrow would pad to a multiple of 8 bytes.
        plain = size > 0 and size % 8 == 0 and not array.null_count
        metadata, framed = self.framed
        if plain and framed == size:
            start = self.width * array.offset
            return metadata, memoryview(array.buffers()[1])[start : start + size]
        batch = pa.RecordBatch.from_arrays([array], schema=self.schema)
        if not plain:
            return self.pieces(batch)
        message = batch.serialize()
        self.framed = bytes(message[: len(message) - size]), size
        return (message,)

    def pieces(self, batch: Any) -> Sequence[Any]:
        """Buffers that are the message when put together."""
        if batch.num_rows < GATHER_ROWS:
            return (batch.serialize(),)
        self.writer.write_batch(batch)
        pieces = self.gather[:]
        self.gather.clear()
        return pieces


def width(kind: Any) -> int:
    """Bytes of a value of a type whose arrays are validity and values; 0 of all others."""
    types = pa.types
    plain = types.is_integer(kind) or types.is_floating(kind) or types.is_temporal(kind)
    return int(kind.bit_width) // 8 if plain else 0


def empty(schema: Any) -> Any:
    """A batch of no rows."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)


def converting(convert: Convert) -> Convert:
    """What cannot be converted was not as declared, and no exception of the user's code."""

    @functools.wraps(convert)
    def wrapper(*arguments: Any) -> Any:
        try:
            return convert(*arguments)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise Refused(f"what the function returned is not as declared: {error}") from None

    return wrapper  # type: ignore[return-value]


@converting
def as_array(value: Any, kind: Any, rows: int) -> Any:
    """One array of `kind` with `rows` values."""
    if isinstance(value, pa.Array):
        pass
    elif isinstance(value, pa.ChunkedArray):
        value = value.combine_chunks()
    elif isinstance(value, pa.Scalar):
        raise Refused(f"the function returned one value, not an array of {rows}")
    else:
        value = pa.array(value, type=kind, from_pandas=not isinstance(value, list))
    if value.type != kind:
        value = value.cast(kind)
    if len(value) != rows:
        raise Refused(f"the function returned {len(value)} values for {rows} rows")
    return value


@converting
def as_batches(value: Any, schema: Any) -> list[Any]:
    """A table in any of its forms, as batches of `schema`."""
    if isinstance(value, pa.RecordBatch):
        value = pa.Table.from_batches([value])
    elif not isinstance(value, pa.Table):
        if type(value).__module__.partition(".")[0] != "pandas":
            raise Refused(f"the function returned a {type(value).__name__}, not a table")
        value = pa.Table.from_pandas(value, schema=schema, preserve_index=False)
    if set(value.column_names) != set(schema.names):
        if value.num_columns != len(schema):
            raise Refused(f"columns {value.column_names} instead of {schema.names}")
        value = value.rename_columns(schema.names)
    found: list[Any] = value.select(schema.names).cast(schema).to_batches()
    return found


@converting
def from_rows(rows: list[Any], schema: Any) -> Any:
    """A batch of rows, each a dict, a tuple, a list or one value."""
    names = schema.names
    found = [row if isinstance(row, dict) else named(row, names) for row in rows]
    return pa.RecordBatch.from_pylist(found, schema=schema)


def named(row: Any, names: list[str]) -> dict[str, Any]:
    """A row's values by the names of their columns."""
    values = row if isinstance(row, (tuple, list)) else (row,)
    if len(values) != len(names):
        raise Refused(f"a row of {len(values)} values for columns {names}")
    return dict(zip(names, values))
