"""Frames over the socket to the engine; both ways block, which is the back-pressure."""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from lakekeep_worker.wire import (
    HEADER,
    INLINE,
    MEMFD,
    PART,
    PART_LEAST,
    PART_LIMIT,
    PARTS,
    PIECE,
    EngineGone,
    parts,
)

F_ADD_SEALS, ALL_SEALS = 1033, 0xF
ROOM = socket.CMSG_SPACE(4)
HEAD, pack, unpack_from = HEADER.size, HEADER.pack, HEADER.unpack_from
# To a sleeper, soon is within so many times the time of looking.
SOON, DEAREST = 3, 255

# kind, call, rows, content
Frame = tuple[int, int, int, Any]


class Channel:
    """Frames over one socket.

    Attributes:
        memfd_from: Bytes from which a result is sent as a memfd; 0: none is.
        part: Most bytes of a PART that the engine takes.
        look: Seconds of looking before sleeping.
        rest: Packets that must come soon before it looks again; -1: it never does.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Takes the socket; before the opening nobody looks, and no descriptors come."""
        self.sock = sock
        self.take: Callable[[Any], int] = sock.recv_into
        self.coming = select.poll()
        self.coming.register(sock, select.POLLIN)
        self.memfd_from, self.part = 0, PIECE
        # Of the last packet, where it may have any.
        self.rights: list[tuple[int, int, bytes]] = []
        self.look, self.rest, self.price = 0.0, -1, 0
        self.packet = bytearray(HEADER.size + PIECE)
        self.view = memoryview(self.packet)
        self.head = self.view[:HEAD]

    def receive(self) -> Frame:
        """The next frame."""
        if self.rest or not self._comes_soon():
            size = self._slept()
        else:
            self.price >>= 1
            size = self.take(self.packet)
        if size < HEAD:
            raise EngineGone
        kind, place, _, call, length, rows = unpack_from(self.packet)
        if place == INLINE:
            # The function may keep its arguments: the packet's room is the next one's.
            content = pa.py_buffer(bytes(self.view[HEAD:size]))
        elif place == PARTS:
            content = self._parts(length)
        else:
            content = mapped(struct.unpack("i", self.rights[0][2])[0], length)
        return kind, call, rows, content

    def may_get_memfds(self) -> None:
        """From now on packets may bring descriptors."""
        self.take = self._take_with_rights

    def _take_with_rights(self, packet: Any) -> int:
        size, self.rights, _, _ = self.sock.recvmsg_into([packet], ROOM, socket.MSG_CMSG_CLOEXEC)
        return size

    def _comes_soon(self) -> bool:
        """Looks for a packet a while, and the less the more often that was in vain
        (docs/udf-wire.md). A look without waiting, and no exception where there is nothing.
        """
        coming, now = self.coming.poll, time.monotonic
        until = now() + self.look
        while not coming(0):
            if now() > until:
                self.rest = self.price = min(2 * self.price + 1, DEAREST)
                return False
        return True

    def _slept(self) -> int:
        """The size of a packet that is waited for."""
        since = time.monotonic()
        size = self.take(self.packet)
        if self.rest > 0 and time.monotonic() - since <= SOON * self.look:
            self.rest -= 1
        return size

    def _parts(self, length: int) -> Any:
        content = pa.allocate_buffer(length)
        view, at = memoryview(content).cast("B"), 0
        while at < length:
            if not self.rest:
                # However soon it comes, that tells nothing of how soon a call does.
                self._comes_soon()
            size = self.sock.recvmsg_into([self.head, view[at : at + PART_LIMIT]])[0]
            if size <= HEAD:
                raise EngineGone
            at += size - HEAD
        return content

    def send(self, kind: int, call: int = 0, rows: int = 0, pieces: Sequence[Any] = ()) -> None:
        """Sends a frame whose content is the pieces, one after the other."""
        length = sum(map(len, pieces))
        if length <= PIECE:
            self.sock.sendmsg([pack(kind, INLINE, 0, call, length, rows), *pieces])
        elif not (0 < self.memfd_from <= length and self._memfd(kind, call, rows, pieces)):
            self.sock.send(pack(kind, PARTS, 0, call, length, rows))
            self._send_parts(call, pieces, self.part)

    def _send_parts(self, call: int, pieces: Sequence[Any], most: int) -> None:
        for part in parts(pieces, most):
            size = sum(map(len, part))
            try:
                self.sock.sendmsg([pack(PART, INLINE, 0, call, size, 0), *part])
            except OSError as error:
                # The kernel has not so much memory in one piece.
                if error.errno != errno.ENOBUFS or size <= PART_LEAST:
                    raise
                self._send_parts(call, part, -(-size // (2 * PART_LEAST)) * PART_LEAST)

    def _memfd(self, kind: int, call: int, rows: int, pieces: Sequence[Any]) -> bool:
        """Whether it went so: a narrow seccomp profile refuses memfd_create."""
        try:
            memfd = os.memfd_create("batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return False
        try:
            for piece in pieces:
                write_all(memfd, piece)
            length = sum(map(len, pieces))
            fcntl.fcntl(memfd, F_ADD_SEALS, ALL_SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", memfd))
            self.sock.sendmsg([pack(kind, MEMFD, 0, call, length, rows)], [rights])
        finally:
            os.close(memfd)
        return True

    def send_json(self, kind: int, call: int, value: dict[str, Any]) -> None:
        """Sends a frame whose content is JSON."""
        self.send(kind, call, 0, [json.dumps(value).encode()])


def write_all(descriptor: int, piece: Any) -> None:
    """Writes a piece, whatever the kernel takes at once."""
    view = memoryview(piece).cast("B")
    while len(view):
        view = view[os.write(descriptor, view) :]


def mapped(memfd: int, length: int) -> Any:
    """The engine's memfd as a buffer; takes the descriptor."""
    try:
        return pa.py_buffer(mmap.mmap(memfd, length, mmap.MAP_SHARED, mmap.PROT_READ))
    finally:
        os.close(memfd)
