"""Forks workers from one process that has imported pyarrow: a session opens in no time.

Run with a control socket's number. A packet is a worker's source with three descriptors;
answers are the worker's pid, and later its pid and how it ended.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
from typing import NoReturn

# Here so that no worker imports them again; pyarrow takes pandas where it is installed.
import cloudpickle  # noqa: F401
import pandas as pd  # noqa: F401
import pyarrow as pa  # noqa: F401


def worker(source: bytes, descriptors: list[int]) -> NoReturn:
    code = 1
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(3, 256)
        exec(compile(source, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(code)


def main(control: socket.socket) -> None:
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ, 0)
    while True:
        for key, _ in selector.select():
            if key.data:
                code = os.waitstatus_to_exitcode(os.waitpid(key.data, 0)[1])
                control.send(json.dumps([key.data, code]).encode())
                selector.unregister(key.fd)
                os.close(key.fd)
                continue
            source, descriptors, _, _ = socket.recv_fds(control, 1 << 17, 3)
            if not source:
                return
            pid = os.fork()
            if not pid:
                worker(source, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            control.send(json.dumps([pid, None]).encode())


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
