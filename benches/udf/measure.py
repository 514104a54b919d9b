"""One peer's turn: calls, their times, and the processor time of all who take part."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional

from peer import Peer


@dataclass
class Burst:
    """Calls, one after the other.

    Attributes:
        walls: Nanoseconds of each.
        cpu: Nanoseconds of processor time for each call, the mean, of this process and of
            those that answer it; None where one of them cannot be seen.
    """

    walls: list[int]
    cpu: Optional[int]


def measure(peer: Peer, calls: int) -> Burst:
    """Makes `calls` calls."""
    call, now = peer.call, time.perf_counter_ns
    # Who has not been called for a while is slow once, which the round's order decides.
    call()
    pids = peer.pids()
    before = used(pids)
    walls = []
    for _ in range(calls):
        start = now()
        call()
        walls.append(now() - start)
    after = used(pids)
    if before is None or after is None:
        return Burst(walls, None)
    return Burst(walls, (after - before) // calls)


def used(pids: list[int]) -> Optional[int]:
    """Nanoseconds of processor time that this process and others have used."""
    try:
        others = sum(time.clock_gettime_ns(_clock(pid)) for pid in pids)
    except OSError:
        return None
    return time.process_time_ns() + others


def _clock(pid: int) -> int:
    """The clock of a process's processor time, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2
