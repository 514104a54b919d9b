"""A function hunts for what its engine may do and it may not: keys, files, sockets, addresses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf import host
from udf.attacks.arena import SECRETS, Arena

from lakekeep.udf import ChildBroker

ONE = pa.RecordBatch.from_pydict({"word": ["x"]})


def searches_environments(*pids: str) -> str:
    """The own environment, and that of every process that can be seen."""
    import os

    found = [f"{name}={value}" for name, value in os.environ.items()]
    for pid in (*pids, *(name for name in os.listdir("/proc") if name.isdigit())):
        for name in ("environ", "cmdline"):
            try:
                with open(f"/proc/{pid}/{name}", errors="replace") as file:
                    found += file.read().split("\0")
            except OSError:
                continue
    words = ("of-the-engine", "AWS_", "TOKEN", "--control", "LAKEKEEP")
    return "\n".join(line for line in found if any(word in line for word in words))


def test_environments(arena: Arena, armed: ChildBroker) -> None:
    """The broker inherits the engine's: a sandbox must have it from neither."""
    assert armed._process is not None
    broker = str(armed._process.pid)
    found = arena.outside(searches_environments, broker)
    for value in SECRETS.values():
        assert value in found, "outside, the broker's environment is read"
    assert "--control" in found
    assert arena.inside(searches_environments, broker, str(os.getpid())) == ""


FILES = (".aws/credentials", ".config/gcloud/token.json", ".databrickscfg", ".ssh/id_ed25519")


def searches_files(*paths: str) -> str:
    """The files that are named, by themselves and by way of other processes' roots."""
    found = []
    for path in paths:
        for prefix in ("", "/proc/1/root", "/proc/self/root/..", "/proc/1/cwd", "/../../.."):
            try:
                with open(prefix + path) as file:
                    found.append(file.read())
            except OSError:
                continue
    return ", ".join(sorted(set(found))) or "nothing"


def test_files_of_the_engine(arena: Arena, place: Path) -> None:
    """As open to everybody as files can be: not their mode protects them."""
    for name in FILES:
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        (place / name).write_text(f"key in {name}")
    paths = [str(place / name) for name in FILES]
    # What every host has, and only root may read.
    paths += ["/etc/shadow", "/root/.profile", str(host.STATE / "launchers")]
    assert arena.outside(searches_files, *paths).count("key in") == len(FILES)
    assert arena.inside(searches_files, *paths) == "nothing"


def connects(path: str) -> str:
    """To a Unix socket, by its path or by any way around."""
    import socket

    for prefix in ("", "/proc/1/root", "/../.."):
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(prefix + path)
            except (FileNotFoundError, ConnectionRefusedError):
                continue
            return "connected"
    return "refused"


def test_unix_sockets_of_the_engine(arena: Arena, place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "engine.sock"))
        server.listen()
        (place / "engine.sock").chmod(0o777)
        assert arena.outside(connects, str(place / "engine.sock")) == "connected"
        assert arena.inside(connects, str(place / "engine.sock")).startswith("refused")
        server.accept()[0].close()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def orders_a_kill(*words: str) -> str:
    """Says the broker's words to whatever is a socket here, each with a number of another."""
    import os
    import socket
    import stat

    said = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as sock:
                for word in words:
                    sock.send(word.encode())
                    said += 1
        except OSError:
            continue
    return str(said)


def test_the_control_socket(arena: Arena, armed: ChildBroker) -> None:
    """Who has it may end any session of the engine's."""
    victim = arena.opened(arena.real, len)
    number = arena.real.handles[-1].number  # type: ignore[attr-defined]
    word = json.dumps({"kill": {"number": number}})
    assert armed._control is not None
    control = os.dup(armed._control.fileno())
    script = (
        "import os, socket, sys;socket.socket(fileno=int(sys.argv[1])).send(sys.argv[2].encode())"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(control), word], pass_fds=[control], check=True
    )
    os.close(control)
    assert victim.ended(host.PATIENCE) is not None, "outside, it ends the session"
    victim = arena.opened(arena.real, lambda column: len(column), returns="int64")
    every = [json.dumps({"kill": {"number": n}}) for n in range(number + 4)]
    with pytest.raises(Exception, match="broke the protocol"):
        arena.inside(orders_a_kill, *every)
    assert victim.call(ONE).column(0)[0].as_py() == 1, "the others did not hear of it"


def test_the_engine_by_its_parent(arena: Arena) -> None:
    """Signals to the engine, to the broker, to everyone."""
    heard = threading.Event()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as victim:
        assert arena.outside(kills, str(victim.pid)) == "killed"
        assert victim.wait(host.PATIENCE) == -9
    told = arena.inside(kills, str(os.getpid()), "1", "-1", str(os.getppid()))
    assert told.startswith("refused"), told
    assert not heard.is_set()


def kills(*pids: str) -> str:
    import os

    done = []
    for pid in pids:
        try:
            os.kill(int(pid), 9)
            done.append("killed")
        except OSError:
            continue
    return " ".join(done) or "refused"


# The address at which clouds give keys to whoever is on the machine.

METADATA = '''
"""An engine in a network of its own, in which the cloud's metadata address answers."""
import http.server, json, os, subprocess, sys, threading
import pyarrow as pa
from lakekeep.udf import ChildBroker, safe
from udf.bare import Bare, Zygote

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "addr", "add", "169.254.169.254/32", "dev", "lo"], check=True)
asked = []

class Metadata(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"keys of the role")

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("0.0.0.0", 80), Metadata)
threading.Thread(target=server.serve_forever, daemon=True).start()

def fetch(column):
    import urllib.request
    found = []
    for host in column.to_pylist():
        try:
            url = f"http://{host}/latest/meta-data/iam/"
            found.append(urllib.request.urlopen(url, timeout=5).read().decode())
        except OSError as error:
            found.append(f"refused {error}")
    return pa.array(found)

hosts = pa.array(["169.254.169.254", "127.0.0.1", "[::ffff:169.254.169.254]", "2852039166"])
told = {}
zygote = Zygote()
child = ChildBroker()
for name, broker in (("outside", Bare(zygote)), ("inside", child)):
    with safe(fetch, returns="string", broker=broker) as function:
        told[name] = [function(hosts).to_pylist(), len(asked)]
    broker.close()
zygote.close()
server.shutdown()
print(json.dumps(told))
'''


def test_the_metadata_address(arena: Arena) -> None:
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        ["/usr/bin/unshare", "--net", sys.executable, "-c", METADATA],
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found, asked = told["outside"]
    assert found[:2] == ["keys of the role"] * 2, "outside, it answers"
    assert asked >= 2
    refused, still = told["inside"]
    assert all(one.startswith("refused") for one in refused)
    assert still == asked, "nobody came to it from inside"
