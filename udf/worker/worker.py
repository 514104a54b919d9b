"""The worker of a user's function: it runs in a sandbox and talks Arrow with an engine.

Run as `python3 -c SOURCE` with a SOCK_SEQPACKET socket as descriptor 0; docs/udf-wire.md
has the frames. Only here is the user's pickle opened. What this file sends is believed by
nobody: the engine checks all of it.
"""

from __future__ import annotations

import faulthandler
import fcntl
import functools
import inspect
import json
import linecache
import mmap
import os
import signal
import socket
import struct
import sys
import traceback
import types

import cloudpickle
import pyarrow as pa

VERSION = 1
HEADER = struct.Struct("<BBHIQQ")
PIECE = 128 * 1024
OPEN, INPUT, OUTPUT, FUNCTION, CALL, END = 1, 2, 3, 4, 5, 6
OPENED, RESULT, DONE, ERROR, CRASHED, PART = 16, 17, 18, 19, 20, 21
INLINE, PARTS, MEMFD = 0, 1, 2
F_ADD_SEALS, ALL_SEALS = 1033, 0xF
MESSAGE_LIMIT, TRACEBACK_LIMIT = 4096, 16 * 1024
# Below this many rows, one copy of a batch costs less than many small writes.
GATHER_ROWS = 4096
TABLE_ROWS = 8192


class EngineGone(Exception):
    """The engine has closed its end, which is how a session ends."""


class Refused(Exception):
    """The function's answer is not what was declared."""


# Frames.


class Gather:
    """A file that keeps what is written to it, so that no batch is copied before sendmsg."""

    closed = False

    def __init__(self):
        self.pieces = []

    def write(self, piece):
        self.pieces.append(piece)
        return len(piece)

    def take(self):
        pieces, self.pieces = self.pieces, []
        return pieces

    def flush(self):
        pass

    close = flush

    def tell(self):
        return 0

    def writable(self):
        return True

    def readable(self):
        return False

    seekable = readable


class Encoder:
    """Batches of one schema as encapsulated messages, in pieces."""

    def __init__(self, schema):
        self.gather = Gather()
        self.writer = pa.ipc.new_stream(pa.PythonFile(self.gather, "w"), schema)
        # The first batch brings the schema with it, which is not sent.
        self.writer.write_batch(empty(schema))
        self.gather.take()

    def pieces(self, batch):
        if batch.num_rows < GATHER_ROWS:
            return [batch.serialize()]
        self.writer.write_batch(batch)
        return self.gather.take()


def empty(schema):
    return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)


class Channel:
    """Frames over the socket; both ways block, which is the back-pressure."""

    def __init__(self, sock):
        self.sock = sock
        self.memfd_from = 0
        self.packet = bytearray(HEADER.size + PIECE)
        self.view = memoryview(self.packet)
        self.head = self.view[: HEADER.size]

    def receive(self):
        """The next frame: kind, call, rows, content."""
        size, ancillary, _, _ = self.sock.recvmsg_into(
            [self.packet], socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
        )
        if size < HEADER.size:
            raise EngineGone
        kind, place, _, call, length, rows = HEADER.unpack_from(self.packet)
        if place == INLINE:
            content = pa.py_buffer(bytes(self.view[HEADER.size : size]))
        elif place == PARTS:
            content = self._parts(length)
        else:
            content = _mapped(struct.unpack("i", ancillary[0][2])[0], length)
        return kind, call, rows, content

    def _parts(self, length):
        content = pa.allocate_buffer(length)
        view, at = memoryview(content).cast("B"), 0
        while at < length:
            size = self.sock.recvmsg_into([self.head, view[at : at + PIECE]])[0]
            if size <= HEADER.size:
                raise EngineGone
            at += size - HEADER.size
        return content

    def send(self, kind, call=0, rows=0, pieces=()):
        length = sum(map(len, pieces))
        if length <= PIECE:
            self.sock.sendmsg([HEADER.pack(kind, INLINE, 0, call, length, rows), *pieces])
        elif not (0 < self.memfd_from <= length and self._memfd(kind, call, rows, pieces, length)):
            self.sock.send(HEADER.pack(kind, PARTS, 0, call, length, rows))
            for part in parts(pieces):
                size = sum(map(len, part))
                self.sock.sendmsg([HEADER.pack(PART, INLINE, 0, call, size, 0), *part])

    def _memfd(self, kind, call, rows, pieces, length):
        """Whether it went so: a narrow seccomp profile refuses memfd_create."""
        try:
            memfd = os.memfd_create("batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return False
        try:
            for piece in pieces:
                _write_all(memfd, piece)
            fcntl.fcntl(memfd, F_ADD_SEALS, ALL_SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", memfd))
            self.sock.sendmsg([HEADER.pack(kind, MEMFD, 0, call, length, rows)], [rights])
        finally:
            os.close(memfd)
        return True

    def send_json(self, kind, call, value):
        self.send(kind, call, 0, [json.dumps(value).encode()])


def _write_all(descriptor, piece):
    view = memoryview(piece).cast("B")
    while len(view):
        view = view[os.write(descriptor, view) :]


def _mapped(memfd, length):
    try:
        return pa.py_buffer(mmap.mmap(memfd, length, mmap.MAP_SHARED, mmap.PROT_READ))
    finally:
        os.close(memfd)


def parts(pieces):
    """Divides the pieces anew, into lists of PIECE bytes in all."""
    part, room = [], PIECE
    for piece in pieces:
        view = memoryview(piece).cast("B")
        while len(view):
            part.append(view[:room])
            view = view[room:]
            room -= len(part[-1])
            if room == 0:
                yield part
                part, room = [], PIECE
    if part:
        yield part


# The function's arguments and answers.


def converting(convert):
    """What cannot be converted was not as declared, and no exception of the user's code."""

    @functools.wraps(convert)
    def wrapper(*arguments):
        try:
            return convert(*arguments)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise Refused(f"what the function returned is not as declared: {error}") from None

    return wrapper


@converting
def as_array(value, kind, rows):
    """One array of `kind` with `rows` values."""
    if isinstance(value, pa.ChunkedArray):
        value = value.combine_chunks()
    elif isinstance(value, pa.Scalar):
        raise Refused(f"the function returned one value, not an array of {rows}")
    elif not isinstance(value, pa.Array):
        value = pa.array(value, type=kind, from_pandas=not isinstance(value, list))
    if value.type != kind:
        value = value.cast(kind)
    if len(value) != rows:
        raise Refused(f"the function returned {len(value)} values for {rows} rows")
    return value


@converting
def as_batches(value, schema):
    """A table in any of its forms, as batches of `schema`."""
    if isinstance(value, pa.RecordBatch):
        value = pa.Table.from_batches([value])
    elif not isinstance(value, pa.Table):
        if type(value).__module__.partition(".")[0] != "pandas":
            raise Refused(f"the function returned a {type(value).__name__}, not a table")
        value = pa.Table.from_pandas(value, schema=schema, preserve_index=False)
    if set(value.column_names) != set(schema.names):
        if value.num_columns != len(schema):
            raise Refused(f"columns {value.column_names} instead of {schema.names}")
        value = value.rename_columns(schema.names)
    return value.select(schema.names).cast(schema).to_batches()


def from_pickle(pickled, _options):
    return cloudpickle.loads(pickled)


def from_source(text, options):
    """A name of a module that is made of its text alone."""
    module = types.ModuleType("user_function")
    name, text = options["attribute"], bytes(text).decode()
    file = f"{module.__name__}.py"
    # Its lines are nowhere but here, and tracebacks show them.
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    # Classes look their module up here.
    sys.modules[module.__name__] = module
    # The user's code, where it shall run.
    exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102
    function = getattr(module, name, None)
    if not callable(function):
        raise Refused(f"the source has no function {name!r}")
    return function


FORMATS = {"pickle": from_pickle, "source": from_source}


class Function:
    """The user's function and how its kind is called."""

    def __init__(self, options, source, given, answered):
        self.options, self.given, self.answered = options, given, answered
        self.kind = options["kind"]
        self.function = FORMATS[options.get("format", "pickle")](source, options)
        # Streams have a way of their own.
        self.run = getattr(self, "_" + self.kind, None)
        self.row = None

    def answer(self, batch):
        """The one batch that answers a batch."""
        self.row = None
        value = self.run(batch)
        if isinstance(value, pa.RecordBatch):
            return value
        return pa.RecordBatch.from_arrays([value], schema=self.answered)

    def _scalar(self, batch):
        value = self.function(*batch.columns)
        return as_array(value, self.answered.types[0], batch.num_rows)

    def _pandas(self, batch):
        value = self.function(*(column.to_pandas() for column in batch.columns))
        return as_array(value, self.answered.types[0], batch.num_rows)

    def _rows(self, batch):
        function, values, skip = self.function, [], self.options.get("skip_nulls")
        rows = zip(*(column.to_pylist() for column in batch.columns))
        if not batch.num_columns:
            rows = (() for _ in range(batch.num_rows))
        try:
            for row in rows:
                missing = skip and any(value is None for value in row)
                values.append(None if missing else function(*row))
        except BaseException:
            self.row = len(values)
            raise
        return as_array(values, self.answered.types[0], batch.num_rows)

    def _aggregate(self, batch):
        value = self.function(*batch.columns)
        if isinstance(value, pa.Scalar):
            value = value.as_py()
        return as_array([value], self.answered.types[0], 1)

    def _grouped(self, batch):
        group = pa.Table.from_batches([batch])
        if self.options.get("pandas"):
            group = group.to_pandas()
        batches = as_batches(self.function(group), self.answered)
        table = pa.Table.from_batches(batches, self.answered).combine_chunks()
        return table.to_batches()[0] if table.num_rows else empty(self.answered)

    def stream(self, batches):
        """The batches that answer a stream of them, none larger than may be sent."""
        if self.kind == "batches":
            answers = self.function(batches)
        else:
            arguments = next(batches)
            answers = self._table(self.function(*(c[0].as_py() for c in arguments.columns)))
        for answer in answers:
            for batch in as_batches(answer, self.answered):
                yield from self._divided(batch)

    def _table(self, value):
        """What a table function may return: a table, tables, or rows."""
        if hasattr(value, "columns"):
            yield value
            return
        rows = []
        for item in value:
            if hasattr(item, "columns"):
                yield item
                continue
            rows.append(item)
            if len(rows) == TABLE_ROWS:
                yield self._from_rows(rows)
                rows = []
        if rows:
            yield self._from_rows(rows)

    @converting
    def _from_rows(self, rows):
        names = self.answered.names
        found = [row if isinstance(row, dict) else self._named(row, names) for row in rows]
        return pa.RecordBatch.from_pylist(found, schema=self.answered)

    def _named(self, row, names):
        values = row if isinstance(row, (tuple, list)) else (row,)
        if len(values) != len(names):
            raise Refused(f"a row of {len(values)} values for columns {names}")
        return dict(zip(names, values))

    def _divided(self, batch):
        rows = max(1, min(batch.num_rows, self.options["max_rows"]))
        if batch.nbytes * 2 > self.options["max_bytes"]:
            per_row = batch.nbytes // batch.num_rows + 1
            rows = max(1, min(rows, self.options["max_bytes"] // 2 // per_row))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


# Failures.


def explained(error, row=None):
    """An exception as bounded JSON; its traceback begins where the user's code does."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    try:
        message = str(error)
        lines = traceback.TracebackException(type(error), error, trace).format()
        text = "".join(lines) if trace is not None else ""
    except BaseException:
        message, text = "an exception that cannot be printed", ""
    return {
        "type": type(error).__qualname__[:256],
        "message": message[:MESSAGE_LIMIT],
        "traceback": text[-TRACEBACK_LIMIT:],
        "row": row,
        "refused": isinstance(error, Refused),
    }


FATAL = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")
# Where ucontext_t has the instruction pointer and the stack pointer.
REGISTERS = {"x86_64": (168, 160), "aarch64": (440, 432)}
# These pass on what others did wrong; the next caller on the stack is more telling.
RUNTIMES = ("libc.so", "libc-", "ld-linux", "ld-musl", "libpthread", "libgcc_s", "libstdc++")


def watch_crashes(sock):
    """Has a native crash name itself to the engine before the process dies of it.

    A handler in Python is not safe after a crash; but the process is lost anyway, a second
    fault inside it kills at once (the signal is blocked), and alarm(2) ends one that hangs.
    """
    import ctypes

    where = REGISTERS.get(os.uname().machine)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    def handler(number, _info, context):
        signal.alarm(2)
        try:
            last_word(sock, number, context, where)
        finally:
            signal.raise_signal(number)

    callback = kind(handler)
    libc = ctypes.CDLL(None, use_errno=True)
    stack = mmap.mmap(-1, 1 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(stack))
    # stack_t: base, flags, size. A stack overflow leaves no room on the ordinary one.
    libc.sigaltstack(struct.pack("PiP", address, 0, 1 << 20), None)
    on_stack, once, with_info = 0x08000000, 0x80000000, 4
    pointer = ctypes.cast(callback, ctypes.c_void_p).value
    action = struct.pack("P128xI4xP", pointer, on_stack | once | with_info, 0)
    for name in FATAL:
        libc.sigaction(int(getattr(signal, name)), action, None)
    return callback, stack


def last_word(sock, number, context, where):
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


def python_stack():
    """The Python frames of the crash that are the user's."""
    frame, lines = sys._getframe(), []
    while frame is not None and len(lines) < 32:
        if frame.f_globals is not globals():
            code = frame.f_code
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}\n')
        frame = frame.f_back
    return "".join(reversed(lines))[-MESSAGE_LIMIT:]


def culprit(context, where):
    """The library at the instruction, or the nearest on the stack that is no runtime."""
    import ctypes

    pointer, stack = (struct.unpack("Q", ctypes.string_at(context + at, 8))[0] for at in where)
    with open("/proc/self/maps") as lines:
        maps = [line.split(maxsplit=5) for line in lines]
    areas = [
        (*(int(end, 16) for end in m[0].split("-")), m[1], m[5].strip())
        for m in maps
        if len(m) == 6
    ]
    top = next((end for start, end, _, _ in areas if start <= stack < end), stack)
    size = min(top - stack, 16 * 1024) // 8 * 8
    words = (pointer, *struct.unpack(f"{size // 8}Q", ctypes.string_at(stack, size)))
    first = ""
    for word in words:
        for start, end, mode, path in areas:
            if start <= word < end and "x" in mode and path.startswith("/"):
                first = first or path
                if not os.path.basename(path).startswith(RUNTIMES):
                    return path[:MESSAGE_LIMIT]
    return first[:MESSAGE_LIMIT]


# The session.


class Worker:
    """One session: what opens it, then calls until the engine closes."""

    def __init__(self, sock):
        self.channel = Channel(sock)
        self.function = self.encoder = None

    def open(self):
        options, given, answered, source = (self.channel.receive()[3] for _ in range(4))
        try:
            options = json.loads(bytes(options))
            if options["version"] != VERSION:
                raise Refused(f"the engine speaks version {options['version']}, not {VERSION}")
            self.channel.memfd_from = options["memfd_from"]
            schemas = (pa.ipc.read_schema(pa.BufferReader(s)) for s in (given, answered))
            self.function = Function(options, source, *schemas)
            remember(options.get("source"), self.function.function)
            self.encoder = Encoder(self.function.answered)
        except BaseException as error:
            self.channel.send_json(ERROR, 0, explained(error))
            return False
        versions = {"python": sys.version.split()[0], "pyarrow": pa.__version__}
        self.channel.send_json(OPENED, 0, {"version": VERSION, **versions})
        return True

    def serve(self):
        stream = self.function.kind in ("batches", "table")
        while True:
            kind, call, _, content = self.channel.receive()
            if stream:
                self._stream(call, kind, content)
            else:
                self._call(call, content)

    def _call(self, call, content):
        try:
            answer = self.function.answer(self._batch(content))
            pieces = self.encoder.pieces(answer)
        except BaseException as error:
            self.channel.send_json(ERROR, call, explained(error, self.function.row))
            return
        self.channel.send(RESULT, call, answer.num_rows, pieces)

    def _stream(self, call, kind, content):
        inputs = Inputs(self, kind, content)
        try:
            for batch in self.function.stream(inputs):
                self.channel.send(RESULT, call, batch.num_rows, self.encoder.pieces(batch))
            self.channel.send(DONE, call)
        except EngineGone:
            raise
        except BaseException as error:
            self.channel.send_json(ERROR, call, explained(error))
        inputs.drain()

    def _batch(self, content):
        return pa.ipc.read_record_batch(pa.ipc.read_message(content), self.function.given)


class Inputs:
    """The batches of one stream, taken from the socket as the function asks for them."""

    def __init__(self, worker, kind, content):
        self.worker, self.kind, self.content = worker, kind, content

    def __iter__(self):
        return self

    def __next__(self):
        if self.content is None and self.kind != END:
            self._receive()
        if self.kind == END:
            raise StopIteration
        content, self.content = self.content, None
        return self.worker._batch(content)

    def _receive(self):
        self.kind, _, _, self.content = self.worker.channel.receive()

    def drain(self):
        """What the function left over is not the next call's."""
        while self.kind != END:
            self._receive()


def remember(source, function):
    """Lets tracebacks show the function's lines; its file is not in the sandbox."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if source and code:
        lines = ["\n"] * (source["line"] - 1) + source["text"].splitlines(True)
        linecache.cache[source["file"]] = (len(source["text"]), None, lines, source["file"])
        # Newer cloudpickles send code without the name of its file.
        inspect.unwrap(function).__code__ = renamed(code, source["file"])


def renamed(code, file):
    """The code, and what is nested in it, as of a file."""
    inner = tuple(renamed(c, file) if isinstance(c, types.CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=file, co_consts=inner)


def take_socket():
    """The engine's socket, out of the way of whoever reads standard input."""
    try:
        number = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 64)
    except OSError:  # the limit of descriptors is lower
        number = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return socket.socket(fileno=number)


def main():
    sock = take_socket()
    sys.stdout.reconfigure(line_buffering=True)
    try:
        kept = watch_crashes(sock)
    except (OSError, MemoryError, ImportError):
        # A profile without writable and executable memory has no callbacks for ctypes,
        # where libffi was built without static ones: the stack goes to standard error.
        kept = None
        faulthandler.enable()
    worker = Worker(sock)
    try:
        if worker.open():
            worker.serve()
    except (EngineGone, ConnectionError):
        pass
    del kept
    sys.stdout.flush()
    sys.stderr.flush()
    # Not the interpreter's own end: threads of the user's function would hold it up.
    os._exit(0)


if __name__ == "__main__":
    main()
