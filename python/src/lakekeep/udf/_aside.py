"""Keeping who looks off the processors of the worker that it waits for.

A sandbox with one processor to spend has one that it may use, and stays there. A thread that
looks for an answer on the same one keeps the answer from being made.
"""

from __future__ import annotations

import contextlib
import os


def step_aside(processors: frozenset[int]) -> None:
    """Moves the calling thread to a processor that is none of these, if it may use one.

    It may use the same ones afterwards as before. Python does not tell where a thread is: one
    that is elsewhere already is not moved by this, which then costs three system calls.
    """
    # An engine's own seccomp filter may refuse it: then the thread stays where it is.
    with contextlib.suppress(OSError):
        usable = os.sched_getaffinity(0)
        others = usable - processors
        if others and others != usable:
            os.sched_setaffinity(0, others)
            os.sched_setaffinity(0, usable)
