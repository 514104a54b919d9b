"""One call that is given many batches and answers with any number of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Optional

from ._encode import Encoder
from ._function import Settings
from ._stats import Stats
from ._wire import CALL, DONE, END, Channel, Frame


class Stream:
    """Sends batches while there is room and takes what comes back, whichever is first.

    At no time does it hold more than the batch that is being sent and one that has come:
    the socket's buffer is what decouples the two ends.
    """

    def __init__(
        self,
        channel: Channel,
        call: int,
        source: Iterator[Any],
        settings: Settings,
        encoder: Encoder,
        stats: Stats,
    ) -> None:
        """Takes the channel, the call's number, and where the batches come from."""
        self.call = call
        self._channel = channel
        self._source = source
        self._memfd_from = settings.memfd_from
        self._encoder = encoder
        self._exhausted = False
        # What the session has done, which this adds to.
        self.stats = stats
        # Whether both sides have said that nothing more comes.
        self.finished = False

    def next_frame(self) -> Optional[Frame]:
        """The next frame that comes back; None at the end of the stream."""
        since = time.monotonic()
        try:
            return self._next_frame(self._channel)
        finally:
            self.stats.waited += time.monotonic() - since

    def _next_frame(self, channel: Channel) -> Optional[Frame]:
        while not channel.ready():
            if not channel.flush():
                channel.wait()
            elif self._exhausted:
                return self._ended_or(channel.receive())
            else:
                self._feed()
        return self._ended_or(channel.receive())

    def _feed(self) -> None:
        before = time.monotonic()
        batch = next(self._source, None)
        # The function is not to blame for how long its input takes.
        took = time.monotonic() - before
        self.stats.waited -= took
        if self._channel.deadline is not None:
            self._channel.deadline += took
        if batch is None:
            self._exhausted = True
            self._channel.queue(END, self.call, 0, ())
        else:
            pieces = self._encoder.pieces(batch)
            self._channel.queue(CALL, self.call, batch.num_rows, pieces, self._memfd_from)
            self.stats.calls += 1
            self.stats.rows_in += batch.num_rows
            self.stats.bytes_in = self._channel.sent

    def _ended_or(self, frame: Frame) -> Optional[Frame]:
        return None if frame[0] == DONE and frame[1] == self.call else frame

    def finish(self) -> None:
        """Tells the worker that no more comes, if its function stopped reading early."""
        if not self._exhausted:
            self._channel.send(END, self.call, 0, ())
        while not self._channel.flush():
            self._channel.wait()
        self.finished = True
