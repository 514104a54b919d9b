"""What sessions have done, as the engine counts it: the data passes nobody else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Stats:
    """Counts and times of one session, or of several.

    Attributes:
        calls: Batches that were sent.
        failed: Calls that raised.
        rows_in: Rows of the batches that were sent.
        rows_out: Rows of the answers.
        bytes_in: Bytes that were sent.
        bytes_out: Bytes of the answers.
        spawn: Seconds until a sandbox had the function ready.
        waited: Seconds of waiting for answers: the function's time, and the way there and back.
    """

    calls: int = 0
    failed: int = 0
    rows_in: int = 0
    rows_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    spawn: float = 0.0
    waited: float = 0.0

    def add(self, other: Stats) -> None:
        """Adds those of another."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def counts(self) -> dict[str, int]:
        """As a broker is told them (docs/udf-wire.md)."""
        told = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        return {**told, "waited_us": int(self.waited * 1e6)}
