"""A Python interpreter that has imported a base environment, and of which tasks are forked.

The init executes this as a zygote: sealed, without a capability, and with no user's code.
On descriptor 3 come connections, one for each sandbox that was made for this zygote. On a
connection a task's first process asks for its command's process. What is forked for it
enters the namespaces behind the descriptor that came with the request, seals itself as
`command.rs` does, and waits for its order. The init then reads it back from the kernel.

What is asked for is text, a word and its numbers on each line; an order is a frame of
`lakekeep_protocol::Channel`. Both come from the init, and nothing here trusts a task: one
that was forked serves nobody.
"""

import sys

sys.path[:] = [entry for entry in sys.path if entry]

import ctypes
import errno
import faulthandler
import gc
import importlib
import io
import os
import resource
import select
import signal
import socket
import struct
import types

LAUNCHER = 3
SETUP = 3
FIRST_FREE = 4
LARGEST_REQUEST = 65536
# lakekeep_protocol::Channel: a header of two bytes, and at most so much beside it.
HEADER, INLINE, IN_MEMFD, LARGEST_ORDER = 2, 0, 1, 16 * 1024
# report.rs
READY, FAILED, WAITING = 1, 2, 3
NOT_STARTED = 72
# sched.h, linux/prctl.h, linux/seccomp.h, linux/keyctl.h, linux/capability.h
CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_MDWE = 4, 24, 28, 65
SECCOMP_SET_MODE_FILTER = 1
KEYCTL_JOIN_SESSION_KEYRING = 1
CAPABILITY_VERSION_3 = 0x20080522
# asm/unistd.h
NUMBERS = {
    "x86_64": {"seccomp": 317, "keyctl": 250, "landlock_restrict_self": 446, "close_range": 436},
    "aarch64": {"seccomp": 277, "keyctl": 219, "landlock_restrict_self": 446, "close_range": 436},
}[os.uname().machine]

libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """A step of a child that failed, as the init reports it."""

    def __init__(self, step, number, index=0):
        super().__init__(step, number, index)
        self.record = struct.pack("<BBHi", FAILED, step, index, number)


class Request:
    """What a task's first process asks for: how its command's process is sealed."""

    def __init__(self, text):
        self.numbers = {}
        self.limits = []
        self.steps = {}
        self.filter = b""
        for line in text.decode("ascii").splitlines():
            word, *rest = line.split(" ")
            if word == "limit":
                self.limits.append((int(rest[0]), int(rest[1])))
            elif word == "step":
                self.steps[rest[0]] = int(rest[1])
            elif word == "filter":
                self.filter = bytes.fromhex(rest[0])
            else:
                self.numbers[word] = int(rest[0])


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(name, *arguments):
    return checked(libc.syscall(NUMBERS[name], *map(word, arguments)))


def word(argument):
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def prctl(option, argument):
    return checked(libc.prctl(option, word(argument), word(0), word(0), word(0)))


def close_from(first):
    call("close_range", first, 0xFFFFFFFF, 0)


# ---- the zygote


def serve():
    """Forks whoever is asked for, until the launcher closes its end."""
    launcher = packets(LAUNCHER)
    connections = {LAUNCHER: launcher}
    poll = select.poll()
    poll.register(LAUNCHER, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == LAUNCHER:
                new = receive(launcher)
                if new is None:
                    return None
                for connection in new[1]:
                    connections[connection] = packets(connection)
                    poll.register(connection, select.POLLIN)
                continue
            asked = receive(connections[descriptor])
            if asked is None:
                poll.unregister(descriptor)
                connections.pop(descriptor).close()
                continue
            order = fork(connections, *asked)
            if order is not None:
                return order


def packets(descriptor):
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=descriptor)


def receive(connection):
    """A message and its descriptors; None when the other end was closed."""
    try:
        text, descriptors, flags, _ = socket.recv_fds(
            connection, LARGEST_REQUEST, 4, socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:
        return None
    if not text or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    return text, descriptors


def fork(connections, text, descriptors):
    """Returns in the zygote, with None, and in a task that has its order, with that."""
    pid = os.fork()
    if pid == 0:
        try:
            # Their ends would close what has their numbers by then.
            for connection in connections.values():
                connection.detach()
            order = enter(Request(text), *descriptors)
        except BaseException:
            # Whoever asked sees its socket close.
            os._exit(NOT_STARTED)
        if order is None:
            os._exit(0)
        return order
    for descriptor in descriptors:
        os.close(descriptor)
    os.waitpid(pid, 0)
    return None


# ---- its child, which only takes the fork into the task's namespaces


def enter(request, first_process, setup, answer, rules=-1):
    """Forks the task's process where `first_process` is.

    A process does not change its own pid namespace, only that of its children; and one
    whose parent ends is taken over by the first process of its parent's namespace. So the
    task's process is a grandchild, and its parent ends at once.
    """
    checked(libc.setns(first_process, CLONE_NEW))
    told, tell = os.pipe()
    parent = os.fork()
    if parent != 0:
        os.close(tell)
        os.waitpid(parent, 0)
        # Whoever does not take the answer must not hold up the zygote, which waits for this
        # process.
        packets(answer).send(os.read(told, 16), socket.MSG_DONTWAIT)
        return None
    pid = os.fork()
    if pid != 0:
        os.write(tell, b"%d" % pid)
        os._exit(0)
    # Until it is in the sandbox's cgroups.
    if not os.read(answer, 1):
        os._exit(NOT_STARTED)
    # The streams' and the setup socket's numbers, and the rule set's above them.
    null = os.open("/dev/null", os.O_RDWR)
    if rules >= 0:
        rules = duplicate(rules)
    setup = duplicate(setup)
    null = duplicate(null)
    for number in range(3):
        os.dup2(null, number)
    os.dup2(setup, SETUP, inheritable=False)
    return become(request, rules)


def duplicate(descriptor):
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64)


def become(request, rules):
    """Seals this process, says so, and waits for its order."""
    try:
        seal(request, rules)
        setup = packets(SETUP)
        os.write(SETUP, struct.pack("<BBHi", WAITING, 0, 0, 0))
        received = socket.recv_fds(setup, LARGEST_ORDER + HEADER, 4, socket.MSG_CMSG_CLOEXEC)
        setup.detach()
        if not received[0]:
            # The init wants it no more.
            os._exit(NOT_STARTED)
        step = request.steps["order"]
        if received[2] & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise Failure(step, errno.EMSGSIZE)
        return Order(received[0], received[1], request)
    except Failure as failure:
        os.write(SETUP, failure.record)
    except OSError as error:
        os.write(SETUP, Failure(request.steps["order"], error.errno or errno.EIO).record)
    os._exit(NOT_STARTED)


def seal(request, rules):
    """The steps of command.rs, in their order."""
    step = request.steps

    def at(name, action, *arguments):
        try:
            return action(*arguments)
        except OSError as error:
            raise Failure(step[name], error.errno) from None

    at("session", os.setsid)
    for index, (kind, value) in enumerate(request.limits):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):
            raise Failure(step["limits"], errno.EPERM, index) from None
    at("score", write, "/proc/self/oom_score_adj", request.numbers["score"])
    at("keyring", fresh_keyring)
    at("capabilities", prctl, PR_SET_SECUREBITS, request.numbers["securebits"])
    at("capabilities", empty_bounding_set)
    os.umask(request.numbers["umask"])
    at("identity", os.setgroups, [])
    at("identity", os.setresgid, *[request.numbers["group"]] * 3)
    at("identity", os.setresuid, *[request.numbers["user"]] * 3)
    at("capabilities", drop_capabilities)
    if request.numbers["mdwe"]:
        at("mdwe", prctl, PR_SET_MDWE, 1)
    if rules >= 0:
        at("landlock", call, "landlock_restrict_self", rules, 0)
    # Taken by the change of identity; the init reads this process back.
    at("readback", prctl, PR_SET_DUMPABLE, 1)
    at("stdio", close_from, FIRST_FREE)
    unlike_its_siblings()
    if request.numbers["early"]:
        at("seccomp", install, request.filter)


def write(path, number):
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.write(descriptor, b"%d" % number)
    os.close(descriptor)


def fresh_keyring():
    try:
        call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, 0)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise


def empty_bounding_set():
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return
            raise


def drop_capabilities():
    header = ctypes.create_string_buffer(struct.pack("<Ii", CAPABILITY_VERSION_3, 0), 8)
    none = ctypes.create_string_buffer(24)
    checked(libc.capset(header, none))


def install(instructions):
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(code))
    call("seccomp", SECCOMP_SET_MODE_FILTER, 0, ctypes.create_string_buffer(program, len(program)))


def unlike_its_siblings():
    """Draws anew whatever a module has drawn, or would derive from the process's number,
    which siblings share."""
    loaded = sys.modules
    if "random" in loaded:
        loaded["random"].seed()
    if "numpy.random" in loaded:
        loaded["numpy.random"].seed()
    if "tempfile" in loaded:
        loaded["tempfile"]._name_sequence = None
    if "uuid" in loaded:
        for name in ("_node", "_last_timestamp"):
            if hasattr(loaded["uuid"], name):
                setattr(loaded["uuid"], name, None)
    if "multiprocessing.process" in loaded:
        loaded["multiprocessing.process"].current_process().authkey = os.urandom(32)


# ---- the task


class Order:
    """What to execute, in which place, with which streams (order.rs)."""

    def __init__(self, packet, descriptors, request):
        body = packet[HEADER:]
        if packet[1] == IN_MEMFD:
            memory = descriptors.pop()
            body = os.pread(memory, os.fstat(memory).st_size, 0)
            os.close(memory)
        self.request, self.steps = request, request.steps
        self.streams = descriptors
        self.body, self.at = body, 0
        self.candidates = self.texts()
        self.arguments = self.texts()
        self.environment = self.texts()
        self.directory = self.text()

    def count(self):
        """A variable-length integer of postcard."""
        value = shift = 0
        while True:
            byte = self.body[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text(self):
        length = self.count()
        self.at += length
        return self.body[self.at - length : self.at]

    def texts(self):
        return [self.text() for _ in range(self.count())]

    def take_place(self):
        """Streams and working directory, with the task's own rights."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        try:
            os.chdir(self.directory)
        except OSError as error:
            raise Failure(self.steps["directory"], error.errno) from None
        if self.request.numbers["early"]:
            return
        # A filter that would have refused this comes after it, and is read back before
        # anything of the command runs.
        try:
            install(self.request.filter)
        except OSError as error:
            raise Failure(self.steps["seccomp"], error.errno) from None
        os.write(SETUP, struct.pack("<BBHi", READY, 0, 0, -1))
        if not os.read(SETUP, 1):
            os._exit(NOT_STARTED)

    def execute(self):
        """Any program but this interpreter: as execvp(3)."""
        environment = dict(entry.split(b"=", 1) for entry in self.environment)
        last = Failure(self.steps["exec"], errno.ENOENT)
        for index, path in enumerate(self.candidates):
            try:
                os.execve(path, self.arguments, environment)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue
                last = Failure(self.steps["exec"], error.errno, index)
                if error.errno != errno.EACCES:
                    break
        raise last

    def is_for_this_interpreter(self):
        """Whether to run it here is the same as to execute it."""
        found = next((path for path in self.candidates if os.access(path, os.X_OK)), None)
        own = os.fsencode(sys.executable)
        if found is None or os.path.dirname(found) != os.path.dirname(own):
            return False
        if os.path.realpath(found) != os.path.realpath(own):
            return False
        for entry in self.environment:
            name, _, value = entry.partition(b"=")
            if name.startswith(b"PYTHON") and name != b"PYTHONUNBUFFERED":
                if STARTED_WITH.get(name) != value:
                    return False
        rest = self.arguments[1:]
        if rest[:1] == [b"-u"]:
            rest = rest[1:]
        if rest[:1] in ([b"-c"], [b"-m"]):
            return len(rest) > 1
        return bool(rest) and not rest[0].startswith(b"-") and not os.path.isdir(rest[0])

    def run(self):
        """Runs it as the interpreter's own command line would."""
        rest = [os.fsdecode(argument) for argument in self.arguments]
        sys.orig_argv = list(rest)
        environment = dict(entry.split(b"=", 1) for entry in self.environment)
        os.environb.clear()
        os.environb.update(environment)
        unbuffered = rest[1] == "-u" or bool(environment.get(b"PYTHONUNBUFFERED"))
        rest = rest[2:] if rest[1] == "-u" else rest[1:]
        open_streams(unbuffered)
        # What tells the init that the command runs.
        os.close(SETUP)
        gc.enable()
        main = types.ModuleType("__main__")
        main.__builtins__ = __builtins__
        sys.modules["__main__"] = main
        if rest[0] == "-c":
            sys.argv = ["-c", *rest[2:]]
            sys.path.insert(0, "")
            run_code(main, rest[1], "<string>")
        elif rest[0] == "-m":
            import runpy

            sys.argv = ["-m", *rest[2:]]
            sys.path.insert(0, os.getcwd())
            ended(lambda: runpy.run_module(rest[1], None, "__main__", True))
        else:
            sys.argv = rest
            sys.path.insert(0, os.path.dirname(os.path.realpath(rest[0])))
            main.__file__ = rest[0]
            main.__cached__ = None
            try:
                with open(rest[0], "rb") as file:
                    source = file.read()
            except OSError as error:
                message = f"{sys.executable}: can't open file {os.path.abspath(rest[0])!r}: "
                sys.stderr.write(f"{message}[Errno {error.errno}] {error.strerror}\n")
                sys.exit(2)
            run_code(main, source, rest[0])


def open_streams(unbuffered):
    """As at an interpreter's start (sys.stdin, -u)."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        raw = io.FileIO(number, mode + "b", closefd=False)
        reads = number == 0
        binary = io.BufferedReader(raw) if reads else raw if unbuffered else io.BufferedWriter(raw)
        stream = io.TextIOWrapper(
            binary,
            encoding="utf-8",
            errors="backslashreplace" if number == 2 else "surrogateescape",
            newline=None if reads else "\n",
            line_buffering=number == 2 or (not reads and os.isatty(number)),
            write_through=unbuffered and not reads,
        )
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run_code(main, source, name):
    ended(lambda: exec(compile(source, name, "exec"), main.__dict__), 2)


def ended(action, own_frames=1):
    """Runs `action`, and ends as an interpreter whose command that was."""
    try:
        action()
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__
        for _ in range(own_frames):
            trace = trace and trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        if isinstance(error, KeyboardInterrupt):
            sys.stderr.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        sys.exit(1)
    sys.exit(0)


def main():
    # A crash of native code in it would leave no word.
    faulthandler.enable()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    # How a task's process dies is its own matter.
    faulthandler.disable()
    gc.collect()
    gc.disable()
    # Shared with all children for as long as nobody writes to it.
    gc.freeze()
    order = serve()
    if order is None:
        sys.exit(0)
    try:
        order.take_place()
        if not order.is_for_this_interpreter():
            order.execute()
    except Failure as failure:
        os.write(SETUP, failure.record)
        os._exit(NOT_STARTED)
    order.run()


STARTED_WITH = dict(os.environb)
os.close(FIRST_FREE)
main()
