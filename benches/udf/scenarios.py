"""What is measured, by name; each scenario's peers are measured in the same rounds."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable

import engines
import servers
import wire
from peer import Peer, Setting

RAW = "raw-socketpair"
Make = Callable[[Setting], Peer]


@dataclass(frozen=True)
class Scenario:
    """One thing that peers are asked for.

    Attributes:
        name: As in the table.
        measure: The peer that the others are compared with; it is always measured.
        peers: By name, what makes them.
        check: Raises where an answer is wrong.
        turn: Calls of a peer in a round; more where one is short.
        turns: The same for those who take much longer.
        share: It has a round in so many.
        elsewhere: Peers that the program makes and calls which started this one, with the
            rows of a call.
    """

    name: str
    measure: str
    peers: Mapping[str, Make]
    check: Callable[[Any], None]
    turn: int = 1
    turns: Mapping[str, int] = field(default_factory=dict)
    share: int = 1
    elsewhere: Mapping[str, int] = field(default_factory=dict)

    def calls(self, peer: str) -> int:
        """How often a peer is called in a round."""
        return self.turns.get(peer, self.turn)


def _add(name: str, rows: int, turn: int, others: Mapping[str, Make]) -> Scenario:
    makers = {RAW: wire.raw, "lakekeep": wire.session, "lakekeep-bare": wire.session}
    makers |= {"lakekeep-safe": wire.drop_in, "in-process": wire.in_process}
    peers = {peer: make(peer, rows) for peer, make in makers.items()}
    slow = dict.fromkeys(others, 1)
    elsewhere = {"lakekeep-rust": rows}
    if rows == 1:
        # Larger batches travel in parts, of which it knows nothing.
        elsewhere["raw-looking"] = rows
    found = Scenario(name, RAW, {**peers, **others}, wire.check(rows), turn, slow)
    return replace(found, elsewhere=elsewhere)


def _engine(name: str, make: Callable[[str], Make]) -> Scenario:
    peers = {peer: make(peer) for peer in (name, "lakekeep", "lakekeep-bare")}
    return Scenario(name, name, peers, engines.check, share=5)


SCENARIOS = (
    _add("call-1-row", 1, 20, {}),
    _add(
        "batch-8k",
        8_192,
        10,
        {name: make(name, 8_192) for name, make in servers.SERVERS.items()},
    ),
    _add("batch-64k", 65_536, 5, {}),
    _engine("duckdb", engines.in_duckdb),
    _engine("polars", engines.in_polars),
)


def versions() -> dict[str, str]:
    """Of what is measured, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in ("pyarrow", "pandas", "duckdb", "polars", "arrow-udf", "databend-udf"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
