"""Every request, against a real manager."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from pathlib import Path

import pytest

import lakekeep
from lakekeep import aio, errors


def test_whoami(client: lakekeep.Client) -> None:
    me = client.accounts.whoami()
    assert me.user
    assert me.authenticated_by in ("peer", "jwt", "mtls", "delegation")
    assert me.identity is not None, me.identity_error


def test_run(sandbox: lakekeep.Sandbox) -> None:
    done = sandbox.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
    assert done.verdict.kind == "exit"
    assert done.receipt is not None
    assert done.receipt.layer("seccomp").enforced
    assert done.usage is not None
    assert done.usage.wall_us > 0
    assert sandbox.receipt(done.task).layers
    assert sandbox.verdict(done.task).exit_code == 3


def test_what_a_command_is_given(sandbox: lakekeep.Sandbox) -> None:
    done = sandbox.run(
        ["/bin/sh", "-c", "echo $GREETING; pwd; cat"],
        env={"GREETING": "hello there"},
        workdir="/tmp",
        input="and input",
        text=True,
        check=True,
    )
    assert done.stdout == "hello there\n/tmp\nand input"
    assert sandbox.run(["/bin/cat"], check=True).stdout == b""


def test_no_such_program(sandbox: lakekeep.Sandbox) -> None:
    try:
        done = sandbox.run(["/no/such/program"])
    except errors.LakekeepError as error:
        assert error.message  # noqa: PT017
    else:
        assert done.exit_code == 127
        assert done.verdict.kind == "exec_failed"
        assert done.verdict.remedy


def test_large_streams_in_both_directions(sandbox: lakekeep.Sandbox) -> None:
    data = os.urandom(4 << 20)
    done = sandbox.run(["/usr/bin/sha256sum"], input=data, text=True, check=True)
    assert done.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    part = data[: 512 << 10]
    assert sandbox.run(["/bin/cat"], input=part, check=True).stdout == part


def test_input_that_nobody_reads(sandbox: lakekeep.Sandbox) -> None:
    assert sandbox.run(["/bin/true"], input=bytes(2 << 20)).ok


def test_timeout(sandbox: lakekeep.Sandbox) -> None:
    with pytest.raises(lakekeep.TaskTimeout) as late:
        sandbox.run(["/bin/sh", "-c", "echo early; exec sleep 60"], timeout=1)
    assert late.value.stdout == b"early\n"


def test_a_conversation(sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["/bin/cat"]) as task:
        output = iter(task)
        for number in range(3):
            task.stdin.write(b"line %d\n" % number)
            assert next(output) == ("stdout", b"line %d\n" % number)
        task.stdin.close()
        assert task.wait().ok
        assert task.position == (21, 0, 21)


def test_terminal(sandbox: lakekeep.Sandbox) -> None:
    script = "stty size; read line; stty size"
    with sandbox.exec(["/bin/sh", "-c", script], tty=(30, 90)) as task:
        output = iter(task)
        seen = b""
        while b"30 90" not in seen:
            seen += next(output)[1]
        task.resize(40, 100)
        task.stdin.write(b"\n")
        seen = b"".join(data for _, data in output)
        assert b"40 100" in seen
        assert task.wait().ok


def test_signals(sandbox: lakekeep.Sandbox) -> None:
    task = sandbox.exec(["/bin/sh", "-c", "trap 'echo got it; exit 7' TERM; echo up; cat"])
    output = iter(task)
    assert next(output) == ("stdout", b"up\n")
    task.signal("TERM")
    task.stdin.close()
    assert b"".join(data for _, data in output) == b"got it\n"
    assert task.wait().exit_code == 7
    task = sandbox.exec(["/bin/cat"])
    sandbox.signal(task.number, 9)
    result = task.wait()
    assert (result.exit_code, result.verdict.kind) == (137, "signal")


def test_attach(sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["/bin/cat"], detach=True) as task:
        task.stdin.write(b"kept")
        assert next(iter(task)) == ("stdout", b"kept")
        position = task.position
    again = sandbox.attach(task.number, resume=position)
    again.stdin.write(b" more")
    again.stdin.close()
    assert list(again) == [("stdout", b" more")]
    whole = sandbox.attach(task.number, read_only=True, follow=False)
    assert b"".join(data for _, data in whole) == b"kept more"
    assert whole.result is not None
    assert whole.result.ok
    with pytest.raises(errors.NotFound):
        sandbox.attach(9999)


def test_output_that_nobody_takes_waits(sandbox: lakekeep.Sandbox) -> None:
    size = 4 << 20
    task = sandbox.exec(["/usr/bin/head", "-c", str(size), "/dev/zero"])
    assert task.wait().ok
    whole = sandbox.attach(task.number, read_only=True)
    assert sum(len(data) for _, data in whole) == size


def test_files(sandbox: lakekeep.Sandbox, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    assert sandbox.files.write("/tmp/a", data, mode=0o600) == len(data)
    assert sandbox.files.read("/tmp/a") == data
    assert sandbox.files.read("/tmp/a", offset=10, length=5) == data[10:15]
    assert b"".join(sandbox.files.stream("/tmp/a", offset=7)) == data[7:]
    assert sandbox.files.download("/tmp/a", tmp_path / "a") == len(data)
    assert sandbox.files.upload(tmp_path / "a", "/tmp/b", mode=0o640) == len(data)
    listed = {entry.name: entry for entry in sandbox.files.list("/tmp").entries}
    assert (listed["a"].kind, listed["a"].size, listed["a"].mode) == ("file", len(data), 0o600)
    assert listed["b"].mode == 0o640
    assert sandbox.files.list("/tmp", limit=1).truncated
    with pytest.raises(errors.Conflict):
        sandbox.files.write("/tmp/a", "x", create_new=True)
    with pytest.raises(errors.NotFound):
        sandbox.files.read("/tmp/none")
    with pytest.raises(errors.OutputTooLarge):
        sandbox.files.read("/tmp/a", max_size=1000)
    with pytest.raises(errors.LakekeepError):
        sandbox.files.write("/usr/lakekeep-test", "x")


def test_freeze_and_thaw(sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["/bin/cat"]) as task:
        assert sandbox.freeze().state == "frozen"
        with pytest.raises(errors.Frozen):
            sandbox.exec(["/bin/true"])
        assert sandbox.thaw().state == "running"
        task.stdin.write(b"awake")
        assert next(iter(task)) == ("stdout", b"awake")


def test_stats(client: lakekeep.Client, sandbox: lakekeep.Sandbox) -> None:
    (found,) = sandbox.stats().sandboxes
    assert found.sandbox == sandbox.id
    assert found.cpus > 0
    assert found.memory_limit > 0
    watched = client.sandboxes.watch(sandbox.id, interval=0.1)
    times = [next(watched).time for _ in range(2)]
    watched.close()
    assert None not in times
    assert sandbox.id in {stats.sandbox for stats in client.sandboxes.stats().sandboxes}


def test_life_of_a_sandbox(client: lakekeep.Client, profile: str) -> None:
    label, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    labels = {"run": label}
    sandbox = client.sandboxes.create(
        profile=profile,
        policy={"limits": {"memory": "64MiB"}},
        labels=labels,
        idle_timeout=300,
        lifetime=600,
        request_id=request_id,
    )
    again = client.sandboxes.create(
        profile=profile,
        policy={"limits": {"memory": "64MiB"}},
        labels=labels,
        idle_timeout=300,
        lifetime=600,
        request_id=request_id,
    )
    assert again.id == sandbox.id
    assert [found.id for found in client.sandboxes.list(labels=labels, page_size=1)] == [sandbox.id]
    assert client.sandboxes.get(sandbox.id).info.labels == labels
    sandbox.run(["/bin/true"], check=True)
    assert [task.state for task in sandbox.refresh().tasks] == ["ended"]
    assert sandbox.kill().state == "ended"
    assert list(client.sandboxes.list(labels=labels)) == []
    with pytest.raises((errors.Ended, errors.NotFound)):
        sandbox.exec(["/bin/true"])


def test_pages(client: lakekeep.Client, profile: str) -> None:
    labels = {"run": uuid.uuid4().hex}
    made = [client.sandboxes.create(profile=profile, labels=labels) for _ in range(3)]
    try:
        listed = [found.id for found in client.sandboxes.list(labels=labels, page_size=1)]
        assert sorted(listed) == sorted(sandbox.id for sandbox in made)
    finally:
        for sandbox in made:
            sandbox.kill()


def test_claim(client: lakekeep.Client, profile: str) -> None:
    with client.sandboxes.claim(profile=profile) as first:
        assert client.sandboxes.claim(profile=profile).id == first.id


def test_events(client: lakekeep.Client, profile: str) -> None:
    with client.sandboxes.create(profile=profile) as sandbox:
        sandbox.run(["/bin/true"])
    # Every event has a number, so the past can be asked for.
    seen: list[str] = []
    events = client.sandboxes.events(sandbox=sandbox.id, after=1)
    for event in events:
        assert event.sandbox == sandbox.id
        seen.append(event.what)
        if event.what == "ended":
            break
    events.close()
    assert seen[-1] == "ended"
    assert "exited" in seen


def test_refusals(client: lakekeep.Client, profile: str) -> None:
    with pytest.raises(errors.NotFound):
        client.sandboxes.get("nosuchsandbox")
    with pytest.raises(errors.BadPolicy, match="memry"):
        client.sandboxes.create(profile=profile, policy={"limits": {"memry": "1GiB"}})
    with pytest.raises((errors.NotFound, errors.Denied)):
        client.sandboxes.create(profile="no-such-profile")


def test_accounts(client: lakekeep.Client, profile: str) -> None:
    me = client.accounts.whoami()
    tested = client.accounts.test_identity(me.user, groups=me.groups)
    assert tested.tried
    with client.sandboxes.create(profile=profile) as sandbox:
        decision = client.accounts.can("create_sandbox", sandbox.info.profile)
    assert decision, decision.remedy
    assert decision.reasons
    made = client.accounts.delegate("engine", lifetime=60)
    assert made.token
    client.accounts.revoke(made)


def test_profiles(client: lakekeep.Client) -> None:
    listed = client.profiles.list()
    assert listed
    name = listed[0].name
    found = client.profiles.get(name)
    assert (found.name, found.version) == (name, listed[0].version)
    with pytest.raises(errors.LakekeepError):
        client.profiles.put(name, "no such field = 1", version=found.version)
    with pytest.raises(errors.LakekeepError):
        client.profiles.put(name, found.document, version="another")
    with pytest.raises(errors.LakekeepError):
        client.profiles.delete(name, version="another")
    with pytest.raises(errors.NotFound):
        client.profiles.get("no-such-profile")


def test_variables_and_secrets(client: lakekeep.Client, profile: str) -> None:
    name = f"TEST_{uuid.uuid4().hex[:8].upper()}"
    client.variables.set(name, "open")
    client.secrets.set("test_key", b"hidden")
    try:
        assert {v.name: v.value for v in client.variables.list()}[name] == "open"
        (secret,) = [s for s in client.secrets.list() if s.name == "test_key"]
        assert secret.value is None
        with client.sandboxes.create(profile=profile) as sandbox:
            assert sandbox.run(["/usr/bin/printenv", name], text=True).stdout == "open\n"
            quiet = sandbox.run(["/usr/bin/env"], text=True).stdout
            assert "hidden" not in quiet
            told = sandbox.run(["/usr/bin/env"], secrets=["test_key"], text=True).stdout
            assert "TEST_KEY=hidden\n" in told
            with pytest.raises(errors.NotFound):
                sandbox.run(["/usr/bin/env"], secrets=["no_such_secret"])
    finally:
        client.variables.delete(name)
        client.secrets.delete("test_key")
    with pytest.raises(errors.NotFound):
        client.variables.delete(name)


def test_audit(client: lakekeep.Client, sandbox: lakekeep.Sandbox) -> None:
    me = client.accounts.whoami()
    found = list(client.audit.query(sandbox=sandbox.id, who=me.user, limit=10))
    assert found
    assert {event.record.get("sandbox") for event in found} == {sandbox.id}
    if me.administrator:
        report = client.audit.verify()
        assert report, report.problem
    else:
        with pytest.raises(errors.Denied):
            client.audit.verify()


def test_volume_that_is_not_there(sandbox: lakekeep.Sandbox) -> None:
    with pytest.raises(errors.LakekeepError):
        sandbox.attach_volume("no-such-volume")


@pytest.mark.usefixtures("client")
def test_asynchronously(profile: str) -> None:
    async def main() -> None:
        async with aio.connect() as client:
            made = await client.sandboxes.create(profile=profile)
            async with made as sandbox:
                runs = (sandbox.run(["/bin/echo", str(n)], text=True) for n in range(4))
                done = await asyncio.gather(*runs)
                assert [one.stdout for one in done] == [f"{n}\n" for n in range(4)]
                async with await sandbox.exec(["/bin/cat"]) as task:
                    await task.stdin.write(b"x")
                    await task.stdin.close()
                    assert [piece async for piece in task] == [("stdout", b"x")]
                    assert (await task.wait()).ok

    asyncio.run(main())
