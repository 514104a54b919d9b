"""What fails is explained, ends at most its own session, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from udf.bare import Bare

from lakekeep.udf import (
    BadFunction,
    Broker,
    BrokerUnavailable,
    Cancelled,
    ChildBroker,
    Function,
    OutOfMemory,
    Session,
    SessionClosed,
    Settings,
    TimedOut,
    UserFunctionError,
    WorkerCrashed,
    map_batches,
    safe,
)

pytestmark = pytest.mark.usefixtures("no_leaks")
ONE = pa.RecordBatch.from_pydict({"a": [1]})
BIG = pa.RecordBatch.from_pydict({"a": pa.nulls(500_000, pa.int64()).fill_null(7)})


def opened(broker: Broker, function: Any, **options: Any) -> Session:
    declared = Function.of(function, options.pop("kind", "scalar"), "int64", ())
    return Session(declared, ONE.schema, Settings(broker=broker, **options))


def same(a: Any) -> Any:
    return a


def test_an_exception_has_the_users_frames_alone(broker: Broker) -> None:
    def inner(value: Any) -> Any:
        return {}[value]

    def outer(a: Any) -> Any:
        return inner(a[0].as_py())

    with opened(broker, outer) as session:
        with pytest.raises(UserFunctionError) as raised:
            session.call(ONE)
        error = raised.value
        assert (error.type, error.retryable) == ("KeyError", False)
        assert "in outer\n" in error.traceback
        assert "return inner(a[0].as_py())" in error.traceback
        assert "in inner\n" in error.traceback
        assert "answer" not in error.traceback
        assert "<string>" not in error.traceback
        # The same session goes on.
        with pytest.raises(UserFunctionError):
            session.call(ONE)


@pytest.mark.parametrize("way", ["sys.exit", "recursion", "long", "unprintable"])
def test_odd_exceptions(broker: Broker, way: str) -> None:
    def odd(a: Any) -> Any:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        if way == "sys.exit":
            raise SystemExit(3)
        if way == "recursion":
            return odd(a)
        raise ValueError("x" * 10_000_000) if way == "long" else Unprintable

    with opened(broker, odd) as session, pytest.raises(UserFunctionError) as raised:
        session.call(ONE)
    assert len(str(raised.value)) < 30_000


def test_a_function_that_cannot_be_opened(broker: Broker) -> None:
    class Refuses:
        def __reduce__(self) -> Any:
            return (exec, ("raise KeyError('not here')",))

        def __call__(self, a: Any) -> Any:
            return a

    with pytest.raises(BadFunction, match="not here"):
        opened(broker, Refuses())


def test_answers_come_in_the_order_of_the_calls(broker: Broker) -> None:
    batches = [pa.RecordBatch.from_pydict({"a": [i] * (1 + i % 3 * 9000)}) for i in range(40)]
    with opened(broker, same, ahead=8) as session:
        assert [a.column(0)[0].as_py() for a in session.map(batches)] == list(range(40))


def test_large_batches_both_ways_at_once_do_not_wait_for_each_other(broker: Broker) -> None:
    with opened(broker, same, ahead=4, timeout=60) as session:
        assert [answer.num_rows for answer in session.map([BIG] * 8)] == [BIG.num_rows] * 8


def test_no_more_is_read_than_is_sent_ahead(broker: Broker) -> None:
    taken = []

    def batches() -> Any:
        for number in range(100):
            taken.append(number)
            yield ONE

    with opened(broker, same, ahead=3) as session:
        answers = session.map(batches())
        next(answers)
        assert len(taken) == 3
        answers.close()  # type: ignore[attr-defined]
        assert not session.open, "the answers that were not taken are no other call's"


@pytest.mark.parametrize(
    ("name", "words"),
    [("SIGSEGV", "_ctypes|libc"), ("SIGABRT", ""), ("SIGFPE", ""), ("SIGILL", ""), ("SIGBUS", "")],
)
def test_a_crash_names_signal_and_library(broker: Broker, name: str, words: str) -> None:
    def crash(a: Any) -> Any:
        import ctypes
        import os
        import signal

        if name == "SIGSEGV":
            ctypes.string_at(0)
        elif name == "SIGABRT":
            os.abort()
        signal.raise_signal(getattr(signal, name))

    with safe(crash, returns="int64", broker=broker) as function:
        for _ in range(2):
            with pytest.raises(WorkerCrashed) as raised:
                function(pa.array([1]))
            assert raised.value.signal == name
            assert "in crash" in raised.value.details["stack"]
            assert raised.value.library.startswith("/")
        if words:
            assert any(word in raised.value.library for word in words.split("|"))


CRASHES = """
#include <stdlib.h>
#include <string.h>
volatile int *nowhere = (int *)16;
int reads(int depth) { return depth ? reads(depth - 1) + 1 : *nowhere; }
int in_libc(int depth) { return depth ? in_libc(depth - 1) + 1 : (int)strlen((char *)16); }
int aborts(int depth) { if (!depth) abort(); return aborts(depth - 1) + 1; }
int overflows(int depth) {
    volatile char much[4096];
    much[depth & 4095] = 1;
    return overflows(depth + 1) + much[7];
}
"""


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose functions crash."""
    folder = tmp_path_factory.mktemp("native")
    source, library = folder / "crashing.c", folder / "libcrashing.so"
    source.write_text(CRASHES)
    compiler = shutil.which("cc")
    assert compiler, "test.sh installs it"
    command = [compiler, "-shared", "-fPIC", "-w", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return library


@pytest.mark.parametrize("lock", ["CDLL", "PyDLL"])
@pytest.mark.parametrize("how", ["reads", "in_libc", "aborts", "overflows"])
def test_a_crash_names_the_library_it_is_in(
    bare: Bare, broker: Broker, crashing: Path, how: str, lock: str
) -> None:
    """With Python's lock and without; with the library's caller in libc; with no stack left."""
    library = str(crashing)

    def crash(a: Any) -> Any:
        import ctypes

        return getattr(ctypes, lock)(library)[how](3)

    with safe(crash, returns="int64", broker=bare) as function:
        with pytest.raises(WorkerCrashed) as raised:
            function(pa.array([1]))
        assert raised.value.library == library
        assert raised.value.signal == ("SIGABRT" if how == "aborts" else "SIGSEGV")
        stack = raised.value.details["stack"]
        assert stack.endswith("in crash\n"), "the user's frames, and nobody else's"
        # Faulthandler has told of it before.
        assert "Fatal Python error" in raised.value.output


def test_a_crash_in_another_thread_has_its_stack(broker: Broker) -> None:
    def crash(a: Any) -> Any:
        import ctypes
        import threading

        def within() -> None:
            ctypes.string_at(0)

        thread = threading.Thread(target=within)
        thread.start()
        thread.join()

    with safe(crash, returns="int64", broker=broker) as function:
        with pytest.raises(WorkerCrashed) as raised:
            function(pa.array([1]))
        assert raised.value.signal == "SIGSEGV"
        assert "in within" in raised.value.details["stack"]


def test_last_words_that_hang_end(bare: Bare, broker: Broker) -> None:
    """As where memory was being had when it crashed."""
    told = "        last_word(WATCHES[0]"
    assert told in bare.source
    bare.source = bare.source.replace(told, f"        while True: pass\n{told}", 1)
    bare.source = bare.source.replace("PATIENCE = 2.0", "PATIENCE = 0.1", 1)

    def crash(a: Any) -> Any:
        import os

        os.abort()

    with safe(crash, returns="int64", broker=bare, timeout=30) as function:
        with pytest.raises(WorkerCrashed) as raised:
            function(pa.array([1]))
        assert raised.value.signal == "SIGALRM"
        assert "in crash" in raised.value.details["stack"], "faulthandler's word"


def test_a_crash_where_there_is_no_ctypes(bare: Bare, broker: Broker) -> None:

    def crash(a: Any) -> Any:
        import ctypes

        return ctypes.string_at(0)

    assert "    import ctypes\n" in bare.source
    bare.source = bare.source.replace("    import ctypes\n", "    raise ImportError\n", 1)
    with safe(crash, returns="int64", broker=bare) as function:
        with pytest.raises(WorkerCrashed) as raised:
            function(pa.array([1]))
        assert raised.value.signal == "SIGSEGV"
        assert "in crash" in raised.value.output


def test_a_session_whose_sandbox_has_ended_is_not_alive(bare: Bare, broker: Broker) -> None:
    with opened(bare, same) as session:
        assert session.alive
        # Its socket is open: as where a process that it left behind has it.
        bare.opened[-1].see(0)
        assert not session.alive
        assert not session.open


@pytest.mark.parametrize("way", ["kill", "exit", "close"])
@pytest.mark.parametrize("phase", ["opening", "first call", "between"])
def test_a_worker_that_ends(bare: Bare, broker: Broker, way: str, phase: str) -> None:
    end = {
        "kill": "os.kill(os.getpid(), 9)",
        "exit": "os._exit(7)",
        # It lives on without its socket.
        "close": "os.closerange(3, 256), time.sleep(600)",
    }[way]
    words = {"kill": "SIGKILL", "exit": "code 7", "close": "SIGKILL"}[way]
    if phase == "opening":

        class Ends:
            def __reduce__(self) -> Any:
                return (eval, (f"exec('import os, time') or ({end})",))

            def __call__(self, a: Any) -> Any:
                return a

        with pytest.raises(WorkerCrashed, match=words):
            opened(bare, Ends())
        return

    def ends(a: Any) -> Any:
        if phase == "first call" or a[0].as_py() == 2:
            exec(f"import os, time; {end}")  # noqa: S102
        return a

    with safe(ends, returns="int64", broker=bare) as function:
        if phase == "between":
            assert function(pa.array([1])).to_pylist() == [1]
        with pytest.raises(WorkerCrashed, match=words):
            function(pa.array([2]))
        if phase == "between":
            assert function(pa.array([1])).to_pylist() == [1], "the next call has a new session"


def test_a_worker_that_was_killed_between_calls_is_not_called(bare: Bare, broker: Broker) -> None:
    with safe(same, returns="int64", broker=bare) as function:
        function(pa.array([1]))
        os.kill(bare.opened[0].pid, signal.SIGKILL)
        assert bare.opened[0].ended(10)
        assert function(pa.array([1])).to_pylist() == [1]
        assert len(bare.opened) == 2


def test_a_worker_that_is_stopped_is_out_of_time(bare: Bare, broker: Broker) -> None:
    with opened(bare, same) as session:
        session.call(ONE)
        os.kill(bare.opened[0].pid, signal.SIGSTOP)
        with pytest.raises(TimedOut, match=r"within|gave no answer"):
            session.call(ONE, timeout=0.2)
        assert session.ended(10)


def test_a_large_batch_to_a_stopped_worker_is_out_of_time(bare: Bare, broker: Broker) -> None:
    with opened(bare, same) as session:
        os.kill(bare.opened[0].pid, signal.SIGSTOP)
        with pytest.raises(TimedOut):
            session.call(BIG, timeout=0.2)


def test_time_outs_of_a_call_and_of_a_session(broker: Broker) -> None:
    def forever(a: Any) -> Any:
        while True:
            pass

    with opened(broker, forever, timeout=0.2) as session:
        start = time.monotonic()
        with pytest.raises(TimedOut, match=r"within 0.2 s") as raised:
            session.call(ONE)
        assert 0.2 <= time.monotonic() - start < 10
        assert not raised.value.retryable
        assert "raise timeout=" in str(raised.value)
    with opened(broker, forever, session_timeout=15) as session:
        session._ends = time.monotonic() + 0.2
        with pytest.raises(TimedOut, match="session_timeout"):
            session.call(ONE)


def test_cancel_ends_a_call_at_once(broker: Broker) -> None:
    def forever(a: Any) -> Any:
        print("started", flush=True)
        while True:
            pass

    with opened(broker, forever) as session:
        caught: list[BaseException] = []

        def call() -> None:
            try:
                session.call(ONE)
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        deadline = time.monotonic() + 30
        while "started" not in session.output.text and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        session.cancel()
        thread.join(10)
        assert isinstance(caught[0], Cancelled)
        assert session.ended(10) is not None
        with pytest.raises(SessionClosed):
            session.call(ONE)


def test_what_is_printed_is_kept_up_to_a_limit_and_never_waited_for(broker: Broker) -> None:
    def chatty(a: Any) -> Any:
        import sys

        print("first line")
        for _ in range(200):
            sys.stderr.write("x" * 50_000)
        raise ValueError("enough")

    with opened(broker, chatty) as session:
        with pytest.raises(UserFunctionError) as raised:
            session.call(ONE)
        session.close()
        session.output.settle()
        assert "first line" in session.output.text
        assert "more bytes]" in session.output.text
        assert len(session.output.text) < 70_000
        assert isinstance(raised.value.output, str)


def test_out_of_memory_is_tried_in_halves(bare: Bare, broker: Broker) -> None:
    def greedy(a: Any) -> Any:
        import os

        if len(a) > 60:
            os.kill(os.getpid(), 9)
        return a

    bare.oom_on_kill = True
    values = pa.array(range(100))
    with safe(greedy, returns="int64", broker=bare) as function:
        with pytest.raises(OutOfMemory) as raised:
            function(values)
        error = raised.value
        assert (error.limit, error.peak, error.rows) == (1 << 20, 1 << 20, 100)
        assert "retry_halved" in str(error)
    with safe(greedy, returns="int64", broker=bare, retry_halved=True) as function:
        assert function(values).equals(values)
        with pytest.raises(OutOfMemory):
            function(pa.array(range(200)))


@pytest.mark.parametrize("way", ["raises", "crashes"])
def test_the_poison_row_is_found(broker: Broker, way: str) -> None:
    def poisoned(a: Any) -> Any:
        import os

        if 77 in a.to_pylist():
            os.abort() if way == "crashes" else [][1]
        return a

    with safe(poisoned, returns="int64", broker=broker, find_row=True) as function:
        with pytest.raises((UserFunctionError, WorkerCrashed), match="row 77") as raised:
            function(pa.array(range(100)))
        assert raised.value.row == 77  # type: ignore[attr-defined]


def test_a_stream_that_fails_in_the_middle(broker: Broker) -> None:
    def fails(batches: Any) -> Any:
        for number, batch in enumerate(batches):
            if number == 3:
                raise ValueError("the fourth")
            yield batch

    table = pa.table({"a": BIG["a"]})
    found = map_batches(table, fails, returns={"a": "int64"}, broker=broker)
    with pytest.raises(UserFunctionError, match="the fourth"):
        found.read_all()


def test_a_source_that_fails_raises_its_own_error(broker: Broker) -> None:
    def batches() -> Any:
        yield ONE
        raise OSError("the disk is gone")

    with opened(broker, same) as session, pytest.raises(OSError, match="the disk is gone"):
        list(session.map(batches()))


def test_a_stream_that_is_left_ends_its_sandbox(bare: Bare, broker: Broker) -> None:
    def all_of(batches: Any) -> Any:
        yield from batches

    found = map_batches(pa.table({"a": BIG["a"]}), all_of, returns={"a": "int64"}, broker=bare)
    found.read_next_batch()
    found.close()
    del found
    assert bare.opened[0].ended(10) is not None


def test_eight_threads_on_one_callable(broker: Broker) -> None:
    failures: list[BaseException] = []
    with safe(same, returns="int64", broker=broker, max_sessions=3) as function:

        def calls(number: int) -> None:
            try:
                for i in range(25):
                    values = pa.array([number * 1000 + i] * 5)
                    assert function(values).equals(values)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=calls, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert 1 <= function._pool.size <= 3


def test_one_session_is_for_one_thread_at_a_time(broker: Broker) -> None:
    with opened(broker, same) as session:
        with session._lock, pytest.raises(SessionClosed, match="another thread"):
            session.call(ONE)
        assert session.call(ONE).num_rows == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_keeps_no_session_of_its_parents(broker: Broker) -> None:
    with safe(same, returns="int64", broker=broker) as function, opened(broker, same) as session:
        function(pa.array([1]))
        pid = os.fork()
        if not pid:
            code = 1
            try:
                with pytest.raises(SessionClosed, match="forked"):
                    session.call(ONE)
                code = 0 if function._pool.size == 0 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert function(pa.array([1])).to_pylist() == [1], "the parent's goes on"
        assert session.call(ONE).num_rows == 1


def test_a_broker_that_refuses(bare: Bare, broker: Broker) -> None:
    bare.fail = "no room"
    with pytest.raises(BrokerUnavailable, match="no room"):
        opened(bare, same)


def test_no_binary(tmp_path: Any, broker: Broker) -> None:
    with pytest.raises(BrokerUnavailable, match="cannot be run") as raised:
        opened(ChildBroker(str(tmp_path / "none")), same)
    assert "LAKEKEEP_BIN" in str(raised.value)


def test_errors_cross_processes() -> None:
    import pickle

    error = OutOfMemory(limit=5, peak=6, rows=7)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(back), back.limit, str(back)) == (OutOfMemory, 5, str(error))
