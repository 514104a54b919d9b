"""The asynchronous client: what is its own, and one pass over everything."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fake import FakeManager

from lakekeep import aio, errors

Story = Callable[[aio.Client], Awaitable[None]]


def tell(manager: FakeManager, story: Story, reconnect_for: float = 20) -> None:
    async def main() -> None:
        async with aio.connect(manager.socket, reconnect_for=reconnect_for) as client:
            await story(client)

    asyncio.run(main(), debug=True)


def test_everything_once(manager: FakeManager, tmp_path: Path) -> None:
    async def story(client: aio.Client) -> None:
        assert (await client.accounts.whoami()).user == "ann"
        async with await client.sandboxes.create() as sandbox:
            done = await sandbox.run(["cat"], input="in", text=True, check=True)
            assert done.stdout == "in"
            raw = await sandbox.run(["sh", "-c", "exit 3"])
            assert raw.exit_code == 3
            await sandbox.files.write("/a", b"data")
            assert await sandbox.files.read("/a") == b"data"
            assert await sandbox.files.download("/a", tmp_path / "a") == 4
            assert await sandbox.files.upload(tmp_path / "a", "/b") == 4
            assert [piece async for piece in sandbox.files.stream("/b")] == [b"data"]
            assert len((await sandbox.files.list("/")).entries) == 2
            assert (await sandbox.freeze()).state == "frozen"
            assert (await sandbox.thaw()).state == "running"
            assert (await sandbox.receipt()).sandbox == sandbox.id
            assert (await sandbox.verdict()).exit_code == 3
            assert [s.id async for s in client.sandboxes.list()] == [sandbox.id]
            assert len([s async for s in client.sandboxes.watch(interval=0.1)]) == 3
            events = client.sandboxes.events(after=1)
            assert (await events.__anext__()).what == "started"
            await events.aclose()
            await client.secrets.set("KEY", "x")
            assert [s.name for s in await client.secrets.list()] == ["KEY"]
            assert len([event async for event in client.audit.query()]) == 3
        again = await client.sandboxes.get(sandbox.id)
        assert again.info.state == "ended"
        with pytest.raises(errors.NotFound):
            await client.sandboxes.get("none")

    tell(manager, story)


def test_streams_both_ways_across_restarts(manager: FakeManager) -> None:
    async def story(client: aio.Client) -> None:
        sandbox = await client.sandboxes.create()
        async with await sandbox.exec(["cat"], tty=True) as task:
            output = aiter_of(task)
            for number in range(3):
                await task.stdin.write(b"%d" % number)
                assert await output.__anext__() == ("stdout", b"%d" % number)
                await asyncio.to_thread(manager.restart)
            await task.resize(40, 100)
            await task.stdin.close()
            assert (await task.wait()).ok
            assert task.position == (3, 0, 3)

    tell(manager, story)


def aiter_of(task: aio.Task) -> AsyncIterator[tuple[str, bytes]]:
    return task.__aiter__()


def test_input_of_every_kind_of_iterable(manager: FakeManager) -> None:
    data = os.urandom(1 << 20)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 10_000):
            yield data[at : at + 10_000]

    async def story(client: aio.Client) -> None:
        manager.input_cuts = [None, 100_000, 65_536, None]
        sandbox = await client.sandboxes.create()
        await sandbox.run(["true"])
        done = await sandbox.run(["sha256sum"], input=chunks(), text=True, check=True)
        assert done.stdout.split()[0] == hashlib.sha256(data).hexdigest()
        assert manager.count("Attach") == 2
        assert (await sandbox.run(["cat"], input=iter([b"a", b"b"]))).stdout == b"ab"
        await sandbox.files.write("/a", chunks())
        assert await sandbox.files.read("/a") == data

    tell(manager, story)


def test_input_that_fails_ends_the_task(manager: FakeManager) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"first"
        raise ZeroDivisionError

    async def story(client: aio.Client) -> None:
        sandbox = await client.sandboxes.create()
        with pytest.raises(ZeroDivisionError):
            await sandbox.run(["cat"], input=broken())
        with pytest.raises(ZeroDivisionError):
            await sandbox.files.write("/a", broken())
        with pytest.raises(errors.NotFound):
            await sandbox.files.read("/a")
        assert (
            await asyncio.to_thread(manager.sandboxes[sandbox.id].tasks[0].process.wait, 10) == -9
        )

    tell(manager, story)


def test_cancelling_a_run_kills_it(manager: FakeManager) -> None:
    async def story(client: aio.Client) -> None:
        sandbox = await client.sandboxes.create()
        running = asyncio.create_task(sandbox.run(["cat"], input=endless()))
        while not manager.sandboxes[sandbox.id].tasks:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (
            await asyncio.to_thread(manager.sandboxes[sandbox.id].tasks[0].process.wait, 10) == -9
        )

    tell(manager, story)


async def endless() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0.01)
        yield b"x"


def test_many_at_once(manager: FakeManager) -> None:
    async def story(client: aio.Client) -> None:
        sandbox = await client.sandboxes.create()
        runs = (sandbox.run(["echo", str(n)], text=True) for n in range(8))
        assert [done.stdout for done in await asyncio.gather(*runs)] == [f"{n}\n" for n in range(8)]

    tell(manager, story)


def test_output_that_nobody_takes_stays_at_the_manager(manager: FakeManager) -> None:
    async def story(client: aio.Client) -> None:
        size = 64 << 20
        sandbox = await client.sandboxes.create()
        async with await sandbox.exec(["head", "-c", str(size), "/dev/zero"]) as task:
            fake = manager.sandboxes[sandbox.id].tasks[0]
            while fake.ended is None:
                await asyncio.sleep(0.01)
            assert manager.sent < 4 << 20
            total = 0
            async for _, data in task:
                total += len(data)
            assert total == size

    tell(manager, story)


def test_a_closed_client_tells_its_tasks(manager: FakeManager) -> None:
    async def main() -> None:
        client = aio.connect(manager.socket)
        sandbox = await client.sandboxes.create()
        task = await sandbox.exec(["cat"])
        await client.close()
        with pytest.raises(errors.ClientClosed):
            await task.wait()
        with pytest.raises(errors.ClientClosed):
            await client.accounts.whoami()

    asyncio.run(main())


def test_giving_up(manager: FakeManager) -> None:
    async def story(client: aio.Client) -> None:
        task = await (await client.sandboxes.create()).exec(["cat"])
        await asyncio.to_thread(manager.stop)
        with pytest.raises(errors.Unreachable):
            await task.wait()

    tell(manager, story, reconnect_for=0.3)


def test_nothing_answers(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(errors.Unreachable, match="lakekeep serve"):
            async with aio.connect(tmp_path / "none.sock"):
                pass

    asyncio.run(main())
