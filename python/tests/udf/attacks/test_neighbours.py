"""One user's session looks for another's: its files, sockets, memory, processes, leftovers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from udf import host
from udf.attacks.arena import Arena

SECRET = "of ada alone"
# What outlives a call, in the process where it is made.
kept: Any = None
buffer: Any = None


def leaves_files(secret: str) -> str:
    import os
    import tempfile

    left = []
    for folder in ("/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~"), tempfile.gettempdir()):
        try:
            with open(f"{folder}/lakekeep-left-behind", "w") as file:
                file.write(secret)
            left.append(folder)
        except OSError:
            continue
    return " ".join(left)


def finds_files(_: str) -> str:
    import os

    found = []
    for folder in ("/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~")):
        try:
            with open(f"{folder}/lakekeep-left-behind") as file:
                found.append(file.read())
            os.unlink(f"{folder}/lakekeep-left-behind")
        except OSError:
            continue
    return found[0] if found else "nothing"


@pytest.mark.parametrize("when", ["at once", "one after the other"])
def test_files(arena: Arena, when: str) -> None:
    """What one leaves in the folders that all may write to; the one after has the same pool."""
    for broker in (arena.bare, arena.real):
        session = arena.opened(broker, reporting(leaves_files), user="ada")
        assert arena.ask(session, SECRET).startswith("/tmp"), "it has folders of its own"
        if when == "one after the other":
            session.close()
            session.ended(host.PATIENCE)
        found = arena.run(broker, finds_files, "", user="eve")
        assert found == (SECRET if broker is arena.bare else "nothing")


def reporting(attack: Any) -> Any:
    from udf.attacks import arena

    return arena.reporting(attack)


def waits_on_an_abstract_socket(name: str) -> str:
    import socket

    global kept
    kept = socket.socket(socket.AF_UNIX)
    kept.bind(f"\0{name}")
    kept.listen()
    return "listening"


def connects_to_an_abstract_socket(name: str) -> str:
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"\0{name}")
    return "connected"


def keeps_shared_memory(key: str) -> str:
    """System V's, which has names for all."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.shmget(int(key), 4096, 0o1666)
    if number < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "kept"


def finds_shared_memory(key: str) -> str:
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.shmget(int(key), 4096, 0)
    if number < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    libc.shmctl(number, 0, None)
    return "found"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (waits_on_an_abstract_socket, connects_to_an_abstract_socket, "connected"),
        (keeps_shared_memory, finds_shared_memory, "found"),
    ],
    ids=["abstract socket", "system v memory"],
)
def test_a_name_that_both_know(arena: Arena, first: Any, second: Any, told: str) -> None:
    name = str(os.getpid() + 77_000_000)
    with arena.opened(arena.bare, reporting(first)) as session:
        arena.ask(session, name)
        assert arena.outside(second, name) == told
    # Both halves of it are refused: there is no such system call inside.
    assert arena.inside(first, name).startswith("refused")
    assert arena.inside(second, name).startswith("refused")


# The secret is at a known place, in a process that is known: the worst case.


def keeps_a_secret(secret: str) -> str:
    import ctypes
    import os

    global buffer
    buffer = ctypes.create_string_buffer(secret.encode())
    os.environ["OF_ADA"] = secret
    return f"{os.getpid()} {ctypes.addressof(buffer)} {len(secret)}"


def reads_by_process_vm(pid: str, address: str, length: str) -> str:
    import ctypes
    import os

    class Piece(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    libc = ctypes.CDLL(None, use_errno=True)
    here = ctypes.create_string_buffer(int(length))
    ours = Piece(ctypes.addressof(here), int(length))
    theirs = Piece(int(address), int(length))
    read = libc.process_vm_readv(int(pid), ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    if read < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return here.raw.decode()


def reads_by_proc_mem(pid: str, address: str, length: str) -> str:
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(int(address))
        return memory.read(int(length)).decode()


def reads_by_ptrace(pid: str, address: str, length: str) -> str:
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(16, int(pid), None, None) < 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(int(pid), 0x40000000)  # __WALL
    words = b""
    while len(words) < int(length):
        word = libc.ptrace(1, int(pid), int(address) + len(words), None)  # PTRACE_PEEKTEXT
        words += (word & (1 << 64) - 1).to_bytes(8, "little")
    libc.ptrace(17, int(pid), None, None)
    return words[: int(length)].decode()


@pytest.mark.parametrize("attack", [reads_by_process_vm, reads_by_proc_mem, reads_by_ptrace])
def test_memory_of_a_neighbour(arena: Arena, attack: Any) -> None:
    with arena.opened(arena.bare, reporting(keeps_a_secret), user="ada") as session:
        words = arena.ask(session, SECRET).split()
        assert arena.outside(attack, *words) == SECRET
    with arena.opened(arena.real, reporting(keeps_a_secret), user="ada") as session:
        inner, address, length = arena.ask(session, SECRET).split()
        outer = host.worker_of(session.sandbox)
        assert outer, "the host sees it"
        with open(f"/proc/{outer}/mem", "rb") as memory:
            memory.seek(int(address))
            assert memory.read(int(length)).decode() == SECRET, "it is there to be read"
        # By the host's number, and by any that it could have inside.
        for pid in (str(outer), str(int(inner) + 1), "1"):
            assert arena.inside(attack, pid, address, length).startswith("refused")


def sees_of(pid: str) -> str:
    """Whatever /proc tells of a process, and whether it can be signalled."""
    import os

    found = []
    for name in ("environ", "cmdline", "maps", "cwd", "root", "exe", "fd", "stat", "status"):
        path = f"/proc/{pid}/{name}"
        try:
            if name in ("cwd", "root", "exe"):
                os.readlink(path)
            elif name == "fd":
                os.listdir(path)
            else:
                with open(path, "rb") as file:
                    file.read()
            found.append(name)
        except OSError:
            continue
    try:
        os.kill(int(pid), 0)
        found.append("signal")
    except OSError:
        pass
    return " ".join(found) or "nothing"


def others(own: str) -> str:
    import os

    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    return " ".join(str(pid) for pid in sorted(pids - {os.getpid()}))


def test_processes_of_a_neighbour(arena: Arena) -> None:
    with arena.opened(arena.bare, reporting(keeps_a_secret), user="ada") as session:
        pid = arena.ask(session, SECRET).split()[0]
        assert arena.outside(sees_of, pid).split()[-1] == "signal"
        assert pid in arena.outside(others, "").split()
    with arena.opened(arena.real, reporting(keeps_a_secret), user="ada") as session:
        arena.ask(session, SECRET)
        outer = host.worker_of(session.sandbox)
        assert arena.inside(sees_of, str(outer)) == "nothing"
        assert arena.inside(others, "") == "", "a function sees no process but its own"


# Leftovers: what a process keeps for whoever runs in it next.


def changes_the_process(word: str) -> str:
    import builtins
    import json
    import sys
    import types

    import pyarrow.compute

    builtins.left_behind = word  # type: ignore[attr-defined]
    sys.modules["left_behind"] = types.ModuleType("left_behind")
    json.loads = lambda *_: "patched"
    pyarrow.compute.add = lambda *_: "patched"
    return finds_changes("")


def finds_changes(_: str) -> str:
    import builtins
    import json
    import sys

    import pyarrow as pa
    import pyarrow.compute

    found = [str(getattr(builtins, "left_behind", ""))]
    found += ["module"] if "left_behind" in sys.modules else []
    found += ["json"] if json.loads("1") == "patched" else []
    added = pyarrow.compute.add(pa.scalar(1), pa.scalar(1))
    found += ["pyarrow"] if added == "patched" else []
    return " ".join(word for word in found if word) or "nothing"


CHANGED = f"{SECRET} module json pyarrow"


def test_leftovers_in_modules(arena: Arena) -> None:
    # Outside: an engine that runs both in one interpreter.
    script = (
        "from test_neighbours import changes_the_process as c, finds_changes as f;"
        f"c({SECRET!r}); print(f(''))"
    )
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == CHANGED
    session = arena.opened(arena.real, reporting(changes_the_process), user="eve")
    assert arena.ask(session, SECRET) == CHANGED, "inside, its own process is changed"
    assert arena.inside(finds_changes, "", user="ada") == "nothing"
    session.close()
    assert arena.inside(finds_changes, "", user="ada") == "nothing"
    # And the engine's pyarrow answers as ever.
    assert pc.add(pa.scalar(1), pa.scalar(1)).as_py() == 2
    assert finds_changes("") == "nothing"


def draws(_: str) -> str:
    import random
    import uuid

    import numpy

    drawn = (random.random(), numpy.random.random(), uuid.uuid4())
    return " ".join(str(one) for one in drawn)


TWINS = """
import ctypes, os, random
for _ in range(2):
    if not ctypes.CDLL(None).fork():
        print(random.random(), flush=True)
        os._exit(0)
    os.wait()
"""


def test_randomness_of_a_neighbour(arena: Arena) -> None:
    """Workers of one zygote: who draws a number must not know what the others draw."""
    done = subprocess.run([sys.executable, "-c", TWINS], capture_output=True, text=True, check=True)
    assert len(set(done.stdout.split())) == 1, "outside, twins draw the same"
    options: dict[str, Any] = {"modules": ("pyarrow", "numpy", "numpy.random", "random", "uuid")}
    drawn = [arena.inside(draws, "", **options).split() for _ in range(3)]
    for column in zip(*drawn):
        assert len(set(column)) == 3


# Owners.


def who(_: str) -> str:
    import os

    return " ".join(str(one) for one in (os.getpid(), os.getuid()))


def test_owners_in_one_query_share_no_sandbox(arena: Arena) -> None:
    """Three owners' functions and two calls each: what one left, no other finds."""
    script = (
        "from test_neighbours import keeps_a_secret as k, who as w;"
        "print(k('x').split()[0], w('').split()[0])"
    )
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(set(done.stdout.split())) == 1, "outside, both are in one process"
    owners = ("ada", "bob", "eve")
    sessions = [
        arena.opened(arena.real, reporting(changes_the_process), query="q-1", code_owner=owner)
        for owner in owners
    ]
    for owner, session in zip(owners, sessions):
        assert arena.ask(session, owner).startswith(owner)
    assert len({session.sandbox for session in sessions}) == 3
    workers = [host.worker_of(session.sandbox) for session in sessions]
    assert len(set(workers)) == 3
    users = {Path(f"/proc/{pid}").stat().st_uid for pid in workers}
    assert len(users) == 3, "each sandbox has users of its own on the host"
    spaces = {os.readlink(f"/proc/{pid}/ns/{name}") for pid in workers for name in ("pid", "net")}
    assert len(spaces) == 6
