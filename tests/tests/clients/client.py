"""Asks for a page three times at once."""

import asyncio
import sys

import aiohttp


async def page(session: aiohttp.ClientSession) -> str:
    async with session.get(sys.argv[1]) as answer:
        return await answer.text()


async def main() -> None:
    async with aiohttp.ClientSession() as session:
        for text in await asyncio.gather(*(page(session) for _ in range(3))):
            print(text, end="")


asyncio.run(main())
