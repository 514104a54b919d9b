"""A client of lakekeep, an open sandbox for untrusted code.

    import lakekeep

    with lakekeep.connect() as client, client.sandboxes.create() as sandbox:
        print(sandbox.run(["echo", "hello"], text=True).stdout)

`lakekeep.aio` has the same for asyncio. Errors are in `lakekeep.errors`, all of them
`LakekeepError`s. `lakekeep.udf` runs user functions for engines; it needs the extra
`lakekeep[udf]` and is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

from . import aio, errors
from ._capture import CaptureFailed, Environment, capture
from ._core.run import RunOptions
from ._core.sandboxes import CreateOptions
from ._core.target import ConnectOptions
from ._core.tasks import ExecOptions
from .client import Client, Files, Sandbox, Stdin, Task, connect
from .errors import LakekeepError, TaskFailed, TaskTimeout
from .models import (
    AuditEvent,
    AuditReport,
    Decision,
    Delegation,
    Event,
    FileEntry,
    Identity,
    IdentityTest,
    Listing,
    Position,
    Profile,
    SandboxInfo,
    SandboxStats,
    StatsSample,
    TaskInfo,
    Variable,
    WhoAmI,
)
from .outcome import CompletedTask, Layer, Receipt, Refused, TaskResult, Usage, Verdict

if TYPE_CHECKING:
    from . import udf
    from .udf import map_batches, safe

__version__ = "0.1.0"

__all__ = [
    "AuditEvent",
    "AuditReport",
    "CaptureFailed",
    "Client",
    "CompletedTask",
    "ConnectOptions",
    "CreateOptions",
    "Decision",
    "Delegation",
    "Environment",
    "Event",
    "ExecOptions",
    "FileEntry",
    "Files",
    "Identity",
    "IdentityTest",
    "LakekeepError",
    "Layer",
    "Listing",
    "Position",
    "Profile",
    "Receipt",
    "Refused",
    "RunOptions",
    "Sandbox",
    "SandboxInfo",
    "SandboxStats",
    "StatsSample",
    "Stdin",
    "Task",
    "TaskFailed",
    "TaskInfo",
    "TaskResult",
    "TaskTimeout",
    "Usage",
    "Variable",
    "Verdict",
    "WhoAmI",
    "aio",
    "capture",
    "connect",
    "errors",
    "map_batches",
    "safe",
    "udf",
]


def __getattr__(name: str) -> Any:
    """The names for user functions: without them nobody needs pyarrow or cloudpickle."""
    if name not in ("udf", "safe", "map_batches"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        module = importlib.import_module(".udf", __name__)
    except ModuleNotFoundError as error:
        if error.name not in ("pyarrow", "cloudpickle"):
            raise
        raise ImportError(f"{error}: user functions need it; pip install 'lakekeep[udf]'") from None
    return module if name == "udf" else getattr(module, name)
