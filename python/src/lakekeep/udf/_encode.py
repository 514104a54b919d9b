"""Record batches as encapsulated messages, without their schema."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

# Below this many rows one copy of the batch costs less than many small writes.
_GATHER_ROWS = 4096


class _Gather:
    """A file that keeps what is written to it: batches go from their buffers to sendmsg."""

    closed = False

    def __init__(self) -> None:
        self.pieces: list[Any] = []

    def write(self, piece: Any) -> int:
        self.pieces.append(piece)
        return len(piece)

    def tell(self) -> int:
        return 0

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


class Encoder:
    """Encodes batches of one schema, which has no dictionaries."""

    def __init__(self, schema: Any) -> None:
        """Takes the schema."""
        self._gather = _Gather()
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._gather, "w"), schema)
        # The first batch brings the schema with it, which is sent by itself.
        self._writer.write_batch(empty(schema))
        self._gather.pieces = []

    def pieces(self, batch: Any) -> list[Any]:
        """Buffers that are the message when put together."""
        if batch.num_rows < _GATHER_ROWS:
            return [batch.serialize()]
        self._writer.write_batch(batch)
        pieces, self._gather.pieces = self._gather.pieces, []
        return pieces


def empty(schema: Any) -> Any:
    """A record batch of no rows."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, one.type) for one in schema], schema=schema)
