"""Where a task's or a file's bytes come from."""

from __future__ import annotations

import io
from collections.abc import AsyncIterable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Optional, Union, cast

from .session import CHUNK

# Text is sent as UTF-8; a Path is read; an AsyncIterable is for the async client only.
Input = Union[str, bytes, bytearray, memoryview, Path, IO[bytes], Iterable[bytes]]
AsyncInput = Union[Input, AsyncIterable[bytes]]


class PieceSource:
    """Reads pieces of at most `CHUNK` bytes from a file."""

    asynchronous: Optional[Any] = None

    def __init__(self, file: IO[bytes], owned: bool) -> None:
        """`owned`: closes the file at its end."""
        self._file = file
        self._owned = owned
        self.blocks = not isinstance(file, io.BytesIO)

    def pull(self) -> Optional[bytes]:
        """The next piece."""
        # A pipe gives what is there instead of waiting for the whole piece.
        read = getattr(self._file, "read1", self._file.read)
        piece = read(CHUNK)
        if piece is None:
            raise BlockingIOError("input: the file is not blocking; set it blocking")
        if not isinstance(piece, bytes):
            raise TypeError("input: the file gives text; open it in binary mode")
        if not piece and self._owned:
            self._file.close()
        return piece or None


class IterableSource:
    """Takes pieces from an iterable, or an asynchronous one."""

    def __init__(self, pieces: Optional[Iterator[bytes]], asynchronous: Optional[Any]) -> None:
        """Of one of both."""
        self._pieces = pieces
        self.blocks = True
        self.asynchronous = asynchronous

    def pull(self) -> Optional[bytes]:
        """The next piece."""
        return None if self._pieces is None else next(self._pieces, None)


def source_of(data: AsyncInput) -> Union[PieceSource, IterableSource]:
    """Reads `data`, whatever it is. Raises `OSError`, `TypeError`."""
    if isinstance(data, str):
        data = data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return PieceSource(io.BytesIO(data), owned=True)
    if isinstance(data, Path):
        return PieceSource(data.open("rb"), owned=True)
    if hasattr(data, "read"):
        return PieceSource(cast("IO[bytes]", data), owned=False)
    if isinstance(data, AsyncIterable):
        return IterableSource(None, data.__aiter__())
    if isinstance(data, Iterable):
        return IterableSource(iter(data), None)
    raise TypeError(f"input: {type(data).__name__} gives no bytes")
