"""A client of lakekeep, an open sandbox for untrusted code.

    import lakekeep

    with lakekeep.connect() as client, client.sandboxes.create() as sandbox:
        print(sandbox.run(["echo", "hello"], text=True).stdout)

`lakekeep.aio` has the same for asyncio. Errors are in `lakekeep.errors`, all of them
`LakekeepError`s.
"""

from . import aio, errors
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

__version__ = "0.1.0"

__all__ = [
    "AuditEvent",
    "AuditReport",
    "Client",
    "CompletedTask",
    "ConnectOptions",
    "CreateOptions",
    "Decision",
    "Delegation",
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
    "connect",
    "errors",
]
