"""One peer's turn: calls, their times, and the processor time of all who take part."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Callable, Optional

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


def measured_elsewhere(turn: Callable[[int], list[int]], pid: int, calls: int) -> Burst:
    """Has the process that started this one make the calls; `pid` answers them."""
    pids = [os.getppid(), pid]
    before = others(pids)
    walls = turn(calls)
    after = others(pids)
    if before is None or after is None:
        return Burst(walls, None)
    # The call that does not count is in it.
    return Burst(walls, (after - before) // (calls + 1))


def used(pids: list[int]) -> Optional[int]:
    """Nanoseconds of processor time that this process and others have used."""
    theirs = others(pids)
    return None if theirs is None else time.process_time_ns() + theirs


def others(pids: list[int]) -> Optional[int]:
    """Nanoseconds of processor time that others have used; None where one cannot be seen."""
    try:
        return sum(time.clock_gettime_ns(_clock(pid)) for pid in pids)
    except OSError:
        return None


def _clock(pid: int) -> int:
    """The clock of a process's processor time, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2
