"""What a worker answers is checked here; nothing of it is believed.

Arrow's own reader checks offsets against the body, and `validate(full=True)` the values.
Before it, this looks at the message's header by itself: the reader would unpack a
compressed body, however large it becomes, and would take other messages than a batch.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import pyarrow as pa

from ._errors import ProtocolViolation, ResultRefused, UserFunctionError, WorkerCrashed
from ._wire import JSON_LIMIT

_PREFIX = struct.Struct("<Ii")
_U16 = struct.Struct("<H")
_I32 = struct.Struct("<i")
_U32 = struct.Struct("<I")
_I64 = struct.Struct("<q")
_PAIR = struct.Struct("<qq")
_CONTINUATION = 0xFFFFFFFF
_RECORD_BATCH = 3
# Metadata of a batch: 16 bytes for a field, 16 for a buffer; thousands of columns fit.
METADATA_LIMIT = 1 << 20
# What a terminal obeys, what turns the order of words around, and line ends that only some see.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Checker:
    """Checks the batches that a session's worker answers with."""

    def __init__(self, schema: Any) -> None:
        """Takes the schema that they must have."""
        self._schema = schema
        # The last framing and metadata that were looked at, with the size and rows that
        # they were found good for: what is the same again needs no second look.
        self._seen: tuple[Any, int, int] = (b"", -1, -1)

    def batch(self, content: Any, rows: int) -> Any:
        """The record batch in `content`, bytes or a buffer, which must have `rows` rows.

        Raises:
            ProtocolViolation: It is no plain record batch message.
            ResultRefused: Its values are not what the schema says.
        """
        seen, size, seen_rows = self._seen
        if size != len(content) or rows != seen_rows or not _begins(content, seen):
            view = memoryview(content)
            end = _look(view, rows)
            self._seen = (bytes(view[:end]), len(view), rows)
        try:
            found = pa.ipc.read_record_batch(content, self._schema)
            found.validate(full=True)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            message = f"the answer is no valid batch: {text(str(error), 500)}"
            raise ResultRefused(message) from None
        if found.num_rows != rows:
            raise ProtocolViolation(f"a batch of {found.num_rows} rows that was declared as {rows}")
        return found


def batch(content: Any, schema: Any, rows: int) -> Any:
    """One batch, as Checker.batch."""
    return Checker(schema).batch(content, rows)


def _begins(content: Any, seen: bytes) -> bool:
    if isinstance(content, bytes):
        return content.startswith(seen)
    return bytes(memoryview(content)[: len(seen)]) == seen


def _look(view: memoryview, rows: int) -> int:
    """Looks at the encapsulated message's framing and flatbuffer header; where they end."""
    if len(view) < _PREFIX.size:
        raise ProtocolViolation("a result that is shorter than a message")
    mark, size = _PREFIX.unpack_from(view)
    body = len(view) - _PREFIX.size - size
    if mark != _CONTINUATION or not 0 < size <= METADATA_LIMIT or size % 8 or body < 0:
        raise ProtocolViolation("a result that is no encapsulated message")
    try:
        _look_at_header(view[_PREFIX.size : _PREFIX.size + size], body, rows)
    except (struct.error, IndexError):
        raise ProtocolViolation("metadata that points out of itself") from None
    return _PREFIX.size + int(size)


def _look_at_header(data: memoryview, body: int, rows: int) -> None:
    message = _U32.unpack_from(data)[0]
    fields = _fields(data, message, 4)
    if not fields[1] or data[message + fields[1]] != _RECORD_BATCH:
        raise ProtocolViolation("a message that is no record batch")
    declared = _I64.unpack_from(data, message + fields[3])[0] if fields[3] else 0
    if declared != body or not fields[2]:
        raise ProtocolViolation(f"a body of {body} bytes that was declared as {declared}")
    header = _follow(data, message + fields[2])
    length, nodes, buffers, compression = _fields(data, header, 4)
    if compression:
        raise ProtocolViolation("a compressed body")
    found = _I64.unpack_from(data, header + length)[0] if length else 0
    if found != rows:
        raise ProtocolViolation(f"a batch of {found} rows that was declared as {rows}")
    # An element takes a bit at least, unless its type is null: those count as rows do.
    for count, nulls in _pairs(data, header, nodes):
        if not 0 <= nulls <= count <= 8 * body + rows:
            raise ProtocolViolation(f"a field of {count} values, {nulls} null")
    for start, size in _pairs(data, header, buffers):
        if start % 8 or start < 0 or size < 0 or start + size > body:
            raise ProtocolViolation("a buffer out of the body")


def _fields(data: memoryview, table: int, count: int) -> list[int]:
    """Where the first `count` fields of a table are, from its start; 0 where there is none."""
    start = table - _I32.unpack_from(data, table)[0]
    if start < 0:
        raise ProtocolViolation("metadata that points out of itself")
    known = min(count, (_U16.unpack_from(data, start)[0] - 4) // 2)
    return [_U16.unpack_from(data, start + 4 + 2 * i)[0] if i < known else 0 for i in range(count)]


def _follow(data: memoryview, position: int) -> int:
    return position + int(_U32.unpack_from(data, position)[0])


def _pairs(data: memoryview, header: int, field: int) -> Any:
    """A vector of two 64-bit numbers each; its length is bounded by the metadata's."""
    if not field:
        return ()
    vector = _follow(data, header + field)
    end = vector + 4 + _PAIR.size * _U32.unpack_from(data, vector)[0]
    if end > len(data):
        raise ProtocolViolation("metadata that points out of itself")
    return _PAIR.iter_unpack(data[vector + 4 : end])


def text(value: object, limit: int) -> str:
    """A string of the worker's, at most `limit` characters, without control characters."""
    return _CONTROL.sub("\ufffd", value[:limit]) if isinstance(value, str) else ""


def document(content: bytes) -> dict[str, Any]:
    """The JSON object that a frame has.

    Raises:
        ProtocolViolation: It has none, or one that is too large.
    """
    if len(content) > JSON_LIMIT:
        raise ProtocolViolation(f"{len(content)} bytes of JSON; {JSON_LIMIT} are allowed")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise ProtocolViolation("text that is no JSON") from None
    if not isinstance(found, dict):
        raise ProtocolViolation("JSON that is no object")
    return found


def numbers(value: object) -> frozenset[int]:
    """The numbers of a list; what else is in it is passed over."""
    values = value if isinstance(value, list) else ()
    return frozenset(one for one in values if type(one) is int and 0 <= one < 1 << 16)


def failure(content: bytes) -> UserFunctionError | ResultRefused:
    """The error that an ERROR frame tells of."""
    told = document(content)
    message = text(told.get("message"), 4096)
    if told.get("refused") is True:
        return ResultRefused(message)
    row = told.get("row")
    row = row if isinstance(row, int) and 0 <= row < 1 << 62 else None
    return UserFunctionError(
        message,
        kind=text(told.get("type"), 256) or "an exception",
        traceback=text(told.get("traceback"), 16384),
        row=row,
    )


def crash(content: bytes) -> WorkerCrashed:
    """The error that a CRASHED frame tells of."""
    told = document(content)
    signal = text(told.get("signal"), 32)
    stack = text(told.get("stack"), 4096)
    found = WorkerCrashed(
        f"the function crashed with {signal}",
        signal=signal,
        library=text(told.get("library"), 4096),
    )
    found.details["stack"] = stack
    return found
