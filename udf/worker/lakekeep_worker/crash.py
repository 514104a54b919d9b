"""A native crash names itself before the process dies of it: a hint, for the engine.

First faulthandler writes Python's stack to standard error, which is safe after any crash. Then
words of this program's are run. They are Python, which is not safe after a crash; but the
process is lost anyway, a second fault kills at once (the signal is blocked), and a timer
ends what hangs.

No callback of ctypes leads to them: it would need memory that was written and is executed,
which the seccomp profile `udf` refuses. The handler is the C library's `__cxa_finalize(handle)`.
It calls what `__cxa_atexit(function, argument, handle)` has registered for a handle, the last
first (Itanium C++ ABI, 3.3.6.3). A handler's first argument is the signal's number, so that
is the handle; and the functions are Python's own.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import signal
import socket
import struct
import sys
from types import FrameType
from typing import Any

from lakekeep_worker.failure import MESSAGE_LIMIT, is_own
from lakekeep_worker.wire import CRASHED, HEADER, INLINE

try:
    import ctypes
except ImportError:  # some Pythons are built without it
    ctypes = None  # type: ignore[assignment]

FATAL = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")
# Where ucontext_t has its stack_t, and where the instruction pointer and the stack pointer.
STACK_AT, REGISTERS = 16, {"x86_64": (168, 160), "aarch64": (440, 432)}
# These pass on what others did wrong; the next caller on the stack is more telling.
RUNTIMES = (
    *("libc.so", "libc-", "ld-linux", "ld-musl", "libpthread", "libgcc_s", "libstdc++"),
    "libffi",
)
# Bytes: of the handlers' own stack, and of what is looked through of the crashed one.
STACK, LOOKED_THROUGH = 1 << 20, 16 * 1024
# Seconds that last words may take.
PATIENCE = 2.0
# Of sigaction(2): SA_ONSTACK, SA_RESETHAND, SA_SIGINFO.
FLAGS = 0x08000000 | 0x80000000 | 4

# start, end, mode, path
Area = tuple[int, int, str, str]


class Watch:
    """What last words need, as long as the process lives.

    Attributes:
        sock: The engine's socket.
        stack: The handlers' own: a stack overflow leaves no room on the ordinary one.
        base: Its address.
        words: What Python runs, for each signal.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Takes the engine's socket; nothing is watched yet."""
        self.sock = sock
        self.stack = mmap.mmap(-1, STACK)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.stack))
        numbers = (int(getattr(signal, name)) for name in FATAL)
        self.words = {number: ctypes.create_string_buffer(died_of(number)) for number in numbers}

    def begin(self) -> None:
        """Has a crash lead to faulthandler's words, and from there to `died`."""
        libc = ctypes.CDLL(None)
        # struct sigaction: handler, mask, flags, restorer.
        handler = pointer(libc["__cxa_finalize"]).value
        action = struct.pack("P128xI4xP", handler, FLAGS, 0)
        # Else it would take its own handlers for those that were there before.
        faulthandler.disable()
        for number, words in self.words.items():
            register(libc, number, words)
            libc.sigaction(number, action, None)
        # It comes first; then it raises the signal again, for the handler that it found.
        faulthandler.enable()
        # stack_t: base, flags, size. Faulthandler's own is too small for Python.
        libc.sigaltstack(struct.pack("PiP", self.base, 0, STACK), None)

    def context(self) -> int | None:
        """Where the kernel has saved the registers of the crash; none where it is not known.

        Known by the stack_t in it, which is the one that was set. The outermost is the
        crash's: within its handler faulthandler has raised the signal again.
        """
        frames, mark, at = bytes(self.stack), struct.pack("P", self.base), STACK
        while (at := frames.rfind(mark, 0, at)) >= 0:
            if at % 8 == 0 and frames[at + 16 : at + 24] == struct.pack("P", STACK):
                return self.base + at - STACK_AT
        return None


# The one that there is.
WATCHES: list[Watch] = []


def pointer(function: Any) -> ctypes.c_void_p:
    """Where a function of C is."""
    return ctypes.cast(function, ctypes.c_void_p)


def died_of(number: int) -> bytes:
    """What Python is to run when a signal has come."""
    return b"__import__('sys').modules['lakekeep_worker.crash'].died(%d)" % number


def register(libc: Any, number: int, words: Any) -> None:
    """Has `__cxa_finalize(number)` take the interpreter's lock, and run the words."""
    handle, argument = ctypes.c_void_p(number), ctypes.c_void_p(ctypes.addressof(words))
    libc.__cxa_atexit(pointer(ctypes.pythonapi.PyRun_SimpleString), argument, handle)
    # Registered last, called first: whoever crashed may not have it.
    libc.__cxa_atexit(pointer(ctypes.pythonapi.PyGILState_Ensure), None, handle)


def watch_crashes(sock: socket.socket) -> None:
    """Has a crash tell what it was, before the process dies of it."""
    if ctypes is None:
        faulthandler.enable()
        return
    WATCHES.append(Watch(sock))
    WATCHES[0].begin()


def died(number: int) -> None:
    """Tells of the signal, in the thread that it came to; and has the process die of it."""
    try:
        # Where a filter refuses it, nothing more is said: what hangs would not be ended.
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        # Of this frame's callers, the first is that of the words.
        last_word(WATCHES[0], number, sys._getframe(1).f_back)
    finally:
        signal.raise_signal(number)


def last_word(watch: Watch, number: int, frame: FrameType | None) -> None:
    """Sends what is known of the crash, without waiting."""
    report = {"signal": signal.Signals(number).name, "library": "", "stack": ""}
    try:
        report["stack"] = python_stack(frame)
        where, context = REGISTERS.get(os.uname().machine), watch.context()
        if where is not None and context is not None:
            report["library"] = culprit(context, where)
    finally:
        content = json.dumps(report).encode()
        header = HEADER.pack(CRASHED, INLINE, 0, 0, len(content), 0)
        watch.sock.sendmsg([header, content], [], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def python_stack(frame: FrameType | None) -> str:
    """The Python frames from the crash's on that are the user's."""
    lines: list[str] = []
    while frame is not None and len(lines) < 32:
        if not is_own(frame):
            code = frame.f_code
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}\n')
        frame = frame.f_back
    return "".join(reversed(lines))[-MESSAGE_LIMIT:]


def culprit(context: int, where: tuple[int, int]) -> str:
    """The library at the instruction, or the nearest on the stack that is no runtime."""
    code, stack = (struct.unpack("Q", ctypes.string_at(context + at, 8))[0] for at in where)
    areas = mapped_areas()
    top = next((end for start, end, _, _ in areas if start <= stack < end), stack)
    size = min(top - stack, LOOKED_THROUGH) // 8 * 8
    words = (code, *struct.unpack(f"{size // 8}Q", ctypes.string_at(stack, size)))
    first = ""
    for word in words:
        path = library(word, areas)
        first = first or path
        if path and not os.path.basename(path).startswith(RUNTIMES):
            return path[:MESSAGE_LIMIT]
    return first[:MESSAGE_LIMIT]


def library(address: int, areas: list[Area]) -> str:
    """The file whose code is at an address; empty where none's is."""
    for start, end, mode, path in areas:
        if start <= address < end and "x" in mode and path.startswith("/"):
            return path
    return ""


def mapped_areas() -> list[Area]:
    """The areas of this process's memory that have a name."""
    with open("/proc/self/maps") as lines:
        maps = [line.split(maxsplit=5) for line in lines]
    areas = []
    for words in maps:
        if len(words) == 6:
            start, end = (int(bound, 16) for bound in words[0].split("-"))
            areas.append((start, end, words[1], words[5].strip()))
    return areas
