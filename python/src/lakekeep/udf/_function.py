"""A user's function as it is declared: its kind, what it answers, and how it is run."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from types import ModuleType
from typing import Any, Callable, Optional, TypedDict, Union

import cloudpickle
import pyarrow as pa

from . import _fork
from ._broker import Broker, Request, default_broker
from ._environment import AUTO, Chosen, Wanted
from ._errors import BadFunction

# Whose answer is one column, as long as the input or one value.
COLUMN_KINDS = frozenset(("scalar", "pandas", "rows", "aggregate"))
# Whose answer has as many rows as the input.
ROWWISE = frozenset(("scalar", "pandas", "rows"))
STREAMS = frozenset(("batches", "table"))
KINDS = COLUMN_KINDS | STREAMS | {"grouped"}
_SOURCE_LIMIT = 32 * 1024
_ENVIRONMENT = re.compile(rf"{AUTO}|[0-9a-f]{{64}}")

# A type as pyarrow has it, or the name of one, such as `int64`.
Type = Union[str, Any]


class Options(TypedDict, total=False):
    """How a function is run; every option may be left out.

    Attributes:
        timeout: Seconds a call may take; None, the default: any time.
        session_timeout: Seconds a session may last, opening included.
        open_timeout: Seconds until the sandbox has the function ready; 60.
        memory: Bytes its sandbox may have.
        cpu: Cores its sandbox may have.
        user: For whom it runs; None: the engine's own user. A manager asks for the right to
            act for others.
        delegation: A manager's token that says that one may.
        profile: The profile whose policy holds.
        code_owner: Who wrote it, where that is not the user.
        query: The engine's query, for the audit.
        interpreter: The absolute path of the Python that runs it; this one's.
        environment: Which libraries it runs with. None: those of `interpreter` on the host.
            `"auto"` or True: this interpreter's, as they are when the first sandbox is made,
            with the local modules that the function reaches (`lakekeep.capture`). A digest, or
            what `lakekeep.capture` gave: those, if they are the same as this interpreter's.
        modules: What is imported before it arrives; `("pyarrow",)`.
        by_value: Modules whose code is sent along, as the sandbox does not have them.
        max_bytes: Bytes one answered batch may have; 256 MiB.
        max_rows: Rows one answered batch may have; 2**24.
        batch_rows: Larger arrays are sent in pieces of so many rows; 65,536. None: never
            divided, for functions in which a row's answer depends on other rows.
        ahead: Batches that are sent before the first is answered; 4.
        memfd_from: Bytes from which a batch travels in a sealed memfd; None: never.
        look: Seconds for which both ends look for what comes next before they sleep, while it
            keeps coming that soon; 250 µs, and nothing where there is one processor or `cpu`
            is less than one. None: they sleep at once.
        max_sessions: Sessions at once for one callable; as many as there are cores.
        retry_halved: A batch that is too large for the memory is tried in two halves.
        find_row: An error tells the row that causes it, at the price of further calls.
        skip_nulls: For kind `rows`: no call where an argument is None; the answer is None.
        pandas: For kind `grouped`: the group is a DataFrame.
        broker: Who makes the sandboxes; the manager that LAKEKEEP_SOCKET names, or a child.
    """

    timeout: Optional[float]
    session_timeout: Optional[float]
    open_timeout: float
    memory: Optional[int]
    cpu: Optional[float]
    user: Optional[str]
    delegation: Optional[str]
    profile: Optional[str]
    code_owner: Optional[str]
    query: Optional[str]
    interpreter: str
    environment: Wanted
    modules: Sequence[str]
    by_value: Sequence[ModuleType]
    max_bytes: int
    max_rows: int
    batch_rows: Optional[int]
    ahead: int
    memfd_from: Optional[int]
    look: Optional[float]
    max_sessions: int
    retry_halved: bool
    find_row: bool
    skip_nulls: bool
    pandas: bool
    broker: Broker


@dataclass(frozen=True)
class Settings:
    """Options with their defaults; see there."""

    timeout: Optional[float] = None
    session_timeout: Optional[float] = None
    open_timeout: float = 60.0
    memory: Optional[int] = None
    cpu: Optional[float] = None
    user: Optional[str] = None
    delegation: Optional[str] = field(default=None, repr=False)
    profile: Optional[str] = None
    code_owner: Optional[str] = None
    query: Optional[str] = None
    interpreter: str = field(default_factory=lambda: sys.executable)
    environment: Wanted = None
    modules: Sequence[str] = ("pyarrow",)
    by_value: Sequence[ModuleType] = ()
    max_bytes: int = 256 << 20
    max_rows: int = 1 << 24
    batch_rows: Optional[int] = 65_536
    ahead: int = 4
    memfd_from: Optional[int] = None
    look: Optional[float] = 250e-6
    max_sessions: int = field(default_factory=lambda: max(2, os.cpu_count() or 2))
    retry_halved: bool = False
    find_row: bool = False
    skip_nulls: bool = False
    pandas: bool = False
    broker: Broker = field(default_factory=default_broker)

    @property
    def looking(self) -> float:
        """Seconds of `look`; 0 where whoever looks would be in the way of whoever answers."""
        alone = len(os.sched_getaffinity(0)) < 2
        scarce = self.cpu is not None and self.cpu < 1
        return 0.0 if alone or scarce or self.look is None else self.look

    @classmethod
    def of(cls, options: Options) -> Settings:
        """Checks the options.

        Raises:
            BadFunction: One has no such name, or is out of its range.
        """
        unknown = set(options) - {one.name for one in fields(cls)}
        if unknown:
            raise BadFunction(f"there is no option {', '.join(sorted(unknown))}")
        settings = cls(**options)
        for name in ("max_bytes", "max_rows", "batch_rows", "ahead", "max_sessions", "memfd_from"):
            value = getattr(settings, name)
            if value is not None and value < 1:
                raise BadFunction(f"{name}={value}: at least 1")
        if isinstance(settings.environment, str) and not _ENVIRONMENT.fullmatch(
            settings.environment
        ):
            raise BadFunction(
                f"environment={settings.environment!r}: no digest",
                remedy='say "auto", or what `lakekeep env capture` printed',
            )
        if settings.look is not None and not 0 <= settings.look <= 1:
            raise BadFunction(f"look={settings.look}: seconds, at most 1")
        return settings

    def request(self, kind: str, environment: Optional[str] = None) -> Request:
        """What the broker is asked for, with the environment of this digest."""
        return Request(
            kind=kind,
            interpreter=os.path.abspath(self.interpreter),
            environment=environment,
            modules=tuple(self.modules),
            memory=self.memory,
            cpu=self.cpu,
            wall_time=self.session_timeout,
            user=self.user,
            profile=self.profile,
            code_owner=self.code_owner,
            query=self.query,
            delegation=self.delegation,
        )


@dataclass(frozen=True)
class Function:
    """A function ready to be sent.

    Attributes:
        name: Its name, for people.
        kind: One of KINDS.
        answers: The schema of what it answers.
        pickle: The function, as only a sandbox opens it.
        source: Its lines and where they are from, for tracebacks.
        chosen: The environment that its sandboxes show, if there can be one.
    """

    name: str
    kind: str
    answers: Any
    pickle: bytes = field(repr=False)
    source: Optional[dict[str, Any]] = field(repr=False)
    chosen: Optional[Chosen] = field(default=None, repr=False)

    @classmethod
    def of(
        cls, function: Callable[..., Any], kind: str, returns: Any, by_value: Sequence[ModuleType]
    ) -> Function:
        """Declares a function.

        Raises:
            BadFunction: The kind, the types, or the function itself cannot be used.
        """
        if kind not in KINDS:
            raise BadFunction(f"kind {kind!r}; there are {', '.join(sorted(KINDS))}")
        name = getattr(function, "__name__", type(function).__name__)
        try:
            with _sent_along(function, by_value):
                pickled = cloudpickle.dumps(function)
        except Exception as error:  # a pickle runs the user's code, which may raise anything
            raise BadFunction(
                f"{name} cannot be pickled: {error}",
                remedy="make what it refers to within it: connections, locks, files",
            ) from error
        return cls(name, kind, answer_schema(kind, returns), pickled, _source(function))

    @classmethod
    def declared(
        cls, function: Callable[..., Any], kind: str, returns: Any, settings: Settings
    ) -> Function:
        """Declares a function that is run with these settings.

        Raises:
            BadFunction: As `of`.
        """
        found = cls.of(function, kind, returns, settings.by_value)
        interpreter = os.path.abspath(settings.interpreter)
        return replace(found, chosen=Chosen(function, settings.environment, interpreter))


def answer_schema(kind: str, returns: Any) -> Any:
    """The schema that `returns` declares: a type, or for tables a schema or names and types."""
    if kind in COLUMN_KINDS:
        return pa.schema([pa.field("answer", plain(data_type(returns)))])
    if isinstance(returns, dict):
        returns = pa.schema([(name, data_type(kind)) for name, kind in returns.items()])
    if not isinstance(returns, pa.Schema):
        raise BadFunction(f"kind {kind!r} returns a table: give a schema, or names and types")
    return plain_schema(returns)


def data_type(kind: Type) -> Any:
    """A pyarrow type from itself, or from its name."""
    if isinstance(kind, pa.DataType):
        return kind
    try:
        return pa.type_for_alias(kind)
    except (ValueError, TypeError, KeyError):
        raise BadFunction(f"{kind!r} is no type of Arrow's: give int64, string, …") from None


def plain_schema(schema: Any) -> Any:
    """The schema as it is sent."""
    return pa.schema([pa.field(one.name, plain(one.type)) for one in schema])


@functools.lru_cache(maxsize=1024)
def plain(kind: Any) -> Any:
    """The type as it is sent: no dictionaries, views or extensions, which a worker could
    use to make one value stand for many.

    Raises:
        BadFunction: There is no plain form of it.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_union(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
        raise BadFunction(f"values of type {kind} are not sent", remedy="use lists or structs")
    return _plain_nested(kind)


def _plain_nested(kind: Any) -> Any:
    types = pa.types
    if types.is_struct(kind):
        return pa.struct([one.with_type(plain(one.type)) for one in kind])
    if types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(plain(kind.value_type)), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(plain(kind.value_type)))
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(plain(kind.value_type)))
    return kind


class _Registry:
    """Cloudpickle's list of modules that are sent along: one for the process."""

    def __init__(self) -> None:
        self.forked()
        _fork.watch(self)

    def forked(self) -> None:
        """A thread that had the lock is the parent's."""
        # Pickling runs the user's code, which may declare another function.
        self.lock = threading.RLock()


_REGISTRY = _Registry()


@contextlib.contextmanager
def _sent_along(function: Callable[..., Any], by_value: Sequence[ModuleType]) -> Iterator[None]:
    """Sends the code of `by_value`, and of the function's module if it is not installed."""
    modules = {one.__name__: one for one in by_value}
    own = sys.modules.get(getattr(function, "__module__", None) or "")
    if own is not None and own.__name__ != "__main__" and not _installed(own):
        modules[own.__name__] = own
    # Another thread must not take a module off the list while this one needs it there.
    with _REGISTRY.lock:
        already = cloudpickle.list_registry_pickle_by_value()
        added = [one for name, one in modules.items() if name not in already]
        for one in added:
            cloudpickle.register_pickle_by_value(one)
        try:
            yield
        finally:
            for one in added:
                cloudpickle.unregister_pickle_by_value(one)


def _installed(module: ModuleType) -> bool:
    path = getattr(module, "__file__", None)
    if path is None:
        return True
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(os.path.realpath(path).startswith(os.path.realpath(place)) for place in places)


def _source(function: Callable[..., Any]) -> Optional[dict[str, Any]]:
    try:
        lines, first = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function)
    except (OSError, TypeError):
        return None
    text = "".join(lines)
    if file is None or len(text) > _SOURCE_LIMIT:
        return None
    return {"file": inspect.unwrap(function).__code__.co_filename, "line": first, "text": text}
