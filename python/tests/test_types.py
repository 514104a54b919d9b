"""What type checkers are told of methods that are made of operations.

mypy checks this file with all others; at run time there is nothing to do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Callable

from typing_extensions import assert_type

import lakekeep
from lakekeep import aio


def sync_types(client: lakekeep.Client, sandbox: lakekeep.Sandbox, task: lakekeep.Task) -> None:
    assert_type(client.sandboxes.create(profile="p"), lakekeep.Sandbox)
    assert_type(client.sandboxes.list(), Generator[lakekeep.Sandbox, None, None])
    assert_type(client.accounts.whoami(), lakekeep.WhoAmI)
    assert_type(client.secrets.list(), list[lakekeep.Variable])
    assert_type(sandbox.run(["a"]), lakekeep.CompletedTask[bytes])
    assert_type(sandbox.run(["a"], text=True), lakekeep.CompletedTask[str])
    assert_type(sandbox.exec(["a"], tty=True), lakekeep.Task)
    assert_type(sandbox.files.read("/a"), bytes)
    assert_type(task.wait(timeout=1), lakekeep.TaskResult)
    for stream, data in task:
        assert_type(stream, str)
        assert_type(data, bytes)
    client.sandboxes.create(profil="p")  # type: ignore[call-arg]
    client.accounts.whoami(1)  # type: ignore[arg-type]
    task.stdin.write("text")  # type: ignore[arg-type]


async def async_types(client: aio.Client, sandbox: aio.Sandbox, task: aio.Task) -> None:
    made = client.sandboxes.create()
    assert_type(made, Coroutine[Any, Any, aio.Sandbox])  # type: ignore[unused-coroutine]
    assert_type(await made, aio.Sandbox)
    assert_type(client.sandboxes.list(), AsyncGenerator[aio.Sandbox, None])
    assert_type(await sandbox.run(["a"], text=True), lakekeep.CompletedTask[str])
    assert_type(await sandbox.exec(["a"]), aio.Task)
    assert_type(await task.wait(), lakekeep.TaskResult)


def test_they_are_checked_by_mypy() -> None:
    checked: list[Callable[..., Any]] = [sync_types, async_types]
    assert TYPE_CHECKING is False
    assert all(callable(function) for function in checked)
