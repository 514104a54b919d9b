"""Modules whose import waits for a test, and a broker's control socket without its client."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Optional

from udf import host

# .../lakekeep/LAUNCHER/SANDBOX
PLACE = r"/lakekeep/([^/\n]+)/([0-9a-f]{16})"
WAITS = """
import os, time
while not os.path.exists({gate!r}):
    time.sleep(0.01)
"""


class Gate:
    """A module of this interpreter's environment that is imported once its gate is open.

    What a sandbox shows of the environment is the host's own folder, read-only: a file that
    the test makes there is seen inside. `last` is what the module does behind the gate.
    """

    def __init__(self, name: str, last: str = "") -> None:
        """Writes the module; its name is this process's own."""
        folder = Path(sysconfig.get_path("purelib"))
        self.module = f"lakekeep_gate_{os.getpid()}_{name}"
        self.path = folder / f"{self.module}.py"
        self.gate = folder / f"{self.module}.open"
        self.mend(last)

    def mend(self, last: str = "") -> None:
        """What it does behind the gate from now on."""
        self.path.write_text(WAITS.format(gate=str(self.gate)) + last)

    def open(self) -> None:
        """Lets imports go on."""
        self.gate.touch()

    @property
    def modules(self) -> tuple[str, ...]:
        """What a session asks for."""
        return ("pyarrow", "cloudpickle", self.module)

    def zygotes(self, broker: int) -> set[int]:
        """The broker's processes that import it: a zygote has its modules as arguments."""
        return {pid for pid in host.descendants(broker) if self.module in host.command_line(pid)}

    def places(self, broker: int) -> set[tuple[str, str]]:
        """The launcher and the sandbox of each of these, by its control groups."""
        groups = (host.control_groups(pid) for pid in self.zygotes(broker))
        return {found for text in groups for found in re.findall(PLACE, text)}

    def remove(self) -> None:
        """Leaves nothing in the environment."""
        for path in (self.path, self.gate):
            path.unlink(missing_ok=True)
        for path in self.path.parent.glob(f"__pycache__/{self.module}.*"):
            path.unlink(missing_ok=True)


class Raw:
    """A broker and what it says, packet by packet."""

    def __init__(self, *options: str) -> None:
        """Starts it."""
        binary = os.environ.get("LAKEKEEP_BIN") or shutil.which("lakekeep") or "lakekeep"
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [binary, "udf-broker", "--control", str(theirs.fileno()), *options]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self.ends: dict[int, socket.socket] = {}

    def open(self, number: int, modules: tuple[str, ...] = ("pyarrow",)) -> None:
        """Asks for a session; its engine's end is in `ends`."""
        ours, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        told = {"number": number, "interpreter": sys.executable, "modules": list(modules)}
        null = os.open(os.devnull, os.O_WRONLY)
        with worker:
            packet = json.dumps({"open": told}).encode()
            socket.send_fds(self.control, [packet], [worker.fileno(), null, null])
        os.close(null)
        if number in self.ends:
            self.ends[number].close()
        self.ends[number] = ours

    def kill(self, number: int) -> None:
        """Ends a session."""
        self.control.send(json.dumps({"kill": {"number": number}}).encode())

    def hear(self, within: float = host.PATIENCE) -> Optional[tuple[str, dict[str, Any]]]:
        """The next answer: its kind and what it tells; None when there is none in that time."""
        if not select.select([self.control], [], [], within)[0]:
            return None
        packet = self.control.recv(1 << 16)
        [(kind, told)] = json.loads(packet).items()
        return kind, told

    def descriptors(self) -> int:
        """How many it has open."""
        return host.descriptors(self.process.pid)

    def close(self) -> None:
        """Ends it, and waits for that."""
        self.control.close()
        for end in self.ends.values():
            end.close()
        self.process.wait(host.PATIENCE)
