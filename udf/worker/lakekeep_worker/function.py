"""The user's function: how it is had, and how its kind is called."""

from __future__ import annotations

import inspect
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pyarrow as pa
from lakekeep_worker.batches import as_array, as_batches, empty, from_rows
from lakekeep_worker.failure import Refused

# Rows of a table function that are made one batch.
TABLE_ROWS = 8192


def from_pickle(pickled: Any, _options: dict[str, Any]) -> Any:
    """A function as cloudpickle has it; opening it runs what the user likes."""
    return cloudpickle.loads(pickled)


def from_source(text: Any, options: dict[str, Any]) -> Any:
    """A name of a module that is made of its text alone."""
    module = types.ModuleType("user_function")
    name, text = options["attribute"], bytes(text).decode()
    file = f"{module.__name__}.py"
    # Its lines are nowhere but here, and tracebacks show them.
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    # Classes look their module up here.
    sys.modules[module.__name__] = module
    # The user's code, where it shall run.
    exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102
    function = getattr(module, name, None)
    if not callable(function):
        raise Refused(f"the source has no function {name!r}")
    return function


FORMATS = {"pickle": from_pickle, "source": from_source}


class Function:
    """The user's function and how its kind is called."""

    def __init__(self, options: dict[str, Any], source: Any, given: Any, answered: Any) -> None:
        """Takes OPEN's options, FUNCTION's content, and the schemas of both ways."""
        self.options, self.given, self.answered = options, given, answered
        self.kind = options["kind"]
        self.function = FORMATS[options.get("format", "pickle")](source, options)
        remember(options.get("source"), self.function)
        # Of the one column, where there is one.
        self.type = answered.types[0] if answered.types else None
        # Streams have a way of their own.
        self.run: Callable[[Any], Any] | None = getattr(self, "_" + self.kind, None)
        # The row of a batch that failed, where a kind knows.
        self.row: int | None = None

    def answer(self, batch: Any) -> Any:
        """What answers a batch: one batch, or the array that is its only column."""
        self.row = None
        if self.run is None:
            raise Refused(f"a function of kind {self.kind!r} is not called with one batch")
        return self.run(batch)

    def _scalar(self, batch: Any) -> Any:
        value = self.function(*batch.columns)
        # What nearly all functions return needs nothing.
        rows = batch.num_rows
        if isinstance(value, pa.Array) and value.type == self.type and len(value) == rows:
            return value
        return as_array(value, self.type, rows)

    def _pandas(self, batch: Any) -> Any:
        value = self.function(*(column.to_pandas() for column in batch.columns))
        return as_array(value, self.type, batch.num_rows)

    def _rows(self, batch: Any) -> Any:
        function, skip = self.function, self.options.get("skip_nulls")
        values: list[Any] = []
        rows: Any = zip(*(column.to_pylist() for column in batch.columns))
        if not batch.num_columns:
            rows = (() for _ in range(batch.num_rows))
        try:
            for row in rows:
                missing = skip and any(value is None for value in row)
                values.append(None if missing else function(*row))
        except BaseException:
            self.row = len(values)
            raise
        return as_array(values, self.type, batch.num_rows)

    def _aggregate(self, batch: Any) -> Any:
        value = self.function(*batch.columns)
        if isinstance(value, pa.Scalar):
            value = value.as_py()
        return as_array([value], self.type, 1)

    def _grouped(self, batch: Any) -> Any:
        group = pa.Table.from_batches([batch])
        if self.options.get("pandas"):
            group = group.to_pandas()
        batches = as_batches(self.function(group), self.answered)
        table = pa.Table.from_batches(batches, self.answered).combine_chunks()
        return table.to_batches()[0] if table.num_rows else empty(self.answered)

    def stream(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches that answer a stream of them, none larger than may be sent."""
        if self.kind == "batches":
            answers = self.function(batches)
        else:
            arguments = next(batches)
            answers = self._table(self.function(*(c[0].as_py() for c in arguments.columns)))
        for answer in answers:
            for batch in as_batches(answer, self.answered):
                yield from self._divided(batch)

    def _table(self, value: Any) -> Iterator[Any]:
        """What a table function may return: a table, tables, or rows."""
        if hasattr(value, "columns"):
            yield value
            return
        rows: list[Any] = []
        for item in value:
            if hasattr(item, "columns"):
                yield item
                continue
            rows.append(item)
            if len(rows) == TABLE_ROWS:
                yield from_rows(rows, self.answered)
                rows = []
        if rows:
            yield from_rows(rows, self.answered)

    def _divided(self, batch: Any) -> Iterator[Any]:
        rows = max(1, min(batch.num_rows, self.options["max_rows"]))
        if batch.nbytes * 2 > self.options["max_bytes"]:
            per_row = batch.nbytes // batch.num_rows + 1
            rows = max(1, min(rows, self.options["max_bytes"] // 2 // per_row))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def remember(source: dict[str, Any] | None, function: Any) -> None:
    """Lets tracebacks show the function's lines; its file is not in the sandbox."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if source and code:
        lines = ["\n"] * (source["line"] - 1) + source["text"].splitlines(True)
        linecache.cache[source["file"]] = (len(source["text"]), None, lines, source["file"])
        # Newer cloudpickles send code without the name of its file.
        inspect.unwrap(function).__code__ = renamed(code, source["file"])


def renamed(code: types.CodeType, file: str) -> types.CodeType:
    """The code, and what is nested in it, as of a file."""
    inner = tuple(renamed(c, file) if isinstance(c, types.CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=file, co_consts=inner)
