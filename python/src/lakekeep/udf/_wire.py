"""Frames between an engine and a worker, on the engine's side.

docs/udf-wire.md is the contract. One packet of a SOCK_SEQPACKET socket is one frame; the
worker is not trusted, and all that it declares is bounded before anything is allocated.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import mmap
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import pyarrow as pa

from ._aside import step_aside
from ._errors import ProtocolViolation

VERSION = 1
HEADER = struct.Struct("<BBHIQQ")
# Content of one packet. Above it a frame is followed by PART frames.
PIECE = 128 * 1024
# Their content: each packet has a price, but the kernel may lack so much memory in one piece
# for it, and then less is sent. All but the last have at least the least.
PART_LIMIT, PART_LEAST = 256 * 1024, 64 * 1024
PACKET = HEADER.size + PIECE
# Messages that are JSON or a schema fit in one packet.
JSON_LIMIT = 64 * 1024

OPEN, INPUT, OUTPUT, FUNCTION, CALL, END = 1, 2, 3, 4, 5, 6
OPENED, RESULT, DONE, ERROR, CRASHED, PART = 16, 17, 18, 19, 20, 21
INLINE, PARTS, MEMFD = 0, 1, 2
FROM_WORKER = frozenset((OPENED, RESULT, DONE, ERROR, CRASHED))

# Of linux/fcntl.h; Python has names for them on some builds only.
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
ALL_SEALS = 0xF  # SEAL, SHRINK, GROW, WRITE
# Room for one descriptor more than a frame may have, so that a second one is seen.
ANCILLARY = socket.CMSG_SPACE(2 * array.array("i").itemsize)
SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_CUT = socket.MSG_CTRUNC | socket.MSG_TRUNC
# Asked for on both ends; the kernel grants what net.core.wmem_max allows.
SOCKET_BUFFER = 1 << 20

# To a sleeper, soon is within so many times the time of looking.
_SOON, _DEAREST = 3, 255
# Seconds; a wait shorter than this is not divided.
_TICK = 0.01

# kind, call, rows, content
Frame = tuple[int, int, int, Any]
Buffers = Sequence[Any]


class Ended(Exception):
    """The worker's end of the socket is closed."""


class Expired(Exception):
    """The deadline has passed."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """The engine's end and the worker's."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    return ends


class Channel:
    """Frames over the engine's end of a socket; for one thread at a time.

    Sending never waits for a worker that itself waits to send: while there is no room,
    frames that arrive are taken in.
    """

    def __init__(self, sock: socket.socket, max_bytes: int, ahead: int, look: float = 0.0) -> None:
        """Takes the socket, the bytes that a frame's content may have, the calls at once, and
        how long to look for a packet before sleeping, seconds.
        """
        self._sock = sock
        self._max_bytes = max_bytes
        self._look = look
        # Packets that must come soon before it looks again; -1: it never does.
        self._rest = 0 if look else -1
        self._price = 0
        # The worker's processors, on which nobody looks; and whether the thread may be on one.
        self.avoided: frozenset[int] = frozenset()
        self._astray = True
        # The kernel's own time-out of a blocking recvmsg, in seconds, as it was set last.
        self._patience = 0.0
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._packet = bytearray(PACKET)
        self._view = memoryview(self._packet)
        self._head = self._view[: HEADER.size]
        # A frame whose parts are still arriving: its header, buffer, view and filled bytes.
        self._partial: Optional[tuple[int, int, int, Any]] = None
        self._whole = self._target = self._view[HEADER.size :]
        self._filled = 0
        # Whole frames that nobody has asked for yet, and how many of them may wait.
        self._arrived: deque[Frame] = deque()
        self.ahead = ahead
        # Packets that are still to be sent, each with its memfd.
        self._outgoing: deque[tuple[Buffers, Optional[int]]] = deque()
        # Bytes of content that were sent, or will be.
        self.sent = 0
        # A monotonic moment; what waits beyond it raises Expired.
        self.deadline: Optional[float] = None

    def close(self) -> None:
        """Closes the socket; a worker that waits for a call ends by that."""
        self._sock.close()
        while self._outgoing:
            memfd = self._outgoing.popleft()[1]
            if memfd is not None:
                os.close(memfd)

    def interrupt(self) -> None:
        """Ends, from another thread, whatever waits on the socket."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    # Sending.

    def send(
        self, kind: int, call: int, rows: int, pieces: Buffers, memfd_from: Optional[int] = None
    ) -> None:
        """Sends a frame, and what was queued before; waits until all of it is sent."""
        if not self._outgoing and self._sent_whole(kind, call, rows, pieces):
            return
        self.queue(kind, call, rows, pieces, memfd_from)
        while not self.flush():
            self.wait()

    def _sent_whole(self, kind: int, call: int, rows: int, pieces: Buffers) -> bool:
        """Sends the frame that nearly all are; False where it is larger, or there is no room."""
        length = sum(map(len, pieces))
        if length > PIECE:
            return False
        packet = [HEADER.pack(kind, INLINE, 0, call, length, rows), *pieces]
        try:
            self._sock.sendmsg(packet, (), SEND_FLAGS)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Ended from error
        self.sent += length
        return True

    def queue(
        self, kind: int, call: int, rows: int, pieces: Buffers, memfd_from: Optional[int] = None
    ) -> None:
        """Has a frame sent: in one packet, in parts, or in a sealed memfd from `memfd_from`."""
        length = sum(map(len, pieces))
        self.sent += length
        queue = self._outgoing
        if length <= PIECE:
            queue.append(([HEADER.pack(kind, INLINE, 0, call, length, rows), *pieces], None))
        elif memfd_from is not None and length >= memfd_from:
            header = HEADER.pack(kind, MEMFD, 0, call, length, rows)
            queue.append(([header], sealed_memfd(pieces)))
        else:
            queue.append(([HEADER.pack(kind, PARTS, 0, call, length, rows)], None))
            queue.extend(_parts(call, pieces, PART_LIMIT))

    def flush(self) -> bool:
        """Sends what there is room for, without waiting; whether that was all."""
        queue = self._outgoing
        while queue:
            packet, memfd = queue[0]
            try:
                self._sock.sendmsg(packet, _rights(memfd), SEND_FLAGS)
            except BlockingIOError:
                return False
            except OSError as error:
                self._divide(error)
                continue
            queue.popleft()
            if memfd is not None:
                os.close(memfd)
        return True

    def _divide(self, error: OSError) -> None:
        """Has the first packet sent as two, if the kernel lacked memory in one piece for it."""
        packet = self._outgoing[0][0]
        kind, _, _, call, length, _ = HEADER.unpack(packet[0])
        if error.errno != errno.ENOBUFS or kind != PART or length <= PART_LEAST:
            raise Ended from error
        self._outgoing.popleft()
        half = -(-length // (2 * PART_LEAST)) * PART_LEAST
        self._outgoing.extendleft(reversed(list(_parts(call, packet[1:], half))))

    def wait(self) -> None:
        """Waits for room to send in, or for a packet, which is taken in.

        So two ends that both have much to send do not wait for each other. Who does not
        take the frames gets no more than `ahead` of them.
        """
        poll = select.poll()
        wanted = select.POLLIN if len(self._arrived) < self.ahead else 0
        poll.register(self._sock, select.POLLOUT | wanted)
        events = poll.poll(self._milliseconds_left())
        if not events:
            raise Expired
        if events[0][1] & wanted:
            self._read(socket.MSG_DONTWAIT)

    def _milliseconds_left(self) -> Optional[float]:
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - time.monotonic()) * 1000

    # Receiving.

    @property
    def idle(self) -> bool:
        """Whether nothing has arrived that nobody asked for, and the worker is there."""
        return not (self._arrived or self._partial or self._readable.poll(0))

    def receive(self) -> Frame:
        """Waits for the next frame.

        Raises:
            Ended: The worker is gone.
            Expired: The deadline has passed.
            ProtocolViolation: The worker breaks the protocol.
        """
        while not self._arrived:
            if self._rest or not self._found():
                self._sleep()
        return self._arrived.popleft()

    def _found(self) -> bool:
        """Looks for a packet; whether one came soon enough.

        To wake a sleeper takes longer than a small call does. But who looks uses a processor:
        each time in vain, twice as many packets must come soon before it is tried again.
        """
        if self._astray:
            self._astray = False
            step_aside(self.avoided)
        now, coming, part = time.monotonic, self._readable.poll, self._partial is not None
        until = now() + self._look
        if self.deadline is not None:
            until = min(until, self.deadline)
        found = False
        while not found:
            # Cheaper than to be told of nothing by an exception.
            found = bool(coming(0))
            if now() > until:
                # That it came may have been hidden by another thread of this process.
                self._rest = self._price = min(2 * self._price + 1, _DEAREST)
                self._astray = True
                break
        else:
            # Parts tell nothing of how soon an answer comes.
            if not part:
                self._price >>= 1
        if found:
            self._read(socket.MSG_DONTWAIT)
        return found

    def _sleep(self) -> None:
        since, part = time.monotonic(), self._partial is not None
        self._set_patience()
        if not self._read(0) or self._rest <= 0 or part:
            return
        if time.monotonic() - since <= _SOON * self._look:
            self._rest -= 1

    def ready(self) -> bool:
        """Takes in what has arrived, without waiting; whether there is a frame."""
        with contextlib.suppress(BlockingIOError):
            while not self._arrived:
                self._read(socket.MSG_DONTWAIT)
        return bool(self._arrived)

    def last_frames(self) -> list[Frame]:
        """What a worker that is gone had still sent."""
        with contextlib.suppress(Ended, BlockingIOError, ProtocolViolation):
            while len(self._arrived) <= self.ahead:
                self._read(socket.MSG_DONTWAIT)
        return list(self._arrived)

    def _set_patience(self) -> None:
        """Lets the kernel end the next wait: one system call less than poll and recvmsg.

        A wait that ends early is begun again. So the kernel's time-out is a tenth less
        than what is left, and stays as it is from call to call while it is near that.
        """
        if self.deadline is None:
            if self._patience:
                self._ask_for_patience(0.0)
            return
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Expired
        if not 0 < self._patience <= left <= 8 * self._patience:
            self._ask_for_patience(left if left < _TICK else left * 0.9)

    def _ask_for_patience(self, seconds: float) -> None:
        microseconds = max(1, int(seconds * 1e6)) if seconds else 0
        value = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._patience = seconds

    def _read(self, flags: int) -> bool:
        """Takes in one packet; False when the kernel's time-out was first."""
        try:
            size, ancillary, result, _ = self._sock.recvmsg_into(
                [self._head, self._target], ANCILLARY, flags | socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            if flags:
                raise
            return False
        except ConnectionResetError:
            # Told once: it ended with calls unread. What it had sent is still to be had.
            return False
        except OSError as error:
            raise Ended from error
        if not ancillary and self._take_small(size, result):
            return True
        descriptors = _descriptors(ancillary)
        try:
            self._take(size, descriptors, result)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _take_small(self, size: int, flags: int) -> bool:
        """Takes the frame that nearly all are, one whole in its packet; False for others."""
        if size < HEADER.size or flags & _CUT or self._partial is not None:
            return False
        kind, place, reserved, call, length, rows = HEADER.unpack(self._head)
        if place or reserved or length != size - HEADER.size or kind not in FROM_WORKER:
            return False
        self._arrived.append((kind, call, rows, bytes(self._target[:length])))
        return True

    def _take(self, size: int, descriptors: list[int], flags: int) -> None:
        if size == 0:
            raise Ended
        if flags & _CUT:
            raise ProtocolViolation("a packet or its descriptors are larger than any frame's")
        if size < HEADER.size:
            raise ProtocolViolation(f"a packet of {size} bytes, less than a header")
        kind, place, reserved, call, length, rows = HEADER.unpack(self._head)
        size -= HEADER.size
        if reserved or len(descriptors) != (place == MEMFD):
            raise ProtocolViolation("a header or a number of descriptors that no frame has")
        if kind == PART:
            self._take_part(place, call, length, size)
        elif kind not in FROM_WORKER or (self._partial and kind != CRASHED):
            raise ProtocolViolation(f"a frame of kind {kind} out of place")
        else:
            self._begin(kind, place, call, length, rows, size, descriptors)

    def _begin(  # noqa: PLR0913  the header's fields
        self,
        kind: int,
        place: int,
        call: int,
        length: int,
        rows: int,
        size: int,
        descriptors: list[int],
    ) -> None:
        if place == INLINE:
            if length != size:
                raise ProtocolViolation(f"{size} bytes in a packet that declares {length}")
            self._arrived.append((kind, call, rows, bytes(self._target[:size])))
            return
        if kind != RESULT or size or not PIECE < length <= self._max_bytes:
            raise ProtocolViolation(
                f"{length} bytes beside the packet; a result may have {self._max_bytes}"
            )
        if place == MEMFD:
            content = mapped(descriptors[0], length)
            self._arrived.append((kind, call, rows, content))
        elif place == PARTS:
            self._partial = (kind, call, rows, pa.allocate_buffer(length))
            self._whole = memoryview(self._partial[3]).cast("B")
            self._target, self._filled = self._whole[:PART_LIMIT], 0
        else:
            raise ProtocolViolation(f"content in place {place}, which there is not")

    def _take_part(self, place: int, call: int, length: int, size: int) -> None:
        # The target is as large as this part may be, and as it has to be where it is the last.
        if self._partial is None or place != INLINE or call != self._partial[1]:
            raise ProtocolViolation("a part of no frame")
        if length != size or (size < PART_LEAST and size != len(self._target)):
            raise ProtocolViolation(f"a part of {size} bytes instead of {len(self._target)}")
        self._filled += size
        self._target = self._whole[self._filled : self._filled + PART_LIMIT]
        if not self._target:
            self._arrived.append(self._partial)
            self._partial = None
            self._target = self._view[HEADER.size :]
        elif self.deadline is not None and time.monotonic() > self.deadline:
            raise Expired


def _rights(memfd: Optional[int]) -> Sequence[Any]:
    if memfd is None:
        return ()
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memfd]))]


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) // found.itemsize * found.itemsize])
    return found.tolist()


def _parts(call: int, pieces: Buffers, size: int) -> Iterator[tuple[Buffers, None]]:
    """PART packets of a frame's content, of `size` bytes each."""
    for part in _divided(pieces, size):
        length = sum(map(len, part))
        yield [HEADER.pack(PART, INLINE, 0, call, length, 0), *part], None


def _divided(pieces: Buffers, size: int) -> Iterator[list[memoryview]]:
    """The pieces anew, `size` bytes at a time."""
    part: list[memoryview] = []
    room = size
    for piece in pieces:
        view = memoryview(piece).cast("B")
        while len(view):
            part.append(view[:room])
            view = view[room:]
            room -= len(part[-1])
            if not room:
                yield part
                part, room = [], size
    if part:
        yield part


def sealed_memfd(pieces: Buffers) -> int:
    """A descriptor of the pieces, which nobody can change any more."""
    memfd = os.memfd_create("lakekeep-batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for piece in pieces:
            view = memoryview(piece).cast("B")
            while len(view):
                view = view[os.write(memfd, view) :]
        fcntl.fcntl(memfd, F_ADD_SEALS, ALL_SEALS)
    except BaseException:
        os.close(memfd)
        raise
    return memfd


def mapped(descriptor: int, length: int) -> Any:
    """The worker's memfd as a buffer, if nobody can change it and it is as long as declared."""
    try:
        seals = fcntl.fcntl(descriptor, F_GET_SEALS)
    except OSError:
        raise ProtocolViolation("a descriptor that is no memfd") from None
    if seals & ALL_SEALS != ALL_SEALS:
        raise ProtocolViolation(f"a memfd with seals {seals:#x}, not all four")
    size = os.fstat(descriptor).st_size
    if size != length:
        raise ProtocolViolation(f"a memfd of {size} bytes that was declared as {length}")
    return pa.py_buffer(mmap.mmap(descriptor, length, mmap.MAP_SHARED, mmap.PROT_READ))
