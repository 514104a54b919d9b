"""The effects that operations yield, and what each is answered with.

An *operation* is a generator: it yields effects, is sent their results, and
returns its own. A *stream* also yields `Emit`, one for each item. A driver that
cannot carry an effect out throws the error into the generator at that place.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Callable, Generic, Optional, Protocol, TypeVar, Union

from google.protobuf.message import Message

from .methods import Method

T = TypeVar("T")
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class Monitor(Protocol):
    """Guards state that several threads or tasks share.

    Leaving the `with` block wakes all who wait; nothing may be yielded in it.
    """

    def __enter__(self) -> object:
        """Locks."""

    def __exit__(self, *error: object) -> None:
        """Wakes all who wait, and unlocks."""


class Source(Protocol):
    """Where bytes come from, piece by piece."""

    # Read with `__anext__` of this instead of `pull`.
    asynchronous: Optional[Any]
    # `pull` may block.
    blocks: bool

    def pull(self) -> Optional[bytes]:
        """The next piece, None at the end."""


@dataclass(frozen=True)
class Call:
    """One request, one answer: answered with the response."""

    method: Method[Any, Any]
    request: Message
    timeout: Optional[float]


@dataclass(frozen=True)
class Open:
    """Begins a streaming call: answered with its wire.

    `requests` is one message, or a stream of them.
    """

    method: Method[Any, Any]
    requests: Union[Message, Stream[Any]]
    timeout: Optional[float] = None


@dataclass(frozen=True)
class Receive:
    """Answered with the wire's next message, None when there is none."""

    wire: Any


@dataclass(frozen=True)
class Cancel:
    """Ends a wire, whatever it does."""

    wire: Any


@dataclass(frozen=True)
class NewMonitor:
    """Answered with a `Monitor`."""


@dataclass(frozen=True)
class Wait:
    """Until `ready` holds: answered with True; False when `timeout` (seconds) passed."""

    monitor: Monitor
    ready: Callable[[], bool]
    timeout: Optional[float] = None


@dataclass(frozen=True)
class Spawn:
    """Runs an operation beside this one."""

    operation: Operation[None]


@dataclass(frozen=True)
class Pause:
    """For so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Now:
    """Answered with the monotonic clock, seconds."""


@dataclass(frozen=True)
class Pull:
    """Answered with a source's next piece, None at its end."""

    source: Source


@dataclass(frozen=True)
class Blocking:
    """Runs a function that may block: answered with its result."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Hands one item of a stream out."""

    item: T


Effect = Union[Call, Open, Receive, Cancel, NewMonitor, Wait, Spawn, Pause, Now, Pull, Blocking]
Operation = Generator[Effect, Any, T]
Stream = Generator[Union[Effect, Emit[T]], Any, None]


def receive(method: Method[Q, R], wire: Any) -> Generator[Receive, Any, Optional[R]]:
    """The wire's next message, which is one of this method's answers."""
    message: Optional[R] = yield Receive(wire)
    return message


def now() -> Generator[Now, Any, float]:
    """The monotonic clock, seconds."""
    seconds: float = yield Now()
    return seconds
