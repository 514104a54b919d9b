"""A function speaks for its worker, or for others: what it says is told as its own words."""

from __future__ import annotations

import json
import re
from typing import Any, Callable

import pyarrow as pa
import pytest
from udf import host
from udf.attacks import hijack
from udf.attacks.arena import Arena

from lakekeep.udf import (
    ProtocolViolation,
    TimedOut,
    UserFunctionError,
    WorkerCrashed,
)
from lakekeep.udf._check import document

ONE = pa.RecordBatch.from_pydict({"word": ["x"]})
# What a terminal obeys, and what turns the order of what is read around.
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u200f\u2066\r\b\x00"
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def forging(kind: int, told: Any, then: str = "hold") -> Callable[[Any], Any]:
    """Sends a frame of the worker's itself."""
    content = json.dumps(told).encode()

    def run(column: Any) -> Any:
        import os
        import signal

        call = 0 if kind in (hijack.CRASHED, hijack.OPENED) else hijack.CALL
        hijack.frame(kind, content, 0, call=call)
        if then == "exit":
            os._exit(3)
        if then == "abort":
            signal.signal(signal.SIGABRT, signal.SIG_DFL)
            os.abort()
        hijack.hold()

    return run


CRASH = {"signal": "SIGBUS", "library": "/usr/lib/libinnocent.so", "stack": "in innocent"}


@pytest.mark.parametrize(
    ("then", "seen"), [("hold", "SIGKILL"), ("exit", "code 3"), ("abort", "SIGABRT")]
)
def test_a_crash_that_was_none(arena: Arena, then: str, seen: str) -> None:
    """It blames a library. What the broker saw from outside is what is told."""
    assert document(json.dumps(CRASH).encode())["library"] == "/usr/lib/libinnocent.so"
    session = arena.opened(arena.real, forging(hijack.CRASHED, CRASH, then))
    with pytest.raises(WorkerCrashed, match=seen) as raised:
        session.call(ONE)
    assert raised.value.signal != "SIGBUS"
    assert "innocent" not in str(raised.value)
    assert raised.value.library == ""


def test_a_last_word_that_is_no_word(arena: Arena) -> None:
    """Heard when the engine finds nobody to send to: its session must end all the same."""
    with pytest.raises(ValueError, match=r"JSON|property name"):
        json.loads(b"{")

    def run(column: Any) -> Any:
        import os

        hijack.frame(hijack.CRASHED, b"{", 0, call=0)
        os._exit(0)

    batch = pa.RecordBatch.from_pydict({"word": ["x" * 1000] * 4_000})
    session = arena.opened(arena.real, run, ahead=4)
    with pytest.raises(ProtocolViolation, match="no JSON"):
        list(session.map([batch] * 4))
    assert not session.open
    assert session.ended(host.PATIENCE) is not None


def test_a_crash_that_was_one_is_told_in_the_workers_words(arena: Arena) -> None:
    """The counterpart: where the broker saw the same signal, the worker's words are a hint."""
    told = {**CRASH, "signal": "SIGABRT"}
    session = arena.opened(arena.bare, forging(hijack.CRASHED, told, "abort"))
    with pytest.raises(WorkerCrashed, match="SIGABRT") as raised:
        session.call(ONE)
    assert raised.value.library == "/usr/lib/libinnocent.so"


OPENED = {"version": 1, "python": "3", "pyarrow": "99"}


@pytest.mark.parametrize(
    ("kind", "told"),
    [(hijack.OPENED, OPENED), (hijack.DONE, {}), (5, {}), (hijack.PART, {}), (77, {})],
    ids=["opened again", "an end", "a call of its own", "a part", "no kind"],
)
def test_a_frame_that_is_not_its_turn(arena: Arena, kind: int, told: Any) -> None:
    frames = {16: "OPENED", 18: "DONE", 5: "CALL", 21: "PART", 77: "none"}
    assert kind in frames, "outside, an engine that looks at no kind takes it for an answer"
    session = arena.opened(arena.real, forging(kind, told))
    with pytest.raises(ProtocolViolation):
        session.call(ONE)


def test_an_answer_to_a_call_that_was_not_made(arena: Arena) -> None:
    """Forged ahead, it would be taken for the answer to the next call, by who does not count."""
    content = bytes(pa.RecordBatch.from_arrays([pa.array(["forged"])], ["answer"]).serialize())
    assert pa.ipc.read_record_batch(
        pa.ipc.read_message(content), pa.schema([("answer", pa.string())])
    ).column(0).to_pylist() == ["forged"]

    def run(column: Any) -> Any:
        hijack.frame(hijack.RESULT, content, 1, call=2)
        return "true"

    session = arena.opened(arena.real, run)
    with pytest.raises(ProtocolViolation, match="answer to call 2 instead of 1"):
        session.call(ONE)


LIES: list[Any] = [
    ({"type": ESCAPES, "message": ESCAPES + "x" * 40_000, "traceback": ESCAPES * 50}, "forged"),
    ({"type": "E", "message": "Traceback:\n" * 5_000, "traceback": ""}, "lines"),
    ({"type": "E", "message": "m", "traceback": "", "row": 1 << 70, "remedy": "rm -rf"}, "fields"),
]


@pytest.mark.parametrize("told", [lie[0] for lie in LIES], ids=[lie[1] for lie in LIES])
def test_an_error_of_escapes(arena: Arena, told: dict[str, Any]) -> None:
    raw = json.loads(json.dumps(told))
    if ESCAPES in raw["message"]:
        assert FORBIDDEN.search(raw["message"]), "outside, a terminal would obey it"
    session = arena.opened(arena.real, forging(hijack.ERROR, told))
    with pytest.raises(UserFunctionError) as raised:
        session.call(ONE)
    shown = f"{raised.value} {raised.value.type} {raised.value.traceback}"
    assert not FORBIDDEN.search(shown)
    assert len(shown) < 80_000
    assert "rm -rf" not in shown
    assert raised.value.row is None


def raises_megabytes(word: str) -> str:
    made = type("E" * 1_000_000 + "\x1b[2J", (Exception,), {})
    raise made(("\x1b[31m" + "x" * 1000) * 10_000)


def test_an_exception_of_megabytes(arena: Arena) -> None:
    with pytest.raises(Exception, match="x" * 1000) as outside:
        raises_megabytes("")
    assert len(str(outside.value)) > 10_000_000
    assert "\x1b" in str(outside.value)
    with pytest.raises(UserFunctionError) as raised:
        arena.inside(raises_megabytes, "x")
    assert len(str(raised.value)) < 30_000
    assert not FORBIDDEN.search(str(raised.value))


FATAL = (
    "Fatal Python error: Segmentation fault\n\n"
    "Current thread 0x1 (most recent call first):\n"
    + '  File "/engine/\x1b]0;owned\x07.py", line 1 in \x1b[2J\u202e\n'
    * 900
)


def prints_a_crash(word: str) -> str:
    import os
    import sys

    sys.stderr.write(word)
    sys.stderr.flush()
    os._exit(0)


def test_a_stack_that_was_only_printed(arena: Arena) -> None:
    """Python's words on a crash are read from what it printed: anybody can print them."""
    assert FORBIDDEN.search(FATAL), "outside, a terminal would obey it"
    with pytest.raises(WorkerCrashed) as raised:
        arena.inside(prints_a_crash, FATAL)
    stack = raised.value.details["stack"]
    assert "line 1" in stack
    assert not FORBIDDEN.search(stack)
    assert len(stack) <= 4096


def floods(word: str) -> str:
    import sys

    while True:
        sys.stdout.write(word * 100_000)


def test_a_flood_of_output(arena: Arena) -> None:
    import subprocess
    import sys

    script = "import sys\nwhile True: sys.stdout.write('y' * 100_000)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        kept = b"".join(process.stdout.read(1 << 20) for _ in range(64))
        process.kill()
    assert len(kept) == 64 << 20, "outside, who keeps all of it keeps 64 MB in no time"
    del kept
    before = host.resident()
    with arena.opened(arena.real, lambda column: floods("\x1b[2Jxyz")) as session:
        with pytest.raises(TimedOut):
            session.call(ONE, timeout=5)
        assert session.output.dropped > 1 << 20, "much came"
        assert len(session.output.text) < 70_000
    assert host.resident() - before < 64 << 20


def test_a_lie_in_the_opening(arena: Arena) -> None:
    """A pickle that answers for its worker before the worker can: with versions that are none."""

    class Opens:
        def __reduce__(self) -> Any:
            code = (
                "import os, socket, stat, struct, time\n"
                "found = [n for n in map(int, os.listdir('/proc/self/fd')) if n > 2]\n"
                "found = [n for n in found if os.path.exists(f'/proc/self/fd/{n}')"
                " and stat.S_ISSOCK(os.stat(f'/proc/self/fd/{n}').st_mode)] or [64]\n"
                "sock = socket.socket(fileno=os.dup(found[0]))\n"
                'told = b\'{"version": "\' + b"9" * 60000 + b\'"}\'\n'
                "sock.send(struct.pack('<BBHIQQ', 16, 0, 0, 0, len(told), 0) + told)\n"
                "time.sleep(600)"
            )
            return exec, (code, {"__name__": "bomb"})

        def __call__(self, column: Any) -> Any:
            return "x"

    with pytest.raises(ProtocolViolation, match="no version") as raised:
        arena.opened(arena.real, Opens())
    assert len(str(raised.value)) < 500
