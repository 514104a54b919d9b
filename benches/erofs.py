#!/usr/bin/env python3
"""Environments as folders of hard links (what there is) beside EROFS images of the same.

    sudo benches/erofs.py --lakekeep target/release/lakekeep --python VENV/bin/python

Needs root, Linux 6.12 for file-backed mounts, and mkfs.erofs, losetup, unshare, fincore (Debian:
erofs-utils, util-linux). The environment is captured into a store of its own, read once so that
all is in memory, and made into images. Then:

make     seconds until there is an image, and its size, beside the capture's and the folder's
mount    microseconds of one mount(2) and one umount2(2), in turns: a bind mount of the folder
         (what a sandbox gets), the image by a loop device, the image itself (file-backed)
import   milliseconds of the import by the environment's interpreter, its trees mounted where they
         were, in turns: cold (the pages of the source were dropped), and warm
shared   of the pages that an import reads, how many are there already for a second sandbox: of
         the same environment, and of another one with the same libraries
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_BIND, MNT_DETACH = 1, 4096, 2
KINDS = {"plain": [], "lz4": ["-zlz4"], "lz4hc": ["-zlz4hc,9"]}


def run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    """What a program prints that succeeds."""
    # The words are this file's and the caller's own.
    done = subprocess.run(  # noqa: S603
        [str(word) for word in words], check=True, capture_output=True, text=True, env=env
    )
    return done.stdout


def mount(source: Path, target: Path, kind: str | None, flags: int) -> None:
    """mount(2), without mount(8), which would take a loop device for a file."""
    code = LIBC.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() if kind else None, flags, None
    )
    if code != 0:
        raise OSError(
            ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"mount {source} on {target}"
        )


def unmount(target: Path) -> None:
    """umount2(2)."""
    if LIBC.umount2(os.fsencode(target), 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"umount {target}")


def files(folder: Path) -> list[Path]:
    """All below a folder that have content."""
    return [
        Path(at) / name
        for at, _, names in os.walk(folder)
        for name in names
        if not (Path(at) / name).is_symlink()
    ]


def load(paths: list[Path]) -> None:
    """Reads files, so that they are in memory."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def drop(paths: list[Path]) -> None:
    """Of these files nothing stays in memory (posix_fadvise(2)); the machine's other files stay."""
    for path in paths:
        with path.open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(paths: list[Path]) -> int:
    """Bytes of these files that are in memory."""
    total = 0
    for start in range(0, len(paths), 500):
        told = run(
            "fincore", "--bytes", "--noheadings", "--output", "RES", *paths[start : start + 500]
        )
        total += sum(int(line) for line in told.split())
    return total


class Environment:
    """A captured environment: its folder, and which tree was where."""

    def __init__(self, lakekeep: Path, store: Path, python: str) -> None:
        """Captures it."""
        own = {"HOME": str(store.parent), "LAKEKEEP_STORE": str(store), "PATH": os.environ["PATH"]}
        words = ("env", "capture", "--json", "--python", python)
        told = json.loads(run(lakekeep, *words, env=own))
        self.seconds: float = told["seconds"]
        self.files: int = told["files"]
        self.bytes: int = told["bytes"]
        self.python = python
        self.folder = store / "folders" / "blake3" / told["digest"] / "root"
        manifest = (self.folder / "manifest").read_text().splitlines()
        self.roots = [line.split("\t")[1] for line in manifest if line.startswith("tree\t")]

    def trees(self, folder: Path) -> list[tuple[Path, str]]:
        """Where its trees are, and where they were."""
        return [(folder / "trees" / str(number), root) for number, root in enumerate(self.roots)]


def made(environment: Environment, at: Path) -> dict[str, dict[str, float]]:
    """Seconds and bytes of each form."""
    rows = {
        "folder": {
            "seconds": environment.seconds,
            "bytes": float(run("du", "-sB1", environment.folder).split()[0]),
        }
    }
    for name, words in KINDS.items():
        image = at / f"{name}.erofs"
        begun = time.perf_counter()
        run("mkfs.erofs", "-T0", "--all-root", *words, image, environment.folder)
        with image.open("rb") as file:
            os.fsync(file.fileno())
        rows[name] = {"seconds": time.perf_counter() - begun, "bytes": float(image.stat().st_size)}
    return rows


def mounted(
    environment: Environment, image: Path, at: Path, rounds: int
) -> dict[str, dict[str, float]]:
    """Microseconds of each way to mount."""
    target = at / "target"
    target.mkdir()
    loop = Path(run("losetup", "--find", "--show", "--read-only", image).strip())
    ways: dict[str, Callable[[], None]] = {
        "bind": lambda: mount(environment.folder, target, None, MS_BIND),
        "loop": lambda: mount(loop, target, "erofs", MS_RDONLY),
        "file": lambda: mount(image, target, "erofs", MS_RDONLY),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    try:
        for _ in range(rounds):
            for name, way in ways.items():
                first = time.perf_counter()
                way()
                second = time.perf_counter()
                unmount(target)
                times[name].append((second - first, time.perf_counter() - second))
    finally:
        run("losetup", "--detach", loop)
    return {
        name: {
            "mount_us": statistics.median(mount for mount, _ in rounds_of) * 1e6,
            "umount_us": statistics.median(umount for _, umount in rounds_of) * 1e6,
        }
        for name, rounds_of in times.items()
    }


def imported(environment: Environment, folder: Path, modules: str) -> float:
    """Milliseconds of the import alone, in a mount table where the trees are at their places."""
    script = (
        "import time\nbegun = time.perf_counter()\n"
        + f"import {modules}\n"
        + "print((time.perf_counter() - begun) * 1e3)"
    )
    binds = "\n".join(f"mount --bind {tree} {root}" for tree, root in environment.trees(folder))
    shell = f'set -e\n{binds}\nexec "$0" -c "$1"'
    return float(run("unshare", "--mount", "sh", "-c", shell, environment.python, script))


def imports(
    environment: Environment, images: dict[str, Path], at: Path, modules: str, rounds: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of each form, in turns."""
    times: dict[str, dict[str, list[float]]] = {
        name: {"cold": [], "warm": []} for name in ["folder", *images]
    }
    kept = files(environment.folder)
    for _ in range(rounds):
        drop(kept)
        times["folder"]["cold"].append(imported(environment, environment.folder, modules))
        times["folder"]["warm"].append(imported(environment, environment.folder, modules))
        for name, image in images.items():
            drop([image])
            target = at / f"import-{name}"
            target.mkdir(exist_ok=True)
            mount(image, target, "erofs", MS_RDONLY)
            try:
                times[name]["cold"].append(imported(environment, target, modules))
                times[name]["warm"].append(imported(environment, target, modules))
            finally:
                unmount(target)
    return {
        name: {f"{way}_ms": statistics.median(each) for way, each in ways.items()}
        for name, ways in times.items()
    }


def shared(
    environment: Environment, other: Environment, at: Path, modules: str
) -> dict[str, dict[str, float]]:
    """What an import in one sandbox leaves in memory for others."""
    rows: dict[str, dict[str, float]] = {}
    drop(files(environment.folder) + files(other.folder))
    imported(environment, environment.folder, modules)
    rows["folder"] = {
        "own": resident(files(environment.folder)),
        "same": resident(files(environment.folder)),
        "other": resident(files(other.folder)),
    }
    images = []
    for number, one in enumerate([environment, other]):
        image = at / f"shared-{number}.erofs"
        run("mkfs.erofs", "-T0", "--all-root", image, one.folder)
        images.append(image)
    with ExitStack() as stack:
        targets = []
        for number, image in enumerate([images[0], images[0], images[1]]):
            target = at / f"shared-{number}"
            target.mkdir()
            mount(image, target, "erofs", MS_RDONLY)
            stack.callback(unmount, target)
            targets.append(target)
        drop(images)
        imported(environment, targets[0], modules)
        own, same, second = [resident(files(target)) for target in targets]
        rows["erofs, a mount each"] = {
            "own": own,
            "same": same,
            "other": second,
            "image": resident([images[0]]),
        }
    return rows


def tell(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Prints rows."""
    print(f"\n{title}")
    for name, row in rows.items():
        print(
            f"  {name:20}",
            "  ".join(f"{key} {value:,.1f}" for key, value in row.items()),
            flush=True,
        )


def main() -> None:
    """Measures all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lakekeep", type=Path, required=True)
    parser.add_argument("--python", required=True, help="the environment's interpreter")
    parser.add_argument("--import", dest="modules", default="pyarrow, pandas")
    parser.add_argument(
        "--rounds", type=int, default=10, help="of imports; mounts have ten times as many"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("erofs.py: mounts; run it as root")
    with tempfile.TemporaryDirectory(prefix="erofs-bench-") as folder:
        at = Path(folder)
        lakekeep = arguments.lakekeep.resolve()
        run(arguments.python, "-c", f"import {arguments.modules}")
        environment = Environment(lakekeep, at / "store", arguments.python)
        load(files(environment.folder))
        second = at / "second"
        # Another environment, whose distributions are those of the first.
        run(arguments.python, "-m", "venv", "--without-pip", "--system-site-packages", second)
        site = next(second.glob("lib/python*/site-packages"))
        (site / "first.pth").write_text(
            run(arguments.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        )
        other = Environment(lakekeep, at / "store", str(second / "bin/python"))
        figures: dict[str, dict[str, object]] = {
            "machine": {
                "kernel": os.uname().release,
                "cpus": os.cpu_count(),
                "load": os.getloadavg()[0],
            },
            "environment": {"files": environment.files, "bytes": environment.bytes},
        }
        print(figures["machine"], figures["environment"], flush=True)
        images = {name: at / f"{name}.erofs" for name in KINDS}
        measures: dict[str, Callable[[], dict[str, dict[str, float]]]] = {
            "make": lambda: made(environment, at),
            "mount": lambda: mounted(environment, images["plain"], at, arguments.rounds * 10),
            "import": lambda: imports(environment, images, at, arguments.modules, arguments.rounds),
            "shared": lambda: shared(environment, other, at, arguments.modules),
        }
        for title, measure in measures.items():
            rows = measure()
            figures[title] = dict(rows)
            tell(title, rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
