"""What a hostile function does with its worker's socket. Sent along with the attack.

In the sandbox a function is in the worker's own process: whatever the worker may send, it
may send too. `CALL` is the number of a session's first call.
"""

from __future__ import annotations

from typing import Any

RESULT, DONE, ERROR, CRASHED, PART, OPENED = 17, 18, 19, 20, 21, 16
CALL = 1


def engine() -> Any:
    """The worker's socket to its engine, found among the descriptors."""
    import os
    import socket
    import stat

    for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        try:
            if number > 2 and stat.S_ISSOCK(os.fstat(number).st_mode):
                return socket.socket(fileno=os.dup(number))
        except OSError:
            continue
    raise LookupError("no socket")


def frame(  # noqa: PLR0913  the header's fields
    kind: int,
    content: bytes = b"",
    rows: int = 1,
    place: int = 0,
    length: int = -1,
    fds: Any = (),
    call: int = CALL,
) -> None:
    """Sends a frame as it says."""
    import array
    import socket
    import struct

    size = len(content) if length < 0 else length
    header = struct.pack("<BBHIQQ", kind, place, 0, call, size, rows)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    engine().sendmsg([header, content], rights)


def hold() -> None:
    """Never answers: what was sent is all that the engine hears."""
    import time

    while True:
        time.sleep(1)
