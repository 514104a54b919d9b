# Streams.


def say(name, port, *pieces):
    """Sends each in a segment of its own."""
    with socket.create_connection((name, port), 5) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            s.sendall(piece)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass


def bytes_of(words):
    return [bytes([byte]) for byte in words]


def vector(content, length):
    return len(content).to_bytes(length, "big") + content


def extension(kind, content):
    return struct.pack("!H", kind) + vector(content, 2)


def sni(*names, kind=0):
    return extension(0, vector(b"".join(bytes([kind]) + vector(n, 2) for n in names), 2))


def tls_hello(*extensions, tail=b"", after=b"", record=16000):
    """A client hello in records of so many bytes (RFC 8446, 4.1.2)."""
    body = b"\x03\x03" + bytes(32) + b"\0" + vector(b"\x13\x01\xc0\x2f", 2) + b"\x01\0"
    if extensions:
        body += vector(b"".join(extensions), 2)
    message = b"\x01" + vector(body + tail, 3) + after
    parts = [message[at : at + record] for at in range(0, len(message), record)]
    return b"".join(b"\x16\x03\x01" + vector(part, 2) for part in parts)


def hello(name, *extensions, port=443, segment=1 << 16, **how):
    whole = tls_hello(*extensions, **how)
    say(name, port, *[whole[at : at + segment] for at in range(0, len(whole), segment)])


def ask(line, *fields, host="web.example"):
    head = [line] + ([] if host is None else ["Host: " + host]) + list(fields)
    say("web.example", 8080, ("\r\n".join(head) + "\r\n\r\n").encode())


GET = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"
OTHER = b"GET /secret HTTP/1.1\r\nHost: secret.example\r\n\r\n"
UPGRADE = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"


def post(*fields):
    return "\r\n".join(["POST / HTTP/1.1", "Host: web.example", *fields, "", ""]).encode()


def several(*requests):
    """On one connection, each when the one before has been answered, or after a moment."""
    with socket.create_connection(("web.example", 8080), 5) as s:
        s.settimeout(0.2)
        for request in requests:
            s.sendall(request)
            try:
                s.recv(4096)
            except TimeoutError:
                pass
        s.shutdown(socket.SHUT_WR)
        s.settimeout(5)
        while s.recv(4096):
            pass


# Names.


def labels(name):
    return [label.encode() for label in name.split(".")]


def question_of(labels, kind=1, class_=1, end=b"\0"):
    """One question whose labels are anything (RFC 1035, 4.1)."""
    name = b"".join(vector(label, 1) for label in labels) + end
    return struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", kind, class_)


def question(*names, kind=1, class_=1, flags=0x100, more=b""):
    asked = b"".join(question_of(labels(name), kind, class_)[12:] for name in names)
    return struct.pack("!HHHHHH", 7, flags, len(names), 0, 0, 1 if more else 0) + asked + more


def edns(content, code=65001):
    option = struct.pack("!H", code) + vector(content, 2)
    return b"\0" + struct.pack("!HHI", 41, 1232, 0) + vector(option, 2)


def dns(resolver, packet, family=V4, port=53):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(0.2)
        s.sendto(packet, (resolver, port))
        s.recv(4096)


def dns_stream(resolver, packets, family=V4):
    with socket.socket(family) as s:
        s.settimeout(5)
        s.connect((resolver, 53))
        s.sendall(b"".join(vector(packet, 2) for packet in packets))
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass


def twice(name, port, family=V4):
    for _ in range(2):
        try:
            tcp(name, port, family)
        except OSError as error:
            print(name, error)


def threads(body, count=8):
    import threading

    all_of_them = [threading.Thread(target=body) for _ in range(count)]
    for one in all_of_them:
        one.start()
    for one in all_of_them:
        one.join()


def tcp_all(name, port):
    """Tries every address that the name has."""
    with socket.create_connection((name, port), 5) as s:
        s.sendall(b"secret")


# What would change the way out, or make another.


def must(command):
    import shutil
    import subprocess

    program, *words = command.split()
    found = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise NotInstalled(program)
    done = subprocess.run([found, *words], capture_output=True, text=True, timeout=8)
    if done.returncode:
        raise OSError(done.stderr)


def option(*option, kind=socket.SOCK_STREAM, family=V4):
    with socket.socket(family, kind) as s:
        s.setsockopt(*option)


def written(path, text):
    with open(path, "w") as file:
        file.write(text)


def device(flags):
    """A network device of our own (linux/if_tun.h, TUNSETIFF)."""
    import fcntl

    with open("/dev/net/tun", "r+b", buffering=0) as file:
        fcntl.ioctl(file, 0x400454CA, struct.pack("16sH14x", b"tun9", flags))


def ask_device(request, argument):
    """An ioctl of netdevice(7)."""
    import fcntl

    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, request, argument)


def sockaddr(address):
    return struct.pack("=HH4s8x", V4, 0, socket.inet_aton(address))


def system_call(number, *arguments):
    import ctypes

    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if libc().syscall(ctypes.c_long(number), *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter(path):
    """setns(2) into a network namespace."""
    import ctypes

    with open(path, "rb") as namespace:
        if libc().setns(namespace.fileno(), 0x40000000) < 0:
            raise OSError(ctypes.get_errno(), "setns")


def leave(flags):
    """unshare(2)."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(flags) < 0:
        raise OSError(ctypes.get_errno(), "unshare")


def opened(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()


# What is near.


def each(values, body):
    """For every value, whatever becomes of the others."""
    for value in values:
        try:
            body(value)
        except OSError as error:
            print(value, error)


def listeners():
    """Ports that somebody listens at in this network (proc_pid_net(5))."""
    ports = set()
    for file in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(file).readlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                ports.add(int(words[1].rsplit(":", 1)[1], 16))
    if not ports:
        raise NameError("nobody listens here")
    return sorted(ports)


def own():
    """This network's own address."""
    return next(address for address in ("192.0.2.2", "198.18.0.2") if can_bind(address))


def abstract_sockets():
    names = [line.split()[7] for line in open("/proc/net/unix") if " @" in line]
    return [name for name in names if "lakekeep-tests-host" in name]


def reach(name, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as s:
        s.connect("\0" + name[1:])
        s.send(b"secret")


def stolen(pid, fd):
    """Another process's descriptor (pidfd_getfd(2))."""
    import ctypes

    found = libc().syscall(438, os.pidfd_open(pid), fd, 0)
    if found < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return found


def cased(word, bits):
    """Some of its letters as capitals."""
    letters = enumerate(word)
    return "".join(c.upper() if bits >> at & 1 else c for at, c in letters)


def neighbour():
    """Serves whoever comes, until standard input ends; then tells how many came."""
    import contextlib
    import select

    streams = [
        socket.create_server(("::", 7777), family=V6, dualstack_ipv6=True),
        socket.socket(socket.AF_UNIX),
    ]
    streams[1].bind("\0neighbour")
    streams[1].listen()
    datagrams = [
        socket.socket(V6, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    ]
    datagrams[0].bind(("::", 7777))
    datagrams[1].bind("\0neighbour-datagrams")
    print("serves", flush=True)
    came = 0
    while True:
        ready, _, _ = select.select([0, *streams, *datagrams], [], [])
        for s in (s for s in ready if s != 0):
            came += 1
            if s in streams:
                # Who only wanted to reach it may have gone.
                with s.accept()[0] as c, contextlib.suppress(OSError):
                    c.sendall(b"neighbour")
            else:
                s.recv(100)
        if ready == [0]:
            print(came)
            return
