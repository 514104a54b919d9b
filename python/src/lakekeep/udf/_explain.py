"""From what is known of a worker's end to the error that says so."""

from __future__ import annotations

import re
from typing import Optional

from . import _check
from ._broker import End
from ._errors import BrokerUnavailable, OutOfMemory, TimedOut, UdfError, WorkerCrashed


def explained(name: str, end: Optional[End], crash: Optional[WorkerCrashed], rows: int) -> UdfError:
    """The error for a function whose worker is gone.

    `end` is what the broker saw. `crash`, the worker's own word, adds the library and the
    stack to a signal that was seen from outside too; else it is a lie, or of another process.
    """
    if end is None:
        return WorkerCrashed(f"{name} ended, and nobody could tell how")
    if end.kind == "oom":
        return OutOfMemory(limit=end.memory_limit, peak=end.memory_peak, rows=rows)
    if end.kind == "timeout":
        return TimedOut(
            f"{name} was ended: {end.explanation or 'its time was up'}",
            remedy=end.remedy or "raise session_timeout=",
        )
    if end.kind == "broker":
        return BrokerUnavailable(end.explanation, remedy=end.remedy or "try again")
    if crash is not None and end.kind == "signal" and end.signal == crash.signal:
        return crash
    return _crashed(name, end)


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


# Characters of a stack.
_STACK_LIMIT = 4096
# Files of the worker's program, and of what it was forked from.
_OURS = ("<string>", "<lakekeep>")
# How faulthandler begins, and how it names a frame, the innermost first.
_FATAL = "Fatal Python error: "
_FRAME = re.compile(r'  File "([^"]{1,512})", line (\d{1,9}) in (.{1,256})')


def fatal_stack(printed: str) -> str:
    """The Python frames of a crash, outermost first, from what the process has printed of it.

    The words of a process that may print what it likes: for people to read.
    """
    _, found, words = printed.rpartition(_FATAL)
    frames = _FRAME.findall(words.partition("\n\n")[2].partition("\n\n")[0]) if found else []
    users = [frame for frame in frames if frame[0] not in _OURS]
    told = (f'  File "{file}", line {line}, in {name}\n' for file, line, name in users[::-1])
    return _check.text("".join(told), _STACK_LIMIT)
