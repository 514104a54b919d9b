"""Messages that are not what they seem, and a reader that believes them. Sent along."""

from __future__ import annotations

import struct
from typing import Any


def batch(column: Any) -> bytes:
    """A column as an encapsulated record batch message."""
    import pyarrow as pa

    return bytes(pa.RecordBatch.from_arrays([column], ["answer"]).serialize())


def stream(column: Any, at: int = 1, **options: Any) -> bytes:
    """The message of number `at` of a stream of the column: 0 is the schema, 1 the next."""
    import pyarrow as pa

    found = pa.RecordBatch.from_arrays([column], ["answer"])
    sink = pa.BufferOutputStream()
    written = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, found.schema, options=written) as writer:
        writer.write_batch(found)
    source = pa.BufferReader(sink.getvalue())
    for _ in range(at):
        pa.ipc.read_message(source)
    return bytes(pa.ipc.read_message(source).serialize())


def strings(offsets: tuple[int, ...], data: bytes = b"abcd") -> bytes:
    """Strings whose offsets are anything."""
    import pyarrow as pa

    good = batch(pa.array(["a"] * 4))
    at = good.index(struct.pack("<5i", 0, 1, 2, 3, 4))
    return good[:at] + struct.pack("<5i", *offsets) + good[at + 20 :]


def offsets_far_out() -> bytes:
    return strings((0, 1, 2, 3, 1 << 30))


def offsets_below_zero() -> bytes:
    return strings((-(1 << 30), 1, 2, 3, 4))


def offsets_that_go_back() -> bytes:
    return strings((0, 4, 1, 3, 4))


def bad_utf8() -> bytes:
    import pyarrow as pa

    return batch(pa.array([b"\xff\xfe"] * 4))


def nulls_that_are_not() -> bytes:
    """One null by its bitmap, none by its count: who trusts the count reads what is not there."""
    import pyarrow as pa

    good = batch(pa.array([None, 1, 2, 3], "int64"))
    at = good.index(struct.pack("<qq", 4, 1))
    return good[:at] + struct.pack("<qq", 4, 3) + good[at + 16 :]


def giant_length() -> bytes:
    import pyarrow as pa

    good = batch(pa.array([1, 2, 3, 4], "int64"))
    return good.replace(struct.pack("<q", 4), struct.pack("<q", 1 << 40))


def negative_length() -> bytes:
    import pyarrow as pa

    good = batch(pa.array([1, 2, 3, 4], "int64"))
    return good.replace(struct.pack("<q", 4), struct.pack("<q", -4))


def buffer_out_of_the_body() -> bytes:
    """The values' buffer is declared to be a megabyte long."""
    import pyarrow as pa

    good = batch(pa.array([1, 2, 3, 4], "int64"))
    at = good.index(struct.pack("<qq", 0, 32))
    return good[:at] + struct.pack("<qq", 1 << 20, 32) + good[at + 16 :]


def compressed_bomb() -> bytes:
    """200 MB of zeros in a few kilobytes."""
    import numpy
    import pyarrow as pa

    return stream(pa.array(numpy.zeros(25_000_000, "int64")), compression="zstd")


def too_many_rows() -> bytes:
    import pyarrow as pa

    return batch(pa.array(range(10_000), "int64"))


def too_few_rows() -> bytes:
    import pyarrow as pa

    return batch(pa.array([1], "int64"))


def a_schema_instead() -> bytes:
    import pyarrow as pa

    return stream(pa.array([b"other"] * 4), at=0)


def another_type() -> bytes:
    import pyarrow as pa

    return batch(pa.array([b"x" * 9] * 4))


def a_dictionary() -> bytes:
    """The values of a dictionary; a batch with indexes out of it would follow."""
    import pyarrow as pa

    return stream(pa.array(["a"] * 4).dictionary_encode())


def dictionary_indexes() -> bytes:
    """Indexes into a dictionary of one value."""
    import pyarrow as pa

    indexes = pa.array([0, 1 << 28, 3, 4], "int32")
    return batch(indexes)


def nested_json() -> bytes:
    return b'{"message": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"


# Outside.

TRUSTING = """
import sys, resource
import pyarrow as pa
name, kind, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
content = sys.stdin.buffer.read()
if kind == "json":
    import json
    json.loads(content)
if kind == "schema":
    print("believed", pa.ipc.read_schema(pa.BufferReader(content)))
    raise SystemExit
if kind == "dictionary":
    indexes = pa.ipc.read_record_batch(
        pa.ipc.read_message(content), pa.schema([("answer", pa.int32())])).column(0)
    column = pa.DictionaryArray.from_arrays(indexes, pa.array(["a"]), safe=False)
    print("believed", column.dictionary_decode() if name == "decode" else column.to_pylist())
    raise SystemExit
if kind == "message":
    print("believed", pa.ipc.read_message(content).type)
    raise SystemExit
schema = pa.schema([("answer", pa.type_for_alias(kind))])
column = pa.ipc.read_record_batch(pa.ipc.read_message(content), schema).column(0)
print("believed", len(column), column.nbytes if column.nbytes < 1 << 40 else 0, flush=True)
print(column.null_count, [str(column[i]) for i in range(min(len(column), rows))][0][:10])
print(sum(len(str(column[i].as_py())) for i in range(min(len(column), rows))))
"""


def trusted(content: bytes, kind: str, rows: int = 4) -> tuple[int, str]:
    """How a process ends that believes the message, and what it says before."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", TRUSTING, "read", kind, str(rows)],
        input=content,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")
