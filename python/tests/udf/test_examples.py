"""The examples run, on the flights' Parquet file."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from udf import flights

from lakekeep.udf import Broker, _broker

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("duckdb", "gain"),
        ("polars", "gain"),
        ("pandas", "speed"),
        ("datafusion", "JFK-LAX"),
        ("pyarrow", "27789 flights"),
    ],
)
def test_example(
    broker: Broker,
    name: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(name)
    monkeypatch.delenv("LAKEKEEP_SOCKET", raising=False)
    monkeypatch.setattr(_broker, "_CHILD", broker)
    module = runpy.run_path(str(EXAMPLES / f"udf_{name}.py"))
    source = str(flights.parquet(tmp_path))
    module["main"](source, *([str(tmp_path / "late.parquet")] if name == "pyarrow" else []))
    assert words in capsys.readouterr().out
