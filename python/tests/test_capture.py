"""lakekeep.capture: which local modules a function reaches, and what the binary is asked.

The tests marked with `real` capture this interpreter with the binary in LAKEKEEP_BIN.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lakekeep
from lakekeep import _capture

real = pytest.mark.skipif(
    not os.environ.get("LAKEKEEP_BIN"), reason="LAKEKEEP_BIN names no lakekeep binary"
)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that is on this process's path alone."""
    (tmp_path / "lk_user.py").write_text(
        "import json\nimport lk_helper\nfrom lk_package.inner import deep\n"
        "def use(x):\n    return deep(lk_helper.add(x)), json\n"
        "def lazy(x):\n    import lk_lazy\n    return lk_lazy\n"
        "def alone(x):\n    return x\n"
    )
    (tmp_path / "lk_helper.py").write_text("import lk_second\nadd = lk_second.one\n")
    (tmp_path / "lk_second.py").write_text("def one(x):\n    return x + 1\n")
    (tmp_path / "lk_lazy.py").write_text("value = 1\n")
    (tmp_path / "lk_unused.py").write_text("value = 1\n")
    package = tmp_path / "lk_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("def deep(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path.resolve()
    for name in [name for name in sys.modules if name.startswith("lk_")]:
        del sys.modules[name]


def names(found: set[str]) -> set[str]:
    return {Path(place).name for place in found}


def test_modules_that_a_function_names_are_found(local: Path) -> None:
    user = importlib.import_module("lk_user")
    importlib.import_module("lk_unused")
    found = _capture._local_modules(user.use)
    assert {Path(place).parent for place in found} == {local}
    # The whole of its own module is reached; no standard library, nothing that is not named.
    assert names(found) >= {"lk_user.py", "lk_helper.py", "lk_second.py", "lk_package"}
    assert "lk_unused.py" not in names(found)


def test_a_module_that_is_imported_within_is_found_once_it_was(local: Path) -> None:
    user = importlib.import_module("lk_user")
    assert "lk_lazy.py" not in names(_capture._local_modules(user.lazy))
    user.lazy(1)
    assert "lk_lazy.py" in names(_capture._local_modules(user.lazy))


def test_closures_and_methods_are_followed(local: Path) -> None:
    helper = importlib.import_module("lk_helper")

    def outer() -> object:
        def inner() -> object:
            return helper.add(1)

        return inner

    class Holder:
        def method(self) -> object:
            return outer()

    assert "lk_helper.py" in names(_capture._local_modules(Holder().method))


def test_installed_modules_are_not_local() -> None:
    assert _capture._local_modules(json.dumps) == set()
    assert _capture._local_modules(pytest.raises) == set()


def fake(folder: Path, body: str) -> str:
    program = folder / "lakekeep"
    program.write_text(f"#!{sys.executable}\nimport json, sys\n{body}\n")
    program.chmod(0o755)
    return str(program)


def test_the_binary_is_asked_and_its_answer_told(
    tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"digest": "ab", "files": 1, "bytes": 2, "notes": ["x"]}
    log = tmp_path / "log"
    body = f"open({str(log)!r}, 'w').write(json.dumps(sys.argv[1:]))\nprint({json.dumps(answer)!r})"
    monkeypatch.setenv("LAKEKEEP_BIN", fake(tmp_path, body))
    user = importlib.import_module("lk_user")
    found = lakekeep.capture(user.alone, include=[tmp_path / "more"])
    assert (found.digest, found.files, found.bytes, found.notes) == ("ab", 1, 2, ("x",))
    asked = json.loads(log.read_text())
    assert asked[:5] == ["env", "capture", "--json", "--python", sys.executable]
    assert str(local / "lk_user.py") in asked
    assert asked[-2:] == ["--include", str(tmp_path / "more")]


def test_a_refusal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.dumps({"level": "error", "message": "no such place; make it"})
    body = f"print({said!r}, file=sys.stderr)\nsys.exit(125)"
    monkeypatch.setenv("LAKEKEEP_BIN", fake(tmp_path, body))
    with pytest.raises(lakekeep.CaptureFailed, match="no such place") as caught:
        lakekeep.capture()
    assert caught.value.reason == "CAPTURE_FAILED"


def test_without_a_binary_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKEKEEP_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(lakekeep.CaptureFailed, match="LAKEKEEP_BIN"):
        lakekeep.capture()


@real
def test_this_environment_runs_in_a_sandbox(
    tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEKEEP_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LAKEKEEP_SOCKET", raising=False)
    user = importlib.import_module("lk_user")
    captured = lakekeep.capture(user.use)
    assert captured.files > 100
    assert lakekeep.capture(user.use).digest == captured.digest
    # Changed outside afterwards: inside it is as it was captured.
    (local / "lk_second.py").write_text("def one(x):\n    return x + 100\n")
    code = "import lk_user, pyarrow; print(lk_user.use(1)[0], pyarrow.__version__)"
    import pyarrow

    command = [os.environ["LAKEKEEP_BIN"], "run", "--environment", captured.digest]
    done = subprocess.run(
        [*command, "--", "python", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"2 {pyarrow.__version__}\n", done.stderr
