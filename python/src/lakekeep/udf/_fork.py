"""What belongs to one process and must not be used by a child that was forked from it."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class OfOneProcess(Protocol):
    """Something with descriptors, threads or locks."""

    def forked(self) -> None:
        """Is called in the child, where only the forking thread is left."""


_known: weakref.WeakSet[OfOneProcess] = weakref.WeakSet()


def watch(thing: OfOneProcess) -> None:
    """Has `thing.forked()` called in children, as long as somebody else holds it."""
    _known.add(thing)


def _in_child() -> None:
    for thing in list(_known):
        thing.forked()


os.register_at_fork(after_in_child=_in_child)
