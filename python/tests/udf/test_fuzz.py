"""Mutated frames: only errors of ours come of them, and no crash."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakekeep.udf import UdfError, _check, _wire

ROUNDS = int(os.environ.get("LAKEKEEP_FUZZ_ROUNDS", "6000"))
SEED = 20130101


def valid() -> list[tuple[bytes, Any, int]]:
    """Messages of many types, with their schema and rows."""
    columns = [
        pa.array([1, None, 3]),
        pa.array(["a", None, "ccc"]),
        pa.array([b"", b"xx", None], pa.large_binary()),
        pa.array([[1, 2], None, [3]]),
        pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": ""}]),
        pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        pa.array([[1, 2], [3, 4], None], pa.list_(pa.int32(), 2)),
        pa.array([True, None, False]),
        pa.nulls(3),
    ]
    batches = [pa.RecordBatch.from_arrays([column], ["c"]) for column in columns]
    batches.append(pa.RecordBatch.from_arrays(columns, [f"c{i}" for i in range(len(columns))]))
    return [(bytes(one.serialize()), one.schema, one.num_rows) for one in batches]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with some bytes or words changed, or cut."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randrange(len(data))
        way = chance.randrange(5)
        if way == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif way == 2:
            at -= at % 4
            data[at : at + 4] = chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF)).to_bytes(4, "little")
        elif way == 3:
            at -= at % 8
            word = chance.choice((0, 1 << 32, (1 << 63) - 1, 1 << 62, 8, 64))
            data[at : at + 8] = word.to_bytes(8, "little")
        else:
            del data[max(1, at) :]
    return bytes(data)


def check_messages(rounds: int, seed: int) -> tuple[int, int]:
    """How many were taken and how many refused; what is taken can be read."""
    chance, messages = random.Random(seed), valid()
    taken = refused = 0
    for _ in range(rounds):
        content, schema, rows = chance.choice(messages)
        try:
            batch = _check.batch(mutated(content, chance), schema, rows)
        except UdfError:
            refused += 1
        else:
            assert len(batch.to_pylist()) == rows
            taken += 1
    return taken, refused


def check_frames(rounds: int, seed: int) -> tuple[int, int]:
    """The same for packets, through a socket and its channel."""
    chance = random.Random(seed)
    frames = [_wire.HEADER.pack(17, 0, 0, 1, 40, 3) + b"x" * 40]
    frames += [_wire.HEADER.pack(17, 1, 0, 1, 150_000, 3), _wire.HEADER.pack(21, 0, 0, 1, 9, 0)]
    frames += [_wire.HEADER.pack(19, 0, 0, 1, 2, 0) + b"{}", _wire.HEADER.pack(17, 2, 0, 1, 9, 3)]
    taken = refused = 0
    for _ in range(rounds):
        ours, theirs = _wire.socket_pair()
        channel = _wire.Channel(ours, 1 << 20, 4)
        with theirs:
            for _ in range(chance.randrange(1, 4)):
                theirs.send(mutated(chance.choice(frames), chance))
        try:
            while True:
                channel.receive()
                taken += 1
        except (UdfError, _wire.Ended):
            refused += 1
        finally:
            channel.close()
    return taken, refused


def run(name: str, rounds: int) -> tuple[int, int]:
    """A check in a process of its own, so that a crash is seen."""
    code = f"import test_fuzz as t; print(*t.{name}({rounds}, {SEED}))"
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    taken, refused = map(int, done.stdout.split())
    return taken, refused


def test_unchanged_messages_are_taken() -> None:
    for content, schema, rows in valid():
        assert _check.batch(content, schema, rows).num_rows == rows


def test_mutated_messages() -> None:
    taken, refused = run("check_messages", ROUNDS)
    assert taken + refused == ROUNDS
    # Both happen often, or the test would test nothing.
    assert min(taken, refused) > ROUNDS // 50


def test_mutated_frames() -> None:
    taken, refused = run("check_frames", ROUNDS // 4)
    assert refused == ROUNDS // 4
    assert taken > ROUNDS // 100
