"""The program that the edges are, and functions for it to serve."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"
BESIDE = os.environ.get("LAKEKEEP_BIN", "lakekeep")
PROGRAM = Path(os.environ.get("LAKEKEEP_UDF_EDGE") or Path(BESIDE).with_name("lakekeep-udf"))

FUNCTIONS = """
[environment]
interpreter = "{python}"

[[function]]
name = "gcd"
source = "udfs.py"
kind = "rows"
arguments = ["x int32", "y int32"]
returns = ["int32"]
sessions = 2

[[function]]
name = "greet"
source = "udfs.py"
kind = "rows"
arguments = ["utf8"]
returns = ["utf8"]
skip_nulls = true

[[function]]
name = "twice"
source = "udfs.py"
kind = "scalar"
arguments = ["int64"]
returns = ["int64"]
timeout = "60s"

[[function]]
name = "slow"
source = "udfs.py"
kind = "scalar"
arguments = ["int64"]
returns = ["int64"]
timeout = "1s"

[[function]]
name = "forever"
source = "udfs.py"
kind = "scalar"
arguments = ["int64"]
returns = ["int64"]
sessions = 1

[[function]]
name = "series"
source = "udfs.py"
kind = "table"
arguments = ["n int32"]
returns = ["at int32"]

[[function]]
name = "words"
source = "udfs.py"
kind = "table"
arguments = ["utf8"]
returns = ["word utf8", "size int32"]

[[function]]
name = "answer"
source = "udfs.py"
kind = "rows"
arguments = []
returns = ["int32"]

[[function]]
name = "seen"
source = "udfs.py"
kind = "rows"
arguments = ["utf8"]
returns = ["utf8"]
"""

UDFS = """
import math
import os
import time

import pyarrow.compute as pc


def gcd(x, y):
    if y == -1:
        raise ValueError("no such divisor")
    return math.gcd(x, y)


def greet(name):
    return f"hello {name}"


def twice(values):
    return pc.multiply(values, 2)


def slow(values):
    time.sleep(600)


def forever(values):
    time.sleep(600)


def series(n):
    for number in range(n):
        yield (number,)


def words(text):
    for word in text.split():
        yield {"word": word, "size": len(word)}


def answer():
    return 42


def seen(secret):
    return ",".join(name for name, value in os.environ.items() if secret in value)
"""


@dataclass
class Edge:
    """Where the functions are declared, and who makes sandboxes for them."""

    functions: Path
    lakekeep: str

    def command(self, verb: str, *arguments: str) -> list[str]:
        common = ["--functions", str(self.functions), "--lakekeep", self.lakekeep]
        return [str(PROGRAM), verb, *common, *arguments]

    @contextmanager
    def served(self, listen: str = "127.0.0.1:0", *arguments: str) -> Iterator[str]:
        """The place at which the functions are served meanwhile."""
        command = self.command("flight", "--listen", listen, *arguments)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            word, _, place = server.stdout.readline().rstrip().rpartition(" ")
            assert word == "listening at"
            try:
                yield place
            finally:
                server.terminate()
                assert server.wait(30) == 0


@pytest.fixture(scope="session", params=["bare", *(["broker"] if REAL else [])])
def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Edge:
    if not PROGRAM.is_file():
        pytest.skip(f"{PROGRAM} is not there: cargo build --release -p lakekeep-udf-edge")
    folder = tmp_path_factory.mktemp("edge")
    (folder / "udfs.py").write_text(UDFS)
    functions = folder / "functions.toml"
    functions.write_text(FUNCTIONS.format(python=sys.executable))
    lakekeep = BESIDE
    if request.param == "bare":
        bare = folder / "lakekeep"
        script = Path(__file__).with_name("bare_lakekeep.py")
        bare.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
        bare.chmod(0o755)
        lakekeep = str(bare)
    return Edge(functions, lakekeep)
