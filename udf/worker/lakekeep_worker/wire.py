"""Frames: what a packet's header has, and how large content travels."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

VERSION = 1
# kind, place, reserved, call, length, rows
HEADER = struct.Struct("<BBHIQQ")
# Content of one packet, bytes; what is larger follows in parts.
PIECE = 128 * 1024
# What engines send in a part at most; no part but the last is smaller than the least.
PART_LIMIT, PART_LEAST = 256 * 1024, 64 * 1024

OPEN, INPUT, OUTPUT, FUNCTION, CALL, END = 1, 2, 3, 4, 5, 6
OPENED, RESULT, DONE, ERROR, CRASHED, PART = 16, 17, 18, 19, 20, 21
INLINE, PARTS, MEMFD = 0, 1, 2


class EngineGone(Exception):
    """The engine has closed its end, which is how a session ends."""


def parts(pieces: Sequence[Any], size: int) -> Iterator[list[memoryview]]:
    """Divides the pieces anew, into lists of `size` bytes in all."""
    part: list[memoryview] = []
    room = size
    for piece in pieces:
        view = memoryview(piece).cast("B")
        while len(view):
            part.append(view[:room])
            view = view[room:]
            room -= len(part[-1])
            if room == 0:
                yield part
                part, room = [], size
    if part:
        yield part
