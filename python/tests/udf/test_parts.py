"""Large frames travel in parts, as large as the kernel has memory for."""

# ruff: noqa: F821  the lies are run in a worker, whose names these are
# mypy: disable-error-code="name-defined, no-untyped-def"

from __future__ import annotations

import errno
import socket
from typing import Any

import pyarrow as pa
import pytest
from udf import liar
from udf.bare import SOURCE, Bare

from lakekeep.udf import Function, ProtocolViolation, Session, Settings, _wire

CONTENT = bytes(range(256)) * 2500 + b"end"


class Scarce(socket.socket):
    """Has memory for packets of some bytes only; remembers the sizes of all."""

    most = 1 << 30

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        size = sum(map(len, buffers))
        if size > self.most:
            raise OSError(errno.ENOBUFS, "no buffer space")
        return super().sendmsg(buffers, *rest)


def ends(most: int) -> tuple[Scarce, socket.socket]:
    ours, theirs = _wire.socket_pair()
    scarce = Scarce(fileno=ours.detach())
    scarce.most = most
    return scarce, theirs


def received(theirs: socket.socket) -> tuple[list[int], bytes]:
    """The sizes of a frame's parts, and its content."""
    length = _wire.HEADER.unpack(theirs.recv(1 << 20))[4]
    sizes, content = [], b""
    while len(content) < length:
        packet = theirs.recv(1 << 20)
        kind, _, _, call, size, _ = _wire.HEADER.unpack_from(packet)
        assert (kind, call, size) == (_wire.PART, 7, len(packet) - _wire.HEADER.size)
        sizes.append(size)
        content += packet[_wire.HEADER.size :]
    return sizes, content


@pytest.mark.parametrize("most", [1 << 30, 200_000, 66_000])
def test_an_engine_sends_parts_that_there_is_memory_for(most: int) -> None:
    ours, theirs = ends(most)
    with ours, theirs:
        channel = _wire.Channel(ours, 1 << 30, 4)
        channel.send(_wire.CALL, 7, 1, [CONTENT[:70_000], CONTENT[70_000:]])
        sizes, content = received(theirs)
    assert content == CONTENT
    assert max(sizes) == next(size for size in (262_144, 131_072, 65_536) if size < most)


def test_an_engine_without_memory_for_any_part_gives_up() -> None:
    ours, theirs = ends(1000)
    with ours, theirs, pytest.raises(_wire.Ended):
        _wire.Channel(ours, 1 << 30, 4).send(_wire.CALL, 7, 1, [CONTENT])


@pytest.mark.parametrize("part", [131_072, 262_144])
@pytest.mark.parametrize("most", [1 << 30, 66_000])
def test_a_worker_sends_parts_that_are_taken(part: int, most: int) -> None:
    names: dict[str, Any] = {"__name__": "worker"}
    exec(compile(SOURCE, "<string>", "exec"), names)  # noqa: S102
    ours, theirs = ends(most)
    with ours, theirs:
        channel = names["program"].channel.Channel(ours)
        channel.part = part
        channel.send(_wire.RESULT, 7, 1, [CONTENT])
        sizes, content = received(theirs)
    assert content == CONTENT
    assert max(sizes) == (part if part < most else 65_536)


def in_uneven_parts(call):
    content = message([7] * 100_000)
    frame(17, call, rows=100_000, place=1, length=len(content))
    for start, end in ((0, 65_536), (65_536, 300_000), (300_000, 562_144), (562_144, None)):
        frame(21, call, content[start:end])


def with_a_small_part(call):
    content = message([7] * 100_000)
    frame(17, call, rows=100_000, place=1, length=len(content))
    frame(21, call, content[:65_535])


def asked(bare: Bare, lie: Any) -> Any:
    bare.source = liar.source(lie)
    batch = pa.RecordBatch.from_pydict({"a": pa.nulls(100_000, pa.int64())})
    function = Function.of(len, "scalar", "int64", ())
    with Session(function, batch.schema, Settings(broker=bare, timeout=20)) as session:
        return session.call(batch).column(0)


def test_parts_may_be_of_different_sizes(bare: Bare) -> None:
    assert asked(bare, in_uneven_parts).to_pylist() == [7] * 100_000


def test_small_parts_are_refused(bare: Bare) -> None:
    with pytest.raises(ProtocolViolation, match="a part of 65535 bytes instead of"):
        asked(bare, with_a_small_part)
