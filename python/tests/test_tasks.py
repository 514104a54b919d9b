"""Commands, against the fake manager."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake import FakeManager

import lakekeep
from lakekeep import errors
from lakekeep._core.session import READ_AHEAD

PRINT = "import sys; sys.stdout.buffer.write(bytes(i % 251 for i in range({}))); sys.stdout.flush()"


def pattern(size: int) -> bytes:
    return bytes(i % 251 for i in range(size))


def printing(size: int) -> list[str]:
    return ["python3", "-c", PRINT.format(size)]


def test_run_is_like_subprocess_run(sandbox: lakekeep.Sandbox) -> None:
    done = sandbox.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
    assert not done.ok
    assert done.verdict.kind == "exit"
    assert done.verdict.extra == {"new_field": {"of": "tomorrow"}}
    assert done.receipt is not None
    assert done.receipt.layer("seccomp").enforced
    assert [layer.layer for layer in done.receipt.unenforced] == ["swap_limit"]
    assert done.usage is not None
    assert done.usage.wall_us == 1500
    assert done.result.refused == (lakekeep.Refused("ptrace", 2),)
    with pytest.raises(lakekeep.TaskFailed, match="exited with 3") as failed:
        done.check()
    assert failed.value.completed is done


def test_text_and_environment(sandbox: lakekeep.Sandbox) -> None:
    done = sandbox.run(["sh", "-c", 'printf "$A\\377"'], env={"A": "ü"}, text=True, check=True)
    assert done.stdout == "ü\ufffd"


def test_check_raises(sandbox: lakekeep.Sandbox) -> None:
    with pytest.raises(lakekeep.TaskFailed) as failed:
        sandbox.run(["false"], check=True, text=True)
    assert failed.value.completed.exit_code == 1


def test_no_input_is_an_empty_one(sandbox: lakekeep.Sandbox) -> None:
    assert sandbox.run(["cat"]).stdout == b""


def pieces() -> Iterator[bytes]:
    for number in range(100):
        yield f"{number}\n".encode()


def test_every_kind_of_input(sandbox: lakekeep.Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"of a path")
    assert sandbox.run(["cat"], input="grün").stdout == "grün".encode()
    assert sandbox.run(["cat"], input=b"").stdout == b""
    assert sandbox.run(["cat"], input=memoryview(b"view")).stdout == b"view"
    assert sandbox.run(["cat"], input=path).stdout == b"of a path"
    assert sandbox.run(["cat"], input=io.BytesIO(b"file")).stdout == b"file"
    assert sandbox.run(["cat"], input=pieces()).stdout == b"".join(pieces())
    with pytest.raises(TypeError, match="binary mode"):
        sandbox.run(["cat"], input=io.StringIO("text"))  # type: ignore[arg-type]


def test_more_input_than_fits_anywhere(sandbox: lakekeep.Sandbox) -> None:
    data = os.urandom(3 << 20)
    done = sandbox.run(["sha256sum"], input=data, text=True)
    assert done.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    # Both directions at once.
    assert sandbox.run(["cat"], input=data).stdout == data


def test_input_that_nobody_reads(sandbox: lakekeep.Sandbox) -> None:
    assert sandbox.run(["true"], input=bytes(2 << 20)).ok


def test_input_that_fails_ends_the_task(manager: FakeManager, sandbox: lakekeep.Sandbox) -> None:
    def broken() -> Iterator[bytes]:
        yield b"first"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sandbox.run(["cat"], input=broken())
    assert manager.sandboxes[sandbox.id].tasks[0].process.wait(10) == -9


def test_output_elsewhere(sandbox: lakekeep.Sandbox) -> None:
    out, err = io.BytesIO(), bytearray()
    done = sandbox.run(["sh", "-c", "echo a; echo b >&2"], stdout=out, stderr=err.extend)
    assert (out.getvalue(), bytes(err)) == (b"a\n", b"b\n")
    assert (done.stdout, done.stderr) == (b"", b"")
    assert sandbox.run(["echo", "a"], capture=False).stdout == b""


def test_capture_is_bounded(manager: FakeManager, sandbox: lakekeep.Sandbox) -> None:
    with pytest.raises(errors.OutputTooLarge, match="capture_limit"):
        sandbox.run(["cat", "/dev/zero"], capture_limit=1000)
    assert manager.sandboxes[sandbox.id].tasks[0].process.wait(10) == -9


def test_timeout_kills_and_keeps_what_was_printed(
    manager: FakeManager, sandbox: lakekeep.Sandbox
) -> None:
    with pytest.raises(lakekeep.TaskTimeout, match=r"longer than 0\.3 s") as late:
        sandbox.run(["sh", "-c", "echo early; exec cat"], input=forever(), timeout=0.3)
    assert late.value.stdout == b"early\n"
    assert manager.sandboxes[sandbox.id].tasks[0].process.wait(10) == -9


def forever() -> Iterator[bytes]:
    stop = threading.Event()
    yield b""
    stop.wait(30)


def test_a_string_is_no_command(sandbox: lakekeep.Sandbox) -> None:
    with pytest.raises(errors.BadRequest, match="sh"):
        sandbox.run("ls -l")
    with pytest.raises(TypeError, match="unknown option 'shell'"):
        sandbox.run(["ls"], shell=True)  # type: ignore[call-overload]


def test_what_the_image_runs_is_asked_for(sandbox: lakekeep.Sandbox) -> None:
    assert sandbox.run([], entrypoint=True).stdout == b"of the image\n"
    assert sandbox.run(["given"], entrypoint=True).stdout == b"given\n"
    assert sandbox.run(["echo", "plain"]).stdout == b"plain\n"
    with pytest.raises(errors.BadRequest, match="no list of a program"):
        sandbox.run([])


def test_exec_streams_both_ways(sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["cat"]) as task:
        output = iter(task)
        task.stdin.write(b"one")
        assert next(output) == ("stdout", b"one")
        task.stdin.write(b"two")
        assert next(output) == ("stdout", b"two")
        task.stdin.close()
        assert list(output) == []
        assert task.wait().exit_code == 0
        assert task.position == (6, 0, 6)
        with pytest.raises(errors.Ended):
            task.stdin.write(b"late")


def test_a_task_that_nobody_names_is_iterated_to_its_end(sandbox: lakekeep.Sandbox) -> None:
    found = [data for _, data in sandbox.exec(["sh", "-c", "sleep 0.2; echo end"])]
    assert b"".join(found) == b"end\n"


def test_leaving_kills(manager: FakeManager, sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["cat"]):
        pass
    assert manager.sandboxes[sandbox.id].tasks[0].process.wait(10) == -9


def test_a_detached_task_goes_on(manager: FakeManager, sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["cat"], detach=True) as task:
        task.stdin.write(b"kept")
        assert next(iter(task)) == ("stdout", b"kept")
        position = task.position
    again = sandbox.attach(task.number, resume=position)
    again.stdin.write(b" more")
    again.stdin.close()
    assert list(again) == [("stdout", b" more")]
    whole = sandbox.attach(task.number, follow=False, read_only=True)
    assert b"".join(data for _, data in whole) == b"kept more"
    assert manager.sandboxes[sandbox.id].tasks[0].process.wait(10) == 0


def test_a_task_attached_again_stands_where_it_stood(sandbox: lakekeep.Sandbox) -> None:
    task = sandbox.exec(["sh", "-c", "echo abc; cat"])
    assert next(iter(task)) == ("stdout", b"abc\n")
    other = task.attach()
    task.close()
    other.stdin.write(b"def")
    other.stdin.close()
    assert list(other) == [("stdout", b"def")]


def test_reading_what_is_there_does_not_wait(sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["sh", "-c", "echo there; exec cat"]) as task:
        assert next(iter(task)) == ("stdout", b"there\n")
        seen = sandbox.attach(task.number, follow=False, read_only=True)
        assert list(seen) == [("stdout", b"there\n")]
        assert seen.result is None
        with pytest.raises(errors.LakekeepError):
            seen.stdin.write(b"x")


def test_signals(sandbox: lakekeep.Sandbox) -> None:
    task = sandbox.exec(["cat"])
    task.signal("TERM")
    result = task.wait()
    assert (result.exit_code, result.verdict.signal) == (143, 15)
    assert not result.ok
    task.kill()
    with pytest.raises(errors.Ended):
        task.signal(15)
    with pytest.raises(errors.BadRequest, match="NONE"):
        task.signal("NONE")


def test_resize_is_told_again(manager: FakeManager, sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["cat"], tty=(30, 90)) as task:
        fake = manager.sandboxes[sandbox.id].tasks[0]
        assert (fake.start.terminal.rows, fake.start.terminal.columns) == (30, 90)
        assert fake.start.term == "xterm-256color"
        task.resize(40, 100)
        task.stdin.write(b"x")
        assert next(iter(task)) == ("stdout", b"x")
        manager.restart()
        task.stdin.write(b"y")
        assert next(iter(task)) == ("stdout", b"y")
        assert fake.windows == [(40, 100), (40, 100)]
        with pytest.raises(errors.BadRequest):
            task.resize(0, 1)


def test_only_a_terminal_has_a_size(sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["cat"]) as task, pytest.raises(errors.BadRequest, match="tty=True"):
        task.resize(1, 1)


def test_wait_has_a_time_out_and_does_not_kill(sandbox: lakekeep.Sandbox) -> None:
    with sandbox.exec(["cat"]) as task:
        with pytest.raises(errors.DeadlineExceeded):
            task.wait(timeout=0.05)
        task.stdin.close()
        assert task.wait().ok


def test_wait_needs_no_reader(sandbox: lakekeep.Sandbox) -> None:
    size = READ_AHEAD * 8
    task = sandbox.exec(printing(size))
    assert task.wait().ok
    # What was dropped is read again.
    whole = b"".join(data for _, data in sandbox.attach(task.number))
    assert whole == pattern(size)


def test_small_output_survives_wait(sandbox: lakekeep.Sandbox) -> None:
    task = sandbox.exec(["echo", "kept"])
    assert task.wait().ok
    assert list(task) == [("stdout", b"kept\n")]


# Lost connections.


@pytest.mark.parametrize("overlap", [0, 1, 1000])
def test_output_is_resumed_without_loss_or_repetition(
    manager: FakeManager, sandbox: lakekeep.Sandbox, overlap: int
) -> None:
    manager.overlap = overlap
    manager.cuts = [0, 70_000, 100_000, None]
    size = 400_000
    done = sandbox.run(printing(size), check=True)
    assert done.stdout == pattern(size)
    assert manager.count("Exec") == 1
    assert manager.count("Attach") == 3


def test_input_is_resumed_without_loss_or_repetition(
    manager: FakeManager, sandbox: lakekeep.Sandbox
) -> None:
    # Each time the task got the bytes and nobody heard of it.
    manager.input_cuts = [1, 100_000, 65_536, None]
    data = os.urandom(1 << 20)
    done = sandbox.run(["sha256sum"], input=data, text=True, check=True)
    assert done.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert manager.count("Attach") == 3


def test_streams_survive_a_restart_of_the_manager(
    manager: FakeManager, sandbox: lakekeep.Sandbox
) -> None:
    with sandbox.exec(["cat"]) as task:
        output = iter(task)
        for number in range(3):
            task.stdin.write(b"%d" % number)
            assert next(output) == ("stdout", b"%d" % number)
            manager.restart()
        task.stdin.close()
        assert list(output) == []
        assert task.wait().ok
        assert task.position == (3, 0, 3)


def test_a_start_that_nobody_answered_is_not_repeated(
    manager: FakeManager, sandbox: lakekeep.Sandbox
) -> None:
    manager.stop()
    with pytest.raises(errors.Unreachable, match="no manager answers"):
        sandbox.exec(["true"])
    manager.start()
    assert manager.count("Exec") == 0


def test_a_refused_attach_is_an_error(manager: FakeManager, client: lakekeep.Client) -> None:
    sandbox = client.sandboxes.create()
    task = sandbox.exec(["echo", "x"])
    task.wait()
    with pytest.raises(errors.OutputGone):
        list(sandbox.attach(task.number, resume=lakekeep.Position(stdout=99)))
    with pytest.raises(errors.NotFound):
        sandbox.attach(9)


def test_giving_up(manager: FakeManager) -> None:
    with lakekeep.connect(manager.socket, reconnect_for=0.3) as client:
        task = client.sandboxes.create().exec(["cat"])
        manager.stop()
        with pytest.raises(errors.Unreachable):
            task.wait()
        with pytest.raises(errors.Unreachable):
            list(task)
        with pytest.raises(errors.Unreachable):
            task.stdin.write(b"x")
        manager.start()


# Bounds.


def test_output_that_nobody_takes_stays_at_the_manager(
    manager: FakeManager, sandbox: lakekeep.Sandbox
) -> None:
    size = 64 << 20
    with sandbox.exec(["head", "-c", str(size), "/dev/zero"]) as task:
        fake = manager.sandboxes[sandbox.id].tasks[0]
        with fake.changed:
            fake.changed.wait_for(lambda: fake.ended is not None)
        output = iter(task)
        first = next(output)[1]
        # The window of HTTP/2, gRPC's own buffers, and what the session holds.
        assert manager.sent < 4 << 20
        assert len(first) + sum(len(data) for _, data in output) == size


def test_input_that_the_task_does_not_read_waits(
    manager: FakeManager, sandbox: lakekeep.Sandbox
) -> None:
    pulled = 0

    def endless() -> Iterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1 << 16
            yield bytes(1 << 16)

    with pytest.raises(lakekeep.TaskTimeout):
        sandbox.run(["sleep", "60"], input=endless(), timeout=0.5)
    assert pulled < 4 << 20


def test_a_closed_client_tells_its_tasks(manager: FakeManager) -> None:
    client = lakekeep.connect(manager.socket)
    task = client.sandboxes.create().exec(["cat"])
    client.close()
    with pytest.raises(errors.ClientClosed):
        task.wait()
    with pytest.raises(errors.ClientClosed):
        client.accounts.whoami()


def test_threads_end_with_their_tasks(sandbox: lakekeep.Sandbox) -> None:
    before = set(threading.enumerate())
    task = sandbox.exec(["cat"])
    threads = {t for t in threading.enumerate() if t.name == "lakekeep"} - before
    assert threads
    del task
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
