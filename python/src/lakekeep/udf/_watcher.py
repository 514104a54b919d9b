"""One thread for all that a process waits for beside its calls: output, the broker's word."""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
from typing import Callable, Optional

from . import _fork


class Watcher:
    """Calls back when a descriptor can be read; one daemon thread, started when needed.

    The watcher owns a descriptor from `watch` on: it closes it when its callback
    returns False, or raises.
    """

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._reset()
        _fork.watch(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: Optional[threading.Thread] = None
        self._selector: Optional[selectors.BaseSelector] = None
        self._callbacks: dict[int, Callable[[int], bool]] = {}

    def forked(self) -> None:
        """The thread is the parent's, and so is what it reads."""
        selector, callbacks = self._selector, self._callbacks
        self._reset()
        if selector is not None:
            selector.close()
        for descriptor in callbacks:
            os.close(descriptor)

    def watch(self, descriptor: int, callback: Callable[[int], bool]) -> None:
        """Calls `callback(descriptor)` whenever it can be read, until that returns False."""
        with self._lock:
            if self._selector is None:
                self._selector = selectors.EpollSelector()
            self._callbacks[descriptor] = callback
            # Epoll takes in new descriptors while another thread waits on it.
            self._selector.register(descriptor, selectors.EVENT_READ)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(self._selector,), name="lakekeep-udf", daemon=True
                )
                self._thread.start()

    def _run(self, selector: selectors.BaseSelector) -> None:
        while True:
            for key, _ in selector.select():
                self._call(selector, key.fd)

    def _call(self, selector: selectors.BaseSelector, descriptor: int) -> None:
        goes_on = False
        with contextlib.suppress(Exception):
            goes_on = self._callbacks[descriptor](descriptor)
        if not goes_on:
            with self._lock:
                selector.unregister(descriptor)
                del self._callbacks[descriptor]
                os.close(descriptor)


WATCHER = Watcher()


class Output:
    """What a function prints: the first part is kept, the rest read and forgotten."""

    LIMIT = 64 * 1024

    def __init__(self) -> None:
        """Starts empty."""
        self._kept = bytearray()
        self.dropped = 0
        # One for each pipe: set at its end.
        self._pipes: list[threading.Event] = []

    def drain(self, descriptor: int) -> None:
        """Reads a pipe to its end, on the watcher's thread; takes the descriptor."""
        os.set_blocking(descriptor, False)
        over = threading.Event()
        self._pipes.append(over)
        WATCHER.watch(descriptor, lambda pipe: self._pump(pipe, over))

    def _pump(self, descriptor: int, over: threading.Event) -> bool:
        goes_on = self._read(descriptor)
        if not goes_on:
            over.set()
        return goes_on

    def _read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return True
        kept = data[: self.LIMIT - len(self._kept)]
        self._kept += kept
        self.dropped += len(data) - len(kept)
        return bool(data)

    @property
    def text(self) -> str:
        """What was printed, as text; at most `LIMIT` bytes, and how many more there were."""
        more = f"\n[{self.dropped} more bytes]" if self.dropped else ""
        return bytes(self._kept).decode(errors="replace") + more

    def settle(self) -> None:
        """Waits a little for the end of what an ended function had printed."""
        for pipe in self._pipes:
            pipe.wait(0.5)
