"""From what is known of a worker's end to the error that says so."""

from __future__ import annotations

from typing import Optional

from ._broker import End
from ._errors import BrokerUnavailable, OutOfMemory, TimedOut, UdfError, WorkerCrashed


def explained(name: str, end: Optional[End], crash: Optional[WorkerCrashed], rows: int) -> UdfError:
    """The error for a function whose worker is gone.

    `end` is what the broker saw, and is believed before `crash`, the worker's own word.
    """
    if end is None:
        return crash or WorkerCrashed(f"{name} ended, and nobody could tell how")
    if end.kind == "oom":
        return OutOfMemory(limit=end.memory_limit, peak=end.memory_peak, rows=rows)
    if end.kind == "timeout":
        return TimedOut(
            f"{name} was ended: {end.explanation or 'its time was up'}",
            remedy=end.remedy or "raise session_timeout=",
        )
    if end.kind == "broker":
        return BrokerUnavailable(end.explanation, remedy=end.remedy or "try again")
    return crash or _crashed(name, end)


def _crashed(name: str, end: End) -> WorkerCrashed:
    if end.kind == "signal" and end.signal:
        what = f"{name} was ended by {end.signal}"
    elif end.kind == "exit":
        what = f"{name}'s process exited with code {end.exit_code}"
    else:
        what = f"{name}'s process ended ({end.kind})"
    if end.explanation:
        what = f"{what}: {end.explanation}"
    return WorkerCrashed(what, signal=end.signal or "", remedy=end.remedy)
