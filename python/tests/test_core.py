"""Targets, documents, errors, outcomes: what needs no connection."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from fake import details

import lakekeep
from lakekeep import errors, models
from lakekeep._core.accounts import query_audit
from lakekeep._core.calls import Api, duration
from lakekeep._core.methods import ALL
from lakekeep._core.policy import policy_text
from lakekeep._core.sandboxes import create_message
from lakekeep._core.status import error_of
from lakekeep._core.target import LONGEST_PATH, ConnectOptions, endpoint
from lakekeep.outcome import CompletedTask, Receipt, TaskResult, Verdict
from lakekeep.v1 import accounts_pb2, sandboxes_pb2

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


# The interface.


def test_generated_code_is_of_the_proto_files(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    assert protoc
    script = ROOT / "python" / "generate.py"
    made = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import runpy, pathlib; runpy.run_path({str(script)!r})"
            f"['generate'](pathlib.Path({str(tmp_path)!r}))",
        ],
        check=True,
    )
    assert made.returncode == 0
    committed = ROOT / "python" / "src" / "lakekeep" / "v1"
    names = sorted(path.name for path in (tmp_path / "lakekeep" / "v1").iterdir())
    assert names == sorted(path.name for path in committed.glob("*_pb2.py*"))
    for name in names:
        fresh = (tmp_path / "lakekeep" / "v1" / name).read_text()
        assert fresh == (committed / name).read_text(), f"{name}: run python/generate.py"


def test_every_method_is_known_as_it_is() -> None:
    found = {}
    for module in (sandboxes_pb2, accounts_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                found[f"/{service.full_name}/{method.name}"] = (
                    method.input_type.full_name,
                    method.output_type.full_name,
                    method.client_streaming,
                    method.server_streaming,
                )
    ours = {
        method.path: (
            method.request.DESCRIPTOR.full_name,
            method.response.DESCRIPTOR.full_name,
            method.streams_requests,
            method.streams_responses,
        )
        for method in ALL
    }
    assert ours == found


def test_every_reason_has_a_class() -> None:
    source = (ROOT / "manager" / "api" / "src" / "reason.rs").read_text()
    words = set(re.findall(r'Self::\w+ => "([A-Z_]+)"', source))
    assert words
    assert words == set(errors.BY_REASON)


def test_every_word_of_an_enum_is_known() -> None:
    kinds = set(sandboxes_pb2.Kind.values()) - {0}
    assert kinds == set(models.KINDS.values())
    assert set(accounts_pb2.Scope.values()) - {0} == set(models.SCOPES.values())
    assert set(sandboxes_pb2.State.values()) - {0} == set(models._STATES)


def test_both_clients_have_the_same_methods() -> None:
    from lakekeep import aio, client

    for name in (
        "Client",
        "Sandboxes",
        "Sandbox",
        "Task",
        "Stdin",
        "Files",
        "Accounts",
        "Profiles",
        "Variables",
        "Secrets",
        "Audit",
    ):
        ours, theirs = vars(getattr(client, name)), vars(getattr(aio, name))
        public = {key for key in ours if not key.startswith("_")}
        assert public == {key for key in theirs if not key.startswith("_")}
        for key in public:
            assert ours[key].__doc__, f"{name}.{key} has no documentation"
            assert ours[key].__name__ == key


# Targets.


def test_targets() -> None:
    assert endpoint("/run/a.sock", {}).address == "unix:/run/a.sock"
    assert endpoint("unix:/run/a.sock", {}).address == "unix:/run/a.sock"
    assert endpoint("unix:///run/a.sock", {}).address == "unix:/run/a.sock"
    assert endpoint(Path("/run/a.sock"), {}).tls is None
    secure = endpoint("https://host:8443/", {})
    assert secure.address == "host:8443"
    assert secure.tls is not None
    assert endpoint("https://[::1]:1", {}).address == "[::1]:1"
    assert endpoint(None, {}, {"LAKEKEEP_SOCKET": "/a"}).name == "/a"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "no manager is named"),
        ("http://host:80", "https://HOST:PORT"),
        ("https://host", "no host and port"),
        ("https://host:port", "https://HOST:PORT"),
        ("https://host:1/path", "more than a host"),
        ("https://user@host:1", "no host and port"),
        ("/" + "a" * LONGEST_PATH, "longer than"),
    ],
)
def test_bad_targets(target: str, words: str) -> None:
    with pytest.raises(errors.BadTarget, match=words):
        endpoint(target, {}, {})


def test_no_target_at_all() -> None:
    with pytest.raises(errors.BadTarget, match="LAKEKEEP_SOCKET"):
        endpoint(None, {}, {})


def test_nothing_answers(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreachable, match="lakekeep serve") as caught:
        lakekeep.connect(tmp_path / "none.sock")
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.reason == "UNREACHABLE"


def test_tls_belongs_to_https(tmp_path: Path) -> None:
    with pytest.raises(errors.BadTarget, match="Unix socket"):
        endpoint("/a", {"ca_file": "ca.pem"})
    with pytest.raises(errors.BadTarget, match="belong together"):
        endpoint("https://h:1", {"client_key": "key.pem"})
    with pytest.raises(errors.BadTarget, match=r"ca_file: .*No such file"):
        endpoint("https://h:1", {"ca_file": tmp_path / "ca.pem"})
    (tmp_path / "ca.pem").write_text("junk")
    with pytest.raises(errors.BadTarget, match="not PEM"):
        endpoint("https://h:1", {"ca_file": tmp_path / "ca.pem"})


def test_tokens(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    given: ConnectOptions = {"token": path, "delegation": lambda: "two"}
    found = endpoint("/a", given)
    assert found.metadata() == (
        ("authorization", "Bearer one"),
        ("lakekeep-delegation", "two"),
    )
    assert found.blocking_metadata()
    path.write_text("another")
    assert found.metadata()[0] == ("authorization", "Bearer another")
    path.unlink()
    with pytest.raises(errors.BadTarget, match=r"token: .*No such file"):
        found.metadata()


@pytest.mark.parametrize("token", ["", "Bearer s3cret", "s3cret\nx", "s3cretü", "s3cret" * 20_000])
def test_a_bad_token_is_not_shown(token: str) -> None:
    found = endpoint("/a", {"token": token})
    assert "s3cret" not in repr(found)
    with pytest.raises(errors.BadTarget) as caught:
        found.metadata()
    assert "s3cret" not in str(caught.value)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="'tokn'"):
        lakekeep.connect("/a", tokn="x")  # type: ignore[call-arg]


# Documents.


def test_policies(tmp_path: Path) -> None:
    toml = tmp_path / "p.toml"
    toml.write_text('version = 1\nimage = "host"\n')
    fields = {
        "limits": {"memory": "1GiB", "wall_time": timedelta(seconds=1.5), "cpus": 0.5},
        "mounts": [{"source": Path("/srv"), "target": "/data"}],
        "env": {"Q": 'a"\n\\'},
    }
    assert tomllib.loads(policy_text(fields, "/img")) == {
        "version": 1,
        "image": "/img",
        "limits": {"memory": "1GiB", "wall_time": "1500ms", "cpus": 0.5},
        "mounts": [{"source": "/srv", "target": "/data"}],
        "env": {"Q": 'a"\n\\'},
    }
    assert policy_text(None, None) == ""
    assert policy_text("# as it is", None) == "# as it is"
    assert policy_text(toml, None) == toml.read_text()
    assert tomllib.loads(policy_text(toml, "/i")) == {"version": 1, "image": "/i"}
    assert tomllib.loads(policy_text("version = 2", "/i")) == {"version": 2, "image": "/i"}
    json = tmp_path / "p.json"
    json.write_text('{"version": 1, "preset": "udf"}')
    assert tomllib.loads(policy_text(json, None)) == {"version": 1, "preset": "udf"}


def test_bad_policies(tmp_path: Path) -> None:
    with pytest.raises(errors.BadRequest, match="No such file"):
        policy_text(tmp_path / "none.toml", None)
    with pytest.raises(errors.BadPolicy, match=r"limits\.memory: None"):
        policy_text({"limits": {"memory": None}}, None)
    with pytest.raises(errors.BadPolicy, match="policy:"):
        policy_text({"env": {"A": object()}}, None)
    with pytest.raises(errors.BadPolicy, match="policy: Invalid"):
        policy_text("version =", "/i")
    bad = tmp_path / "p.json"
    bad.write_text("[]")
    with pytest.raises(errors.BadPolicy, match="not an object"):
        policy_text(bad, None)
    bad.write_bytes(b"\xff")
    with pytest.raises(errors.BadPolicy, match="UTF-8"):
        policy_text(bad, None)
    bad.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(errors.BadPolicy, match="longer"):
        policy_text(bad, None)


def test_requests() -> None:
    message = create_message(
        {"profile": "p", "kind": "udf", "idle_timeout": timedelta(minutes=1), "lifetime": 1.5}
    )
    assert message.kind == sandboxes_pb2.KIND_UDF
    assert message.idle_timeout.seconds == 60
    assert (message.lifetime.seconds, message.lifetime.nanos) == (1, 500_000_000)
    assert not message.HasField("deadline")
    assert 16 <= len(message.request_id) <= 64
    assert message.request_id != create_message({}).request_id
    with pytest.raises(errors.BadRequest, match="none of interactive"):
        create_message({"kind": "pet"})
    with pytest.raises(errors.BadRequest, match="list of names"):
        create_message({"volumes": "home"})
    for time in (-1, float("nan"), float("inf"), timedelta(seconds=-1)):
        with pytest.raises(errors.BadRequest, match="lifetime"):
            duration(time, "lifetime")


def test_a_moment_needs_a_time_zone() -> None:
    api = Api(None, endpoint("/a", {}))
    with pytest.raises(errors.BadRequest, match="time zone"):
        next(query_audit(api, since=datetime(2026, 1, 1)))  # noqa: DTZ001
    effect = next(query_audit(api, since=datetime(2026, 1, 1, tzinfo=timezone.utc)))
    assert effect.requests.since.seconds == 1767225600  # type: ignore[union-attr]


# Errors.


def test_an_error_of_the_managers() -> None:
    metadata: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", details("QUOTA_EXCEEDED", 1.5)),
        ("other", "x"),
    ]
    error = error_of("RESOURCE_EXHAUSTED", "3 of 3 are used; end one", metadata, "/a")
    assert type(error) is errors.QuotaExceeded
    assert (error.reason, error.retry_after) == ("QUOTA_EXCEEDED", 1.5)
    assert (error.message, error.remedy) == ("3 of 3 are used; end one", "end one")
    assert str(error) == "3 of 3 are used; end one"


def test_a_reason_of_a_newer_manager() -> None:
    metadata = [("grpc-status-details-bin", details("ON_FIRE", None))]
    error = error_of("INTERNAL", "hot", metadata, "/a")
    assert type(error) is errors.LakekeepError
    assert (error.reason, error.remedy, error.retry_after) == ("ON_FIRE", "", None)


def test_strangers_errors() -> None:
    junk = [("grpc-status-details-bin", b"\xff\xff")]
    assert type(error_of("UNAVAILABLE", "", junk, "/a")) is errors.Unreachable
    assert type(error_of("DEADLINE_EXCEEDED", "", None, "/a")) is errors.DeadlineExceeded
    assert type(error_of("UNIMPLEMENTED", "", None, "/a")) is errors.Unsupported
    assert type(error_of("DATA_LOSS", "", None, "/a")) is errors.LakekeepError


@pytest.mark.parametrize("kind", list(errors.BY_REASON.values()))
def test_errors_can_be_caught_and_carried(kind: type[errors.LakekeepError]) -> None:
    error = kind("what", remedy="do", retry_after=1.0, code="X", details={"a": "b"})
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == "what; do"


# Outcomes.


def test_outcomes_of_every_shape() -> None:
    empty = TaskResult.parse(3, "")
    assert (empty.verdict.kind, empty.receipt, empty.usage) == ("unknown", None, None)
    assert not empty.ok
    flat = TaskResult.parse(
        0,
        '{"verdict": {"kind": "exit", "exit_code": 0}, "wall_us": 5, "cpu_us": 4,'
        ' "memory_peak": null, "refused": [[101, 2]], "future": 1}',
    )
    assert flat.ok
    assert flat.usage is not None
    assert flat.usage.wall == timedelta(microseconds=5)
    assert flat.refused == (lakekeep.Refused("number 101", 2),)
    assert flat.extra == {"future": 1}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"verdict": 1}',
        '{"verdict": {"exit_code": "x"}}',
        '{"refused": [1]}',
        '{"receipt": {"layers": {}}, "verdict": {}}',
        '{"usage": {"wall_us": true}}',
    ],
)
def test_outcomes_that_make_no_sense(text: str) -> None:
    with pytest.raises(errors.ProtocolError):
        TaskResult.parse(0, text)


def test_unknown_fields_are_kept() -> None:
    receipt = Receipt.parse(
        {
            "sandbox": "s",
            "policy": "p",
            "filter": "f",
            "new": [1],
            "layers": [{"layer": "l", "state": "enforced", "since": 1}],
        }
    )
    assert receipt.extra == {"new": [1]}
    assert receipt.layers[0].extra == {"since": 1}
    with pytest.raises(KeyError):
        receipt.layer("none")


def test_notebooks_are_shown_text_and_no_markup() -> None:
    evil = "<script>alert(1)</script>"
    verdict = Verdict(evil, 1, explanation=evil, remedy=evil)
    receipt = Receipt.parse(
        {
            "sandbox": evil,
            "policy": evil,
            "filter": evil,
            "warnings": [evil],
            "layers": [{"layer": evil, "state": "no", "reason": evil}],
        }
    )
    result = TaskResult(1, verdict, receipt, lakekeep.Usage(5, 4, 3 << 20))
    done = CompletedTask((evil,), evil.encode(), b"\xff" * 10_000, evil, 1, result)
    text = CompletedTask((evil,), evil, evil, evil, 1, result)
    message = sandboxes_pb2.Sandbox(
        id=evil, owner=evil, profile=evil, image=evil, labels={evil: evil}
    )
    message.tasks.add(program=evil)
    info = models.sandbox_of(message)
    for shown in (verdict, receipt, done, text, info):
        html = shown._repr_html_()
        assert "<script" not in html
        assert "&lt;script" in html
        assert len(html) < 20_000
    assert "3.0 MiB" in done._repr_html_()


def test_a_delegation_does_not_show_its_token() -> None:
    made = models.Delegation("s3cret", "id", None)
    assert "s3cret" not in repr(made)
