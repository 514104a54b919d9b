"""A worker that lies gets an error of its own kind, and nothing else; its session is dead."""

# ruff: noqa: F821  the lies are run in a worker, whose names these are
# mypy: disable-error-code="name-defined, no-untyped-def"

from __future__ import annotations

from typing import Any, Callable

import pyarrow as pa
import pytest
from udf import liar
from udf.bare import Bare

from lakekeep.udf import (
    Function,
    ProtocolViolation,
    ResultRefused,
    Session,
    SessionClosed,
    Settings,
    UdfError,
    UserFunctionError,
    WorkerCrashed,
)

LIES: list[Any] = []


def told(
    expected: type[UdfError], words: str = "", returns: str = "int64", kind: str = "scalar"
) -> Any:
    """Has a function answer calls of 4 rows, and says what must come of it."""

    def keep(lie: Callable[[int], Any]) -> Callable[[int], Any]:
        LIES.append(pytest.param(lie, expected, words, returns, kind, id=lie.__name__))
        return lie

    return keep


@told(ProtocolViolation, "3 rows")
def too_few_rows(call):
    frame(17, call, message([1, 2, 3]), rows=3)


@told(ProtocolViolation, "declared as 4")
def other_rows_than_declared(call):
    frame(17, call, message([1] * 9), rows=4)


@told(ProtocolViolation, "rows", kind="aggregate")
def two_rows_of_an_aggregate(call):
    frame(17, call, message([1, 2]), rows=2)


@told(ResultRefused, "no valid batch")
def another_type(call):
    frame(17, call, message([b"x"] * 4, "binary"), rows=4)


@told(ResultRefused, "no valid batch", returns="string")
def bad_utf8(call):
    frame(17, call, message([b"\xff\xfe"] * 4, "binary"), rows=4)


@told(ResultRefused, "no valid batch", returns="string")
def offsets_that_go_back(call):
    data = pa.py_buffer(b"0123456789")
    offsets = pa.py_buffer(struct.pack("5i", 0, 8, 2, 9, 10))
    frame(17, call, message(pa.Array.from_buffers(pa.string(), 4, [None, offsets, data])), rows=4)


@told(ResultRefused, "no valid batch", returns="string")
def offsets_out_of_the_data(call):
    content = message(["a"] * 4, "string")
    frame(
        17,
        call,
        content.replace(struct.pack("5i", 0, 1, 2, 3, 4), struct.pack("5i", 0, 1, 2, 3, 1 << 30)),
        rows=4,
    )


@told(ProtocolViolation, "compressed")
def compressed(call):
    batch = pa.RecordBatch.from_arrays([pa.array([0] * 4)], ["answer"])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    stream = pa.BufferReader(sink.getvalue())
    pa.ipc.read_message(stream)
    frame(17, call, bytes(pa.ipc.read_message(stream).serialize()), rows=4)


@told(ProtocolViolation, "no record batch")
def a_schema(call):
    frame(17, call, bytes(pa.schema([("answer", pa.int64())]).serialize()), rows=4)


@told(ProtocolViolation, "no record batch")
def a_dictionary(call):
    batch = pa.RecordBatch.from_arrays([pa.array(["a"] * 4).dictionary_encode()], ["answer"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream = pa.BufferReader(sink.getvalue())
    pa.ipc.read_message(stream)
    frame(17, call, bytes(pa.ipc.read_message(stream).serialize()), rows=4)


@told(ProtocolViolation, "no encapsulated message")
def no_message(call):
    frame(17, call, b"x" * 400, rows=4)


@told(ProtocolViolation, "shorter")
def nothing(call):
    frame(17, call, b"", rows=4)


@told(ProtocolViolation, "a body of")
def half_a_body(call):
    frame(17, call, message([1] * 4)[:-16], rows=4)


@told(ProtocolViolation, "declares")
def other_size_than_declared(call):
    frame(17, call, message([1] * 4), rows=4, length=1 << 40)


@told(ProtocolViolation, "may have")
def huge_parts(call):
    frame(17, call, rows=4, place=1, length=1 << 62)


@told(ProtocolViolation, "may have")
def small_parts(call):
    frame(17, call, rows=4, place=1, length=100)


@told(ProtocolViolation, "instead of")
def parts_of_another_size(call):
    frame(17, call, rows=4, place=1, length=1 << 20)
    frame(21, call, b"x" * 5)


@told(ProtocolViolation, "no frame")
def part_of_nothing(call):
    frame(21, call, b"x" * 5)


@told(ProtocolViolation, "out of place")
def a_frame_between_parts(call):
    frame(17, call, rows=4, place=1, length=1 << 20)
    frame(17, call, message([1] * 4), rows=4)


@told(WorkerCrashed, "code 0")
def an_end_between_parts(call):
    frame(17, call, rows=4, place=1, length=1 << 20)
    frame(21, call, b"x" * (1 << 17))
    os._exit(0)


@told(ProtocolViolation, "parts|place")
def another_place(call):
    frame(17, call, rows=4, place=7, length=1 << 20)


@told(ProtocolViolation, "no frame has")
def reserved_bits(call):
    frame(17, call, message([1] * 4), rows=4, reserved=1)


@told(ProtocolViolation, "all four")
def unsealed_memfd(call):
    frame(17, call, rows=4, place=2, length=1 << 18, fds=[memfd(b"x" * (1 << 18), 7)])


@told(ProtocolViolation, "declared as")
def memfd_too_small(call):
    frame(17, call, rows=4, place=2, length=1 << 18, fds=[memfd(b"x" * 4096)])


@told(ProtocolViolation, "no encapsulated message")
def memfd_of_nonsense(call):
    frame(17, call, rows=4, place=2, length=1 << 18, fds=[memfd(b"x" * (1 << 18))])


@told(ProtocolViolation, "no memfd")
def a_pipe_as_memfd(call):
    frame(17, call, rows=4, place=2, length=1 << 18, fds=[os.pipe()[0]])


@told(ProtocolViolation, "no frame has")
def no_memfd(call):
    frame(17, call, rows=4, place=2, length=1 << 18)


@told(ProtocolViolation, "no frame has")
def a_descriptor_too_much(call):
    frame(17, call, message([1] * 4), rows=4, fds=[0])


@told(ProtocolViolation, "no frame has")
def two_memfds(call):
    fds = [memfd(b"x" * (1 << 18)) for _ in range(2)]
    frame(17, call, rows=4, place=2, length=1 << 18, fds=fds)


@told(ProtocolViolation, "larger than")
def many_descriptors(call):
    frame(17, call, rows=4, place=2, length=1 << 18, fds=[0] * 200)


@told(ProtocolViolation, "less than a header")
def a_short_packet(call):
    sock.send(b"12345")


@told(ProtocolViolation, "larger than")
def a_long_packet(call):
    sock.send(b"x" * 150_000)


@told(ProtocolViolation, "call")
def another_call(call):
    frame(17, call + 1, message([1] * 4), rows=4)


@told(ProtocolViolation, "out of place")
def a_call_of_its_own(call):
    frame(5, call, message([1] * 4), rows=4)


@told(ProtocolViolation, "instead of a result")
def an_end_of_no_stream(call):
    frame(18, call)


@told(ProtocolViolation, "no JSON")
def an_error_that_is_no_json(call):
    frame(19, call, b"{" * 60_000)


@told(ProtocolViolation, "bytes of JSON")
def endless_json(call):
    frame(19, call, b'{"message": "' + b"x" * 100_000 + b'"}')


@told(ProtocolViolation, "no object")
def an_error_that_is_a_list(call):
    frame(19, call, b"[]")


@told(UserFunctionError, "raised an exception")
def an_error_of_wrong_types(call):
    frame(19, call, json.dumps({"type": 5, "message": ["x"], "traceback": {}, "row": "a"}).encode())


@told(ProtocolViolation, "no JSON")
def a_number_that_takes_long(call):
    frame(19, call, b'{"row": ' + b"9" * 60_000 + b"}")


@told(ResultRefused, "no valid batch|out of", returns="null")
def more_nulls_than_rows(call):
    frame(17, call, message([1] * 4), rows=4)


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize(("lie", "expected", "words", "returns", "kind"), LIES)
def test_lie(  # noqa: PLR0913
    bare: Bare, broker: Bare, lie: Any, expected: Any, words: str, returns: str, kind: str
) -> None:
    if broker is not bare:
        pytest.skip("the real broker runs no worker but its own")
    bare.source = liar.source(lie)
    batch = pa.RecordBatch.from_pydict({"a": [1, 2, 3, 4]})
    settings = Settings.of({"broker": bare, "timeout": 20})
    function = Function.of(len, kind, returns, ())
    with Session(function, batch.schema, settings) as session:
        with pytest.raises(expected, match=words) as raised:
            session.call(batch)
        assert raised.type is expected
        if expected is not UserFunctionError:
            with pytest.raises(SessionClosed):
                session.call(batch)
    assert bare.opened[-1].ended(10) is not None


def hostile_text(call):
    told = {"type": "E\x1b[31m", "message": "a\x00b\u202e", "traceback": "\x9b2J\ud800"}
    frame(19, call, json.dumps(told).encode())


def test_text_has_no_control_characters(bare: Bare) -> None:
    bare.source = liar.source(hostile_text)
    batch = pa.RecordBatch.from_pydict({"a": [1]})
    session = Session(Function.of(len, "scalar", "int64", ()), batch.schema, Settings(broker=bare))
    with session, pytest.raises(UserFunctionError) as raised:
        session.call(batch)
    assert not set("\x1b\x00\u202e\x9b\ud800") & set(str(raised.value))


def unasked(call):
    frame(17, call, message([1] * 4), rows=4)
    frame(17, call, message([2] * 4), rows=4)


def test_a_frame_that_nobody_asked_for_is_not_the_next_answer(bare: Bare) -> None:
    bare.source = liar.source(unasked)
    batch = pa.RecordBatch.from_pydict({"a": [1, 2, 3, 4]})
    with Session(Function.of(len, "scalar", "int64", ()), batch.schema, Settings(broker=bare)) as s:
        assert s.call(batch).column(0).to_pylist() == [1] * 4
        with pytest.raises(ProtocolViolation, match="answer to call 1 instead of 2"):
            s.call(batch)
