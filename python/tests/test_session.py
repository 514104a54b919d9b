"""The state of a task's streams, without any connection."""

from __future__ import annotations

import random

import pytest

from lakekeep import errors
from lakekeep._core.methods import ATTACH, EXEC
from lakekeep._core.retry import Backoff, can_help
from lakekeep._core.session import CHUNK, WRITE_AHEAD, Input, Session
from lakekeep.v1 import sandboxes_pb2 as pb


def session(window: float = 10.0) -> Session:
    return Session("sb", pb.ExecStart(sandbox="sb", arguments=[b"cat"]), window=window)


def started(stdin: int = 0) -> pb.ExecEvent:
    return pb.ExecEvent(started=pb.TaskStarted(sandbox="sb", task=1, stdin_offset=stdin))


def out(offset: int, data: bytes) -> pb.ExecEvent:
    return pb.ExecEvent(stdout=pb.OutputData(offset=offset, data=data))


LOST = errors.Unreachable("lost", code="UNAVAILABLE")


def test_the_second_epoch_attaches_where_the_first_ended() -> None:
    state = session()
    method, first = state.open()
    assert method is EXEC
    assert first.start.arguments == [b"cat"]
    state.receive(started())
    state.receive(out(0, b"abc"))
    assert state.lost(LOST, now=0.0, chance=0.0) > 0
    method, first = state.open()
    assert method is ATTACH
    assert (first.attach.task, first.attach.stdout_offset) == (1, 3)


def test_what_was_received_is_not_given_twice() -> None:
    state = session()
    state.open()
    state.receive(started())
    for offset, data in ((0, b"abc"), (0, b"ab"), (1, b"bcde"), (5, b""), (4, b"e"), (5, b"f")):
        state.receive(out(offset, data))
    found = []
    while (item := state.take()) is not None:
        found.append(item)
    assert found == [("stdout", b"abc"), ("stdout", b"de"), ("stdout", b"f")]
    assert state.position == (6, 0, 0)


def test_a_gap_is_a_lost_connection_and_no_output() -> None:
    state = session()
    state.open()
    state.receive(started())
    with pytest.raises(errors.Unavailable, match="bytes 0 to 5") as gap:
        state.receive(out(5, b"x"))
    state.lost(gap.value, 0.0, 0.0)
    assert state.take() is None
    assert state.open()[1].attach.stdout_offset == 0


def test_a_start_without_a_word_of_its_own_is_not_repeated() -> None:
    state = session()
    state.open()
    with pytest.raises(errors.Unreachable):
        state.lost(LOST, 0.0, 0.0)


def test_a_start_with_a_word_of_its_own_is_asked_for_again() -> None:
    state = Session("s", pb.ExecStart(sandbox="s", request_id="w"))
    first = state.open()[1].start
    assert state.lost(LOST, 0.0, 0.0) >= 0.0
    assert state.open()[1].start == first
    answering = errors.Conflict("being answered", code="ABORTED", retry_after=0.1)
    assert state.lost(answering, 0.0, 0.0) >= 0.1
    with pytest.raises(errors.Conflict):
        state.lost(errors.Conflict("another command", code="ABORTED"), 0.0, 0.0)


def test_a_refusal_ends_it() -> None:
    state = session()
    state.open()
    state.receive(started())
    with pytest.raises(errors.OutputGone):
        state.lost(errors.OutputGone("gone", code="OUT_OF_RANGE"), 0.0, 0.0)
    with pytest.raises(errors.Internal):
        state.lost(errors.Internal("fault", code="INTERNAL"), 0.0, 0.0)
    # A broken connection can look like that too, but then it has no reason of ours.
    assert state.lost(errors.LakekeepError("rst", code="INTERNAL"), 0.0, 0.0) > 0


def test_output_before_its_task_is_refused() -> None:
    state = session()
    state.open()
    with pytest.raises(errors.ProtocolError):
        state.receive(out(0, b"x"))


def test_an_event_of_a_newer_manager_is_passed_over() -> None:
    state = session()
    state.open()
    state.receive(started())
    state.receive(pb.ExecEvent())
    assert not state.finished


def test_input_is_sent_again_from_where_the_task_stands() -> None:
    source = Input()
    assert source.push(memoryview(b"abcdef")) == 6
    assert source.next().data == b"abcdef"
    source.accept(2)
    source.rewind(4)
    message = source.next()
    assert (message.offset, message.data) == (4, b"ef")
    with pytest.raises(errors.StreamBroken):
        source.rewind(3)
    with pytest.raises(errors.StreamBroken):
        source.rewind(7)
    with pytest.raises(errors.ProtocolError):
        source.accept(7)


def test_the_end_of_input_is_sent_in_every_epoch() -> None:
    source = Input()
    source.push(memoryview(b"ab"))
    source.end = True
    message = source.next()
    assert (message.data, message.end) == (b"ab", True)
    assert not source.pending()
    source.rewind(2)
    assert source.pending()
    message = source.next()
    assert (message.offset, message.data, message.end) == (2, b"", True)


def test_input_is_bounded() -> None:
    source = Input()
    assert source.push(memoryview(bytes(WRITE_AHEAD * 2))) == WRITE_AHEAD
    assert source.room() == 0
    assert len(source.next().data) == CHUNK
    source.accept(1)
    assert source.room() == 1


def test_input_after_another_client_begins_where_that_one_ended() -> None:
    source = Input()
    source.rewind(100)
    source.push(memoryview(b"x"))
    assert source.next().offset == 100


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_loss_gives_the_same_bytes(seed: int) -> None:
    """A model of the manager that forgets connections at random moments."""
    chance = random.Random(seed)
    data, text = chance.randbytes(300_000), chance.randbytes(300_000)
    state = session(window=1e9)
    given, got, at, pushed = bytearray(), bytearray(), 0, 0
    while len(got) < len(data) or len(given) < len(text):
        _, first = state.open()
        epoch = state.epoch
        at = max(0, first.attach.stdout_offset - chance.randrange(3) * 1000)
        state.receive(started(len(given)))
        for _ in range(chance.randrange(1, 12)):
            pushed += state.input.push(memoryview(text)[pushed:])
            request = state.next_request(epoch)
            if request is not None:
                assert request.stdin.offset <= len(given)
                given += request.stdin.data[len(given) - request.stdin.offset :]
                if chance.random() < 0.5:
                    state.receive(pb.ExecEvent(stdin_accepted=len(given)))
            piece = data[at : at + chance.randrange(1, CHUNK)]
            if piece:
                state.receive(out(at, piece))
                at += len(piece)
            while (item := state.take()) is not None:
                got += item[1]
        state.lost(LOST, 0.0, chance.random())
    assert bytes(got) == data
    assert bytes(given) == text


def test_pauses_double_within_a_window() -> None:
    backoff = Backoff(10.0)
    pauses = [backoff.after(float(now), 1.0) for now in range(8)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert backoff.after(9.9, 1.0) is None
    backoff.progressed()
    assert backoff.after(100.0, 0.0) == 0.025
    assert backoff.after(100.0, 0.0, hint=3.0) == 3.0
    assert Backoff(0.0).after(0.0, 0.0) is None


def test_only_what_can_help_is_tried_again() -> None:
    hinted = errors.QuotaExceeded("full", code="RESOURCE_EXHAUSTED", retry_after=1.0)
    assert can_help(hinted, False)
    assert not can_help(errors.QuotaExceeded("full", code="RESOURCE_EXHAUSTED"), True)
    assert not can_help(errors.Denied("no", code="PERMISSION_DENIED", retry_after=1.0), True)
    assert can_help(LOST, True)
    assert not can_help(LOST, False)
