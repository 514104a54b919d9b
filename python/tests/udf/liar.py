"""A worker that lies, for tests: it opens properly and then answers as LIE says.

Its source is put together by `source`: a worker that is sent as text has no imports of
ours. `PROBE` holds functions that it answers calls with.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Any, Callable

PRELUDE = """
import array, fcntl, json, os, signal, socket, struct, sys, time
import pyarrow as pa
sock = socket.socket(fileno=os.dup(0))
HEADER = struct.Struct("<BBHIQQ")

def take():
    packet = sock.recv(1 << 18)
    if not packet:
        os._exit(0)
    return HEADER.unpack_from(packet)[3], packet

def frame(kind, call, content=b"", rows=0, place=0, length=None, fds=(), reserved=0):
    size = len(content) if length is None else length
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([HEADER.pack(kind, place, reserved, call, size, rows), content], rights)

def message(values, kind="int64", **options):
    column = values if isinstance(values, pa.Array) else pa.array(values, kind)
    batch = pa.RecordBatch.from_arrays([column], ["answer"])
    return bytes(batch.serialize())

def memfd(content, seals=15):
    fd = os.memfd_create("lie", os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    fcntl.fcntl(fd, 1033, seals)
    return fd

for _ in range(4):
    take()
"""

EPILOGUE = """
frame(16, 0, json.dumps({"version": 1}).encode())
while True:
    number, packet = take()
    lie(number)
"""


def source(lie: Callable[[int], Any]) -> str:
    """The source of a worker that answers calls with `lie`."""
    body = textwrap.dedent(inspect.getsource(lie))
    # Decorators are the tests'.
    body = body[body.index("def ") :]
    return f"{PRELUDE}\n{body}\nlie = {lie.__name__}\n{EPILOGUE}"
