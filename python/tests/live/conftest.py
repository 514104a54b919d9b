"""A real manager, named by LAKEKEEP_SOCKET.

Without one these tests are skipped; LAKEKEEP_TESTS_REQUIRE with `manager` or `all` in
it makes that a failure. LAKEKEEP_TESTS_PROFILE names the profile to use; the caller's
own when unset. It shows the host's image (`admin.expose_host_image`), may have a dozen
sandboxes, and declares one secret:

    [[secret]]
    name = "test_key"
    as = "variable"
    target = "TEST_KEY"
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import lakekeep


@pytest.fixture(scope="session")
def client() -> Iterator[lakekeep.Client]:
    if not os.environ.get("LAKEKEEP_SOCKET"):
        required = os.environ.get("LAKEKEEP_TESTS_REQUIRE", "").split(",")
        reason = "LAKEKEEP_SOCKET names no manager"
        if {"manager", "all"} & {word.strip() for word in required}:
            pytest.fail(f"{reason}, and LAKEKEEP_TESTS_REQUIRE asks for one")
        pytest.skip(reason)
    with lakekeep.connect() as client:
        yield client


@pytest.fixture(scope="session")
def profile() -> str:
    return os.environ.get("LAKEKEEP_TESTS_PROFILE", "")


@pytest.fixture
def sandbox(client: lakekeep.Client, profile: str) -> Iterator[lakekeep.Sandbox]:
    with client.sandboxes.create(profile=profile, labels={"test": "python"}) as sandbox:
        yield sandbox
