"""Every request, against the fake manager."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake import FakeManager, Fault

import lakekeep
from lakekeep import errors


def test_sandboxes(manager: FakeManager, client: lakekeep.Client) -> None:
    with client.sandboxes.create(profile="p", labels={"a": "1"}, image="/img") as sandbox:
        assert (sandbox.id, sandbox.info.profile, sandbox.info.state) == ("sb1", "p", "running")
        assert sandbox.info.created is not None
        assert sandbox.info.created.tzinfo is not None
        assert 'image = "/img"' in manager.sandboxes["sb1"].request.policy
        assert client.sandboxes.get("sb1").info == sandbox.info
        assert "sb1 running" in repr(sandbox)
        assert "sb1" in sandbox._repr_html_()
        assert sandbox.freeze().state == "frozen"
        assert sandbox.info.state == "frozen"
        assert sandbox.thaw().state == "running"
        assert sandbox.attach_volume("home").volumes == ("home",)
        with pytest.raises(errors.Conflict):
            sandbox.attach_volume("home")
        sandbox.run(["true"])
        assert sandbox.refresh().tasks[0].program == "true"
        assert sandbox.receipt().sandbox == "sb1"
        assert sandbox.verdict(1).ok
        assert sandbox.stats().sandboxes[0].cpus == 1.5
    assert client.sandboxes.get("sb1").info.state == "ended"
    with pytest.raises(errors.Ended) as ended:
        sandbox.exec(["true"])
    assert ended.value.remedy == "make another"
    with pytest.raises(errors.NotFound, match="lakekeep ps"):
        client.sandboxes.get("none")


def test_leaving_a_sandbox_that_is_gone_is_no_error(client: lakekeep.Client) -> None:
    with client.sandboxes.create() as sandbox:
        sandbox.kill()


def test_leaving_hides_no_error(manager: FakeManager, client: lakekeep.Client) -> None:
    manager.faults["Kill"] = Fault("DENIED", 1)
    with pytest.raises(ZeroDivisionError), client.sandboxes.create():
        raise ZeroDivisionError
    manager.faults["Kill"] = Fault("DENIED", 1)
    with pytest.raises(errors.Denied), client.sandboxes.create():
        pass


def test_claim_gives_the_same(client: lakekeep.Client) -> None:
    first = client.sandboxes.claim(policy={"preset": "udf"})
    assert client.sandboxes.claim(policy={"preset": "udf"}).id == first.id
    assert client.sandboxes.claim(policy={"preset": "general"}).id != first.id


def test_lists_ask_for_pages_as_needed(manager: FakeManager, client: lakekeep.Client) -> None:
    for number in range(7):
        client.sandboxes.create(labels={"odd": str(number % 2)})
    listed = client.sandboxes.list(page_size=3)
    assert [next(listed).id for _ in range(3)] == ["sb1", "sb2", "sb3"]
    assert manager.count("List") == 1
    assert len(list(listed)) == 4
    assert manager.count("List") == 3
    assert len(list(client.sandboxes.list(labels={"odd": "1"}))) == 3


def test_one_request_id_is_one_sandbox(client: lakekeep.Client) -> None:
    first = client.sandboxes.create(request_id="r")
    assert client.sandboxes.create(request_id="r").id == first.id


def test_what_can_be_repeated_is(manager: FakeManager, client: lakekeep.Client) -> None:
    manager.faults["Create"] = Fault("QUOTA_EXCEEDED", 2, retry=0.01)
    client.sandboxes.create()
    assert manager.count("Create") == 3
    manager.faults["Get"] = Fault("UNAVAILABLE", 1, retry=0.01)
    assert client.sandboxes.get("sb1").id == "sb1"


def test_what_cannot_be_repeated_is_not(manager: FakeManager, client: lakekeep.Client) -> None:
    manager.faults["Create"] = Fault("QUOTA_EXCEEDED", 1)
    with pytest.raises(errors.QuotaExceeded):
        client.sandboxes.create()
    manager.faults["Create"] = Fault("QUOTA_EXCEEDED", 1, retry=60)
    with pytest.raises(errors.QuotaExceeded) as full:
        client.sandboxes.create()
    assert full.value.retry_after == 60
    manager.faults["Delegate"] = Fault("UNAVAILABLE", 1, retry=0.01)
    with pytest.raises(errors.Unavailable):
        client.accounts.delegate("engine")
    assert manager.count("Create") == 2
    assert manager.count("Delegate") == 1


def test_events_go_on_behind_the_last_one(manager: FakeManager, client: lakekeep.Client) -> None:
    manager.cuts = [1, 2, None]
    for _ in range(4):
        client.sandboxes.create()
    events = client.sandboxes.events(after=1)
    assert [next(events).number for _ in range(3)] == [2, 3, 4]
    manager.restart()
    client.sandboxes.create()
    event = next(events)
    assert (event.number, event.what, event.sandbox) == (5, "created", "sb5")
    events.close()


def test_stats(client: lakekeep.Client) -> None:
    client.sandboxes.create()
    client.sandboxes.create()
    assert len(client.sandboxes.stats().sandboxes) == 2
    samples = list(client.sandboxes.watch("sb1", interval=0.1))
    assert [len(sample.sandboxes) for sample in samples] == [1, 1, 1]
    with pytest.raises(errors.NotFound):
        client.sandboxes.stats("none")


def test_signal_of_a_sandbox(sandbox: lakekeep.Sandbox) -> None:
    task = sandbox.exec(["cat"])
    sandbox.signal(task.number, 15)
    assert task.wait().exit_code == 143


# Files.


def test_files(sandbox: lakekeep.Sandbox, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    assert sandbox.files.write("/a", data, mode=0o600) == len(data)
    assert sandbox.files.read("/a") == data
    assert sandbox.files.read("/a", offset=10, length=5) == data[10:15]
    assert sandbox.files.read("/a", offset=len(data)) == b""
    assert sandbox.files.read("/a", length=0) == b""
    assert b"".join(sandbox.files.stream("/a", offset=7)) == data[7:]
    assert sandbox.files.download("/a", tmp_path / "copy") == len(data)
    assert (tmp_path / "copy").read_bytes() == data
    (tmp_path / "copy").chmod(0o750)
    assert sandbox.files.upload(tmp_path / "copy", "/b") == len(data)
    listing = sandbox.files.list("/")
    assert not listing.truncated
    found = [(entry.name, entry.kind, entry.size, entry.mode) for entry in listing.entries]
    size = len(data)
    assert found == [("a", "file", size, 0o600), ("b", "file", size, 0o750)]
    assert sandbox.files.list("/", limit=1).truncated
    with pytest.raises(errors.Conflict):
        sandbox.files.write("/a", "x", create_new=True)
    with pytest.raises(errors.NotFound):
        sandbox.files.write("/none/a", "x")
    with pytest.raises(errors.NotFound):
        sandbox.files.read("/none")
    with pytest.raises(errors.BadRequest):
        sandbox.files.read("/a", offset=-1)
    with pytest.raises(FileNotFoundError):
        sandbox.files.upload(tmp_path / "none", "/c")


def test_an_endless_file_is_bounded(
    manager: FakeManager, sandbox: lakekeep.Sandbox, tmp_path: Path
) -> None:
    with pytest.raises(errors.OutputTooLarge):
        sandbox.files.read("/dev/zero", max_size=1 << 20)
    with pytest.raises(errors.OutputTooLarge):
        sandbox.files.download("/dev/zero", tmp_path / "zero", max_size=1 << 20)
    assert list(tmp_path.iterdir()) == []
    stream = sandbox.files.stream("/dev/zero")
    assert len(next(stream)) == 1 << 16
    stream.close()


def test_a_download_is_whole_or_not_there(sandbox: lakekeep.Sandbox, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with pytest.raises(errors.NotFound):
        sandbox.files.download("/none", tmp_path / "old")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    sandbox.files.write("/new", "new")
    before = os.umask(0o027)
    try:
        sandbox.files.download("/new", tmp_path / "old")
    finally:
        os.umask(before)
    assert (tmp_path / "old").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640


def test_a_write_that_fails_leaves_nothing(manager: FakeManager, sandbox: lakekeep.Sandbox) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(100_000)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sandbox.files.write("/a", broken())
    with pytest.raises(errors.NotFound):
        sandbox.files.read("/a")


# Accounts.


def test_accounts(manager: FakeManager, client: lakekeep.Client) -> None:
    me = client.accounts.whoami()
    assert (me.user, me.groups, me.authenticated_by) == ("ann", ("staff",), "peer")
    assert me.identity is not None
    assert me.identity.uid == 1000
    nobody = client.accounts.whoami(project="none")
    assert (nobody.identity, nobody.identity_error) == (None, "no rule matches")
    assert client.accounts.test_identity("ann", project="x").tried[1] == "rule 2: x"
    with pytest.raises(errors.Denied):
        client.accounts.test_identity("bob")
    made = client.accounts.delegate("engine", lifetime=60)
    assert made.token == "for-engine"
    assert made.expires is not None
    assert made.expires.timestamp() == 1060
    client.accounts.revoke(made)
    client.accounts.revoke()
    assert manager.count("revoked d1") == manager.count("revoked ") == 1
    with pytest.raises(errors.BadRequest):
        client.accounts.revoke("")
    assert client.accounts.can("create_sandbox", "team")
    refused = client.accounts.can("create_sandbox", "other")
    assert not refused
    assert refused.remedy == "ask its owner"


def test_profiles(client: lakekeep.Client) -> None:
    first = client.profiles.put("team", {"quota": {"sandboxes": 3}})
    assert first.document == "version = 1\n\n[quota]\nsandboxes = 3\n"
    with pytest.raises(errors.Conflict):
        client.profiles.put("team", "version = 1")
    second = client.profiles.put("team", "version = 1", version=first.version)
    assert client.profiles.get("team") == second
    assert client.profiles.list() == [second]
    with pytest.raises(errors.Conflict):
        client.profiles.delete("team", version=first.version)
    client.profiles.delete("team", version=second.version)
    with pytest.raises(errors.NotFound):
        client.profiles.get("team")


def test_variables_and_secrets(client: lakekeep.Client) -> None:
    client.variables.set("A", "ü")
    client.variables.set("B", b"2", scope="profile", owner="team")
    client.secrets.set("KEY", b"\xff")
    found = client.variables.list()
    assert [(v.name, v.value, v.scope, v.owner) for v in found] == [
        ("A", "ü", "user", ""),
        ("B", "2", "profile", "team"),
    ]
    assert [(v.name, v.value, v.secret) for v in client.secrets.list()] == [("KEY", None, True)]
    client.variables.delete("A")
    with pytest.raises(errors.NotFound):
        client.variables.delete("KEY")
    client.secrets.delete("KEY")
    assert client.secrets.list() == []
    with pytest.raises(errors.BadRequest, match="none of user"):
        client.variables.set("A", "x", scope="world")


def test_audit(client: lakekeep.Client) -> None:
    found = list(client.audit.query(who="bob", action="create_sandbox"))
    assert [event.seq for event in found] == [1, 2, 3]
    assert (found[0].who, found[0].action, found[0].outcome) == (
        "bob",
        "create_sandbox",
        "allowed",
    )
    assert found[0].record["hash"] == "00"
    report = client.audit.verify()
    assert not report
    assert report.problem == "audit-1.jsonl:2: changed"


def test_tokens_are_sent_with_every_request(manager: FakeManager) -> None:
    tokens = iter(["t1", "t2"])
    with lakekeep.connect(
        manager.socket, token=lambda: next(tokens), delegation="d", on_behalf_of="eve"
    ) as client:
        assert client.accounts.whoami().user == "t2"
    sent = [metadata for _, metadata in manager.calls]
    assert [metadata["authorization"] for metadata in sent] == ["Bearer t1", "Bearer t2"]
    assert sent[0]["lakekeep-delegation"] == "d"
    assert sent[0]["lakekeep-on-behalf-of"] == "eve"
    with pytest.raises(errors.Unauthenticated, match="expired"):
        lakekeep.connect(manager.socket, token="wrong")


def test_a_slow_manager_has_a_deadline(manager: FakeManager, client: lakekeep.Client) -> None:
    manager.faults["WhoAmI"] = Fault("SILENCE", 1)
    with pytest.raises(errors.DeadlineExceeded, match="raise timeout="):
        lakekeep.connect(manager.socket, timeout=0.2)
