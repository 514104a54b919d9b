"""Indexes of a test's own (PEP 503) over TLS: `index.py FOLDER CERTIFICATE KEY SECRET`.

Makes the packages, and serves FOLDER on 127.0.0.1:8443. Every path that is asked for is a line of
FOLDER/asked. A path with `slow` in it is answered when FOLDER/go exists.
"""

import base64
import hashlib
import io
import os
import ssl
import sys
import tarfile
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PORT = 8443


def wheel(name, version, files, requires=()):
    """A wheel, the same bytes each time."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\n"
    entries = dict(files)
    entries[f"{info}/METADATA"] = metadata
    entries[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = ""
    for path, content in entries.items():
        digest = (
            base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest())
            .rstrip(b"=")
            .decode()
        )
        record += f"{path},sha256={digest},{len(content)}\n"
    entries[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in entries.items():
            large = zipfile.ZIP_DEFLATED if len(content) > 1 << 20 else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(path), content, large)
    return f"{module}-{version}-py3-none-any.whl", out.getvalue()


def source(name, version, backend):
    """A source distribution that brings its own build backend (PEP 517)."""
    module = name.replace("-", "_")
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    project += f'[project]\nname = "{name}"\nversion = "{version}"\n'
    metadata = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, content in [
            ("pyproject.toml", project),
            ("backend.py", backend),
            ("PKG-INFO", metadata),
        ]:
            entry = tarfile.TarInfo(f"{module}-{version}/{path}")
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
    return f"{module}-{version}.tar.gz", out.getvalue()


def put(folder, index, name, file):
    """Adds a file to a package of an index."""
    path, content = file
    files = os.path.join(folder, index, "files")
    simple = os.path.join(folder, index, "simple", name)
    os.makedirs(files, exist_ok=True)
    os.makedirs(simple, exist_ok=True)
    with open(os.path.join(files, path), "wb") as out:
        out.write(content)
    digest = hashlib.sha256(content).hexdigest()
    with open(os.path.join(simple, "index.html"), "a") as out:
        out.write(f'<a href="../../files/{path}#sha256={digest}">{path}</a>\n')


def module(name, text):
    return {f"{name.replace('-', '_')}.py": text}


def backend(name, secret):
    """The attack of `backend.py`, by this package on that file."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "backend.py")) as text:
        return text.read().replace("@NAME@", name).replace("@SECRET@", secret)


def make(folder, secret):
    """What the tests ask for, and what attackers put beside it."""
    for name, requires in [
        ("lk-one", ["lk-two"]),
        ("lk-two", []),
        ("lk-three", []),
        ("lk-four", ["lk-five>=1"]),
        ("lk-five", []),
    ]:
        text = f"version = '1.0'\nname = {name!r}\n"
        put(folder, "main", name, wheel(name, "1.0", module(name, text), requires))
    put(folder, "main", "lk-slow", wheel("lk-slow", "1.0", module("lk-slow", "")))
    # The same name on two indexes, and the stranger's is the higher version.
    put(
        folder,
        "main",
        "lk-private",
        wheel("lk-private", "1.0", module("lk-private", "whose = 'ours'\n")),
    )
    put(
        folder,
        "public",
        "lk-private",
        wheel("lk-private", "99.0", module("lk-private", "whose = 'theirs'\n")),
    )
    put(folder, "public", "lk-public", wheel("lk-public", "1.0", module("lk-public", "")))
    for name in ("lk-source", "lk-link"):
        put(folder, "main", name, source(name, "1.0", backend(name, secret)))
    # An entry that climbs out of the folder that it is unpacked into.
    climb = {"../" * 12 + folder.lstrip("/") + "/climbed": "climbed\n"}
    put(folder, "main", "lk-climb", wheel("lk-climb", "1.0", climb | module("lk-climb", "")))
    # Little to send, much to unpack.
    bomb = {"lk_bomb.bin": "\0" * (64 << 20)}
    put(folder, "main", "lk-bomb", wheel("lk-bomb", "1.0", bomb | module("lk-bomb", "")))
    # What an interpreter runs when it starts.
    start = f"import os; os.path.isdir({folder!r}) and open({folder + '/started'!r}, 'a').close()\n"
    put(
        folder,
        "main",
        "lk-start",
        wheel("lk-start", "1.0", {"lk_start.pth": start} | module("lk-start", "")),
    )


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        with open(os.path.join(self.directory, "asked"), "a") as out:
            out.write(self.path + "\n")
        while "slow-1" in self.path and not os.path.exists(os.path.join(self.directory, "go")):
            time.sleep(0.02)
        super().do_GET()

    def log_message(self, *_):
        pass


def main():
    folder, certificate, key, secret = sys.argv[1:]
    make(folder, secret)
    open(os.path.join(folder, "asked"), "a").close()
    server = ThreadingHTTPServer(
        ("127.0.0.1", PORT), lambda *given: Handler(*given, directory=folder)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()


main()
