"""Arrow Flight, asked by the client that RisingWave has: the Rust crate `arrow-udf-flight`.

It is of another Arrow and another gRPC than the edge, and knows nothing of lakekeep. The program
around it is tests/peers/arrow-udf-flight, which is built where LAKEKEEP_TESTS_REQUIRE has `peers`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf.edges.conftest import Edge

ROOT = Path(__file__).resolve().parents[4]
SOURCE = ROOT / "tests" / "peers" / "arrow-udf-flight"
TARGET = ROOT / "target" / "peers"
PROGRAM = TARGET / "debug" / "arrow-udf-flight-peer"
BUILD = [
    *("cargo", "build", "--locked", "--manifest-path", str(SOURCE / "Cargo.toml")),
    *("--target-dir", str(TARGET)),
]


@pytest.fixture(scope="session")
def program() -> Path:
    required = os.environ.get("LAKEKEEP_TESTS_REQUIRE", "").split(",")
    if {"peers", "all"} & set(required):
        # In its own folder: which compiler is used is decided by where cargo is run.
        subprocess.run(BUILD, cwd=SOURCE, check=True)
    elif not PROGRAM.is_file():
        pytest.skip(f"{PROGRAM} is not there: {' '.join(BUILD)}")
    return PROGRAM


class PeerError(Exception):
    """What the client says of a call that failed."""


@dataclass
class Peer:
    """The client, and the server that it asks."""

    program: Path
    place: str

    def ask(self, *words: str, given: bytes = b"") -> bytes:
        command = [str(self.program), f"http://{self.place}", *words]
        done = subprocess.run(command, input=given, capture_output=True, timeout=300)
        if done.returncode:
            assert done.returncode == 1, done
            raise PeerError(done.stderr.decode())
        return done.stdout

    def call(self, name: str, *columns: Any, verb: str = "call") -> Any:
        """The answer to a batch of these columns; `verb` is `table` for table functions."""
        batch = pa.record_batch([*columns], names=[f"column {at}" for at in range(len(columns))])
        given = pa.BufferOutputStream()
        with pa.ipc.new_stream(given, batch.schema) as stream:
            stream.write_batch(batch)
        answer = self.ask(verb, name, given=given.getvalue().to_pybytes())
        return pa.ipc.open_stream(answer).read_all()


@pytest.fixture(scope="module")
def peer(program: Path, edge: Edge) -> Iterator[Peer]:
    with edge.served() as place:
        yield Peer(program, place)


def ints(*values: Any) -> Any:
    return pa.array(values, pa.int32())


def test_it_is_told_what_there_is(peer: Peer) -> None:
    assert {"gcd", "greet", "series", "words"} <= set(peer.ask("list").decode().splitlines())
    lines = peer.ask("get", "gcd").decode().splitlines()
    assert lines[:2] == ["version 2", "arguments x Int32, y Int32"]
    assert lines[2].startswith("results ")
    assert lines[2].endswith(" Int32")
    words = peer.ask("get", "words").decode().splitlines()
    assert words[2].startswith("results row Int32, value Struct(")
    with pytest.raises(PeerError, match="there is no function"):
        peer.ask("get", "none")


def test_functions_of_rows_and_of_columns_are_called(peer: Peer) -> None:
    answer = peer.call("gcd", ints(4, 9, 12), ints(6, 12, 18))
    assert answer.column(0).to_pylist() == [2, 3, 6]
    assert answer.schema.types == [pa.int32()]
    assert peer.call("greet", pa.array(["ada", None])).column(0).to_pylist() == ["hello ada", None]
    assert peer.call("twice", pa.array([1, None, -3])).column(0).to_pylist() == [2, None, -6]


def test_table_functions_tell_the_row(peer: Peer) -> None:
    answer = peer.call("series", ints(2, 0, 3), verb="table")
    assert answer.to_pydict() == {"row": [0, 0, 2, 2, 2], "value": [0, 1, 0, 1, 2]}
    answer = peer.call("words", pa.array(["a bc", "", "def"]), verb="table")
    assert answer.to_pylist() == [
        {"row": 0, "value": {"word": "a", "size": 1}},
        {"row": 0, "value": {"word": "bc", "size": 2}},
        {"row": 2, "value": {"word": "def", "size": 3}},
    ]


def test_an_error_of_the_users_is_told_and_the_next_call_works(peer: Peer) -> None:
    with pytest.raises(PeerError, match=r"(?s)InvalidArgument.*ValueError in row 1: no such div"):
        peer.call("gcd", ints(1, 1), ints(1, -1))
    assert peer.call("gcd", ints(4), ints(6)).column(0).to_pylist() == [2]
    with pytest.raises(PeerError, match="DeadlineExceeded"):
        peer.call("slow", pa.array([1]))


def test_columns_of_other_types_are_converted_or_refused(peer: Peer) -> None:
    """No value is changed on the way."""
    assert peer.call("gcd", pa.array([8]), pa.array([12])).column(0).to_pylist() == [4]
    for x, told in [
        (pa.array([1 << 40]), "argument x"),
        (pa.array(["many"]), "argument x"),
        (pa.array([[1]]), "argument x"),
    ]:
        with pytest.raises(PeerError, match=told):
            peer.call("gcd", x, ints(1))
    with pytest.raises(PeerError, match="1 columns came for 2"):
        peer.call("gcd", ints(1))


def test_a_large_batch_comes_back_whole_and_in_order(peer: Peer) -> None:
    """The client sends it in several messages, and puts the answers together."""
    count = 1_500_000
    answer = peer.call("twice", pa.array(range(count)))
    assert answer.num_rows == count
    assert (
        answer.column(0)
        .combine_chunks()
        .equals(pa.chunked_array([range(0, 2 * count, 2)]).combine_chunks())
    )


def test_an_answer_that_the_client_does_not_take_is_that_calls_alone(peer: Peer) -> None:
    """It takes no message over 4 MiB, whatever a server would send."""
    with pytest.raises(PeerError, match="too large"):
        peer.call("greet", pa.array(["x" * (5 << 20)]))
    assert peer.call("greet", pa.array(["ada"])).column(0).to_pylist() == ["hello ada"]


def test_many_clients_at_once(peer: Peer) -> None:
    def call(number: int) -> Any:
        return peer.call("twice", pa.array([number])).column(0).to_pylist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(16))) == [[2 * number] for number in range(16)]
