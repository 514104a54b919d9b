"""Sessions of one function, for many threads."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Optional

from . import _fork
from ._errors import SessionClosed
from ._function import Function, Settings
from ._session import Session
from ._stats import Stats


class Pool:
    """Keeps up to `max_sessions` sessions; who finds all in use waits for one."""

    def __init__(self, function: Function, settings: Settings) -> None:
        """Opens nothing yet."""
        self.function = function
        self.settings = settings
        self._sessions: list[Session] = []
        # What those did that are gone.
        self._past = Stats()
        self._reset()
        _fork.watch(self)
        # Sandboxes end with the callable that they were opened for.
        self._finalizer = weakref.finalize(self, _close_all, self._sessions)

    def _reset(self) -> None:
        self._free = threading.Condition()
        self._idle: list[Session] = []
        self._count = 0
        self._sessions.clear()
        self._closed = False

    def forked(self) -> None:
        """A child begins with no sessions."""
        self._reset()

    def take(self, given: Any) -> Session:
        """A session whose batches have the schema `given`, for the caller alone."""
        while True:
            session = self._claim(given)
            if session is None:
                return self._open(given)
            if session.alive:
                return session
            self._forget(session)

    def _claim(self, given: Any) -> Optional[Session]:
        """An idle session, or None: one may be opened, and is counted."""
        stale: Optional[Session] = None
        with self._free:
            while True:
                if self._closed:
                    raise SessionClosed("the callable was closed")
                for at in range(len(self._idle) - 1, -1, -1):
                    if self._idle[at].given is given or self._idle[at].given.equals(given):
                        return self._idle.pop(at)
                if self._count < self.settings.max_sessions:
                    self._count += 1
                    break
                if self._idle:
                    # One for other types, for which nobody asks now.
                    stale = self._idle.pop(0)
                    break
                self._free.wait()
        if stale is not None:
            stale.close()
            self._drop(stale)
        return None

    def _open(self, given: Any) -> Session:
        try:
            session = Session(self.function, given, self.settings)
        except BaseException:
            self._forget(None)
            raise
        with self._free:
            self._sessions.append(session)
        return session

    def give(self, session: Session) -> None:
        """Returns a session, which may have ended."""
        if not session.open:
            self._forget(session)
            return
        with self._free:
            self._idle.append(session)
            self._free.notify()

    def _forget(self, session: Optional[Session]) -> None:
        with self._free:
            self._count -= 1
            self._free.notify()
        if session is not None:
            self._drop(session)

    def _drop(self, session: Session) -> None:
        with self._free:
            if session in self._sessions:
                self._sessions.remove(session)
                self._past.add(session.stats)

    def cancel(self) -> None:
        """Ends all calls at once."""
        for session in list(self._sessions):
            session.cancel()

    def close(self) -> None:
        """Ends all sessions; nothing can be called any more."""
        with self._free:
            self._closed = True
            self._free.notify_all()
            for session in self._sessions:
                self._past.add(session.stats)
        _close_all(self._sessions)

    def stats(self) -> Stats:
        """What all sessions have done, those that are gone too."""
        total = Stats()
        with self._free:
            total.add(self._past)
            for session in self._sessions:
                total.add(session.stats)
        return total

    @property
    def size(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def output(self) -> str:
        """What the function has printed in the sessions that there are."""
        return "".join(session.output.text for session in list(self._sessions))


def _close_all(sessions: list[Session]) -> None:
    for session in list(sessions):
        session.close()
    sessions.clear()
