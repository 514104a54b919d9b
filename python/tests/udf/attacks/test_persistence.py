"""What a function leaves running: outside it outlives the session, inside it ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf import host
from udf.attacks import hijack
from udf.attacks.arena import Arena

from lakekeep.udf import TimedOut

ONE = pa.RecordBatch.from_pydict({"word": ["x"]})


def double_fork(marker: str) -> str:
    """A daemon: a child of a child, which nobody knows."""
    import os

    if os.fork():
        return "started"
    os.setsid()
    if os.fork():
        os._exit(0)
    with open(marker, "w") as file:
        file.write(str(os.getpid()))
    hijack.hold()
    return ""


def new_session(marker: str) -> str:
    """A program of its own session, which no signal to the group reaches."""
    import subprocess

    program = f"echo $$ > {marker}; exec sleep 600"
    subprocess.Popen(["/bin/sh", "-c", program], start_new_session=True)
    return "started"


def by_the_c_library(marker: str) -> str:
    """clone as the C library has it, whatever Python refuses."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    pid = libc.fork()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "fork")
    if pid:
        return "started"
    with open(marker, "w") as file:
        file.write(str(os.getpid()))
    hijack.hold()
    return ""


@pytest.mark.parametrize("attack", [double_fork, new_session, by_the_c_library])
def test_a_daemon(arena: Arena, place: Path, attack: Any) -> None:
    marker = place / "pid"
    assert arena.outside(attack, str(marker)) == "started"
    pid = int(host.eventually(lambda: marker.exists() and marker.read_text()) or 0)
    assert arena.bare.opened[-1].ended(host.PATIENCE) is not None
    assert host.state(pid)[0], "outside, it lives when its worker has ended"
    os.kill(pid, signal.SIGKILL)
    marker.unlink()
    assert arena.inside(attack, str(marker)).startswith("refused")
    assert not marker.exists()


def deaf_to_signals(column: Any) -> Any:
    import signal
    import threading

    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    # Not a daemon thread: an ordinary end of the interpreter would wait for it.
    threading.Thread(target=hijack.hold).start()
    return "deaf"


def test_handlers_for_all_signals(arena: Arena) -> None:
    program = "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('deaf', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"deaf\n"
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()
    session = arena.opened(arena.real, deaf_to_signals)
    assert session.call(ONE).column(0)[0].as_py() == "deaf"
    pids = host.processes_of(session.sandbox)
    assert pids
    session.close()
    assert session.ended(host.PATIENCE) is not None
    assert not host.gone(lambda: host.living(pids))


def stops_itself(column: Any) -> Any:
    import os
    import signal

    print("stopping", flush=True)
    try:
        os.kill(os.getpid(), signal.SIGSTOP)
    except OSError:
        signal.raise_signal(signal.SIGSTOP)
    return "went on"


def test_a_worker_that_stops_itself(arena: Arena) -> None:
    for broker in (arena.bare, arena.real):
        session = arena.opened(broker, stops_itself)
        with pytest.raises(TimedOut, match="timeout="):
            session.call(ONE, timeout=3)
        assert session.ended(host.PATIENCE) is not None, "SIGKILL needs no consent"


def closes_its_end_and_stays(column: Any) -> Any:
    """To the engine it looks dead; its sandbox could go on computing."""
    import os

    os.closerange(3, 300)
    hijack.hold()


def test_a_worker_that_feigns_its_end(arena: Arena) -> None:
    ours, theirs = os.pipe()
    program = f"import os\nos.close({theirs})\nprint('closed', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[theirs],
    ) as process:
        os.close(theirs)
        assert os.read(ours, 1) == b"", "outside, its pipe has ended"
        assert process.poll() is None, "and it has not"
        process.kill()
    os.close(ours)
    session = arena.opened(arena.real, closes_its_end_and_stays)
    pids = host.processes_of(session.sandbox)
    with pytest.raises(Exception, match="SIGKILL"):
        session.call(ONE)
    assert not host.gone(lambda: host.living(pids))
