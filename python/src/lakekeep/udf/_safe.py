"""`safe`: a function as a callable on columns, that runs in a sandbox."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Callable, Optional

import pyarrow as pa
from typing_extensions import Unpack

from .._core import html
from . import _values
from ._call import call
from ._errors import BadFunction
from ._function import ROWWISE, STREAMS, Function, Options, Settings, Type, data_type, plain
from ._pool import Pool
from ._stats import Stats


class Safe:
    """A user's function that runs in sandboxes; made by `safe`. For any thread.

    Call it with columns. As a context manager, or by `close`, its sandboxes end; else
    they end with the object.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        kind: str,
        returns: Any,
        args: Optional[Sequence[Type]],
        settings: Settings,
    ) -> None:
        """See `safe`."""
        self.function = Function.declared(function, kind, returns, settings)
        self.settings = settings
        self._pool = Pool(self.function, settings)
        self._given = None
        if args is not None:
            types = [plain(data_type(one)) for one in args]
            self._given = pa.schema([pa.field(f"_{i}", one) for i, one in enumerate(types)])
        self._arguments = _values.Arguments(self._given)
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *columns: Any) -> Any:
        """Answers columns.

        Args:
            columns: pyarrow arrays, chunked arrays, pandas or Polars series, or numpy
                arrays, all of the same length; single values stand for a column of them.

        Returns:
            For row-wise kinds a column of the first column's kind and length; for
            `aggregate` a Python value; for `grouped` a pyarrow.Table.

        Raises:
            UdfError: As its class says.
        """
        if self.function.kind == "table":
            return self._table(columns)
        batch, answer = self._arguments.batch(columns)
        if self.function.kind in ROWWISE:
            return answer(self._rowwise(batch))
        if self.function.kind == "aggregate":
            return call(self._pool, batch).column(0)[0].as_py()
        return pa.Table.from_batches([call(self._pool, batch)])

    def _rowwise(self, batch: Any) -> Any:
        size, rows = self.settings.batch_rows, batch.num_rows
        if size is None or rows <= size:
            return call(self._pool, batch).column(0)
        parts = [batch.slice(start, size) for start in range(0, rows, size)]
        return pa.concat_arrays([one.column(0) for one in self._mapped(parts)])

    def _mapped(self, parts: Sequence[Any]) -> Iterator[Any]:
        if self.settings.retry_halved or self.settings.find_row:
            yield from (call(self._pool, part) for part in parts)
            return
        session = self._pool.take(parts[0].schema)
        try:
            yield from session.map(parts)
        finally:
            self._pool.give(session)

    def _table(self, arguments: Sequence[Any]) -> Any:
        columns = [_values.decoded(pa.array([one])) for one in arguments]
        given = self._given or _values.schema_of(columns)
        session = self._pool.take(given)
        try:
            batches = list(session.stream([_values.batch(columns, given)]))
        finally:
            self._pool.give(session)
        return pa.Table.from_batches(batches, self.function.answers)

    @property
    def output(self) -> str:
        """What the function has printed in its present sessions."""
        return self._pool.output()

    @property
    def stats(self) -> Stats:
        """What it has done so far, in all its sessions."""
        return self._pool.stats()

    def cancel(self) -> None:
        """Ends all calls at once; they raise Cancelled. The next call works."""
        self._pool.cancel()

    def close(self) -> None:
        """Ends its sandboxes; it cannot be called any more."""
        self._pool.close()

    def __enter__(self) -> Safe:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Closes it."""
        self.close()

    def __repr__(self) -> str:
        """Its kind, types and sessions."""
        function = self.function
        given = "…" if self._given is None else ", ".join(str(one) for one in self._given.types)
        answers = ", ".join(str(one) for one in function.answers.types)
        return f"<safe {function.name}({given}) -> {answers}, {function.kind}>"

    def _repr_html_(self) -> str:
        function, settings = self.function, self.settings
        memory = settings.memory
        rows = (
            ("kind", function.kind),
            ("answers", ", ".join(f"{one.name}: {one.type}" for one in function.answers)),
            ("memory", "" if memory is None else html.bytes_text(memory)),
            ("timeout", "" if settings.timeout is None else f"{settings.timeout:g} s"),
            ("user", settings.user or ""),
            ("sessions", f"{self._pool.size} of {settings.max_sessions}"),
            ("printed", self.output),
        )
        return html.table(repr(self).strip("<>"), rows)


def safe(
    function: Callable[..., Any],
    *,
    returns: Any,
    kind: str = "scalar",
    args: Optional[Sequence[Type]] = None,
    **options: Unpack[Options],
) -> Safe:
    """A callable that runs `function` in a sandbox, for whatever engine calls it.

    Args:
        function: What to run. It is pickled here and opened only in the sandbox.
        returns: A pyarrow type or its name; for tables a schema, or names and types.
        kind: How it is called:
            `scalar` with pyarrow arrays, for one array as long;
            `pandas` with pandas Series, for one Series as long;
            `rows` with Python values, a row at a time, for one value;
            `aggregate` with pyarrow arrays, for one value;
            `grouped` with one group as a pyarrow.Table (`pandas=True`: a DataFrame), for
            a table of any number of rows;
            `table` with single values, for a table, tables, or rows;
            `batches` with an iterator of record batches, for an iterator of them (for
            `map_batches` alone).
        args: The arguments' types, to which columns are cast; else as they come.
        options: See Options.

    Raises:
        BadFunction: It cannot be pickled, or is declared wrongly.
    """
    if kind in STREAMS - {"table"}:
        raise BadFunction(f"kind {kind!r} takes a stream", remedy="use map_batches")
    return Safe(function, kind, returns, args, Settings.of(options))


def udf(
    *,
    returns: Any,
    kind: str = "scalar",
    args: Optional[Sequence[Type]] = None,
    **options: Unpack[Options],
) -> Callable[[Callable[..., Any]], Safe]:
    """`safe` as a decorator; see there.

    @udf(returns="int64", kind="rows")
    def add(a, b): return a + b
    """
    return lambda function: safe(function, returns=returns, kind=kind, args=args, **options)
