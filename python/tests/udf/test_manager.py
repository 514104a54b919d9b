"""User functions through a real manager, which the test starts and ends."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pyarrow as pa
import pytest
from udf.conftest import REAL

from lakekeep.udf import BrokerUnavailable, ManagerBroker, SessionRefused, safe

pytestmark = pytest.mark.skipif(
    not REAL or os.geteuid() != 0,
    reason="needs LAKEKEEP_UDF_BROKER=1, LAKEKEEP_BIN and root, who starts a manager",
)

VALUES = pa.array([1, 2, 3])
# Host accounts that a test makes where they are not there: the manager's own, and the one
# whose files the profile's volume shows.
SERVICE, OWNER = "lkt-python-mgr", "lkt-python"


def account(name: str) -> None:
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        return
    made = subprocess.run(
        ["useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", name],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    # Another test may have been faster.
    assert made.returncode in (0, 9), made.stderr


def environment() -> str:
    """The environment that runs this test, as volumes."""
    prefixes = sorted({sys.prefix, sys.base_prefix} - {"/usr"})
    return "".join(
        f"""
            [[volume]]
            name = "python-{index}"
            source = {json.dumps(prefix)}
            target = {json.dumps(prefix)}
            mode = "ro"
            owner = "project"
        """
        for index, prefix in enumerate(prefixes)
    )


class Manager:
    """`lakekeep serve` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.socket = folder / "run" / "lakekeep.sock"
        profiles = folder / "profiles"
        profiles.mkdir()
        (profiles / "functions.toml").write_text(
            f"""
            version = 1
            name = "functions"
            owner = "root"
            images = ["host"]
            presets = ["udf"]
            project = "apollo"
            [limits.default]
            memory = "512MiB"
            {environment()}
            [admin]
            expose_host_image = true
            """
        )
        self.config = folder / "lakekeep.toml"
        self.config.write_text(
            f"""
            socket = {json.dumps(str(self.socket))}
            runtime = {json.dumps(str(folder / "run"))}
            state = {json.dumps(str(folder / "state"))}
            user = "{SERVICE}"
            launchers = 1
            [profiles]
            folder = {json.dumps(str(profiles))}
            [[identity.rule]]
            name = "project"
            project = "apollo"
            account = "{OWNER}"
            [[identity.rule]]
            name = "own"
            user = "*"
            account = "$1"
            """
        )
        self.process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [os.environ["LAKEKEEP_BIN"], "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        until = time.monotonic() + 60
        while self.ask("whoami").returncode != 0:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [os.environ["LAKEKEEP_BIN"], *words],
            env={**os.environ, "LAKEKEEP_SOCKET": str(self.socket)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def events(self, action: str) -> list[dict[str, Any]]:
        asked = self.ask("audit", "query", "--json", "--action", action)
        assert asked.returncode == 0, asked.stderr
        return [json.loads(line) for line in asked.stdout.splitlines()]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def children(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in found.split()]

    def manager(self) -> Optional[int]:
        """The process without privileges."""
        for pid in self.children():
            if b"\0manager\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def end(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log()


@pytest.fixture
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    # Short enough for a socket's path, and for others to enter.
    for name in (SERVICE, OWNER):
        account(name)
    folder = tmp_path_factory.mktemp("m")
    for above in (folder.parent, folder.parent.parent):
        above.chmod(0o755)
    manager = Manager(folder)
    manager.start()
    yield manager
    manager.end()


@pytest.fixture
def options(manager: Manager) -> Iterator[dict[str, Any]]:
    broker = ManagerBroker(str(manager.socket))
    yield {
        "returns": "int64",
        "broker": broker,
        "profile": "functions",
    }
    broker.close()


def double(a: Any) -> Any:
    import pyarrow.compute as pc

    return pc.multiply(a, 2)


def test_a_function_is_called_and_its_story_is_noted(
    manager: Manager, options: dict[str, Any]
) -> None:
    with safe(double, query="q-17", code_owner="ada", **options) as doubled:
        assert doubled(VALUES).to_pylist() == [2, 4, 6]
        assert doubled(VALUES).to_pylist() == [2, 4, 6]
        session = doubled._pool._sessions[0]
    end = session.ended(60)
    assert end is not None
    assert end.memory_peak
    (story,) = manager.events("end_function")
    assert (story["query"], story["who"], story["profile"]) == ("q-17", "root", "functions")
    assert story["sandbox"] == session.sandbox
    told = story["extra"]
    assert told["code_owner"] == "ada"
    counts = ("calls", "failed", "rows_in", "rows_out")
    assert [int(told[name]) for name in counts] == [2, 0, 6, 6]
    stats = session.stats
    assert (int(told["bytes_in"]), int(told["bytes_out"])) == (stats.bytes_in, stats.bytes_out)
    assert int(told["waited_us"]) == int(stats.waited * 1e6)
    assert int(told["memory_peak"]) == end.memory_peak
    (made,) = manager.events("create_sandbox")
    assert made["sandbox"] == session.sandbox


def test_a_refusal_says_why(manager: Manager, options: dict[str, Any]) -> None:
    with pytest.raises(SessionRefused, match="no-such") as refused:
        safe(double, **{**options, "profile": "no-such"})(VALUES)
    assert refused.value.code == "NOT_FOUND"
    assert not refused.value.retryable
    with pytest.raises(SessionRefused) as refused:
        safe(double, **options, user="daemon")(VALUES)
    assert refused.value.code == "DENIED"
    # The next one is not harmed.
    with safe(double, **options) as doubled:
        assert doubled(VALUES).to_pylist() == [2, 4, 6]


def test_an_interpreter_that_is_not_there_is_told(options: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="/no/such/python"):
        safe(double, **{**options, "interpreter": "/no/such/python"})(VALUES)


def test_a_manager_that_is_killed_is_replaced(manager: Manager, options: dict[str, Any]) -> None:
    with safe(double, **options) as doubled:
        assert doubled(VALUES).to_pylist() == [2, 4, 6]
        session = doubled._pool._sessions[0]
        pid = manager.manager()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        end = session.ended(60)
        assert end is not None
        assert end.kind == "broker"
        assert BrokerUnavailable.retryable
        until = time.monotonic() + 60
        answer = None
        while answer is None:
            assert time.monotonic() < until, manager.log()
            with contextlib.suppress(BrokerUnavailable):
                answer = doubled(VALUES)
        assert answer.to_pylist() == [2, 4, 6]


def test_the_manager_that_the_environment_names_is_asked(
    manager: Manager, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEKEEP_SOCKET", str(manager.socket))
    rest = {name: value for name, value in options.items() if name != "broker"}
    with safe(double, **rest) as doubled:
        assert doubled(VALUES).to_pylist() == [2, 4, 6]
        broker = doubled.settings.broker
    assert isinstance(broker, ManagerBroker)
    broker.close()
    assert len(manager.events("create_sandbox")) == 1
