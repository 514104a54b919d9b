"""The host, as the kernel shows it: whose processes there are, and what a sandbox left."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional, TypeVar

from lakekeep.udf import Broker, Handle, Request

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")
STATE = Path("/run/lakekeep")
# Seconds in which whatever was ended must be gone from the host.
PATIENCE = 30.0

T = TypeVar("T")


def eventually(look: Callable[[], T], within: float = PATIENCE) -> T:
    """What `look` finds, once it is true; else what it found last."""
    until = time.monotonic() + within
    while not (found := look()) and time.monotonic() < until:
        # A pause between looks: nothing is taken for granted after it.
        threading.Event().wait(0.01)
    return found


def gone(look: Callable[[], T], within: float = PATIENCE) -> T:
    """What is still there after a time; falsy when all is gone."""
    until = time.monotonic() + within
    while (found := look()) and time.monotonic() < until:
        threading.Event().wait(0.01)
    return found


def _read(path: Path) -> str:
    """A file of a process that may end meanwhile; empty then."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def processes() -> list[int]:
    """All pids."""
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def state(pid: int) -> tuple[str, int]:
    """A process's state, such as `R`, and its parent; empty for one that is gone."""
    words = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (words[0], int(words[1])) if words else ("", 0)


def children(pid: int) -> set[int]:
    """The processes whose parent it is, but for those that wait to be reaped."""
    found = ((one, state(one)) for one in processes())
    return {one for one, (letter, parent) in found if parent == pid and letter not in "ZX"}


def descendants(pid: int) -> set[int]:
    """Its children, and theirs, as they are now."""
    parents: dict[int, set[int]] = {}
    for one in processes():
        letter, parent = state(one)
        if letter and letter not in "ZX":
            parents.setdefault(parent, set()).add(one)
    found: set[int] = set()
    new = {pid}
    while new := {child for one in new for child in parents.get(one, ())} - found:
        found |= new
    return found


def living(pids: set[int]) -> set[int]:
    """Those that still run."""
    return {pid for pid in pids if state(pid)[0] not in ("", "Z", "X")}


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process has."""
    words = _read(PROC / str(pid) / "statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if words else 0


def command_line(pid: int) -> list[str]:
    """Its arguments."""
    return _read(PROC / str(pid) / "cmdline").split("\0")


def control_groups(pid: int) -> str:
    """Its lines of cgroups(7)."""
    return _read(PROC / str(pid) / "cgroup")


def processes_of(sandbox: str) -> set[int]:
    """The host's pids of all in a sandbox, by its control group."""
    return {pid for pid in processes() if f"/{sandbox}" in control_groups(pid)}


def worker_of(sandbox: str) -> int:
    """The host's pid of a sandbox's worker; 0 when there is none."""
    for pid in processes_of(sandbox):
        if "-c" in command_line(pid):
            return pid
    return 0


def _names(folder: Path) -> list[str]:
    """What is in a folder that may go meanwhile."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def groups_of(sandbox: str) -> list[Path]:
    """A sandbox's control groups, in every hierarchy there is."""
    roots = [GROUPS, *(GROUPS / name for name in _names(GROUPS))]
    launchers = [root / "lakekeep" for root in roots]
    places = (place / name / sandbox for place in launchers for name in _names(place))
    return [place for place in places if place.exists()]


def memory_of(sandbox: str) -> int:
    """Bytes that its control group is charged for; 0 when there is none."""
    for group in groups_of(sandbox):
        for name in ("memory.current", "memory.usage_in_bytes"):
            if text := _read(group / name):
                return int(text)
    return 0


def left_of(sandbox: str) -> list[str]:
    """What a sandbox still has on the host: processes, control groups, mounts, state."""
    mounts = _read(PROC / "self" / "mountinfo").splitlines()
    return [
        *(f"process {pid}" for pid in processes_of(sandbox)),
        *(f"group {group}" for group in groups_of(sandbox)),
        *(f"mount {line}" for line in mounts if sandbox in line),
        *(f"state {name}" for name in _below(STATE) if sandbox in name),
    ]


def descriptors(pid: int | str = "self") -> int:
    """How many descriptors a process has open."""
    try:
        return len(os.listdir(PROC / str(pid) / "fd"))
    except OSError:
        return 0


def _below(folder: Path) -> list[str]:
    """All names below a folder."""
    return [f"{at}/{name}" for at, inner, files in os.walk(folder) for name in (*inner, *files)]


@dataclass
class Recording:
    """A broker that remembers the handles of the sandboxes it was asked for."""

    inner: Broker
    handles: list[Handle] = field(default_factory=list)

    def open(self, request: Request, descriptors: Sequence[int], timeout: float) -> Handle:
        """As Broker."""
        handle = self.inner.open(request, descriptors, timeout)
        self.handles.append(handle)
        return handle

    def newest(self, after: int) -> Optional[str]:
        """The sandbox that was made after `after` others, if it was."""
        return self.handles[-1].sandbox if len(self.handles) > after else None

    def left(self) -> list[str]:
        """What is left of sandboxes that have ended; nothing, a little after their end."""
        over = [one.sandbox for one in self.handles if one.ended(0) is not None]
        return [left for sandbox in over for left in left_of(sandbox)]


def open_files() -> set[tuple[str, str]]:
    """This process's descriptors and what they are of."""
    found = set()
    for entry in (PROC / "self" / "fd").iterdir():
        try:
            found.add((entry.name, str(entry.readlink())))
        except FileNotFoundError:
            continue
    return found
