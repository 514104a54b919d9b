"""Arrow Flight, asked by the clients that RisingWave and Databend have, and by pyarrow's."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf.edges.conftest import Edge

flight = pytest.importorskip("pyarrow.flight")


@pytest.fixture(scope="module")
def place(edge: Edge) -> Iterator[str]:
    with edge.served() as place:
        yield place


@pytest.fixture
def client(place: str) -> Iterator[Any]:
    with flight.FlightClient(f"grpc://{place}") as client:
        yield client


def exchange(client: Any, name: str, batches: list[Any], **options: Any) -> Any:
    descriptor = flight.FlightDescriptor.for_path(name)
    writer, reader = client.do_exchange(descriptor, flight.FlightCallOptions(**options))
    with writer:
        writer.begin(batches[0].schema)
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        return reader.read_all()


def pairs(x: list[int], y: list[int]) -> Any:
    arrays = [pa.array(x, pa.int32()), pa.array(y, pa.int32())]
    return pa.record_batch(arrays, names=["whatever", "else"])


def test_both_dialects_are_told_what_they_ask(client: Any) -> None:
    version = next(client.do_action(flight.Action("protocol_version", b"")))
    assert version.body.to_pybytes() == b"\x02"
    info = client.get_flight_info(flight.FlightDescriptor.for_path("gcd"))
    assert info.total_records == 2
    assert info.schema.types == [pa.int32()] * 3
    assert info.schema.metadata[b"x-databend-udf-input-count"] == b"2"
    series = client.get_flight_info(flight.FlightDescriptor.for_path("series"))
    assert series.schema.names == ["n", "row", "value"]
    names = {one.descriptor.path[0] for one in client.list_flights()}
    assert {b"gcd", b"series", b"words"} <= names


def test_columns_are_told_by_their_position(client: Any) -> None:
    table = exchange(client, "gcd", [pairs([4, 9], [6, 12]), pairs([7], [21])])
    assert table.column(0).to_pylist() == [2, 3, 7]
    assert exchange(client, "gcd", [pairs([], [])]).num_rows == 0
    wide = pa.record_batch([pa.array([8]), pa.array([12])], names=["x", "y"])
    assert exchange(client, "gcd", [wide]).column(0).to_pylist() == [4]


def test_a_batch_may_be_larger_than_a_message_of_grpc(client: Any) -> None:
    values = pa.array(range(1_500_000))
    batch = pa.record_batch([values], names=["x"])
    chunks = exchange(client, "twice", [batch]).column(0).chunks
    assert len(chunks) == 1
    assert chunks[0].equals(pa.array(range(0, 3_000_000, 2)))


def test_table_functions_tell_the_row(client: Any) -> None:
    batch = pa.record_batch([pa.array([2, 0, 3], pa.int32())], names=["n"])
    table = exchange(client, "series", [batch])
    assert table.to_pydict() == {"row": [0, 0, 2, 2, 2], "value": [0, 1, 0, 1, 2]}
    batch = pa.record_batch([pa.array(["a bc", "", "def"])], names=["t"])
    rows = exchange(client, "words", [batch]).to_pylist()
    assert rows == [
        {"row": 0, "value": {"word": "a", "size": 1}},
        {"row": 0, "value": {"word": "bc", "size": 2}},
        {"row": 2, "value": {"word": "def", "size": 3}},
    ]


def test_a_failure_is_told_and_the_next_call_works(client: Any) -> None:
    with pytest.raises(pa.ArrowInvalid, match=r"(?s)ValueError in row 1.*user_function\.py"):
        exchange(client, "gcd", [pairs([1, 1], [1, -1])])
    assert exchange(client, "gcd", [pairs([4], [6])]).column(0).to_pylist() == [2]
    wide = pa.record_batch([pa.array([1 << 40]), pa.array([1])], names=["x", "y"])
    with pytest.raises(pa.ArrowInvalid, match="argument x"):
        exchange(client, "gcd", [wide])
    with pytest.raises(pa.ArrowInvalid, match="1 columns came for 2"):
        exchange(client, "gcd", [pa.record_batch([pa.array([1])], names=["x"])])
    with pytest.raises(pa.ArrowKeyError, match="there is no function"):
        exchange(client, "none", [pairs([1], [1])])


def test_a_call_that_takes_too_long_is_ended(client: Any) -> None:
    batch = pa.record_batch([pa.array([1])], names=["x"])
    with pytest.raises(flight.FlightTimedOutError, match="UDF_TIMED_OUT"):
        exchange(client, "slow", [batch])


def test_a_client_that_goes_frees_its_session(place: str) -> None:
    """The only session of the function is to be had again, and not after its 600 seconds."""
    batch = pa.record_batch([pa.array([1])], names=["x"])
    for _ in range(2):
        with (
            flight.FlightClient(f"grpc://{place}") as client,
            pytest.raises(flight.FlightTimedOutError) as error,
        ):
            exchange(client, "forever", [batch], timeout=3)
        assert "sessions of forever were in use" not in str(error.value)


def test_calls_at_once_have_sessions_of_their_own(place: str) -> None:
    answers: list[Any] = []

    def call() -> None:
        with flight.FlightClient(f"grpc://{place}") as client:
            for _ in range(20):
                table = exchange(client, "gcd", [pairs([12], [18])])
                answers.append(table.column(0).to_pylist())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[6]] * 80


def test_an_engines_headers_stay_outside(client: Any) -> None:
    secret = "credential-of-the-storage"
    headers = [(b"databend-stage-mapping", secret.encode()), (b"authorization", secret.encode())]
    batch = pa.record_batch([pa.array([secret])], names=["x"])
    assert exchange(client, "seen", [batch], headers=headers).column(0).to_pylist() == [""]


def test_databends_client(place: str) -> None:
    databend = pytest.importorskip("databend_udf.client")
    host, _, port = place.rpartition(":")
    client = databend.UDFClient(host=host, port=int(port))
    assert client.call_function("gcd", 12, 18) == [6]
    assert client.call_function("gcd", [4, 9], [6, 12]) == [2, 3]
    assert client.call_function_batch("gcd", x=[4, 9], y=[6, 12]) == [2, 3]
    assert client.call_function("answer") == [42]
    assert client.call_function("greet", ["ada", None]) == ["hello ada", None]
    mapping = [{"param_name": "x", "stage_info": {"secret": "credential-of-the-storage"}}]
    seen = client.call_function("seen", "credential-of-the-storage", stage_locations=mapping)
    assert seen == [""]
    client.client.close()


def test_a_unix_socket_is_for_its_user_alone(edge: Edge, tmp_path: Path) -> None:
    path = tmp_path / "udf.sock"
    # What a server that was killed has left.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with edge.served(f"unix:{path}"):
        assert path.stat().st_mode & 0o777 == 0o600
        options = [("grpc.default_authority", "localhost")]
        with flight.FlightClient(f"grpc+unix://{path}", generic_options=options) as client:
            assert exchange(client, "gcd", [pairs([4], [6])]).column(0).to_pylist() == [2]
    assert not path.exists()


def refused(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 125, done
    return done.stderr


def test_what_cannot_be_served_is_refused_with_its_reason(edge: Edge, tmp_path: Path) -> None:
    assert "--allow-remote" in refused(edge.command("flight", "--listen", "0.0.0.0:0"))
    text = edge.functions.read_text().replace('kind = "table"', 'kind = "tables"', 1)
    bad = Edge(edge.functions.with_name("bad.toml"), edge.lakekeep)
    bad.functions.write_text(text)
    said = refused(bad.command("flight", "--listen", "127.0.0.1:0", "--check"))
    line = text[: text.index("tables")].count("\n") + 1
    assert f"line {line}" in said
    assert "unknown variant" in said


def test_a_server_that_is_told_to_end_ends_what_runs(edge: Edge) -> None:
    batch = pa.record_batch([pa.array([1])], names=["x"])
    with edge.served() as place, flight.FlightClient(f"grpc://{place}") as client:
        descriptor = flight.FlightDescriptor.for_path("forever")
        writer, reader = client.do_exchange(descriptor)
        writer.begin(batch.schema)
        writer.write_batch(batch)
        before = time.monotonic()
    # It was running, and was not waited for.
    assert time.monotonic() - before < 25
    with pytest.raises((flight.FlightError, pa.ArrowException, OSError)):
        reader.read_all()
