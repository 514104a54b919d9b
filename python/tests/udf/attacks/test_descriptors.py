"""Descriptors and shared memory: what comes with a frame is closed, and nothing is reached."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf import host
from udf.attacks import hijack
from udf.attacks.arena import Arena

from lakekeep.udf import ProtocolViolation, TimedOut, WorkerCrashed

ONE = pa.RecordBatch.from_pydict({"word": ["x"]})
# What a receiver takes that asks for as many descriptors as the kernel sends at once.
ROOM = socket.CMSG_SPACE(253 * 4)


def received(end: socket.socket, size: int = 1 << 18) -> tuple[bytes, list[int], int]:
    """A packet as a receiver takes it who looks at nothing: its bytes, descriptors and flags."""
    data, ancillary, flags, _ = end.recvmsg(size, ROOM)
    found = array.array("i")
    for _, _, rights in ancillary:
        found.frombytes(rights[: len(rights) // 4 * 4])
    return data, found.tolist(), flags


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a session's socket, without a session."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield pair
    for end in pair:
        end.close()


def smuggling(count: int, where: int = 0) -> Any:
    """Answers with descriptors beside the frame."""

    def run(column: Any) -> Any:
        import os

        content = b"" if where else b"x"
        length = 1 << 20 if where else -1
        fds = [os.open("/dev/null", os.O_RDONLY)] * count
        hijack.frame(hijack.RESULT, content, 1, place=where, length=length, fds=fds)
        hijack.hold()

    return run


@pytest.mark.parametrize(
    ("count", "where", "words"),
    [(1, 0, "no frame has"), (2, 2, "no frame has"), (200, 0, "larger than"), (1, 2, "no memfd")],
    ids=["one beside a frame", "two for a memfd", "two hundred", "a device for a memfd"],
)
def test_descriptors_with_a_frame(
    arena: Arena, ends: tuple[Any, Any], count: int, where: int, words: str
) -> None:
    given = [os.open("/dev/null", os.O_RDONLY)] * count
    socket.send_fds(ends[1], [b"x"], given)
    os.close(given[0])
    before = host.descriptors()
    _, taken, _ = received(ends[0])
    assert host.descriptors() == before + count, "outside, each is the receiver's now"
    for one in taken:
        os.close(one)
    before = host.descriptors()
    session = arena.opened(arena.real, smuggling(count, where))
    with pytest.raises(ProtocolViolation, match=words):
        session.call(ONE)
    session.ended(host.PATIENCE)
    assert host.gone(lambda: host.descriptors() - before) <= 0


def test_a_worker_that_sends_its_own_end(arena: Arena, ends: tuple[Any, Any]) -> None:
    """Who keeps it never sees the end of the session: its other end is in the own hands."""
    ours, theirs = ends
    socket.send_fds(theirs, [b"x"], [theirs.fileno()])
    _, taken, _ = received(ours)
    theirs.close()
    ours.settimeout(0.2)
    with pytest.raises(TimeoutError):
        ours.recv(1)
    os.close(taken[0])
    assert ours.recv(1) == b"", "outside, only the receiver's own copy held it open"

    def run(column: Any) -> Any:
        import os

        found = hijack.engine()
        hijack.frame(hijack.RESULT, b"x", 1, fds=[found.fileno()])
        os._exit(0)

    session = arena.opened(arena.real, run)
    with pytest.raises((ProtocolViolation, WorkerCrashed)):
        session.call(ONE)


def test_a_packet_whose_rest_is_cut_off(arena: Arena, ends: tuple[Any, Any]) -> None:
    """Its beginning is a good frame; the part that is cut off would be the proof of a lie."""
    good = struct.pack("<BBHIQQ", hijack.RESULT, 0, 0, 1, 100, 1) + b"y" * 100
    ends[1].send(good + b"z" * 150_000)
    data, _, flags = received(ends[0], len(good))
    assert data == good, "outside, a receiver that looks at no flag has a whole frame"
    assert flags & socket.MSG_TRUNC

    def run(column: Any) -> Any:
        content = b"y" * (128 * 1024)
        header = struct.pack("<BBHIQQ", hijack.RESULT, 0, 0, 1, len(content), 1)
        hijack.engine().send(header + content + b"z" * 1000)
        hijack.hold()

    session = arena.opened(arena.real, run)
    with pytest.raises(ProtocolViolation, match="larger than"):
        session.call(ONE)


def looks_for_descriptors(secret: str) -> str:
    """Reads whatever is open beyond the three, but for the own socket."""
    import os
    import stat

    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            number, mode = int(name), os.fstat(int(name)).st_mode
        except OSError:
            continue
        if number <= 2 or stat.S_ISDIR(mode):
            continue
        if stat.S_ISSOCK(mode):
            found.append("socket")
        elif stat.S_ISREG(mode) and os.pread(number, 64, 0) == secret.encode():
            found.append("the secret")
        else:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return ", ".join(sorted(found))


def test_descriptors_of_the_engine(arena: Arena, place: Path) -> None:
    (place / "secret").write_text("of the engine")
    held = os.open(place / "secret", os.O_RDONLY)
    # As if the engine had forgotten to close it on exec.
    os.set_inheritable(held, True)
    script = (
        "import sys; from test_descriptors import looks_for_descriptors as l; print(l(sys.argv[1]))"
    )
    try:
        outside = subprocess.run(
            [sys.executable, "-c", script, "of the engine"],
            close_fds=False,
            capture_output=True,
            text=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p)),
            check=True,
        )
        assert "the secret" in outside.stdout, "outside, a child has it"
        assert arena.inside(looks_for_descriptors, "of the engine") == "socket"
    finally:
        os.close(held)


def opens_by_proc(engine: str, number: str) -> str:
    """Opens another process's descriptor by its name in /proc."""
    found = []
    for pid in (engine, "1", "self/../1", "thread-self/../../1"):
        try:
            with open(f"/proc/{pid}/fd/{number}") as opened:
                found.append(opened.read())
        except OSError:
            continue
    return ", ".join(found) or "refused"


def steals_by_pidfd(engine: str, number: str) -> str:
    """pidfd_open and pidfd_getfd: a copy of a descriptor of another process."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(434, int(engine), 0)
    copy = libc.syscall(438, pidfd, int(number), 0) if pidfd >= 0 else -1
    if copy < 0:
        raise OSError(ctypes.get_errno(), "pidfd")
    return os.pread(copy, 64, 0).decode()


@pytest.mark.parametrize("attack", [opens_by_proc, steals_by_pidfd])
def test_a_descriptor_of_another_process(arena: Arena, place: Path, attack: Any) -> None:
    (place / "secret").write_text("of the engine")
    with open(place / "secret") as held:
        words = str(os.getpid()), str(held.fileno())
        assert arena.outside(attack, *words) == "of the engine"
        assert arena.inside(attack, *words).startswith("refused")


# Shared memory.


def shared(content: bytes) -> str:
    """Answers with memory that it can still change: a memfd, or else a file of a tmpfs."""
    import contextlib
    import fcntl
    import os

    try:
        number = os.memfd_create("shared", os.MFD_ALLOW_SEALING)
    except OSError:
        number = os.open("/dev/shm/shared", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(number, content)
    with contextlib.suppress(OSError):
        # No sealing, no growing: as if all were done.
        fcntl.fcntl(number, 1033, 0x5)
    return str(number)


def changing(column: Any) -> Any:
    number = int(shared(b"x" * (1 << 20)))
    hijack.frame(hijack.RESULT, b"", 1, place=2, length=1 << 20, fds=[number])
    hijack.hold()


def truncating(column: Any) -> Any:
    import os

    number = int(shared(b"x" * (1 << 20)))
    hijack.frame(hijack.RESULT, b"", 1, place=2, length=1 << 20, fds=[number])
    os.ftruncate(number, 0)
    hijack.hold()


BELIEVING = """
import mmap, os, sys
number = os.memfd_create("shared", os.MFD_ALLOW_SEALING)
os.write(number, b"x" * (1 << 20))
seen = mmap.mmap(number, 1 << 20, mmap.MAP_SHARED, mmap.PROT_READ)
assert seen[0] == ord("x")
if sys.argv[1] == "changing":
    os.pwrite(number, b"y", 0)
else:
    os.ftruncate(number, 0)
print("changed" if seen[0] == ord("y") else "same")
"""


@pytest.mark.parametrize("attack", [changing, truncating])
def test_memory_that_changes_under_the_reader(arena: Arena, attack: Any) -> None:
    believing = [sys.executable, "-c", BELIEVING, attack.__name__]
    outside = subprocess.run(believing, capture_output=True, text=True, check=False)
    if attack is changing:
        assert outside.stdout == "changed\n", "after it was checked, it is something else"
    else:
        assert outside.returncode == -7, "SIGBUS in the reader"
    for broker in (arena.bare, arena.real):
        session = arena.opened(broker, attack)
        with pytest.raises(ProtocolViolation, match=r"not all four|no memfd"):
            session.call(ONE)


def test_a_sealed_memfd_is_taken(arena: Arena) -> None:
    """The same with all seals is no attack: what is refused above is refused for its seals."""

    def run(column: Any) -> Any:
        import fcntl
        import os

        content = bytes(pa.RecordBatch.from_arrays([pa.array(["y" * 200_000])], ["a"]).serialize())
        number = os.memfd_create("shared", os.MFD_ALLOW_SEALING)
        os.write(number, content)
        fcntl.fcntl(number, 1033, 0xF)
        hijack.frame(hijack.RESULT, b"", 1, place=2, length=len(content), fds=[number])
        hijack.hold()

    session = arena.opened(arena.bare, run)
    assert session.call(ONE).column(0)[0].as_py() == "y" * 200_000


def test_a_seal_cannot_be_taken_back() -> None:
    """What the engine relies on: the kernel keeps the seals for every holder."""
    number = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    try:
        os.write(number, b"x")
        fcntl.fcntl(number, 1033, 0xF)
        with pytest.raises(PermissionError):
            os.write(number, b"y")
        with pytest.raises(PermissionError):
            os.ftruncate(number, 0)
        with pytest.raises(PermissionError):
            fcntl.fcntl(number, 1033, 0)
    finally:
        os.close(number)


def floods_descriptors(column: Any) -> Any:
    """Sends what nobody asked for, with descriptors, until there is no room."""
    import os

    null = os.open("/dev/null", os.O_RDONLY)
    while True:
        hijack.frame(hijack.RESULT, b"", 1, fds=[null] * 100)


def fits(end: socket.socket, number: int) -> bool:
    """Sends a hundred copies of a descriptor; whether there was room."""
    try:
        socket.send_fds(end, [b"x"], [number] * 100)
    except BlockingIOError:
        return False
    return True


def test_descriptors_in_flight_end_with_the_session(arena: Arena) -> None:
    """Frames that the engine never reads: their descriptors are nobody's, and must be freed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, open(os.devnull) as null:
        theirs.setblocking(False)
        sent = 0
        while fits(theirs, null.fileno()):
            sent += 100
    assert sent > 1000, "outside, thousands are in flight"
    session = arena.opened(arena.real, floods_descriptors)
    with pytest.raises((ProtocolViolation, TimedOut)):
        session.call(ONE)
    assert session.ended(host.PATIENCE) is not None
