"""Files inside a sandbox."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO, Callable, Optional, Union

from lakekeep.errors import BadRequest, OutputTooLarge, ProtocolError
from lakekeep.models import FileEntry, Listing
from lakekeep.v1 import sandboxes_pb2 as pb

from .calls import Api, call
from .effects import (
    Blocking,
    Cancel,
    Emit,
    Open,
    Operation,
    Pull,
    Source,
    Stream,
    receive,
)
from .methods import LIST_FILES, READ_FILE, WRITE_FILE
from .sources import AsyncInput, source_of

# What `read` returns at most, bytes: what is inside is not to be trusted.
MAX_SIZE = 64 << 20
CHUNK = 64 << 10


class FilesBase(Api):
    """The files of one sandbox, as its user sees them."""

    def __init__(self, api: Api, sandbox: str) -> None:
        """For a sandbox's own use."""
        super().__init__(api._driver, api._endpoint)
        self._sandbox = sandbox


def read(
    files: FilesBase,
    path: str,
    *,
    offset: int = 0,
    length: Optional[int] = None,
    max_size: int = MAX_SIZE,
) -> Operation[bytes]:
    """The contents of a file.

    Args:
        path: Absolute, inside.
        offset: The first byte.
        length: How many bytes; to the end when None.
        max_size: The most that is taken, 64 MiB; a sandbox can make any file endless.

    Raises:
        NotFound: There is none.
        OutputTooLarge: It is larger than `max_size`.
    """
    found = bytearray()

    def keep(data: bytes) -> Operation[None]:
        if len(found) + len(data) > max_size:
            raise OutputTooLarge(
                f"{path}: larger than {max_size} bytes",
                remedy="raise max_size=, or use files.stream or files.download",
            )
        found.extend(data)
        yield from ()

    request = _read_request(files, path, offset, length)
    if length != 0:
        yield from _receive_all(request, keep)
    return bytes(found)


def stream_file(
    files: FilesBase, path: str, *, offset: int = 0, length: Optional[int] = None
) -> Stream[bytes]:
    """Yields a file's contents in pieces of at most 64 KiB, as fast as they are taken.

    Raises:
        NotFound: There is none.
    """
    if length == 0:
        return
    request = _read_request(files, path, offset, length)
    wire = yield Open(READ_FILE, request)
    try:
        at = offset
        while True:
            chunk = yield from receive(READ_FILE, wire)
            if chunk is None:
                return
            _check_place(chunk, at, path)
            at += len(chunk.data)
            if chunk.data:
                yield Emit(chunk.data)
    finally:
        yield Cancel(wire)


def download(
    files: FilesBase,
    path: str,
    local: Union[str, os.PathLike[str]],
    *,
    max_size: Optional[int] = None,
) -> Operation[int]:
    """Copies a file out to a local path, whole or not at all; returns its size.

    Args:
        path: Absolute, inside.
        local: The local path; a file there is replaced.
        max_size: The most that is taken, bytes; no bound when None.

    Raises:
        NotFound: There is none.
        OutputTooLarge: It is larger than `max_size`.
        OSError: The local file cannot be written.
    """
    target = Path(local)
    draft: IO[bytes] = yield Blocking(lambda: _draft_beside(target))
    size = 0

    def keep(data: bytes) -> Operation[None]:
        nonlocal size
        size += len(data)
        if max_size is not None and size > max_size:
            raise OutputTooLarge(f"{path}: larger than {max_size} bytes", remedy="raise max_size=")
        yield Blocking(lambda: draft.write(data))

    try:
        yield from _receive_all(_read_request(files, path, 0, None), keep)
        yield Blocking(lambda: _settle(draft, target))
    except BaseException:
        draft.close()
        Path(draft.name).unlink(missing_ok=True)
        raise
    return size


def _receive_all(
    request: pb.ReadFileRequest, keep: Callable[[bytes], Operation[None]]
) -> Operation[None]:
    wire = yield Open(READ_FILE, request)
    try:
        at = request.offset
        while True:
            chunk = yield from receive(READ_FILE, wire)
            if chunk is None:
                return
            _check_place(chunk, at, request.path)
            at += len(chunk.data)
            yield from keep(chunk.data)
    finally:
        yield Cancel(wire)


def _read_request(
    files: FilesBase, path: str, offset: int, length: Optional[int]
) -> pb.ReadFileRequest:
    if offset < 0 or (length is not None and length < 0):
        raise BadRequest("offset and length cannot be negative")
    return pb.ReadFileRequest(sandbox=files._sandbox, path=path, offset=offset, length=length or 0)


def _check_place(chunk: pb.FileChunk, at: int, path: str) -> None:
    if chunk.offset != at:
        raise ProtocolError(f"{path}: the manager sent byte {chunk.offset} in place of {at}")


def _draft_beside(target: Path) -> IO[bytes]:
    # A name that nobody can have prepared.
    return tempfile.NamedTemporaryFile(prefix=".lakekeep-", dir=target.parent, delete=False)


def _settle(draft: IO[bytes], target: Path) -> None:
    # What the caller's umask leaves, as open(2) would have made it.
    mask = os.umask(0)
    os.umask(mask)
    os.fchmod(draft.fileno(), 0o666 & ~mask)
    draft.close()
    Path(draft.name).replace(target)


def write(
    files: FilesBase,
    path: str,
    data: AsyncInput,
    *,
    mode: int = 0o644,
    create_new: bool = False,
) -> Operation[int]:
    """Writes a file as the sandbox's user; returns its size.

    The file takes its name when all was written, not before.

    Args:
        path: Absolute, inside.
        data: Text (written as UTF-8), bytes, a local `Path`, a file in binary mode, or
            an iterable of bytes.
        mode: Permission bits.
        create_new: Refuse when there is a file of this name.

    Raises:
        Conflict: There is one, with `create_new`.
        NotFound: The folder does not exist.
        Denied: The sandbox's user may not write there.
    """
    source = source_of(data)
    header = pb.WriteFileHeader(sandbox=files._sandbox, path=path, mode=mode, create_new=create_new)
    wire = yield Open(WRITE_FILE, _pieces(header, source))
    try:
        response = yield from receive(WRITE_FILE, wire)
    finally:
        yield Cancel(wire)
    if response is None:
        raise ProtocolError(f"{path}: the manager did not answer")
    return response.size


def _pieces(header: pb.WriteFileHeader, source: Source) -> Stream[pb.WriteFileRequest]:
    yield Emit(pb.WriteFileRequest(header=header))
    while True:
        piece: Optional[bytes] = yield Pull(source)
        if piece is None:
            return
        for begin in range(0, len(piece), CHUNK):
            yield Emit(pb.WriteFileRequest(data=piece[begin : begin + CHUNK]))


def upload(
    files: FilesBase,
    local: Union[str, os.PathLike[str]],
    path: str,
    *,
    mode: Optional[int] = None,
    create_new: bool = False,
) -> Operation[int]:
    """Copies a local file in; returns its size.

    Args:
        local: The local path.
        path: Absolute, inside.
        mode: Permission bits; the local file's when None.
        create_new: Refuse when there is a file of this name.

    Raises:
        OSError: The local file cannot be read.
        LakekeepError: As of `write`.
    """
    source = Path(local)
    bits = source.stat().st_mode & 0o777 if mode is None else mode
    size = yield from write(files, path, source, mode=bits, create_new=create_new)
    return size


def list_files(files: FilesBase, path: str, *, limit: int = 1000) -> Operation[Listing]:
    """What is in a folder, at most `limit` names.

    Raises:
        NotFound: There is none.
    """
    request = pb.ListFilesRequest(sandbox=files._sandbox, path=path, limit=limit)
    response = yield from call(files, LIST_FILES, request)
    entries = tuple(
        FileEntry(os.fsdecode(entry.name), entry.kind, entry.size, entry.mode)
        for entry in response.entries
    )
    return Listing(entries, response.truncated)
