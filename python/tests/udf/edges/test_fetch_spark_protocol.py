"""The jar of Spark's protocol is had whole, over whatever connections, or not at all."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest
from udf.edges.fetch_spark_protocol import (
    LARGEST,
    NAME,
    PIECE,
    TRIES,
    Body,
    Connect,
    FetchError,
    fetch,
)

# No archive makes it smaller.
JAR = random.Random(1).randbytes(3 * PIECE)
DIGEST = hashlib.sha256(JAR).hexdigest()


def archive(
    name: str = f"pyspark/jars/{NAME}", jar: bytes = JAR, size: Optional[int] = None
) -> bytes:
    """Something, the jar, and something again."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as entries:
        for one, content in [("pyspark/first", bytes(100)), (name, jar), ("pyspark/last", JAR)]:
            entry = tarfile.TarInfo(one)
            entry.size = len(content)
            entries.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


class Server:
    """Sends an archive from where it is asked to; each connection ends after `most` bytes."""

    def __init__(self, content: bytes, most: int, error: Optional[Exception] = None) -> None:
        self.content = content
        self.most = most
        self.error = error
        self.asked: list[int] = []

    @contextmanager
    def connect(self, start: int) -> Iterator[Body]:
        self.asked.append(start)
        yield io.BytesIO(self.content[start : start + self.most])
        if self.error is not None and start + self.most < len(self.content):
            raise self.error


def test_a_connection_that_breaks_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    content = archive()
    broken = ConnectionResetError("reset")
    for error in (None, broken, TimeoutError("slow")):
        server = Server(content, len(content) // 5, error)
        folder = tmp_path / str(error)
        path = fetch(folder, server.connect, size=len(content), digest=DIGEST)
        assert path.read_bytes() == JAR
        assert [one.name for one in folder.iterdir()] == [NAME]
        step = len(content) // 5
        # The jar is in the first half and a bit; what is behind it was not asked for.
        assert server.asked == [0, step, 2 * step]


def test_what_is_there_is_not_fetched_again_unless_it_is_another(tmp_path: Path) -> None:
    content = archive()
    server = Server(content, len(content))
    for _ in range(2):
        path = fetch(tmp_path, server.connect, size=len(content), digest=DIGEST)
    assert server.asked == [0]
    path.write_bytes(JAR[:-1])
    assert fetch(tmp_path, server.connect, size=len(content), digest=DIGEST) == path
    assert path.read_bytes() == JAR
    assert server.asked == [0, 0]


def refused(folder: Path, connect: Connect, size: int, told: str) -> None:
    with pytest.raises(FetchError, match=told):
        fetch(folder, connect, size=size, digest=DIGEST)
    assert list(folder.iterdir()) == []


def test_what_is_not_as_pinned_is_not_kept(tmp_path: Path) -> None:
    for content, told in [
        (archive(jar=JAR[:-1] + b"x"), "SHA-256"),
        (archive(jar=bytes(LARGEST + 1)), "no file of up to"),
        (archive(name="pyspark/jars/another.jar"), "has no"),
        (random.Random(2).randbytes(1000), "no such archive"),
        (archive()[:PIECE], "SHA-256|no such archive"),
    ]:
        refused(tmp_path, Server(content, len(content)).connect, len(content), told)


def test_more_bytes_than_there_should_be_are_not_read(tmp_path: Path) -> None:
    content = archive()
    refused(tmp_path, Server(content, len(content)).connect, PIECE + 1, "more than")


def test_a_server_that_sends_nothing_is_given_up(tmp_path: Path) -> None:
    for error in (None, OSError("no route")):
        server = Server(archive(), 0, error)
        refused(tmp_path, server.connect, len(server.content), str(error or "ended early"))
        assert server.asked == [0] * TRIES
