"""What became of the user's code, in words that an engine may show."""

from __future__ import annotations

import traceback
from types import FrameType
from typing import Any

MESSAGE_LIMIT, TRACEBACK_LIMIT = 4096, 16 * 1024


class Refused(Exception):
    """The function's answer is not what was declared."""


def is_own(frame: FrameType) -> bool:
    """Whether a frame is of this program, or of what it was forked from: not the user's code."""
    forked_from = frame.f_code.co_filename == "<lakekeep>"
    return forked_from or frame.f_globals.get("__package__") == __package__


def explained(error: BaseException, row: int | None = None) -> dict[str, Any]:
    """An exception as bounded JSON; its traceback begins where the user's code does."""
    trace = error.__traceback__
    while trace is not None and is_own(trace.tb_frame):
        trace = trace.tb_next
    try:
        message = str(error)
        lines = traceback.TracebackException(type(error), error, trace).format()
        text = "".join(lines) if trace is not None else ""
    except BaseException:
        message, text = "an exception that cannot be printed", ""
    return {
        "type": type(error).__qualname__[:256],
        "message": message[:MESSAGE_LIMIT],
        "traceback": text[-TRACEBACK_LIMIT:],
        "row": row,
        "refused": isinstance(error, Refused),
    }
