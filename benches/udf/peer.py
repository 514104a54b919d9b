"""What is measured, and what peers have in common."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from lakekeep.udf import Broker, ChildBroker, End, Handle, Request


class Absent(Exception):
    """A peer cannot be measured here; the message says why and what to install."""


@dataclass
class Peer:
    """One who answers calls.

    Attributes:
        name: As in the table.
        call: Makes one call, always the same.
        pids: Tells the processes that answer it; none where this one does.
        close: Ends them.
    """

    name: str
    call: Callable[[], Any]
    pids: Callable[[], list[int]] = list
    close: Callable[[], None] = lambda: None


@dataclass
class _Process:
    """A worker without a sandbox; as `Handle`."""

    process: subprocess.Popen[bytes]
    sandbox: str
    over: threading.Lock = field(default_factory=threading.Lock)

    def kill(self) -> None:
        self.process.kill()

    def ended(self, timeout: Optional[float]) -> Optional[End]:
        with self.over:
            try:
                code = self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                return None
        return End("exit" if code >= 0 else "signal", exit_code=code)


class BareBroker:
    """Starts the worker as a process in no sandbox: what a sandbox costs is the rest."""

    def __init__(self, source: str) -> None:
        """Takes the worker's source."""
        self._source = source

    def open(self, request: Request, descriptors: Sequence[int], timeout: float) -> Handle:
        """See lakekeep.udf.Broker."""
        stdin, stdout, stderr = descriptors
        command = [request.interpreter, "-c", self._source]
        process = subprocess.Popen(  # noqa: S603
            command, stdin=stdin, stdout=stdout, stderr=stderr
        )
        return _Process(process, f"pid-{process.pid}")


class Watched:
    """A broker's sandboxes, with the process at the other end of each socket."""

    def __init__(self, broker: Broker) -> None:
        """Takes whoever makes them."""
        self._broker = broker
        self._inodes: list[int] = []
        self._found: list[int] = []

    def open(self, request: Request, descriptors: Sequence[int], timeout: float) -> Handle:
        """See lakekeep.udf.Broker."""
        self._inodes.append(os.fstat(descriptors[0]).st_ino)
        return self._broker.open(request, descriptors, timeout)

    def pids(self) -> list[int]:
        """The workers, as this process's namespace numbers them; those that may be seen."""
        if len(self._found) != len(self._inodes):
            wanted = {f"socket:[{inode}]" for inode in self._inodes}
            self._found = [pid for pid, links in _sockets() if wanted & links]
        return self._found


def _sockets() -> Iterator[tuple[int, set[str]]]:
    for folder in Path("/proc").glob("[0-9]*/fd"):
        links = set()
        # It may end meanwhile, or be another user's.
        with contextlib.suppress(OSError):
            for entry in folder.iterdir():
                with contextlib.suppress(OSError):
                    links.add(os.readlink(entry))
        yield int(folder.parent.name), links


class Setting:
    """What peers are made with."""

    def __init__(self, worker: str) -> None:
        """Takes the path of the worker's source."""
        self.sandboxes = ChildBroker()
        self._bare = BareBroker(Path(worker).read_text())

    def broker(self, name: str) -> Watched:
        """Who makes workers for the peer `lakekeep`, or `lakekeep-bare`."""
        return Watched(self._bare if name.startswith("lakekeep-bare") else self.sandboxes)

    def __enter__(self) -> Setting:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all sandboxes."""
        self.sandboxes.close()


def child(script: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """A Python program of this folder, as a process."""
    path = Path(__file__).with_name(script)
    command = [sys.executable, str(path), *arguments]
    return subprocess.Popen(command, **options)  # noqa: S603
