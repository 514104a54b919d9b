"""When to try again. Time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from lakekeep.errors import LakekeepError, Unreachable

# First and longest pause, seconds.
_FIRST = 0.05
_LONGEST = 2.0


@dataclass
class Backoff:
    """Pauses that double, within a window that begins with the first failure.

    `window`: seconds; 0 never tries again.
    """

    window: float
    began: Optional[float] = None
    attempts: int = 0

    def after(self, now: float, chance: float, hint: Optional[float] = None) -> Optional[float]:
        """Seconds to wait before the next attempt, None when there is none.

        `hint`: what the manager asked for. `chance`, from 0 to 1, spreads clients
        that failed at the same moment over the second half of the pause.
        """
        if self.began is None:
            self.began = now
        # Beyond 2^16 only the longest pause is left.
        pause = min(_LONGEST, _FIRST * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        pause = max(pause * (0.5 + chance / 2), hint or 0.0)
        return pause if now + pause < self.began + self.window else None

    def progressed(self) -> None:
        """What was tried works again."""
        self.began = None
        self.attempts = 0


def can_help(error: LakekeepError, was_connected: bool) -> bool:
    """Whether sending an idempotent request again can help.

    The manager says so by a hint. Where the connection broke nobody said anything;
    if a manager did answer before, it is probably being restarted.
    """
    if isinstance(error, Unreachable):
        return was_connected
    return error.code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED") and error.retry_after is not None
