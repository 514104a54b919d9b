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


class Arguments:
    """Makes record batches of arguments; for any thread.

    Engines call with arrays of the same types again and again: what was found of the last
    types holds for them.
    """

    def __init__(self, schema: Any) -> None:
        """Takes what columns are cast to; None: they are sent as they come."""
        self.schema = schema
        # The schema and types of the last call that brought nothing but arrays, as they are sent.
        self._last: tuple[Any, Sequence[Any]] = None, ()

    def batch(self, values: Sequence[Any]) -> tuple[Any, Answer]:
        """The arguments as a batch, and what makes an answer one of the caller's kind; see
        `arrays`.
        """
        schema, types = self._last
        if schema is not None and _are_arrays(values, types):
            return pa.RecordBatch.from_arrays(list(values), schema=schema), _as_it_is
        found, _, answer = arrays(values)
        schema = self.schema
        if schema is None:
            schema = schema_of(found)
        elif len(schema) != len(found):
            raise BadFunction(f"{len(found)} columns for a function of {len(schema)}")
        if _are_arrays(values, schema.types):
            self._last = schema, schema.types
        return batch(found, schema), answer


def _are_arrays(values: Sequence[Any], types: Sequence[Any]) -> bool:
    """Whether these are arrays of these types, all of the same length."""
    if not values or len(values) != len(types) or not isinstance(values[0], pa.Array):
        return False
    rows = len(values[0])
    for value, kind in zip(values, types):
        if not isinstance(value, pa.Array) or value.type != kind or len(value) != rows:
            return False
    return True


def _as_it_is(array: Any) -> Any:
    return array


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
    return _as_it_is


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


__all__ = ["Arguments", "arrays", "batch", "decoded", "plain_batch", "plain_schema", "schema_of"]
