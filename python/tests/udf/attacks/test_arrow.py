"""Hostile Arrow: what a reader that believes it does, and what the engine does instead."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Callable

import pyarrow as pa
import pytest
from udf.attacks import hijack, hostile
from udf.attacks.arena import Arena

from lakekeep.udf import (
    OutOfMemory,
    ProtocolViolation,
    ResultRefused,
    UdfError,
    UserFunctionError,
    WorkerCrashed,
)

FOUR = pa.RecordBatch.from_pydict({"word": ["a", "b", "c", "d"]})


def answering(content: bytes, kind: int, rows: int) -> Callable[[Any], Any]:
    """A function that takes its worker's socket and answers with `content` itself."""

    def run(column: Any) -> Any:
        if len(content) <= 128 * 1024:
            hijack.frame(kind, content, rows)
        else:
            hijack.frame(kind, b"", rows, place=1, length=len(content))
            for at in range(0, len(content), 128 * 1024):
                hijack.frame(hijack.PART, content[at : at + 128 * 1024], 0)
        hijack.hold()

    return run


# The message, what a believing reader takes it for, how that one ends and what it says,
# and what the engine says.
CASES: list[Any] = [
    (hostile.offsets_far_out, "string", "dies", "believed", ResultRefused),
    (hostile.offsets_below_zero, "string", "dies", "believed", ResultRefused),
    (hostile.offsets_that_go_back, "string", "dies", "believed", ResultRefused),
    (hostile.bad_utf8, "string", "fails", "UnicodeDecodeError", ResultRefused),
    (hostile.nulls_that_are_not, "int64", "lives", "\n3 None", ResultRefused),
    (hostile.giant_length, "int64", "lives", "believed 1099511627776", ProtocolViolation),
    (hostile.negative_length, "int64", "fails", "SystemError", ProtocolViolation),
    (hostile.compressed_bomb, "int64", "lives", "200000000", ProtocolViolation),
    (hostile.too_many_rows, "int64", "lives", "believed 10000", ProtocolViolation),
    (hostile.too_few_rows, "int64", "lives", "believed 1 ", ProtocolViolation),
    (hostile.a_schema_instead, "schema", "lives", "binary", ProtocolViolation),
    (hostile.another_type, "int64", "lives", "\n0 3865470566", ResultRefused),
    (hostile.a_dictionary, "message", "lives", "dictionary", ProtocolViolation),
    (hostile.dictionary_indexes, "dictionary", "fails", "out-of-bounds", ResultRefused),
    (hostile.nested_json, "json", "fails", "RecursionError", ProtocolViolation),
]


@pytest.mark.parametrize(
    ("make", "kind", "end", "says", "expected"), CASES, ids=[case[0].__name__ for case in CASES]
)
def test_an_answer(
    arena: Arena,
    make: Callable[[], bytes],
    kind: str,
    end: str,
    says: str,
    expected: type[UdfError],
) -> None:
    content = make()
    code, said = hostile.trusted(content, kind)
    assert says in said, "outside, it is believed"
    assert {"dies": code < 0, "fails": code > 0, "lives": code == 0}[end], said
    returns = {"string": "string", "dictionary": pa.dictionary(pa.int32(), pa.string())}
    frame = hijack.ERROR if kind == "json" else hijack.RESULT
    function = answering(content, frame, 4)
    declared = returns.get(kind, "int64")
    session = arena.opened(arena.real, function, declared, kind="scalar")
    with pytest.raises(expected) as raised:
        session.call(FOUR)
    assert raised.type is expected
    assert len(str(raised.value)) < 2_000


def test_more_bytes_than_a_result_may_have(arena: Arena) -> None:
    """A header that declares much: who trusts it has the memory taken before a byte came."""
    believing = (
        "import pyarrow as pa, resource\n"
        "view = memoryview(pa.allocate_buffer(1 << 29)).cast('B')\n"
        "view[::4096] = bytes(len(view) // 4096)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", believing], capture_output=True, check=True)
    assert int(done.stdout) > 1 << 19, "outside, half a gigabyte is had"

    def lie(column: Any) -> Any:
        hijack.frame(hijack.RESULT, b"", 1, place=1, length=1 << 29)
        hijack.hold()

    session = arena.opened(arena.real, lie, max_bytes=1 << 20)
    with pytest.raises(ProtocolViolation, match="may have 1048576"):
        session.call(FOUR)


def hostile_input() -> Any:
    """What an engine has that reads an untrusted file without validating it."""
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1 << 30, 2, 3, 4)))
    column = pa.Array.from_buffers(pa.string(), 4, [None, offsets, pa.py_buffer(b"abcd")])
    return pa.RecordBatch.from_arrays([column], ["word"])


def test_an_engines_hostile_batch(arena: Arena) -> None:
    def reads(column: Any) -> Any:
        return column.to_pylist()

    with pytest.raises(WorkerCrashed):
        arena.opened(arena.bare, reads, kind="scalar").call(hostile_input())
    session = arena.opened(arena.real, reads, kind="scalar")
    assert session.call(FOUR).column(0).to_pylist() == ["a", "b", "c", "d"]
    with pytest.raises((WorkerCrashed, UserFunctionError, OutOfMemory)):
        session.call(hostile_input())
    other = arena.opened(arena.real, reads, kind="scalar")
    assert other.call(FOUR).column(0).to_pylist() == ["a", "b", "c", "d"]


def test_an_engines_hostile_dictionary(arena: Arena) -> None:
    """Decoded in the engine, before it is sent: an index out of it must not read beside it."""
    indexes = pa.array([0, 1 << 28], "int32")
    column = pa.DictionaryArray.from_arrays(indexes, pa.array(["a"]), safe=False)
    with pytest.raises(pa.ArrowException):
        column.validate(full=True)
    from lakekeep.udf import safe

    with safe(len, returns="int64", kind="aggregate", broker=arena.real) as function:
        with pytest.raises((UdfError, pa.ArrowException)):
            function(column)
        assert function(pa.array(["a"]).dictionary_encode()) == 1
