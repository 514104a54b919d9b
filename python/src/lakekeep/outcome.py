"""What became of a task: verdict, receipt, usage."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, AnyStr, Generic, Optional

from ._core import html
from .errors import ProtocolError, TaskFailed

# How much output a notebook is shown, characters.
_SHOWN = 2000


@dataclass(frozen=True)
class Verdict:
    """Why a task ended.

    Attributes:
        kind: What ended it: `exit`, `signal`, `out_of_memory`, `wall_time`,
            `cpu_time`, `pids`, `exec_failed`, `denied_syscall`, `disk_full`,
            `file_size`, `output_limit`, or what a newer manager knows.
        exit_code: As `lakekeep run` would exit.
        signal: The signal that ended the command, if one did.
        limit: The limit that was hit, in its own unit.
        peak: How much was used of it.
        explanation: What happened, on what.
        remedy: What to do about it; empty for an ordinary exit.
        extra: What this version does not know, as the manager sent it.
    """

    kind: str
    exit_code: int
    explanation: str = ""
    remedy: str = ""
    signal: Optional[int] = None
    limit: Optional[int] = None
    peak: Optional[int] = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """The command ended by itself, with exit code 0."""
        return self.kind == "exit" and self.exit_code == 0

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Verdict:
        """From the manager's JSON object."""
        fields = _Fields(_inner(value, "verdict"), "verdict")
        return cls(
            kind=fields.text("kind"),
            exit_code=fields.number("exit_code") or 0,
            explanation=fields.text("explanation"),
            remedy=fields.text("remedy"),
            signal=fields.number("signal"),
            limit=fields.number("limit"),
            peak=fields.number("peak"),
            extra=fields.rest(),
        )

    def _repr_html_(self) -> str:
        rows = [
            ("exit code", str(self.exit_code)),
            ("explanation", self.explanation),
            ("remedy", self.remedy),
        ]
        return html.table(f"verdict: {self.kind}", rows, self.ok)


@dataclass(frozen=True)
class Layer:
    """One layer of isolation, and whether it held.

    Attributes:
        layer: Its name, such as `seccomp` or `memory_limit`.
        state: `enforced` or `unenforced`.
        value: What was read back from the kernel.
        reason: Why it did not hold.
        extra: What this version does not know.
    """

    layer: str
    state: str
    value: Any = None
    reason: Optional[str] = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def enforced(self) -> bool:
        """It held."""
        return self.state == "enforced"

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Layer:
        """From the manager's JSON object."""
        fields = _Fields(value, "layer")
        return cls(
            layer=fields.text("layer"),
            state=fields.text("state"),
            value=fields.take("value"),
            reason=fields.text("reason") or None,
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class Receipt:
    """What was in fact enforced, as read back from the kernel.

    Attributes:
        sandbox: The sandbox's identifier.
        policy: Digest of the policy.
        filter: Digest of the seccomp filter.
        layers: Every layer.
        warnings: Weakenings that the policy asked for, or the host forced.
        extra: What this version does not know.
    """

    sandbox: str
    policy: str
    filter: str
    layers: tuple[Layer, ...]
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def layer(self, name: str) -> Layer:
        """The layer of this name. Raises `KeyError`."""
        for layer in self.layers:
            if layer.layer == name:
                return layer
        raise KeyError(name)

    @property
    def unenforced(self) -> tuple[Layer, ...]:
        """The layers that did not hold."""
        return tuple(layer for layer in self.layers if not layer.enforced)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Receipt:
        """From the manager's JSON object."""
        fields = _Fields(_inner(value, "receipt"), "receipt")
        return cls(
            sandbox=fields.text("sandbox"),
            policy=fields.text("policy"),
            filter=fields.text("filter"),
            layers=tuple(Layer.parse(layer) for layer in fields.listed("layers")),
            warnings=tuple(str(warning) for warning in fields.listed("warnings")),
            extra=fields.rest(),
        )

    def _repr_html_(self) -> str:
        rows = [("policy", self.policy), ("filter", self.filter)]
        rows += [("warning", warning) for warning in self.warnings]
        rows += [
            (layer.layer, "enforced" if layer.enforced else f"not enforced: {layer.reason}")
            for layer in self.layers
        ]
        return html.table(f"receipt of sandbox {self.sandbox}", rows, not self.unenforced)


@dataclass(frozen=True)
class Usage:
    """What a task used.

    Attributes:
        wall_us: Elapsed time, microseconds.
        cpu_us: CPU time of all its processes, microseconds.
        memory_peak: The most memory at once, bytes; None where the host cannot tell.
        extra: What this version does not know.
    """

    wall_us: int
    cpu_us: Optional[int] = None
    memory_peak: Optional[int] = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wall(self) -> timedelta:
        """Elapsed time."""
        return timedelta(microseconds=self.wall_us)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Usage:
        """From the manager's JSON object."""
        fields = _Fields(value, "usage")
        return cls(
            wall_us=fields.number("wall_us") or 0,
            cpu_us=fields.number("cpu_us"),
            memory_peak=fields.number("memory_peak"),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class Refused:
    """A system call that the filter refused.

    Attributes:
        syscall: Its name.
        count: How often.
    """

    syscall: str
    count: int


@dataclass(frozen=True)
class TaskResult:
    """How a task ended.

    Attributes:
        exit_code: As `lakekeep run` would exit: the command's, 128 + a signal's
            number, 124 after the time limit, 126 and 127 for no such program.
        verdict: Why it ended.
        receipt: What was enforced; None where the manager cannot tell any more.
        usage: What it used; None where the manager cannot tell any more.
        refused: System calls that were refused, if that was asked for.
        extra: What this version does not know.
    """

    exit_code: int
    verdict: Verdict
    receipt: Optional[Receipt] = None
    usage: Optional[Usage] = None
    refused: tuple[Refused, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """The command ended by itself, with exit code 0."""
        return self.verdict.ok

    @classmethod
    def parse(cls, exit_code: int, text: str) -> TaskResult:
        """From the last message of a task's stream."""
        value = parse_object(text, "outcome")
        fields = _Fields(value, "outcome")
        verdict, receipt = fields.take("verdict"), fields.take("receipt")
        usage, refused = fields.take("usage"), fields.listed("refused")
        if usage is None and "wall_us" in value:
            # Beside the others, not in an object of its own.
            names = ("wall_us", "cpu_us", "memory_peak")
            usage = {name: fields.take(name) for name in names}
        return cls(
            exit_code=exit_code,
            verdict=Verdict.parse(verdict) if verdict else Verdict("unknown", exit_code),
            receipt=Receipt.parse(receipt) if receipt else None,
            usage=Usage.parse(usage) if usage else None,
            refused=tuple(_refused(entry) for entry in refused),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class CompletedTask(Generic[AnyStr]):
    """A command that ran to its end, like `subprocess.CompletedProcess`.

    Attributes:
        args: The program and its arguments.
        stdout: What it printed; empty when it was not captured.
        stderr: Its errors; empty when they were not captured, or with a terminal.
        sandbox: The sandbox's identifier.
        task: The task's number in it.
        result: How it ended.
    """

    args: tuple[str, ...]
    stdout: AnyStr
    stderr: AnyStr
    sandbox: str
    task: int
    result: TaskResult

    @property
    def exit_code(self) -> int:
        """As `result.exit_code`."""
        return self.result.exit_code

    @property
    def verdict(self) -> Verdict:
        """Why it ended."""
        return self.result.verdict

    @property
    def receipt(self) -> Optional[Receipt]:
        """What was enforced."""
        return self.result.receipt

    @property
    def usage(self) -> Optional[Usage]:
        """What it used."""
        return self.result.usage

    @property
    def ok(self) -> bool:
        """The command ended by itself, with exit code 0."""
        return self.result.ok

    def command(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.args)

    def check(self) -> None:
        """Raises `TaskFailed` unless it is `ok`."""
        if not self.ok:
            raise TaskFailed(self)

    def _repr_html_(self) -> str:
        rows = [
            ("verdict", f"{self.verdict.kind}: {self.verdict.explanation}"),
            ("remedy", self.verdict.remedy),
            ("stdout", _shown(self.stdout)),
            ("stderr", _shown(self.stderr)),
        ]
        if self.usage is not None:
            rows.append(("elapsed", str(self.usage.wall)))
            rows.append(("memory", html.bytes_text(self.usage.memory_peak or 0)))
        return html.table(f"{self.command()} → {self.exit_code}", rows, self.ok)


def parse_object(text: str, what: str) -> Mapping[str, Any]:
    """A JSON object; empty text is an empty one. Raises `ProtocolError`."""
    try:
        value = json.loads(text) if text else {}
    except ValueError as error:
        raise ProtocolError(f"the manager's {what} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"the manager's {what} is no JSON object")
    return value


def _inner(value: Any, name: str) -> Any:
    """The manager's objects come by themselves, or beside others under their name."""
    return value.get(name, value) if isinstance(value, Mapping) else value


def _refused(entry: Any) -> Refused:
    if isinstance(entry, Mapping):
        fields = _Fields(entry, "refused")
        return Refused(fields.text("syscall"), fields.number("count") or 0)
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], int):
        return Refused(f"number {entry[0]}", entry[1])
    raise ProtocolError("the manager's refused system calls are no objects")


def _shown(output: AnyStr) -> str:
    text = output if isinstance(output, str) else output[: _SHOWN * 4].decode("utf-8", "replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class _Fields:
    """The fields of one JSON object: each is taken once, the rest is kept."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, Mapping):
            raise ProtocolError(f"the manager's {what} is no JSON object")
        self._left = dict(value)
        self._what = what

    def take(self, name: str) -> Any:
        return self._left.pop(name, None)

    def text(self, name: str) -> str:
        value = self.take(name)
        return "" if value is None else str(value)

    def number(self, name: str) -> Optional[int]:
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise ProtocolError(f"the manager's {self._what}: {name} is no number")
        return value

    def listed(self, name: str) -> list[Any]:
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ProtocolError(f"the manager's {self._what}: {name} is no list")
        return value

    def rest(self) -> Mapping[str, Any]:
        return self._left
