"""Gets the one jar that test_spark.py needs out of pyspark's archive on PyPI.

    python fetch_spark_protocol.py FOLDER

prints the path of the jar, which is in FOLDER from then on. The archive has 456 MB and is read as
a stream, up to the jar: nothing of it is kept, and one piece of it at a time is in memory. A
connection that breaks is taken up where it broke. What is kept is the file of the pinned digest,
or nothing.
"""

from __future__ import annotations

import hashlib
import http.client
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Callable, Optional, Protocol, cast

NAME = "spark-udf-worker-proto_2.13-4.3.0.jar"
# Of the jar, as it is in the archive of SIZE bytes with the SHA-256
# e8c517948eff7088a7aa07449aa8eafa4a15a8d50319de2525a6fd26622476c6, which PyPI tells.
DIGEST = "2b7896dab5fa4190fa6df898096a08897f4d22f16a0cceac36cbac29bf3bcd6b"
SIZE = 455_910_862
# It has 400 KB: what is much larger is something else.
LARGEST = 8 << 20
PIECE = 1 << 18
# Connections in a row that bring nothing.
TRIES = 5
PATIENCE = 60


class FetchError(Exception):
    """The jar cannot be had; says why."""


class Body(Protocol):
    """What comes over one connection."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


Connect = Callable[[int], AbstractContextManager[Body]]


def connect(start: int) -> AbstractContextManager[Body]:
    """The archive from a byte on."""
    request = urllib.request.Request(
        "https://files.pythonhosted.org/packages/46/b2/"
        "4e28aaffe28db4745ac5df3ee9115719c1b5da5cce4106bee99c82d1eb2c/pyspark-4.3.0.tar.gz",
        headers={"Range": f"bytes={start}-"},
    )
    response = urllib.request.build_opener().open(request, timeout=PATIENCE)
    if response.status != http.client.PARTIAL_CONTENT:
        raise FetchError(f"{request.full_url}: status {response.status} instead of a part")
    return cast("AbstractContextManager[Body]", response)


class Download:
    """What tarfile reads: an archive of `size` bytes, over any number of connections."""

    def __init__(self, connect: Connect, size: int) -> None:
        self.connect = connect
        self.size = size
        self.place = 0
        self.pieces = self._pieces()
        self.left = b""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        if not self.left:
            self.left = next(self.pieces, b"")
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def _pieces(self) -> Iterator[bytes]:
        """Every piece once, in order."""
        in_vain = 0
        while self.place < self.size:
            before, why = self.place, "it ended early"
            try:
                yield from self._of_one_connection()
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            in_vain = in_vain + 1 if self.place == before else 0
            if in_vain == TRIES:
                raise FetchError(f"{TRIES} connections brought nothing at {before}: {why}")

    def _of_one_connection(self) -> Iterator[bytes]:
        with self.connect(self.place) as body:
            while piece := body.read(PIECE):
                self.place += len(piece)
                if self.place > self.size:
                    raise FetchError(f"the archive has more than the {self.size} bytes it should")
                yield piece


def jar_of(archive: Download) -> bytes:
    """The jar; the archive is read no further than it is."""
    try:
        with tarfile.open(
            fileobj=cast("IO[bytes]", archive), mode="r|gz", bufsize=PIECE
        ) as entries:
            for entry in entries:
                if entry.name.rpartition("/")[2] == NAME:
                    return content_of(entries.extractfile(entry), entry)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise FetchError(f"what came is no such archive: {error}") from error
    raise FetchError(f"the archive has no {NAME}")


def content_of(file: Optional[IO[bytes]], entry: tarfile.TarInfo) -> bytes:
    """Of a regular file of an expected size."""
    if file is None or entry.size > LARGEST:
        raise FetchError(f"{entry.name} is no file of up to {LARGEST} bytes")
    return file.read(LARGEST)


def checked(content: bytes, digest: str) -> bytes:
    """The same, where it is what it should be."""
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise FetchError(f"the jar's SHA-256 is {found}, not {digest}")
    return content


def kept(path: Path, digest: str) -> bool:
    """Whether it is there already, whole."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def fetch(folder: Path, connect: Connect = connect, **pinned: Any) -> Path:
    """The jar's path in a folder; `size` and `digest` are pinned, but for tests of this."""
    size, digest = pinned.get("size", SIZE), pinned.get("digest", DIGEST)
    path = folder / NAME
    if not kept(path, digest):
        content = checked(jar_of(Download(connect, size)), digest)
        folder.mkdir(parents=True, exist_ok=True)
        # Two may do this at once: whoever reads finds a whole file or none.
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(fetch(Path(sys.argv[1])))
    except (FetchError, OSError) as error:
        sys.exit(f"fetch_spark_protocol.py: {error}")
