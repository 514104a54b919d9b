"""A manager for tests: the interface over real sockets, tasks as plain processes.

It isolates nothing. It keeps what the interface promises: outputs by offset, input
without repetition, tasks that outlive their connections, and the server itself:
`restart` ends every connection and keeps the state, like a manager that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn, Optional

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from lakekeep._core.methods import ALL, Method
from lakekeep.v1 import accounts_pb2 as ap
from lakekeep.v1 import sandboxes_pb2 as pb

CHUNK = 64 << 10

CODES = {
    "BAD_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "CONFLICT": grpc.StatusCode.ABORTED,
    "QUOTA_EXCEEDED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "ENDED": grpc.StatusCode.FAILED_PRECONDITION,
    "OUTPUT_GONE": grpc.StatusCode.OUT_OF_RANGE,
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
}


def details(reason: str, retry: Optional[float]) -> bytes:
    """`grpc-status-details-bin` as the manager makes it."""
    status = Status(message=reason)
    packed = AnyMessage()
    packed.Pack(ErrorInfo(reason=reason, domain="lakekeep"))
    status.details.append(packed)
    if retry is not None:
        hint = RetryInfo()
        hint.retry_delay.FromMilliseconds(int(retry * 1000))
        packed = AnyMessage()
        packed.Pack(hint)
        status.details.append(packed)
    return bytes(status.SerializeToString())


def refuse(
    context: grpc.ServicerContext, reason: str, message: str, retry: Optional[float] = None
) -> NoReturn:
    metadata = (("grpc-status-details-bin", details(reason, retry)),)
    context.set_trailing_metadata(metadata)
    context.abort(CODES[reason], message)
    raise AssertionError("abort raises")


# What the fake's image runs.
ENTRYPOINT, COMMAND = [b"echo"], [b"of the image"]


def words(start: pb.ExecStart) -> list[bytes]:
    given = list(start.arguments)
    return [*ENTRYPOINT, *(given or COMMAND)] if start.entrypoint else given


class FakeTask:
    """A process whose streams are kept."""

    def __init__(self, number: int, start: pb.ExecStart) -> None:
        self.number = number
        self.start = start
        self.changed = threading.Condition()
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        self.accepted = 0
        self.windows: list[tuple[int, int]] = []
        self.ended: Optional[pb.TaskEnded] = None
        self.process = subprocess.Popen(
            [os.fsdecode(word) for word in words(start)],
            stdin=subprocess.DEVNULL if start.no_stdin else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **dict(start.environment)},
            cwd=start.working_directory or None,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name, file), daemon=True)
            for name, file in (("stdout", self.process.stdout), ("stderr", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()
        threading.Thread(target=self._wait, daemon=True).start()

    def _read(self, name: str, file: IO[bytes]) -> None:
        with file:
            while data := os.read(file.fileno(), CHUNK):
                with self.changed:
                    self.output[name] += data
                    self.changed.notify_all()

    def _wait(self) -> None:
        code = self.process.wait()
        for reader in self._readers:
            reader.join()
        with self.changed:
            self.ended = ended(self.start.sandbox, code)
            self.changed.notify_all()

    def give(self, offset: int, data: bytes, end: bool) -> None:
        """Input: what is known is passed over."""
        file = self.process.stdin
        if file is None or file.closed or offset > self.accepted:
            return
        new = data[self.accepted - offset :]
        try:
            file.write(new)
            file.flush()
            if end:
                file.close()
        except BrokenPipeError:
            # Nobody reads it any more: it is swallowed.
            pass
        with self.changed:
            self.accepted += len(new)
            self.changed.notify_all()

    def kill(self, number: int) -> None:
        self.process.send_signal(number)


def ended(sandbox: str, code: int) -> pb.TaskEnded:
    exit_code = code if code >= 0 else 128 - code
    verdict: dict[str, Any] = {
        "kind": "exit" if code >= 0 else "signal",
        "exit_code": exit_code,
        "explanation": f"exited with {code}" if code >= 0 else f"ended by signal {-code}",
        "new_field": {"of": "tomorrow"},
    }
    if code < 0:
        verdict["signal"] = -code
        verdict["remedy"] = "do not send it"
    outcome = {
        "verdict": verdict,
        "receipt": receipt(sandbox),
        "usage": {"wall_us": 1500, "cpu_us": 900, "memory_peak": 1 << 20},
        "refused": [{"syscall": "ptrace", "count": 2}],
    }
    return pb.TaskEnded(exit_code=exit_code, outcome=json.dumps(outcome))


def receipt(sandbox: str) -> dict[str, Any]:
    return {
        "sandbox": sandbox,
        "policy": "blake3:aa",
        "filter": "blake3:bb",
        "layers": [
            {"layer": "seccomp", "state": "enforced", "value": {"mode": 2}},
            {"layer": "swap_limit", "state": "unenforced", "reason": "no <swap> accounting"},
        ],
        "warnings": ["landlock is off"],
    }


@dataclass
class Fault:
    """What a method does instead, so many times."""

    reason: str
    times: int
    retry: Optional[float] = None
    message: str = "injected; try again"


@dataclass
class FakeSandbox:
    message: pb.Sandbox
    request: pb.CreateRequest
    tasks: list[FakeTask] = field(default_factory=list)


class FakeManager:
    """The state, and the server in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = str(folder / "manager.sock")
        self.sandboxes: dict[str, FakeSandbox] = {}
        self.by_request: dict[str, str] = {}
        self.profiles: dict[str, ap.Profile] = {}
        self.variables: dict[tuple[int, str, str, bool], bytes] = {}
        self.events: list[pb.Event] = []
        self.changed = threading.Condition()
        # (method, metadata) of every call, in order.
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.faults: dict[str, Fault] = {}
        # Bytes of output after which an Exec or Attach loses its connection; one entry
        # for each connection, None: never.
        self.cuts: list[Optional[int]] = []
        # How far each stream is sent again from before what was asked for.
        self.overlap = 0
        # Bytes of input after whose arrival the connection is lost, before any answer.
        self.input_cuts: list[Optional[int]] = []
        # Most bytes that any one stream was sent.
        self.sent = 0
        self.server: Optional[grpc.Server] = None

    # The server.

    def start(self, credentials: Optional[grpc.ServerCredentials] = None) -> int:
        """Serves; returns the port with `credentials`, 0 on the Unix socket."""
        self.server = grpc.server(
            ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)], handlers=[_Handlers(self)]
        )
        if credentials is None:
            Path(self.socket).unlink(missing_ok=True)
            port = self.server.add_insecure_port(f"unix:{self.socket}")
        else:
            port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.server.start()
        return int(port)

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop(0).wait()
            self.server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def shut_down(self) -> None:
        self.stop()
        for sandbox in self.sandboxes.values():
            for task in sandbox.tasks:
                if task.ended is None:
                    task.process.kill()
                task.process.wait()
                if task.process.stdin is not None and not task.process.stdin.closed:
                    with contextlib.suppress(BrokenPipeError):
                        task.process.stdin.close()

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.calls)

    def tell(self, what: str, sandbox: str, task: int = 0) -> None:
        with self.changed:
            event = pb.Event(
                number=len(self.events) + 1, what=what, sandbox=sandbox, task=task, owner="ann"
            )
            event.time.FromSeconds(1000 + event.number)
            self.events.append(event)
            self.changed.notify_all()

    def find(self, context: grpc.ServicerContext, name: str) -> FakeSandbox:
        found = self.sandboxes.get(name)
        if found is None:
            refuse(context, "NOT_FOUND", f"no sandbox {name}; `lakekeep ps` lists them")
        return found

    def task(self, context: grpc.ServicerContext, sandbox: str, number: int) -> FakeTask:
        found = self.find(context, sandbox)
        if not found.tasks or number > len(found.tasks):
            refuse(context, "NOT_FOUND", f"no task {number} in sandbox {sandbox}")
        return found.tasks[number - 1]

    # Sandboxes.

    def Create(self, request: pb.CreateRequest, context: grpc.ServicerContext) -> pb.Sandbox:
        if request.request_id in self.by_request:
            return self.sandboxes[self.by_request[request.request_id]].message
        message = pb.Sandbox(
            id=f"sb{len(self.sandboxes) + 1}",
            owner="ann",
            identity="ann",
            profile=request.profile or "personal",
            state=pb.STATE_RUNNING,
            kind=request.kind or pb.KIND_INTERACTIVE,
            labels=request.labels,
            image="host",
            pid=4242,
        )
        message.created.FromSeconds(1000)
        self.sandboxes[message.id] = FakeSandbox(message, request)
        self.by_request[request.request_id] = message.id
        self.tell("created", message.id)
        return message

    def Claim(self, request: pb.CreateRequest, context: grpc.ServicerContext) -> pb.Sandbox:
        for sandbox in self.sandboxes.values():
            same = sandbox.request.policy == request.policy
            if same and sandbox.message.state == pb.STATE_RUNNING:
                return sandbox.message
        return self.Create(request, context)

    def Get(self, request: pb.SandboxRef, context: grpc.ServicerContext) -> pb.Sandbox:
        found = self.find(context, request.sandbox)
        del found.message.tasks[:]
        for task in found.tasks:
            state = pb.STATE_RUNNING if task.ended is None else pb.STATE_ENDED
            program = os.fsdecode(task.start.arguments[0])
            found.message.tasks.add(task=task.number, state=state, program=program)
        return found.message

    def List(self, request: pb.ListRequest, context: grpc.ServicerContext) -> pb.ListResponse:
        found = [
            sandbox.message
            for sandbox in self.sandboxes.values()
            if all(sandbox.message.labels.get(k) == v for k, v in request.labels.items())
            and (request.ended or sandbox.message.state != pb.STATE_ENDED)
        ]
        size = request.page_size or 100
        begin = int(request.page_token or 0)
        token = str(begin + size) if begin + size < len(found) else ""
        return pb.ListResponse(sandboxes=found[begin : begin + size], next_page_token=token)

    def Freeze(self, request: pb.SandboxRef, context: grpc.ServicerContext) -> pb.Sandbox:
        return self._turn(context, request.sandbox, pb.STATE_FROZEN, signal.SIGSTOP)

    def Thaw(self, request: pb.SandboxRef, context: grpc.ServicerContext) -> pb.Sandbox:
        return self._turn(context, request.sandbox, pb.STATE_RUNNING, signal.SIGCONT)

    def Kill(self, request: pb.SandboxRef, context: grpc.ServicerContext) -> pb.Sandbox:
        message = self._turn(context, request.sandbox, pb.STATE_ENDED, signal.SIGKILL)
        message.verdict = json.dumps({"kind": "killed", "exit_code": 137})
        return message

    def _turn(
        self, context: grpc.ServicerContext, name: str, state: pb.State, number: int
    ) -> pb.Sandbox:
        found = self.find(context, name)
        if found.message.state == pb.STATE_ENDED:
            refuse(context, "ENDED", f"sandbox {name} has ended; make another")
        found.message.state = state
        for task in found.tasks:
            if task.ended is None:
                task.kill(number)
        self.tell(pb.State.Name(state)[6:].lower(), name)
        return found.message

    def Signal(self, request: pb.SignalRequest, context: grpc.ServicerContext) -> pb.SignalResponse:
        task = self.task(context, request.sandbox, request.task)
        if task.ended is not None:
            refuse(context, "ENDED", f"task {request.task} has ended")
        task.kill(request.signal)
        return pb.SignalResponse()

    def Receipt(self, request: pb.TaskRef, context: grpc.ServicerContext) -> pb.ReceiptResponse:
        task = self.task(context, request.sandbox, request.task)
        text = json.dumps({"receipt": receipt(request.sandbox), "task": task.number})
        return pb.ReceiptResponse(receipt=text)

    def Verdict(self, request: pb.TaskRef, context: grpc.ServicerContext) -> pb.VerdictResponse:
        task = self.task(context, request.sandbox, request.task)
        if task.ended is None:
            refuse(context, "NOT_FOUND", "the task has not ended; wait for it")
        verdict = json.dumps(json.loads(task.ended.outcome)["verdict"])
        return pb.VerdictResponse(verdict=verdict, exit_code=task.ended.exit_code)

    def AttachVolume(
        self, request: pb.AttachVolumeRequest, context: grpc.ServicerContext
    ) -> pb.Sandbox:
        found = self.find(context, request.sandbox)
        if request.volume in found.message.volumes:
            refuse(context, "CONFLICT", f"volume {request.volume} is attached already")
        found.message.volumes.append(request.volume)
        return found.message

    def Stats(
        self, request: pb.StatsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StatsSample]:
        rounds = 3 if request.HasField("interval") else 1
        for number in range(rounds):
            sample = pb.StatsSample()
            sample.time.FromSeconds(2000 + number)
            for name in [request.sandbox] if request.sandbox else list(self.sandboxes):
                self.find(context, name)
                sample.sandboxes.add(sandbox=name, memory=4096, cpus_milli=1500)
            yield sample

    def Events(
        self, request: pb.EventsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Event]:
        at = request.after or len(self.events)
        cut = self.cuts.pop(0) if self.cuts else None
        while context.is_active():
            with self.changed:
                if len(self.events) <= at:
                    self.changed.wait(0.1)
                new = self.events[at:]
            for event in new:
                if cut is not None and cut <= 0:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
                yield event
                at = event.number
                cut = None if cut is None else cut - 1

    # Tasks.

    def Exec(
        self, requests: Iterator[pb.ExecRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ExecEvent]:
        start = next(requests).start
        sandbox = self.find(context, start.sandbox)
        if sandbox.message.state == pb.STATE_ENDED:
            refuse(context, "ENDED", f"sandbox {start.sandbox} has ended; make another")
        task = FakeTask(len(sandbox.tasks) + 1, start)
        sandbox.tasks.append(task)
        self.tell("started", start.sandbox, task.number)
        at = {"stdout": 0, "stderr": 0}
        yield from self._follow(task, at, False, requests, context)

    def Attach(
        self, requests: Iterator[pb.ExecRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ExecEvent]:
        attach = next(requests).attach
        task = self.task(context, attach.sandbox, attach.task)
        at = {
            "stdout": max(0, attach.stdout_offset - self.overlap),
            "stderr": max(0, attach.stderr_offset - self.overlap),
        }
        if any(at[name] > len(task.output[name]) for name in at):
            refuse(context, "OUTPUT_GONE", "there never was so much output")
        yield from self._follow(task, at, attach.no_follow, requests, context)

    def _follow(
        self,
        task: FakeTask,
        at: dict[str, int],
        no_follow: bool,
        requests: Iterator[pb.ExecRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[pb.ExecEvent]:
        cut = self.cuts.pop(0) if self.cuts else None
        lost = threading.Event()
        sandbox = task.start.sandbox
        acknowledged = task.accepted
        yield pb.ExecEvent(
            started=pb.TaskStarted(sandbox=sandbox, task=task.number, stdin_offset=acknowledged)
        )
        input_cut = self.input_cuts.pop(0) if self.input_cuts else None
        reader = threading.Thread(
            target=self._take, args=(task, requests, input_cut, lost), daemon=True
        )
        reader.start()
        sent = 0
        while context.is_active():
            if lost.is_set():
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            if task.accepted > acknowledged and input_cut is None:
                acknowledged = task.accepted
                yield pb.ExecEvent(stdin_accepted=acknowledged)
            pieces = self._pieces(task, at, lost)
            for event, size in pieces:
                if cut is not None and sent + size > cut:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
                yield event
                sent += size
                self.sent = max(self.sent, sent)
            if not pieces and task.ended is not None:
                yield pb.ExecEvent(ended=task.ended)
                return
            if not pieces and no_follow:
                return

    def _pieces(
        self, task: FakeTask, at: dict[str, int], lost: threading.Event
    ) -> list[tuple[pb.ExecEvent, int]]:
        found = []
        with task.changed:
            if task.ended is None and all(at[name] >= len(task.output[name]) for name in at):
                task.changed.wait(0.05)
            for name in at:
                data = bytes(task.output[name][at[name] : at[name] + CHUNK])
                if data:
                    output = pb.OutputData(offset=at[name], data=data)
                    event = (
                        pb.ExecEvent(stdout=output)
                        if name == "stdout"
                        else pb.ExecEvent(stderr=output)
                    )
                    found.append((event, len(data)))
                    at[name] += len(data)
        return found

    def _take(
        self,
        task: FakeTask,
        requests: Iterator[pb.ExecRequest],
        cut: Optional[int],
        lost: threading.Event,
    ) -> None:
        taken = 0
        try:
            for request in requests:
                kind = request.WhichOneof("request")
                if kind == "window":
                    task.windows.append((request.window.rows, request.window.columns))
                if kind == "stdin":
                    stdin = request.stdin
                    task.give(stdin.offset, stdin.data, stdin.end)
                    taken += len(stdin.data)
                    if cut is not None and taken >= cut:
                        lost.set()
                        return
        except grpc.RpcError:
            # The connection is gone; the task is not.
            return

    # Files.

    def _path(self, context: grpc.ServicerContext, sandbox: str, path: str) -> Path:
        self.find(context, sandbox)
        root = self.folder / sandbox
        root.mkdir(exist_ok=True)
        return root / path.lstrip("/")

    def ReadFile(
        self, request: pb.ReadFileRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.FileChunk]:
        path = self._path(context, request.sandbox, request.path)
        if request.path == "/dev/zero":
            at = 0
            while context.is_active():
                yield pb.FileChunk(offset=at, data=bytes(CHUNK))
                at += CHUNK
                self.sent = max(self.sent, at)
            return
        if not path.is_file():
            refuse(context, "NOT_FOUND", f"{request.path}: no such file")
        data = path.read_bytes()
        end = request.offset + request.length if request.length else len(data)
        for at in range(request.offset, min(end, len(data)), CHUNK):
            yield pb.FileChunk(offset=at, data=data[at : min(at + CHUNK, end)])

    def WriteFile(
        self, requests: Iterator[pb.WriteFileRequest], context: grpc.ServicerContext
    ) -> pb.WriteFileResponse:
        header = next(requests).header
        path = self._path(context, header.sandbox, header.path)
        if header.create_new and path.exists():
            refuse(context, "CONFLICT", f"{header.path} exists")
        if not path.parent.is_dir():
            refuse(context, "NOT_FOUND", f"{header.path}: no such folder")
        draft = path.with_name(f".{path.name}.draft")
        size = 0
        try:
            with draft.open("wb") as file:
                for request in requests:
                    size += file.write(request.data)
        except grpc.RpcError:
            draft.unlink()
            raise
        # gRPC's iterator ends alike when the client is done and when it is gone.
        gone = threading.Event()
        context.add_callback(gone.set)
        if gone.wait(0.1):
            draft.unlink()
            return pb.WriteFileResponse()
        draft.chmod(header.mode)
        draft.rename(path)
        return pb.WriteFileResponse(size=size)

    def ListFiles(
        self, request: pb.ListFilesRequest, context: grpc.ServicerContext
    ) -> pb.ListFilesResponse:
        path = self._path(context, request.sandbox, request.path)
        names = sorted(os.listdir(os.fsencode(path)))
        response = pb.ListFilesResponse(truncated=len(names) > request.limit)
        for name in names[: request.limit]:
            found = os.stat(os.path.join(os.fsencode(path), name))
            kind = "directory" if Path(os.fsdecode(path), os.fsdecode(name)).is_dir() else "file"
            response.entries.add(
                name=name, kind=kind, size=found.st_size, mode=found.st_mode & 0o777
            )
        return response

    # Accounts.

    def WhoAmI(self, request: ap.WhoAmIRequest, context: grpc.ServicerContext) -> ap.WhoAmIResponse:
        metadata = dict(context.invocation_metadata())
        bearer = str(metadata.get("authorization", ""))
        if bearer == "Bearer wrong":
            refuse(context, "UNAUTHENTICATED", "the token is expired; get another")
        auth: Any = context.auth_context()
        names: list[bytes] = auth.get("x509_common_name", [])
        by = "mtls" if names else "jwt" if bearer else "peer"
        user = names[0].decode() if names else bearer.removeprefix("Bearer ") or "ann"
        response = ap.WhoAmIResponse(user=user, groups=["staff"], authenticated_by=by)
        if request.project == "none":
            response.identity_error = "no rule matches"
        else:
            response.identity.name = user
            response.identity.uid = 1000
        return response

    def TestIdentity(
        self, request: ap.TestIdentityRequest, context: grpc.ServicerContext
    ) -> ap.TestIdentityResponse:
        if request.user != "ann":
            refuse(context, "DENIED", "only administrators may ask of others")
        return ap.TestIdentityResponse(tried=["rule 1: no", f"rule 2: {request.project}"])

    def Delegate(
        self, request: ap.DelegateRequest, context: grpc.ServicerContext
    ) -> ap.DelegateResponse:
        response = ap.DelegateResponse(token=f"for-{request.actor}", id="d1")
        response.expires.FromSeconds(1000 + request.lifetime.seconds)
        return response

    def RevokeDelegation(
        self, request: ap.RevokeDelegationRequest, context: grpc.ServicerContext
    ) -> ap.RevokeDelegationResponse:
        self.calls.append((f"revoked {request.id}", {}))
        return ap.RevokeDelegationResponse()

    def Can(self, request: ap.CanRequest, context: grpc.ServicerContext) -> ap.CanResponse:
        allowed = request.profile == "team"
        remedy = "" if allowed else "ask its owner"
        return ap.CanResponse(allowed=allowed, reasons=[request.action], remedy=remedy)

    def ListProfiles(
        self, request: ap.ListProfilesRequest, context: grpc.ServicerContext
    ) -> ap.ListProfilesResponse:
        return ap.ListProfilesResponse(profiles=list(self.profiles.values()))

    def GetProfile(self, request: ap.ProfileRef, context: grpc.ServicerContext) -> ap.Profile:
        if request.name not in self.profiles:
            refuse(context, "NOT_FOUND", f"no profile {request.name}")
        return self.profiles[request.name]

    def PutProfile(
        self, request: ap.PutProfileRequest, context: grpc.ServicerContext
    ) -> ap.Profile:
        present = self.profiles.get(request.name, ap.Profile()).version
        if present != request.version:
            refuse(context, "CONFLICT", f"the version is {present!r}; read it again")
        version = str(int(present or 0) + 1)
        profile = ap.Profile(
            name=request.name, document=request.document, version=version, role="owner"
        )
        self.profiles[request.name] = profile
        return profile

    def DeleteProfile(
        self, request: ap.DeleteProfileRequest, context: grpc.ServicerContext
    ) -> ap.DeleteProfileResponse:
        if self.GetProfile(ap.ProfileRef(name=request.name), context).version != request.version:
            refuse(context, "CONFLICT", "another version; read it again")
        del self.profiles[request.name]
        return ap.DeleteProfileResponse()

    def SetVariable(
        self, request: ap.SetVariableRequest, context: grpc.ServicerContext
    ) -> ap.SetVariableResponse:
        ref = request.variable
        self.variables[ref.scope, ref.owner, ref.name, ref.secret] = request.value
        return ap.SetVariableResponse()

    def DeleteVariable(
        self, request: ap.VariableRef, context: grpc.ServicerContext
    ) -> ap.SetVariableResponse:
        key = (request.scope, request.owner, request.name, request.secret)
        if self.variables.pop(key, None) is None:
            refuse(context, "NOT_FOUND", f"no variable {request.name}")
        return ap.SetVariableResponse()

    def ListVariables(
        self, request: ap.ListVariablesRequest, context: grpc.ServicerContext
    ) -> ap.ListVariablesResponse:
        response = ap.ListVariablesResponse()
        for (scope, owner, name, secret), value in self.variables.items():
            found = response.variables.add(effective=True)
            found.variable.scope = scope  # type: ignore[assignment]
            found.variable.owner, found.variable.name = owner, name
            found.variable.secret = secret
            found.value = "" if secret else value.decode()
        return response

    def QueryAudit(
        self, request: ap.QueryAuditRequest, context: grpc.ServicerContext
    ) -> Iterator[ap.AuditEvent]:
        for seq in range(1, 4):
            line = {"seq": seq, "time": "2026-01-01T00:00:00Z", "who": request.who or "ann"}
            line |= {"action": request.action, "outcome": "allowed", "hash": "00"}
            yield ap.AuditEvent(json=json.dumps(line))

    def VerifyAudit(
        self, request: ap.VerifyAuditRequest, context: grpc.ServicerContext
    ) -> ap.VerifyAuditResponse:
        return ap.VerifyAuditResponse(whole=False, events=3, problem="audit-1.jsonl:2: changed")


class _Handlers(grpc.GenericRpcHandler):
    """Finds the manager's methods by name."""

    def __init__(self, manager: FakeManager) -> None:
        self._manager = manager
        self._methods = {method.path: method for method in ALL}

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> Optional[grpc.RpcMethodHandler[Any, Any]]:
        method = self._methods.get(details.method)
        if method is None:
            return None
        metadata = {name: str(value) for name, value in details.invocation_metadata}
        self._manager.calls.append((method.name, metadata))
        handler = self._faulty(method) or getattr(self._manager, method.name)
        kinds: dict[tuple[bool, bool], Callable[..., Any]] = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        kind = kinds[method.streams_requests, method.streams_responses]
        found: grpc.RpcMethodHandler[Any, Any] = kind(
            handler,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )
        return found

    def _faulty(self, method: Method[Any, Any]) -> Optional[Callable[..., Any]]:
        fault = self._manager.faults.get(method.name)
        if fault is None or fault.times == 0:
            return None
        fault.times -= 1

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            refuse(context, fault.reason, fault.message, fault.retry)
            yield

        def single(request: Any, context: grpc.ServicerContext) -> Any:
            if fault.reason == "SILENCE":
                gone = threading.Event()
                context.add_callback(gone.set)
                gone.wait(30)
                return method.response()
            refuse(context, fault.reason, fault.message, fault.retry)

        return stream if method.streams_responses else single


__all__ = ["FakeManager", "FakeTask", "Fault"]
