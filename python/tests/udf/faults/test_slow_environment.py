"""One user's environment whose imports take their time: the others' sessions do not wait."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf import host

from lakekeep.udf import ChildBroker, UdfError, safe

REAL = os.environ.get("LAKEKEEP_UDF_BROKER") == "1"
pytestmark = pytest.mark.skipif(not REAL, reason="needs real sandboxes: LAKEKEEP_UDF_BROKER=1")
VALUES = pa.array([1, 2])
# Seconds that its import takes, and those in which another's session must end.
SLOW, SOON = 10, 6.0


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """The interpreter of an environment with a module that is slow to import."""
    made = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")]
    subprocess.run(made, check=True)
    packages = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    (packages / "takes_its_time.py").write_text(f"import time\ntime.sleep({SLOW})\n")
    return tmp_path / "env" / "bin" / "python"


@pytest.fixture
def own() -> Iterator[ChildBroker]:
    child = ChildBroker()
    yield child
    child.close()


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the broker starts a zygote in its one thread, and hears of nothing else meanwhile",
)
def test_a_session_ends_while_another_environment_is_imported(own: ChildBroker, slow: Path) -> None:
    def open_slow() -> None:
        options: Any = {"interpreter": str(slow), "modules": ("takes_its_time",), "broker": own}
        # It has no pyarrow: that it fails in the end is not what is looked at.
        with contextlib.suppress(UdfError), safe(len, returns="int64", **options) as function:
            function(VALUES)

    with safe(lambda a: a, returns="int64", broker=own) as function:
        function(VALUES)
        session = function._pool._sessions[0]
        assert own._process is not None
        family = own._process.pid
        thread = threading.Thread(target=open_slow)
        thread.start()
        try:
            begun = host.eventually(
                lambda: [p for p in host.descendants(family) if str(slow) in host.command_line(p)]
            )
            if not begun:
                raise RuntimeError("its zygote has not been started")
            function.close()
            assert session.ended(SOON) is not None, "another user's session waits"
            assert thread.is_alive(), "it is still being imported"
        finally:
            thread.join()
