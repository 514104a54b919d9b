"""Many commands at once with asyncio, one sandbox for all of them.

LAKEKEEP_SOCKET names the manager. Try: python many.py 20
"""

from __future__ import annotations

import asyncio
import sys

from lakekeep import aio

CODE = "import sys; n = int(sys.stdin.read()); print(sum(i * i for i in range(n)))"


async def main(count: int) -> None:
    """Prints one line for each."""
    async with aio.connect() as client:
        sandbox = await client.sandboxes.create(labels={"example": "many"})
        async with sandbox:
            await sandbox.files.write("/tmp/job.py", CODE)  # noqa: S108
            # As many at once as the profile lets one have is a matter of taste.
            gate = asyncio.Semaphore(4)

            async def one(number: int) -> str:
                async with gate:
                    done = await sandbox.run(
                        ["python3", "/tmp/job.py"],  # noqa: S108
                        input=str(number * 1000),
                        text=True,
                        check=True,
                    )
                return f"{number}: {done.stdout.strip()}"

            for line in await asyncio.gather(*(one(number) for number in range(count))):
                print(line)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8))
