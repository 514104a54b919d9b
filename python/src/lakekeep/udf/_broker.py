"""Who makes the sandboxes of user functions: a manager, or a child process of one's own.

Either is asked over a socket for one sandbox a session and is not on the way of the data.
A manager is there for all users of a machine, with their profiles, quotas and its audit log;
`lakekeep udf-broker` is for this engine alone. All sessions end when the socket does.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional, Protocol

from . import _fork
from ._errors import BrokerUnavailable, EnvironmentFailed, EnvironmentSlow, SessionRefused
from ._stats import Stats
from ._watcher import WATCHER

PACKET_LIMIT = 64 * 1024
# Seconds.
_LONGEST = 24 * 60 * 60
_TRY_AGAIN = "try again; if it stays so, `lakekeep doctor` tells what this host lacks"
_REMEDY = "install the lakekeep binary, or name it in LAKEKEEP_BIN"
_MEND = "mend what it imports, or name other modules"
_WAIT = "raise the broker's zygote_timeout= (and open_timeout=), or import less"
_NO_MANAGER = "start it (lakekeep serve), or unset LAKEKEEP_SOCKET to do without one"


@dataclass(frozen=True)
class Request:
    """What a session's sandbox is to be.

    Attributes:
        kind: The function's kind.
        interpreter: The absolute path of the Python that runs the worker.
        environment: The digest of a captured environment, whose interpreter runs it instead.
        modules: What it has imported before the function arrives.
        memory: Bytes the sandbox may have; None: as the profile says.
        cpu: Cores, a fraction too; None: as the profile says.
        wall_time: Seconds the session may last; None: as the profile says.
        user: For whom the function runs; a manager asks for the right to act for others.
        delegation: A manager's token that says that one may.
        profile: The profile whose policy holds.
        code_owner: Who wrote the function, where it is not the user.
        query: The engine's query, for the audit.
    """

    kind: str
    interpreter: str
    environment: Optional[str] = None
    modules: tuple[str, ...] = ("pyarrow",)
    memory: Optional[int] = None
    cpu: Optional[float] = None
    wall_time: Optional[float] = None
    user: Optional[str] = None
    profile: Optional[str] = None
    code_owner: Optional[str] = None
    query: Optional[str] = None
    delegation: Optional[str] = field(default=None, repr=False)

    def packet(self, number: int) -> bytes:
        """The request as the broker reads it."""
        wall = None if self.wall_time is None else max(1, int(self.wall_time * 1000))
        limits = {"memory": self.memory, "cpu": self.cpu, "wall_time_ms": wall}
        told = {name: getattr(self, name) for name in ("user", "profile", "code_owner", "query")}
        opened = {
            "number": number,
            "interpreter": self.interpreter,
            "modules": list(self.modules),
            "kind": self.kind,
            "limits": limits,
            **told,
        }
        if self.environment is not None:
            opened["environment"] = self.environment
        if self.delegation is not None:
            opened["delegation"] = self.delegation
        return json.dumps({"open": opened}).encode()


@dataclass(frozen=True)
class End:
    """How a sandbox ended, as the broker saw it from outside.

    Attributes:
        kind: `exit`, `signal`, `oom`, `timeout`, or another word of a verdict's.
        exit_code: For `exit`.
        signal: The signal's name, for `signal`.
        explanation: A sentence.
        remedy: What to do; may be empty.
        memory_limit: Bytes.
        memory_peak: Bytes.
        cpu: Seconds.
    """

    kind: str
    exit_code: Optional[int] = None
    signal: Optional[str] = None
    explanation: str = ""
    remedy: str = ""
    memory_limit: Optional[int] = None
    memory_peak: Optional[int] = None
    cpu: float = 0.0


class Handle(Protocol):
    """One sandbox."""

    sandbox: str

    def kill(self) -> None:
        """Ends it; returns at once."""

    def used(self, stats: Stats) -> None:
        """Is told what its session has done, before its end."""

    def ended(self, timeout: Optional[float]) -> Optional[End]:
        """Waits for its end; None when it is not over within `timeout` seconds."""


class Broker(Protocol):
    """Makes sandboxes."""

    def open(self, request: Request, descriptors: Sequence[int], timeout: float) -> Handle:
        """Makes one whose worker has `descriptors`: socket, standard output and error.

        The caller keeps its own copies. Raises BrokerUnavailable.
        """


@dataclass
class _Sandbox:
    """A handle of the real broker's."""

    broker: SocketBroker
    number: int
    sandbox: str = ""
    failure: Optional[BrokerUnavailable] = None
    end: Optional[End] = None
    answered: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def kill(self) -> None:
        if not self.over.is_set():
            self.broker.kill(self.number)

    def used(self, stats: Stats) -> None:
        if not self.over.is_set():
            self.broker.used(self.number, stats)

    def fail(self, told: dict[str, Any]) -> None:
        """It was not made; or it was, and nobody can tell what became of it."""
        if self.answered.is_set():
            lost = f"the sandbox was lost: {told['message']}"
            self.end = End("broker", explanation=lost, remedy=told.get("remedy") or _TRY_AGAIN)
        else:
            self.failure = _refusal(told)
        self.over.set()

    def ended(self, timeout: Optional[float]) -> Optional[End]:
        # Each call of a pool asks without waiting, for which a wait has too much to set up.
        if timeout != 0:
            self.over.wait(timeout)
        return self.end


class SocketBroker:
    """One that is asked over a control socket; for any thread."""

    # Whether it keeps a log of sessions.
    _LOGS: ClassVar[bool] = False

    def __init__(self) -> None:
        """Asks nobody yet."""
        self._reset()
        _fork.watch(self)

    def _connect(self) -> socket.socket:
        """A control socket with somebody who answers at its other end."""
        raise NotImplementedError

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._control: Optional[socket.socket] = None
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._number = 0
        self._sandboxes: dict[int, _Sandbox] = {}

    def forked(self) -> None:
        """The parent's broker must end with the parent: its socket is not kept open here."""
        control = self._control
        # What was waited for in the parent is nobody's here; its process is no child.
        if self._process is not None:
            self._process.returncode = 0
        self._reset()
        if control is not None:
            control.close()

    def open(self, request: Request, descriptors: Sequence[int], timeout: float) -> Handle:
        """See Broker."""
        with self._lock:
            control = self._control or self._begin()
            self._number += 1
            sandbox = self._sandboxes[self._number] = _Sandbox(self, self._number)
        self._send(control, request.packet(sandbox.number), descriptors)
        if not sandbox.answered.wait(timeout):
            self._sandboxes.pop(sandbox.number, None)
            self.kill(sandbox.number)
            raise BrokerUnavailable(
                f"the broker made no sandbox within {timeout:g} s", remedy="raise open_timeout="
            )
        if sandbox.failure is not None:
            raise sandbox.failure
        return sandbox

    def kill(self, number: int) -> None:
        """Asks for the end of a sandbox."""
        control = self._control
        if control is not None:
            with contextlib.suppress(BrokerUnavailable):
                self._send(control, json.dumps({"kill": {"number": number}}).encode())

    def used(self, number: int, stats: Stats) -> None:
        """Tells what a session has done, where there is a log."""
        control = self._control
        if control is not None and self._LOGS:
            told = {"number": number, "counts": stats.counts()}
            with contextlib.suppress(BrokerUnavailable):
                self._send(control, json.dumps({"used": told}).encode())

    def close(self) -> None:
        """Ends the broker and so all its sandboxes; returns when it has ended."""
        with self._lock:
            control, process = self._control, self._process
        if control is not None:
            # The watcher has a descriptor of it too: closing alone would end nothing.
            # It may have found the broker gone, and closed it, meanwhile.
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_RDWR)
            self._lost(control)
        if process is not None:
            # The watcher may have been first to hear of the end, and wait for it still.
            _reap(process)

    def _send(self, control: socket.socket, packet: bytes, descriptors: Sequence[int] = ()) -> None:
        if len(packet) > PACKET_LIMIT:
            raise BrokerUnavailable(
                f"a request of {len(packet)} bytes; {PACKET_LIMIT} are allowed",
                remedy="shorten user=, query= or modules=",
            )
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            control.sendmsg([packet], rights if descriptors else [], socket.MSG_NOSIGNAL)
        except OSError as error:
            self._lost(control)
            raise BrokerUnavailable(f"the broker has ended: {error}", remedy="try again") from None

    def _begin(self) -> socket.socket:
        ours = self._control = self._connect()
        # The watcher closes its descriptor by itself, so it gets one of its own.
        WATCHER.watch(os.dup(ours.fileno()), lambda _: self._receive(ours))
        return ours

    # On the watcher's thread.

    def _receive(self, control: socket.socket) -> bool:
        try:
            packet = control.recv(PACKET_LIMIT)
        except OSError:
            packet = b""
        if not packet:
            self._lost(control)
            return False
        for kind, told in json.loads(packet).items():
            self._told(kind, told)
        return True

    def _told(self, kind: str, told: dict[str, Any]) -> None:
        sandbox = self._sandboxes.get(told["number"])
        if sandbox is None:
            return
        if kind == "opened":
            sandbox.sandbox = str(told["sandbox"])
        elif kind == "failed":
            del self._sandboxes[sandbox.number]
            sandbox.fail(told)
        elif kind == "ended":
            del self._sandboxes[sandbox.number]
            sandbox.end = _end(told)
            sandbox.over.set()
        sandbox.answered.set()

    def _lost(self, control: socket.socket) -> None:
        """All sandboxes end with their broker; the next session starts another."""
        with self._lock:
            if self._control is not control:
                return
            self._control = None
            sandboxes, self._sandboxes = list(self._sandboxes.values()), {}
            process, self._process = self._process, None
        control.close()
        if process is not None:
            _reap(process)
        for sandbox in sandboxes:
            sandbox.failure = BrokerUnavailable("the broker has ended", remedy="try again")
            sandbox.end = End("broker", explanation="the broker ended, and the sandbox with it")
            sandbox.answered.set()
            sandbox.over.set()


class ChildBroker(SocketBroker):
    """The one that is started for this process: `lakekeep udf-broker`."""

    def __init__(
        self, binary: Optional[str] = None, *, zygote_timeout: Optional[float] = None
    ) -> None:
        """Starts nothing yet.

        Args:
            binary: LAKEKEEP_BIN's, or PATH's `lakekeep`, when not given.
            zygote_timeout: Seconds that the imports of an environment may take, before its
                first session; 50 when not given. Sessions that wait for them wait no longer
                than `open_timeout` either.

        Raises:
            ValueError: A time that is none.
        """
        super().__init__()
        if zygote_timeout is not None and not 0 < zygote_timeout < _LONGEST:
            raise ValueError(f"zygote_timeout={zygote_timeout!r}: more than 0, less than a day")
        self._binary = binary
        self._zygote_timeout = zygote_timeout

    def _connect(self) -> socket.socket:
        binary = self._binary or os.environ.get("LAKEKEEP_BIN") or shutil.which("lakekeep")
        if not binary:
            raise BrokerUnavailable("there is no lakekeep binary", remedy=_REMEDY)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [binary, "udf-broker", "--control", str(theirs.fileno())]
        if self._zygote_timeout is not None:
            milliseconds = max(1, round(self._zygote_timeout * 1000))
            command += ["--zygote-timeout", f"{milliseconds}ms"]
        try:
            with theirs:
                number = theirs.fileno()
                self._process = subprocess.Popen(  # noqa: S603  the binary is the caller's choice
                    command,
                    pass_fds=[number],
                    stdin=subprocess.DEVNULL,
                )
        except OSError as error:
            ours.close()
            raise BrokerUnavailable(f"{binary} cannot be run: {error}", remedy=_REMEDY) from None
        return ours


class ManagerBroker(SocketBroker):
    """A manager: sessions count against a profile, and are in its audit log.

    `interpreter=` is then a path in the profile's image or in one of its volumes: a manager
    shows nothing of its host but these. An environment must be at that manager: `"auto"` sends
    it to the one that LAKEKEEP_SOCKET names.
    """

    _LOGS = True

    def __init__(self, path: Optional[str] = None) -> None:
        """Connects to nothing yet; `path` is that of the manager's API, or LAKEKEEP_SOCKET's."""
        super().__init__()
        self._path = path

    def _connect(self) -> socket.socket:
        path = self._path or os.environ.get("LAKEKEEP_SOCKET")
        if not path:
            raise BrokerUnavailable("no manager is named", remedy="name it in LAKEKEEP_SOCKET")
        # Beside the API's; of packets, for gRPC cannot carry descriptors.
        path = path.removeprefix("unix:").removeprefix("//") + ".udf"
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            control.connect(path)
        except OSError as error:
            control.close()
            raise BrokerUnavailable(
                f"the manager cannot be reached at {path}: {error}", remedy=_NO_MANAGER
            ) from None
        return control


def _refusal(told: dict[str, Any]) -> BrokerUnavailable:
    message, code, after = str(told["message"]), told.get("code"), told.get("retry_after_ms")
    if code is None:
        remedy = told.get("remedy") or _TRY_AGAIN
        return BrokerUnavailable(f"no sandbox was made: {message}", remedy=remedy)
    if code == "ENVIRONMENT_FAILED":
        return EnvironmentFailed(f"no sandbox was made: {message}", remedy=_MEND)
    if code == "ENVIRONMENT_SLOW":
        return EnvironmentSlow(f"no sandbox was made: {message}", remedy=_WAIT)
    return SessionRefused(message, code=code, retry_after=None if after is None else after / 1000)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Its socket is closed, so it ends by itself; if it does not, it is ended."""
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# A verdict's words for what has an error of its own here.
_KINDS = {"out_of_memory": "oom", "wall_time": "timeout", "cpu_time": "timeout"}


def _end(told: dict[str, Any]) -> End:
    verdict = told["verdict"]
    kind = str(verdict["kind"])
    return End(
        kind=_KINDS.get(kind, kind),
        exit_code=verdict.get("exit_code"),
        signal=_signal_name(verdict.get("signal")),
        explanation=str(verdict.get("explanation") or ""),
        remedy=str(verdict.get("remedy") or ""),
        memory_limit=verdict.get("limit") if kind == "out_of_memory" else None,
        memory_peak=told.get("memory_peak"),
        cpu=told.get("cpu_us", 0) / 1e6,
    )


def _signal_name(number: Optional[int]) -> Optional[str]:
    if number is None:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_CHILD = ChildBroker()
_MANAGER = ManagerBroker()


def default_broker() -> Broker:
    """The manager that LAKEKEEP_SOCKET names, or a child of this process."""
    return _MANAGER if os.environ.get("LAKEKEEP_SOCKET") else _CHILD
