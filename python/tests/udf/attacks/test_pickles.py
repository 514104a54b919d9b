"""A pickle does what it likes where it is opened: that is in the sandbox, and nowhere else."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from udf import host
from udf.attacks.arena import Arena, Attack

from lakekeep.udf import (
    BadFunction,
    OutOfMemory,
    TimedOut,
    UdfError,
    UserFunctionError,
    WorkerCrashed,
)


class Bomb:
    """Pickles to a call of `made`, and so does that where it is unpickled."""

    def __init__(self, made: Callable[..., Any], *arguments: Any) -> None:
        self.made, self.arguments = made, arguments

    def __reduce__(self) -> Any:
        return self.made, self.arguments

    def __call__(self, column: Any) -> Any:
        return "was never called"


def shell(marker: Path) -> Bomb:
    import os

    return Bomb(os.system, f"echo written > {marker}")


def import_time(marker: Path) -> Bomb:
    """What a module would do when it is imported."""
    return Bomb(exec, f"open({str(marker)!r}, 'w').write('written')")


def process(marker: Path) -> Bomb:
    return Bomb(subprocess.check_call, ["/usr/bin/touch", str(marker)])


def library(marker: Path) -> Bomb:
    """Not by a function of Python's: the C library is asked itself."""
    code = (
        "import ctypes\n"
        f"fd = ctypes.CDLL(None).open({str(marker).encode()!r}, 0o101, 0o644)\n"
        "assert fd >= 0, 'not opened'"
    )
    return Bomb(exec, code)


@pytest.mark.parametrize("bomb", [shell, import_time, process, library])
def test_a_pickle_that_acts_on_the_host(
    arena: Arena, place: Path, bomb: Callable[[Path], Bomb]
) -> None:
    marker = place / "marker"
    bomb(marker)
    with pytest.raises(UdfError):
        arena.opened(arena.bare, bomb(marker)).call(one_row())
    assert host.eventually(marker.exists), "outside, the pickle has done it"
    marker.unlink()
    with pytest.raises((BadFunction, UserFunctionError, WorkerCrashed)):
        arena.opened(arena.real, bomb(marker)).call(one_row())
    assert not marker.exists()


def one_row() -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_pydict({"word": ["x"]})


def unpickles(bomb: Bomb, within: float) -> subprocess.CompletedProcess[bytes]:
    """Opens it as an engine would that trusts it, in a process of its own."""
    script = (
        "import pickle, resource, sys\n"
        "pickle.load(sys.stdin.buffer)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(bomb),
        capture_output=True,
        timeout=within,
        check=False,
    )


def test_a_pickle_that_takes_all_memory(arena: Arena) -> None:
    # 400 MB that are written to, not only asked for; its pickle has 60 bytes.
    bomb = Bomb(bytes.__mul__, b"x" * 4, 100_000_000)
    assert len(pickle.dumps(bomb)) < 200
    outside = unpickles(bomb, 120)
    assert int(outside.stdout) > 390_000, "outside, it has them"
    with pytest.raises(OutOfMemory) as raised:
        arena.opened(arena.real, bomb, memory=160 << 20)
    assert raised.value.limit == 160 << 20
    assert "memory=" in str(raised.value)


def test_a_pickle_that_takes_all_time(arena: Arena) -> None:
    bomb = Bomb(exec, "while True: pass")
    with pytest.raises(subprocess.TimeoutExpired):
        unpickles(bomb, 2)
    with pytest.raises(TimedOut):
        arena.opened(arena.real, bomb, open_timeout=5)


def test_a_pickle_that_overflows_the_stack(arena: Arena) -> None:
    code = (
        "import sys, pickle\n"
        "sys.setrecursionlimit(10**7)\n"
        "def deeper(): return pickle.loads(again)\n"
        "import __main__\n"
        "__main__.deeper = deeper\n"
        "again = b'c__main__\\ndeeper\\n)R.'\n"
        "__main__.again = again\n"
        "exec('deeper()', {'deeper': deeper})"
    )
    bomb = Bomb(exec, code, {"__name__": "__main__"})
    assert unpickles(bomb, 120).returncode < 0, "outside, the process dies of it"
    with pytest.raises((WorkerCrashed, OutOfMemory)) as raised:
        arena.opened(arena.real, bomb)
    assert raised.value.remedy


def raises_a_bomb(marker: str) -> str:
    class Armed(Exception):
        def __reduce__(self) -> Any:
            return exec, (f"open({marker!r}, 'w').write('written')",)

    if marker.endswith("outside"):
        # What engines do that pass a worker's exceptions on: multiprocessing, for one.
        pickle.loads(pickle.dumps(Armed("boo")))  # noqa: S301  the attack
        return "thrown"
    raise Armed("boo")


def test_an_exception_that_is_a_pickle_bomb(arena: Arena, place: Path) -> None:
    attack: Attack = raises_a_bomb
    marker = place / "by-the-engine"
    with pytest.raises(UserFunctionError, match="boo"):
        arena.inside(attack, str(marker))
    assert not marker.exists(), "an exception comes back as text"
    assert arena.outside(attack, str(place / "outside")) == "thrown"
    assert (place / "outside").exists(), "a pickled exception acts where it is opened"
