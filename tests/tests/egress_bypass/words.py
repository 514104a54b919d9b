import os
import signal

# What errno says where the kernel does not have a protocol: EPROTONOSUPPORT,
# ESOCKTNOSUPPORT, EAFNOSUPPORT.
MISSING = (93, 94, 97)


class NotInstalled(Exception):
    """A program that an attempt is made with."""


def make(attempt):
    """Makes an attempt in a process of its own, whatever becomes of that."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            exec(attempt, globals())
            print("took effect", flush=True)
        except NotInstalled as error:
            print("not installed:", error, flush=True)
        except OSError as error:
            missing = "not in this kernel: " if error.errno in MISSING else ""
            print(f"{missing}{type(error).__name__} {error}", flush=True)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("status", status, flush=True)


def permitted():
    with socket.create_connection((SERVER, 80), 5) as s:
        s.sendall(b"permitted")
        s.shutdown(socket.SHUT_WR)
        print(s.recv(100).decode(), end="")


# Addresses.


def link():
    """The name of a link that is not the loopback, or of the loopback where there is no other."""
    names = [name for _, name in socket.if_nameindex() if name == "up0"]
    return names[0] if names else "lo"


def tcp6_zone(address, port):
    number = socket.if_nametoindex(link())
    with socket.socket(V6) as s:
        s.settimeout(5)
        s.connect((address, port, 0, number))
        s.recv(1)


def tcp6_text(address, port):
    """A zone as part of the address (RFC 4007, 11)."""
    where = socket.getaddrinfo(address, port, V6, socket.SOCK_STREAM)[0][4]
    with socket.socket(V6) as s:
        s.settimeout(5)
        s.connect(where)


def tcp6_flow(address):
    with socket.socket(V6) as s:
        s.settimeout(5)
        s.connect((address, 80, 0xABCDE, 0))


def tcp_from(source, address, port, from_port=0):
    with socket.socket() as s:
        s.settimeout(5)
        s.bind((source, from_port))
        s.connect((address, port))
        return s.recv(100)


# Connections.

LSRR = bytes([131, 7, 4]) + socket.inet_aton(SERVER) + b"\0"
SSRR = bytes([137, 7, 4]) + socket.inet_aton("192.0.2.1") + b"\0"


def tcp_set(address, port, *option):
    with socket.socket() as s:
        s.settimeout(1)
        s.setsockopt(*option)
        s.connect((address, port))
        s.sendall(b"secret")


def tcp_options(address, port, options):
    tcp_set(address, port, socket.IPPROTO_IP, socket.IP_OPTIONS, options)


def fast_open_connect(address, port):
    tcp_set(address, port, socket.IPPROTO_TCP, 30, 1)


def urgent(address, port):
    with socket.create_connection((address, port), 5) as s:
        s.send(b"secret", socket.MSG_OOB)


def zero_copy(address, port):
    with socket.socket() as s:
        s.settimeout(5)
        s.setsockopt(socket.SOL_SOCKET, 60, 1)
        s.connect((address, port))
        s.send(b"secret", 0x4000000)


def half_open(targets):
    """Asks for connections and waits for none."""
    sockets = []
    for target in targets:
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(target)
        sockets.append(s)


def reconnect(first, second):
    """One socket, first to where it may go (connect(2), AF_UNSPEC)."""
    with socket.create_connection(first, 5) as s:
        libc().connect(s.fileno(), bytes(16), 16)
        s.connect(second)


def libc():
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


# Datagrams.


def quic(address, family=V4):
    """A first packet of QUIC, padded as it must be (RFC 9000, 14.1)."""
    head = b"\xc3\0\0\0\x01\x08" + b"8 octets" + b"\0\0" + b"\x44\x9e"
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.sendto((head + b"secret").ljust(1200, b"\0"), (address, 443))


def udp_set(address, port, *option):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.setsockopt(*option)
        s.sendto(b"secret", (address, port))


def udp_options(address, port, options):
    udp_set(address, port, socket.IPPROTO_IP, socket.IP_OPTIONS, options)


def broadcast(address):
    udp_set(address, 67, socket.SOL_SOCKET, socket.SO_BROADCAST, 1)


def multicast(group, port):
    udp_set(group, port, socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 5)


def multicast6(group, port):
    with socket.socket(V6, socket.SOCK_DGRAM) as s:
        number = socket.if_nametoindex(link())
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, number)
        s.sendto(b"secret", (group, port))


def udp_connected(address, port):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.connect((address, port))
        s.send(b"secret")


def udp_reconnected(first, second):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.connect(first)
        s.connect(second)
        s.send(b"secret")


def udp_many(targets):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        for target in targets:
            try:
                s.sendto(b"secret", target)
            except OSError as error:
                print(target, error)


def udp_packet_info(address, port):
    """From an address of our choice (ip(7), IP_PKTINFO)."""
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        source = next(a for a in ("192.0.2.2", "198.18.0.2") if can_bind(a))
        info = struct.pack("=I4s4s", 0, socket.inet_aton(source), bytes(4))
        s.sendmsg([b"secret"], [(socket.IPPROTO_IP, 8, info)], 0, (address, port))


def can_bind(address):
    with socket.socket() as s:
        try:
            s.bind((address, 0))
        except OSError:
            return False
        return True


def udp_segments(address, port):
    """Several in one call (udp(7), UDP_SEGMENT)."""
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_UDP, 103, 100)
        s.sendto(b"secret" * 100, (address, port))


def udp_corked(address, port):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.connect((address, port))
        s.send(b"sec", socket.MSG_MORE)
        s.send(b"ret")


def udp_from(source, target):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.bind(("0.0.0.0", source))
        s.sendto(b"secret", target)


def udp_large(address, port):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.sendto(b"secret" * 5000, (address, port))


def udp_lite(address, port, family=V4):
    with socket.socket(family, socket.SOCK_DGRAM, 136) as s:
        s.sendto(b"secret", (address, port))


def udp_written(address, port):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.connect((address, port))
        os.write(s.fileno(), b"secret")
        os.writev(s.fileno(), [b"sec", b"ret"])


# Packets.


def raw_ip(protocol, address, packet):
    with socket.socket(V4, socket.SOCK_RAW, protocol) as s:
        s.sendto(packet, (address, 0))


def raw_ip6(protocol, address, packet):
    with socket.socket(V6, socket.SOCK_RAW, protocol) as s:
        s.sendto(packet, (address, 0))


def ip_header(address, protocol=253, source="192.0.2.2"):
    addresses = socket.inet_aton(source) + socket.inet_aton(address)
    return struct.pack("!BBHHHBBH", 0x45, 0, 26, 1, 0, 64, protocol, 0) + addresses


def tcp_header(port):
    return struct.pack("!HHIIBBHHH", 4000, port, 1, 0, 0x50, 2, 1024, 0, 0)


def raw_header(address, source="192.0.2.2"):
    """With a header of our own; from whomever (raw(7), IP_HDRINCL)."""
    source = "192.0.2.77" if source == "spoofed" else source
    raw_ip(socket.IPPROTO_RAW, address, ip_header(address, source=source) + b"secret")


def frame(frame):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.sendto(frame, (link(), 0))


def frame_cooked(words):
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as s:
        s.sendto(words, (link(), 0x88B5, 0, 0, b"\xff" * 6))


def frame_obsolete(words):
    """AF_INET, SOCK_PACKET: older than packet(7)."""
    with socket.socket(V4, 10, socket.htons(3)) as s:
        head = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5"
        name = link().encode().ljust(14, b"\0")
        address = struct.pack("=H", 0) + name
        if libc().sendto(s.fileno(), head + words, len(head + words), 0, address, 16) < 0:
            raise OSError("sendto")


# Ways that the program chooses.


def bound(level, option, source, address, kind=socket.SOCK_STREAM):
    """From an address that may be nobody's here (ip(7), IP_FREEBIND and IP_TRANSPARENT)."""
    with socket.socket(V6 if ":" in source else V4, kind) as s:
        s.settimeout(1)
        s.setsockopt(level, option, 1)
        s.bind((source, 0))
        if kind == socket.SOCK_DGRAM:
            s.sendto(b"secret", (address, 443))
        else:
            s.connect((address, 443))


def turned(kind, first):
    """A socket of IPv6 that was connected and became one of IPv4 (ipv6(7), IPV6_ADDRFORM)."""
    s = socket.socket(V6, kind)
    s.settimeout(5)
    s.connect(("::ffff:" + first[0], first[1]))
    s.setsockopt(socket.IPPROTO_IPV6, 1, int(V4))
    return socket.socket(fileno=s.detach())


def other_family(first, second):
    """First to where it may go, and then elsewhere (connect(2), AF_UNSPEC)."""
    with turned(socket.SOCK_STREAM, first) as s:
        libc().connect(s.fileno(), bytes(16), 16)
        s.settimeout(1)
        s.connect(second)


def other_family_datagram(address, port):
    with turned(socket.SOCK_DGRAM, (address, port)) as s:
        s.send(b"secret")


def curl(*words):
    run_program("curl", "--insecure", "--silent", "--show-error", "--max-time", "5", *words)


def reach_path(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)


def run_program(*words):
    import shutil
    import subprocess

    if shutil.which(words[0]) is None:
        raise NotInstalled(words[0])
    print(subprocess.run(words, stdin=subprocess.DEVNULL, timeout=8))
