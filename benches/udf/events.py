"""What is told to the program that started this: a JSON object a line."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from measure import Burst


class Events:
    """Writes to what was standard output; what others print there goes to standard error.

    An event is an object with one field, its kind:

    | kind | holds |
    |---|---|
    | `versions` | an object: program and version |
    | `absent` | `scenario`, `peer`, `reason`: it is not measured |
    | `present` | `scenario`, `peer`, `measure` (a peer), `pid` or null; a line is awaited |
    | `invite` | `scenario`, `peer`, `measure`, `rows`: who listens makes it; its `pid` is awaited |
    | `turn` | `scenario`, `peer`, `calls`: who listens makes them, and tells their nanoseconds |
    | `samples` | `scenario`, `peer`, `round`, `position`, `walls` and `cpu` in nanoseconds |
    """

    def __init__(self) -> None:
        """Takes standard output."""
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        sys.stdout.flush()
        os.dup2(2, 1)

    def _tell(self, kind: str, told: dict[str, Any]) -> None:
        self._out.write(json.dumps({kind: told}) + "\n")

    def versions(self, found: dict[str, str]) -> None:
        """What is measured."""
        self._tell("versions", found)

    def absent(self, scenario: str, peer: str, reason: str) -> None:
        """Who is left out."""
        self._tell("absent", {"scenario": scenario, "peer": peer, "reason": reason})

    def present(self, scenario: str, peer: str, measure: str, pids: list[int]) -> None:
        """Waits until somebody has looked at the process in which the peer's function runs."""
        pid = pids[0] if pids else None
        told = {"scenario": scenario, "peer": peer, "measure": measure, "pid": pid}
        self._tell("present", told)
        sys.stdin.readline()

    def invite(self, scenario: str, name: str, measure: str, rows: int) -> dict[str, Any]:
        """Has a peer made by whoever listens: its `pid`, or why it is `absent`."""
        told = {"scenario": scenario, "peer": name, "measure": measure, "rows": rows}
        self._tell("invite", told)
        found: dict[str, Any] = json.loads(sys.stdin.readline())
        return found

    def turn(self, scenario: str, peer: str, calls: int) -> list[int]:
        """Has calls made by whoever listens: the nanoseconds of each."""
        self._tell("turn", {"scenario": scenario, "peer": peer, "calls": calls})
        walls: list[int] = json.loads(sys.stdin.readline())
        return walls

    def samples(self, scenario: str, peer: str, when: tuple[int, int], burst: Burst) -> None:
        """What a peer's turn took, in which round and place in it."""
        told = {"scenario": scenario, "peer": peer, "round": when[0], "position": when[1]}
        self._tell("samples", {**told, "walls": burst.walls, "cpu": burst.cpu})
