"""A native crash names itself before the process dies of it: a hint, for the engine."""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import struct
import sys
from types import FrameType

from lakekeep_worker.failure import MESSAGE_LIMIT, is_own
from lakekeep_worker.wire import CRASHED, HEADER, INLINE

FATAL = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")
# Where ucontext_t has the instruction pointer and the stack pointer.
REGISTERS = {"x86_64": (168, 160), "aarch64": (440, 432)}
# These pass on what others did wrong; the next caller on the stack is more telling.
RUNTIMES = ("libc.so", "libc-", "ld-linux", "ld-musl", "libpthread", "libgcc_s", "libstdc++")
# Bytes: of the handlers' own stack, and of what is looked through of the crashed one.
STACK, LOOKED_THROUGH = 1 << 20, 16 * 1024

# start, end, mode, path
Area = tuple[int, int, str, str]


def watch_crashes(sock: socket.socket) -> object:
    """Has a crash tell the engine what it was; what comes back is to be kept.

    A handler in Python is not safe after a crash; but the process is lost anyway, a second
    fault inside it kills at once (the signal is blocked), and alarm(2) ends one that hangs.
    """
    import ctypes

    where = REGISTERS.get(os.uname().machine)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    def handler(number: int, _info: int, context: int) -> None:
        signal.alarm(2)
        try:
            last_word(sock, number, context, where)
        finally:
            signal.raise_signal(number)

    callback = kind(handler)
    libc = ctypes.CDLL(None, use_errno=True)
    stack = mmap.mmap(-1, STACK)
    address = ctypes.addressof(ctypes.c_char.from_buffer(stack))
    # stack_t: base, flags, size. A stack overflow leaves no room on the ordinary one.
    libc.sigaltstack(struct.pack("PiP", address, 0, STACK), None)
    on_stack, once, with_info = 0x08000000, 0x80000000, 4
    pointer = ctypes.cast(callback, ctypes.c_void_p).value
    action = struct.pack("P128xI4xP", pointer, on_stack | once | with_info, 0)
    for name in FATAL:
        libc.sigaction(int(getattr(signal, name)), action, None)
    return callback, stack


def last_word(
    sock: socket.socket, number: int, context: int, where: tuple[int, int] | None
) -> None:
    """Sends what is known of the crash, without waiting."""
    report = {"signal": signal.Signals(number).name, "library": "", "stack": ""}
    try:
        report["stack"] = python_stack()
        if where is not None:
            report["library"] = culprit(context, where)
    finally:
        content = json.dumps(report).encode()
        header = HEADER.pack(CRASHED, INLINE, 0, 0, len(content), 0)
        sock.sendmsg([header, content], [], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def python_stack() -> str:
    """The Python frames of the crash that are the user's."""
    frame: FrameType | None = sys._getframe()
    lines: list[str] = []
    while frame is not None and len(lines) < 32:
        if not is_own(frame):
            code = frame.f_code
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}\n')
        frame = frame.f_back
    return "".join(reversed(lines))[-MESSAGE_LIMIT:]


def culprit(context: int, where: tuple[int, int]) -> str:
    """The library at the instruction, or the nearest on the stack that is no runtime."""
    import ctypes

    pointer, stack = (struct.unpack("Q", ctypes.string_at(context + at, 8))[0] for at in where)
    areas = mapped_areas()
    top = next((end for start, end, _, _ in areas if start <= stack < end), stack)
    size = min(top - stack, LOOKED_THROUGH) // 8 * 8
    words = (pointer, *struct.unpack(f"{size // 8}Q", ctypes.string_at(stack, size)))
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
