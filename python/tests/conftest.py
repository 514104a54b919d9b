"""A fake manager, and clients of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# The fake manager starts processes beside gRPC's threads, whose fork handlers abort
# the child before Python 3.10 (which forks instead of vfork).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from fake import FakeManager

import lakekeep


@pytest.fixture
def manager() -> Iterator[FakeManager]:
    # A socket's path is short.
    with tempfile.TemporaryDirectory(prefix="lk-") as folder:
        fake = FakeManager(Path(folder))
        fake.start()
        yield fake
        fake.shut_down()


@pytest.fixture
def client(manager: FakeManager) -> Iterator[lakekeep.Client]:
    with lakekeep.connect(manager.socket, retry_for=5, reconnect_for=20) as client:
        yield client


@pytest.fixture
def sandbox(client: lakekeep.Client) -> lakekeep.Sandbox:
    return client.sandboxes.create()
