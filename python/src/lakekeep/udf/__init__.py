"""User functions in sandboxes, for any engine that runs in a Python process.

    import lakekeep, pyarrow as pa

    add = lakekeep.safe(lambda a, b: pa.compute.add(a, b), returns="int64")
    add(pa.array([1, 2]), pa.array([3, 4]))

`safe` makes a callable for DuckDB's `create_function(type="arrow")`, DataFusion's `udf`,
Polars' `map_batches`, pandas and pyarrow; `map_batches` streams a data set through a
function; `udf` is the same as a decorator. Needs the extra `lakekeep[udf]`.
"""

from ._broker import Broker, ChildBroker, End, Handle, ManagerBroker, Request
from ._call import find_row
from ._errors import (
    BadFunction,
    BrokerUnavailable,
    Cancelled,
    EnvironmentDrift,
    EnvironmentFailed,
    EnvironmentSlow,
    OutOfMemory,
    ProtocolViolation,
    ResultRefused,
    SessionClosed,
    SessionRefused,
    TimedOut,
    UdfError,
    UserFunctionError,
    WorkerCrashed,
)
from ._function import KINDS, Function, Options, Settings
from ._map import map_batches
from ._safe import Safe, safe, udf
from ._session import Session
from ._stats import Stats

__all__ = [
    "KINDS",
    "BadFunction",
    "Broker",
    "BrokerUnavailable",
    "Cancelled",
    "ChildBroker",
    "End",
    "EnvironmentDrift",
    "EnvironmentFailed",
    "EnvironmentSlow",
    "Function",
    "Handle",
    "ManagerBroker",
    "Options",
    "OutOfMemory",
    "ProtocolViolation",
    "Request",
    "ResultRefused",
    "Safe",
    "Session",
    "SessionClosed",
    "SessionRefused",
    "Settings",
    "Stats",
    "TimedOut",
    "UdfError",
    "UserFunctionError",
    "WorkerCrashed",
    "find_row",
    "map_batches",
    "safe",
    "udf",
]
