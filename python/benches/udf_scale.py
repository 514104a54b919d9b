"""User functions by the hundred, and by the gigabyte.

`sessions`: sandboxes of many users at once, each of which answers its own user's data only.
`stream`: generated data through `lakekeep.map_batches`, with the memory of both sides
sampled on the way. Both check every answer, and end with an error where one is wrong.

    python benches/udf_scale.py sessions --sessions 100 --users 10 --json
    python benches/udf_scale.py stream --bytes 20000000000 --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable

import numpy
import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from udf import host

from lakekeep.udf import Broker, ChildBroker, Function, Session, Settings, map_batches

SEED = 20_130_101
MIB = 1 << 20


def machine() -> dict[str, Any]:
    """Where the figures are from."""
    return {
        "kernel": os.uname().release,
        "arch": os.uname().machine,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "pyarrow": pa.__version__,
        "load": " ".join(f"{one:.2f}" for one in os.getloadavg()),
    }


# Sessions.


@dataclass
class Sessions:
    """What many sessions at once cost.

    Attributes:
        open_all: Seconds until all were open, `openers` at a time.
        open_median: Seconds for one of them.
        calls: How many were made, by `callers` threads.
        calls_per_second: Of all sessions together.
        memory_median: Bytes that a session's control group is charged for.
        memory_most: The same, of the largest.
        engine_descriptors: The most that the engine had open.
        broker_descriptors: The most of any of the broker's processes.
        engine_memory: Bytes that the engine's memory grew by.
    """

    sessions: int
    users: int
    openers: int
    callers: int
    open_all: float = 0.0
    open_median: float = 0.0
    calls: int = 0
    calls_per_second: float = 0.0
    memory_median: float = 0.0
    memory_most: int = 0
    engine_descriptors: int = 0
    broker_descriptors: int = 0
    engine_memory: int = 0


GIVEN = pa.schema([("value", pa.int64())])


def of_user(user: int) -> Callable[[Any], Any]:
    """A function that knows its user's number alone, and what it has been asked before."""
    asked: list[int] = []

    def answers(column: Any) -> Any:
        import pyarrow.compute as pc

        asked.append(len(column))
        # The user, how often this session was asked, and what it was asked.
        mixed = pc.add(pc.multiply(column, 1000), user)
        return pc.add(pc.multiply(mixed, 100_000), len(asked))

    return answers


def right(answer: Any, values: Any, user: int, times: int) -> bool:
    """Whether it is this user's answer, of a session that was asked so often."""
    mixed = pc.add(pc.multiply(values, 1000), user)
    return bool(answer.column(0).equals(pc.add(pc.multiply(mixed, 100_000), times)))


@dataclass
class Caller:
    """One session and what is known of it."""

    session: Session
    user: int
    times: int = 0

    def call(self, rows: int) -> None:
        """Makes a call with data of the user's, and checks the answer."""
        self.times += 1
        values = pa.array(numpy.arange(rows) + self.user * 1_000 + self.times)
        answer = self.session.call(pa.RecordBatch.from_arrays([values], schema=GIVEN))
        if not right(answer, values, self.user, self.times):
            raise AssertionError(f"user {self.user} got an answer that is not its own")


def opened(broker: Broker, user: int) -> tuple[Caller, float]:
    """A session of a user's, and the seconds that it took."""
    start = time.monotonic()
    settings = Settings(broker=broker, user=f"user-{user}", timeout=300, open_timeout=600)
    function = Function.of(of_user(user), "scalar", "int64", ())
    session = Session(function, GIVEN, settings)
    return Caller(session, user), time.monotonic() - start


def sessions(
    broker: Broker, count: int, users: int, openers: int, callers: int, calls: int
) -> Sessions:
    """Opens all, has each answer so many calls, and closes them."""
    found = Sessions(count, users, openers, callers)
    memory = host.resident()
    made: list[Caller] = []
    with ThreadPoolExecutor(openers) as pool:
        start = time.monotonic()
        opening = [pool.submit(opened, broker, number % users) for number in range(count)]
        try:
            both = [one.result() for one in opening]
        finally:
            made += [one.result()[0] for one in opening if not one.exception()]
        found.open_all = time.monotonic() - start
    try:
        found.open_median = statistics.median(seconds for _, seconds in both)
        with ThreadPoolExecutor(callers) as pool:
            start = time.monotonic()
            for _ in range(calls):
                list(pool.map(lambda caller: caller.call(100), made))
            seconds = time.monotonic() - start
        found.calls = calls * count
        found.calls_per_second = found.calls / seconds
        charged = [host.memory_of(caller.session.sandbox) for caller in made]
        found.memory_median, found.memory_most = statistics.median(charged), max(charged)
        found.engine_descriptors = host.descriptors()
        family = host.descendants(os.getpid())
        found.broker_descriptors = max(host.descriptors(pid) for pid in family)
        found.engine_memory = host.resident() - memory
    finally:
        for caller in made:
            caller.session.close()
    if any(caller.session.ended(120) is None for caller in made):
        raise AssertionError("a sandbox lives on")
    return found


# A stream.


@dataclass
class Sample:
    """At a moment: seconds from the start, bytes sent, and the memory of both sides in bytes."""

    seconds: float
    sent: int
    engine: int
    sandbox: int


@dataclass
class Streamed:
    """What a stream cost.

    Attributes:
        sent: Bytes that went in; as many came back.
        seconds: From the first batch to the last, opening included.
        gigabytes_per_second: Of what went in.
        engine_growth: Bytes between the least and the most of the engine's memory, after the
            first tenth of the stream.
        sandbox_growth: The same of the sandbox's.
        samples: The memory on the way.
    """

    batch_bytes: int
    sent: int = 0
    seconds: float = 0.0
    gigabytes_per_second: float = 0.0
    engine_growth: int = 0
    sandbox_growth: int = 0
    samples: list[Sample] = field(default_factory=list)


@dataclass
class Source:
    """Batches of 64-bit integers: random ones, and a different number added for each batch."""

    size: int
    batch_bytes: int
    sent: int = 0
    batches: int = 0

    def __post_init__(self) -> None:
        """Makes the numbers that all batches are of."""
        rows = self.batch_bytes // 8
        self.base = pa.array(numpy.random.default_rng(SEED).integers(0, 1 << 40, rows))
        self.total = pc.sum(self.base).as_py()

    def __iter__(self) -> Iterator[Any]:
        """The batches, as they are asked for."""
        while self.sent < self.size:
            column = pc.add(self.base, self.batches)
            self.batches += 1
            self.sent += self.batch_bytes
            yield pa.RecordBatch.from_arrays([column], schema=GIVEN)

    def expected(self, batch: int) -> int:
        """The sum of the answer to a batch."""
        return int(self.total + (batch + 7) * len(self.base))


def plus_seven(batches: Any) -> Any:
    """What is done to the stream."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in batches:
        yield pa.RecordBatch.from_arrays([pc.add(batch.column(0), 7)], schema=batch.schema)


def stream(broker: Broker, size: int, batch_bytes: int = 512 * 1024) -> Streamed:
    """Sends so many bytes, checks the sum of each batch, and samples the memory."""
    recording = host.Recording(broker)
    source = Source(size, batch_bytes)
    found = Streamed(batch_bytes)
    over = threading.Event()
    start = time.monotonic()

    def sample() -> None:
        while not over.wait(max(0.05, size / 20e9)):
            sandbox = recording.newest(0)
            charged = host.memory_of(sandbox) if sandbox else 0
            passed = time.monotonic() - start
            found.samples.append(Sample(passed, source.sent, host.resident(), charged))

    reader = pa.RecordBatchReader.from_batches(GIVEN, iter(source))
    answers = map_batches(
        reader, plus_seven, returns=GIVEN, broker=recording, batch_rows=None, progress=False
    )
    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        for number, answer in enumerate(answers):
            if pc.sum(answer.column(0)).as_py() != source.expected(number):
                raise AssertionError(f"the answer to batch {number} is wrong")
    finally:
        over.set()
        sampler.join()
    found.sent, found.seconds = source.sent, time.monotonic() - start
    found.gigabytes_per_second = found.sent / found.seconds / 1e9
    settled = [one for one in found.samples if one.sent > size // 10 and one.sandbox]
    if settled:
        found.engine_growth = _span([one.engine for one in settled])
        found.sandbox_growth = _span([one.sandbox for one in settled])
    if number + 1 != source.batches:
        raise AssertionError(f"{number + 1} answers to {source.batches} batches")
    return found


def _span(values: list[int]) -> int:
    return max(values) - min(values)


# The command.


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=["sessions", "stream"])
    parser.add_argument("--sessions", type=int, default=100, help="sandboxes at once")
    parser.add_argument("--users", type=int, default=10, help="whose they are")
    parser.add_argument("--openers", type=int, default=4, help="that are opened at once")
    parser.add_argument("--callers", type=int, default=10, help="threads that call")
    parser.add_argument("--calls", type=int, default=50, help="of each session")
    parser.add_argument("--bytes", type=int, default=20_000_000_000, help="of the stream")
    parser.add_argument("--batch-bytes", type=int, default=512 * 1024, help="of each batch")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    return parser.parse_args()


def main() -> None:
    """Runs one scenario and prints its figures."""
    asked = _arguments()
    broker = ChildBroker()
    # Its zygote's imports are no session's.
    opened(broker, 0)[0].session.close()
    before = machine()
    if asked.scenario == "sessions":
        found: Any = sessions(
            broker, asked.sessions, asked.users, asked.openers, asked.callers, asked.calls
        )
    else:
        found = stream(broker, asked.bytes, asked.batch_bytes)
    broker.close()
    told = {"scenario": asked.scenario, "seed": SEED, "machine": before, **asdict(found)}
    told["load_after"] = machine()["load"]
    if asked.json:
        print(json.dumps(told, indent=1))
        return
    for name, value in told.items():
        if name != "samples":
            print(f"{name}: {value:,.3f}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
