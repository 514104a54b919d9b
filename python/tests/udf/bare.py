"""A stand-in for the broker, for tests alone: workers as plain processes, in no sandbox."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from lakekeep.udf import BrokerUnavailable, End, Request, Stats
from lakekeep.udf._watcher import WATCHER

WORKER = Path(__file__).resolve().parents[3] / "udf" / "worker"
SOURCE: str = runpy.run_path(str(WORKER / "joined.py"))["source"]()


@dataclass
class Process:
    """A worker; as `Handle`."""

    pid: int
    oom_on_kill: bool
    sandbox: str = ""
    end: Optional[End] = None
    killed: bool = False
    stats: Optional[Stats] = None
    over: threading.Event = field(default_factory=threading.Event)

    def kill(self) -> None:
        # Its zygote reaps it and tells; between the two the pid is nobody's.
        if not self.killed and not self.over.is_set():
            self.killed = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def used(self, stats: Stats) -> None:
        self.stats = stats

    def ended(self, timeout: Optional[float]) -> Optional[End]:
        self.over.wait(timeout)
        return self.end

    def see(self, code: int) -> None:
        self.end = self._end(code)
        self.over.set()

    def _end(self, code: int) -> End:
        if code >= 0:
            return End("exit", exit_code=code)
        name = signal.Signals(-code).name
        if self.oom_on_kill and name == "SIGKILL" and not self.killed:
            return End("oom", memory_limit=1 << 20, memory_peak=1 << 20)
        return End("signal", signal=name)


class Zygote:
    """The process that workers are forked from, and what it tells of them."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            script = Path(__file__).with_name("zygote.py")
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, str(script), str(number)], pass_fds=[number]
            )
        self.control = ours
        self.lock = threading.Lock()
        self.born: queue.Queue[Process] = queue.Queue()
        self.living: dict[int, Process] = {}
        WATCHER.watch(os.dup(ours.fileno()), lambda _: self.hear())

    def hear(self) -> bool:
        packet = self.control.recv(4096)
        if not packet:
            return False
        pid, code = json.loads(packet)
        if code is None:
            self.living[pid] = Process(pid, False, f"bare-{pid}")
            self.born.put(self.living[pid])
        else:
            self.living.pop(pid).see(code)
        return True

    def fork(self, source: str, descriptors: Sequence[int], timeout: float) -> Process:
        with self.lock:
            socket.send_fds(self.control, [source.encode()], descriptors)
            return self.born.get(timeout=timeout)

    def close(self) -> None:
        self.control.shutdown(socket.SHUT_RDWR)
        self.process.wait(10)
        self.control.close()


@dataclass
class Bare:
    """Forks `source` for each session; as `Broker`."""

    zygote: Zygote
    source: str = SOURCE
    # Whether a SIGKILL from elsewhere is told as the kernel's for want of memory.
    oom_on_kill: bool = False
    fail: str = ""
    opened: list[Process] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def open(self, request: Request, descriptors: Sequence[int], timeout: float) -> Process:
        if self.fail:
            raise BrokerUnavailable(self.fail)
        process = self.zygote.fork(self.source, descriptors, timeout)
        process.oom_on_kill = self.oom_on_kill
        self.opened.append(process)
        self.requests.append(request)
        return process

    def close(self) -> None:
        """Ends what a test left over."""
        for process in self.opened:
            process.kill()
        for process in self.opened:
            assert process.ended(20) is not None
