"""What goes wrong in a worker, by name; sent along with the function.

`kill` and `stop` are done to it from the host: here it only waits for them.
"""

from __future__ import annotations

from typing import Any

FAULTS = ("kill", "stop", "slow", "lie", "flood", "leak", "fork", "sleep", "segfault")


def do(fault: str) -> None:
    """Does it; says `ready` first."""
    print("ready", flush=True)
    {
        "kill": wait,
        "stop": wait,
        "slow": slow,
        "lie": lie,
        "flood": flood,
        "leak": leak,
        "fork": fork,
        "sleep": sleep,
        "segfault": segfault,
    }[fault]()


def wait() -> None:
    import time

    while True:
        time.sleep(1)


def slow() -> None:
    """Always on the way, never there."""
    total = 0
    while True:
        total += 1


def lie() -> None:
    """A packet that no worker sends."""
    import os
    import socket
    import stat

    for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        try:
            if number > 2 and stat.S_ISSOCK(os.fstat(number).st_mode):
                socket.socket(fileno=os.dup(number)).send(b"lie")
        except OSError:
            continue
    wait()


def flood() -> None:
    import sys

    while True:
        sys.stdout.write("x" * 65_536)


def leak() -> None:
    kept = []
    while True:
        kept.append(bytearray(b"x") * (8 << 20))


def fork() -> None:
    """As many processes as there can be; where there can be none, as many threads."""
    import os
    import threading

    started = threading.Event()
    while True:
        try:
            if not os.fork():
                wait()
        except OSError:
            thread = threading.Thread(target=started.wait, daemon=True)
            thread.start()


def sleep() -> None:
    """In C, with the interpreter's lock: no thread and no handler of Python's runs."""
    import ctypes

    ctypes.PyDLL(None).sleep(3600)


def segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def behind(fault: str) -> None:
    """Does it in a thread, when the call that asks for it has been answered."""
    import sys
    import threading
    import time

    def run() -> None:
        # The worker is back in its receive when the frame of the call is gone.
        main = threading.main_thread().ident
        while True:
            frame: Any = sys._current_frames().get(main or 0)
            names = set()
            while frame is not None:
                names.add(frame.f_code.co_name)
                frame = frame.f_back
            if "user" not in names and "receive" in names:
                break
            time.sleep(0.01)
        do(fault)

    threading.Thread(target=run, daemon=True).start()
