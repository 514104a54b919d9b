"""ClickHouse's own engine, in this process, with functions that it starts a program for."""

from __future__ import annotations

import io
import math
import subprocess
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from udf.edges.conftest import Edge


def blocks(*batches: Any, end: bool) -> bytes:
    """A stream for each batch, as the engine sends them."""
    sent = io.BytesIO()
    for batch in batches:
        writer = pa.ipc.new_stream(sent, batch.schema)
        writer.write_batch(batch)
        if end:
            writer.close()
    return sent.getvalue()


def answers(text: bytes, count: int) -> list[Any]:
    """The batch of each block: all are streams without an end."""
    source, found = pa.BufferReader(text), []
    for _ in range(count):
        schema = pa.ipc.read_schema(source)
        found.append(pa.ipc.read_record_batch(pa.ipc.read_message(source), schema))
    assert source.read() == b""
    return found


def test_one_program_answers_block_after_block(edge: Edge) -> None:
    pair = pa.record_batch([pa.array([4, 9]), pa.array([6, 12])], names=["x", "y"])
    one = pa.record_batch([pa.array([7]), pa.array([21])], names=["x", "y"])
    command = edge.command("stdio", "--function", "gcd")
    sent = blocks(pair, one, pair, end=True)
    done = subprocess.run(command, input=sent, capture_output=True, timeout=120, check=True)
    found = [batch.column(0).to_pylist() for batch in answers(done.stdout, 3)]
    assert found == [[2, 3], [7], [2, 3]]


def test_a_block_is_answered_before_the_next_one_comes(edge: Edge) -> None:
    pair = pa.record_batch([pa.array([4, 9]), pa.array([6, 12])], names=["x", "y"])
    command = edge.command("stdio", "--function", "gcd", "--chunk-header")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as program:
        assert program.stdin is not None
        assert isinstance(program.stdout, io.RawIOBase)
        # Reads as much as is asked for.
        answer = pa.PythonFile(io.BufferedReader(program.stdout), "r")
        for _ in range(3):
            program.stdin.write(b"2\n" + blocks(pair, end=True))
            schema = pa.ipc.read_schema(answer)
            message = pa.ipc.read_message(answer)
            batch = pa.ipc.read_record_batch(message, schema)
            assert batch.column(0).to_pylist() == [2, 3]
        program.stdin.close()
        assert program.wait(60) == 0


@pytest.mark.parametrize(
    ("function", "sent", "words"),
    [
        ("gcd", b"no arrow at all", "ArrowStream"),
        ("none", b"", "no function"),
        ("series", b"", "no tables"),
    ],
)
def test_what_cannot_be_answered_is_said_on_standard_error(
    edge: Edge, function: str, sent: bytes, words: str
) -> None:
    command = edge.command("stdio", "--function", function)
    done = subprocess.run(command, input=sent, capture_output=True, timeout=120)
    assert done.returncode == 125
    assert words in done.stderr.decode()


def test_an_exception_ends_the_program_with_its_traceback(edge: Edge) -> None:
    pair = pa.record_batch([pa.array([4]), pa.array([-1])], names=["x", "y"])
    command = edge.command("stdio", "--function", "gcd")
    done = subprocess.run(command, input=blocks(pair, end=True), capture_output=True, timeout=120)
    assert done.returncode == 125
    said = done.stderr.decode()
    assert "ValueError in row 0: no such divisor" in said
    assert 'File "user_function.py", line 11, in gcd' in said
    assert 'raise ValueError("no such divisor")' in said


POOL = """
<functions>
  <function>
    <type>executable_pool</type>
    <name>safe_{name}</name>
    <return_type>{returns}</return_type>
    {arguments}
    <format>ArrowStream</format>
    <command>{name}.sh</command>
    <execute_direct>1</execute_direct>
    <pool_size>1</pool_size>
    <send_chunk_header>{header}</send_chunk_header>
    <command_read_timeout>60000</command_read_timeout>
  </function>
</functions>
"""


@pytest.fixture(scope="module")
def clickhouse(edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chdb = pytest.importorskip("chdb.session", reason="needs the extra `engines`")
    folder = tmp_path_factory.mktemp("clickhouse")
    for name, returns, arguments, header in [
        ("gcd", "Int32", ["Int32", "Int32"], 0),
        ("greet", "String", ["String"], 1),
    ]:
        words = edge.command("stdio", "--function", name, *["--chunk-header"] * header)
        quoted = " ".join(f"'{word}'" for word in words)
        script = folder / f"{name}.sh"
        script.write_text(f"#!/bin/sh\nexec {quoted}\n")
        script.chmod(0o755)
        asked = "".join(f"<argument><type>{one}</type></argument>" for one in arguments)
        text = POOL.format(name=name, returns=returns, arguments=asked, header=header)
        (folder / f"{name}_function.xml").write_text(text)
    functions = f"user_defined_executable_functions_config={folder}/*_function.xml"
    session = chdb.Session(f"{folder}/data?user_scripts_path={folder}&{functions}")
    yield session
    session.close()


def test_a_function_of_a_pool_answers_every_block(clickhouse: Any) -> None:
    query = "SELECT sum({}(toInt32(number), toInt32(12))) FROM numbers(1, 150000)"
    expected = str(clickhouse.query(query.format("gcd")))
    for _ in range(2):
        assert str(clickhouse.query(query.format("safe_gcd"))) == expected


def test_text_is_text_there_too(clickhouse: Any) -> None:
    query = "SELECT safe_greet(concat('ö', toString(number))) AS g FROM numbers(3) FORMAT TSV"
    assert str(clickhouse.query(query, "TSV")).split("\n")[:3] == [
        "hello ö0",
        "hello ö1",
        "hello ö2",
    ]


def test_an_exception_is_the_querys_failure(clickhouse: Any) -> None:
    with pytest.raises(RuntimeError):
        clickhouse.query("SELECT safe_gcd(toInt32(1), toInt32(-1))")
    assert str(clickhouse.query("SELECT safe_gcd(toInt32(8), toInt32(12))")).strip() == "4"


def test_the_table_function_asks_it_for_a_table(clickhouse: Any) -> None:
    answer = clickhouse.query(
        "SELECT sum(result), count() FROM executable('gcd.sh', ArrowStream, 'result Int32',"
        " (SELECT toInt32(number) AS x, toInt32(12) AS y FROM numbers(1, 100000)))"
    )
    expected = sum(math.gcd(number, 12) for number in range(1, 100_001))
    assert str(answer).strip() == f"{expected},100000"
