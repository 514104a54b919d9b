"""User functions that run with the client's own environment: libraries that the host's Python
has not, an editable installation and a local module.

The client is a process of its own, in a virtual environment that is made once and kept beside
that of the tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import pyarrow as pa
import pytest

import lakekeep
from lakekeep.udf import BadFunction, EnvironmentDrift, EnvironmentFailed, Session, safe
from lakekeep.udf._environment import Chosen
from lakekeep.udf._function import Function, Settings

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"
real = pytest.mark.skipif(not REAL, reason="needs real sandboxes: LAKEKEEP_UDF_BROKER=1")
PROJECT = Path(__file__).parents[2]
WHEELS = ("numpy", "pandas", "scipy", "scikit-learn")
EDITABLE = """
[project]
name = "lk-editable"
version = "3.1"
[build-system]
requires = ["setuptools>=70"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
py-modules = ["lk_editable"]
"""
CLIENT = """
import json, sys
import lakekeep, lk_local, pyarrow as pa

def fitted(xs):
    import numpy, pandas, scipy.stats, sklearn, lk_editable
    from sklearn.linear_model import LinearRegression
    frame = pandas.DataFrame({"x": xs.to_numpy()})
    frame["y"] = lk_local.doubled(frame.x) + lk_editable.ONE
    line = LinearRegression().fit(frame[["x"]], frame.y)
    slope = scipy.stats.linregress(frame.x, frame.y).slope
    assert numpy.isclose(line.coef_[0], slope)
    return pa.array(line.predict(frame[["x"]]))

options = json.loads(sys.argv[1])
try:
    with lakekeep.safe(fitted, returns="float64", memory=2 << 30, **options) as safe:
        print(json.dumps(safe(pa.array([1.0, 2.0, 3.0])).to_pylist()))
except lakekeep.LakekeepError as error:
    print(json.dumps({"type": type(error).__name__, "message": error.message,
                      "remedy": error.remedy}))
"""


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("LAKEKEEP_SOCKET", "PYTHONPATH")}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, env={**kept, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def venv() -> Path:
    """The client's: with this project, the wheels and an editable package."""
    key = hashlib.sha256(repr((sys.version, PROJECT, WHEELS, EDITABLE)).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "lakekeep-python" / f"client-{key[:16]}"
    if not (place / "ready").exists():
        run(sys.executable, "-m", "venv", "--clear", place)
        package = place / "src"
        package.mkdir()
        (package / "pyproject.toml").write_text(EDITABLE)
        (package / "lk_editable.py").write_text("ONE = 1\n")
        pip = (place / "bin/python", "-m", "pip", "install", "--quiet")
        run(*pip, *WHEELS, "--editable", f"{PROJECT}[udf]", "--editable", package)
        (place / "ready").touch()
    return place


class Client:
    """A folder with a script and its local module, and a store."""

    def __init__(self, venv: Path, folder: Path) -> None:
        self.python, self.folder = venv / "bin/python", folder
        (folder / "client.py").write_text(CLIENT)
        (folder / "lk_local.py").write_text("def doubled(x):\n    return 2 * x\n")
        self.variables = {
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def call(self, **options: object) -> Any:
        script = self.folder / "client.py"
        done = run(self.python, script, json.dumps(options), **self.variables)
        return json.loads(done.stdout)

    def capture(self, *flags: object) -> str:
        command = (os.environ["LAKEKEEP_BIN"], "env", "capture", "--python", self.python, *flags)
        return run(*command, **self.variables).stdout.strip()


@pytest.fixture
def client(venv: Path, tmp_path: Path) -> Client:
    return Client(venv, tmp_path)


@real
def test_a_function_has_the_libraries_of_its_client(client: Client) -> None:
    # Of the host's own Python none of it can be had.
    without = client.call(interpreter="/usr/bin/python3", modules=[])
    assert without["type"] in ("BadFunction", "EnvironmentFailed", "WorkerCrashed"), without
    assert client.call(environment="auto") == pytest.approx([3.0, 5.0, 7.0])


@real
def test_drift_is_refused_before_anything_runs(client: Client) -> None:
    module = client.folder / "lk_local.py"
    digest = client.capture("--module", module)
    assert client.call(environment=digest) == pytest.approx([3.0, 5.0, 7.0])
    module.write_text("def doubled(x):\n    return 3 * x\n")
    refused = client.call(environment=digest)
    assert refused["type"] == "EnvironmentDrift"
    assert f"{module} is another" in refused["message"]
    assert "lakekeep env capture --python" in refused["remedy"]
    # And what is captured now is what runs.
    assert client.call(environment=True) == pytest.approx([4.0, 7.0, 10.0])


@real
def test_an_environment_without_what_a_worker_needs_is_explained(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    run(sys.executable, "-m", "venv", "--without-pip", bare)
    variables = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "c")}
    script = (
        "import json, lakekeep, pyarrow as pa, sys\n"
        "try:\n"
        "    lakekeep.safe(lambda a: a, returns='int64', environment='auto',"
        " interpreter=sys.argv[1])(pa.array([1]))\n"
        "except lakekeep.LakekeepError as error:\n"
        "    print(json.dumps([type(error).__name__, error.message]))\n"
    )
    done = run(sys.executable, "-c", script, bare / "bin/python", **variables)
    kind, message = json.loads(done.stdout)
    assert kind == "EnvironmentFailed"
    assert "has no pyarrow" in message
    assert f"{bare}/bin/python -m pip install pyarrow" in message


def chosen(wanted: object, monkeypatch: pytest.MonkeyPatch, **found: object) -> Chosen:
    def captured(function: object, *, python: str) -> lakekeep.Environment:
        return lakekeep.Environment(str(found["digest"]), 1, 1, (), ())

    def differences(digest: str, function: object, *, python: str) -> object:
        return found.get("differences", ())

    monkeypatch.setattr("lakekeep._capture.capture", captured)
    monkeypatch.setattr("lakekeep._capture.differences", differences)
    return Chosen(len, wanted, "/python")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "expected"), [(None, None), (False, None), (True, "aa"), ("auto", "aa")]
)
def test_the_environment_is_found_once(
    wanted: object, expected: Optional[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = chosen(wanted, monkeypatch, digest="aa")
    assert found.digest() == expected
    chosen(wanted, monkeypatch, digest="bb")
    assert found.digest() == expected


def test_what_differs_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "numpy 2.1.3 in the client, 2.0.2 in the environment"
    drifted = chosen("a" * 64, monkeypatch, differences=(told,))
    with pytest.raises(EnvironmentDrift, match=r"numpy 2\.1\.3 in the client") as caught:
        drifted.digest()
    assert caught.value.differences == (told,)
    assert "lakekeep env capture --python /python" in caught.value.remedy
    assert not caught.value.retryable


def test_what_is_no_digest_is_refused_when_it_is_declared() -> None:
    for wanted in ("numpy", "a" * 63, "A" * 64):
        with pytest.raises(BadFunction, match="no digest"):
            safe(len, returns="int64", environment=wanted)


def test_a_capture_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LAKEKEEP_BIN", raising=False)
    settings = Settings.of({"environment": "auto"})
    function = Function.declared(len, "scalar", "int64", settings)
    given = pa.schema([pa.field("a", pa.int64())])
    with pytest.raises(EnvironmentFailed, match="no lakekeep on PATH"):
        Session(function, given, settings)
