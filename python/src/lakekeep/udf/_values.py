"""Arguments in any engine's kind, and answers in the same kind."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Callable

import pyarrow as pa

from ._errors import BadFunction
from ._function import plain, plain_schema

Answer = Callable[[Any], Any]


def arrays(values: Sequence[Any]) -> tuple[list[Any], int, Answer]:
    """The arguments as Arrow arrays of plain types, their length, and what makes an
    answer one of the caller's kind.

    Single values stand for a column of them. Polars' `map_batches` gives one list.
    """
    if len(values) == 1 and isinstance(values[0], (list, tuple)) and _all_columns(values[0]):
        values = values[0]
    columns = [value for value in values if _is_column(value)]
    if not columns:
        raise BadFunction("no argument is a column", remedy="give arrays or series")
    rows = len(columns[0])
    if any(len(column) != rows for column in columns):
        raise BadFunction(f"columns of {[len(column) for column in columns]} rows")
    found = [_arrow(value) if _is_column(value) else _repeated(value, rows) for value in values]
    return found, rows, _answer(columns[0])


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _is_column(value: Any) -> bool:
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        return True
    library = _library(value)
    if library == "numpy":
        return getattr(value, "ndim", 0) == 1
    return library in ("pandas", "polars") and hasattr(value, "dtype") and hasattr(value, "__len__")


def _all_columns(values: Sequence[Any]) -> bool:
    return bool(values) and all(_is_column(value) for value in values)


def _arrow(value: Any) -> Any:
    """One array of a plain type; chunks are put together where there are several."""
    if not isinstance(value, (pa.Array, pa.ChunkedArray)):
        value = value.to_arrow() if _library(value) == "polars" else pa.array(value)
    if isinstance(value, pa.ChunkedArray):
        value = value.chunk(0) if value.num_chunks == 1 else value.combine_chunks()
    return decoded(value)


def decoded(array: Any) -> Any:
    """The array with dictionaries, views and extensions turned to what they stand for."""
    given = array.type
    kind = plain(given)
    if kind is given or kind == given:
        return array
    if isinstance(given, pa.BaseExtensionType):
        return decoded(array.storage)
    return array.cast(kind)


def _repeated(value: Any, rows: int) -> Any:
    scalar = value if isinstance(value, pa.Scalar) else pa.scalar(value)
    return decoded(pa.repeat(scalar, rows))


def _answer(like: Any) -> Answer:
    library = _library(like)
    if library == "pandas":
        return lambda array: _pandas(array, like)
    if library == "polars":
        return _polars
    if library == "numpy":
        return lambda array: array.to_numpy(zero_copy_only=False)
    if isinstance(like, pa.ChunkedArray):
        return lambda array: pa.chunked_array([array])
    return lambda array: array


def _pandas(array: Any, like: Any) -> Any:
    series = array.to_pandas()
    series.index = like.index
    return series


def _polars(array: Any) -> Any:
    import polars

    return polars.from_arrow(array)


def batch(columns: Sequence[Any], schema: Any) -> Any:
    """A record batch of `schema`; values are cast where that loses nothing."""
    cast = [
        column if column.type == kind else column.cast(kind)
        for column, kind in zip(columns, schema.types)
    ]
    return pa.RecordBatch.from_arrays(cast, schema=schema)


def plain_batch(given: Any, schema: Any) -> Any:
    """A record batch with its columns as they are sent."""
    if given.schema.equals(schema):
        return given
    return batch([decoded(column) for column in given.columns], schema)


def schema_of(columns: Sequence[Any]) -> Any:
    """The schema of arguments, which have positions and no names."""
    return _schema(tuple([column.type for column in columns]))


@functools.lru_cache(maxsize=1024)
def _schema(types: tuple[Any, ...]) -> Any:
    return pa.schema([pa.field(f"_{i}", kind) for i, kind in enumerate(types)])


__all__ = ["arrays", "batch", "decoded", "plain_batch", "plain_schema", "schema_of"]
