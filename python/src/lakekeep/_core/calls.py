"""One request, one answer; again where that is safe and can help."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any, Optional, TypeVar, Union, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from lakekeep.errors import BadRequest, LakekeepError

from .effects import Call, Operation, Pause, now
from .methods import Method
from .retry import Backoff, can_help
from .target import Endpoint

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

# A number is in seconds.
Time = Union[timedelta, float, int]


class Api:
    """A part of the client; `driver` carries effects out."""

    def __init__(self, driver: Any, endpoint: Endpoint) -> None:
        """For a client's own use."""
        self._driver = driver
        self._endpoint = endpoint

    def __init_subclass__(cls) -> None:
        """Names methods that are made of operations by what they are called here."""
        super().__init_subclass__()
        for name, method in vars(cls).items():
            if hasattr(method, "__wrapped__"):
                method.__name__ = name
                method.__qualname__ = f"{cls.__qualname__}.{name}"
                method.__module__ = cls.__module__


def call(
    api: Api, method: Method[Q, R], request: Q, extra_time: Optional[float] = None
) -> Operation[R]:
    """Sends a request; `extra_time`: seconds beyond the client's `timeout`."""
    endpoint = api._endpoint
    timeout = endpoint.timeout
    if timeout is not None and extra_time is not None:
        timeout += extra_time
    backoff = Backoff(endpoint.retry_for)
    while True:
        try:
            return cast(R, (yield Call(method, request, timeout)))
        except LakekeepError as error:
            if not method.idempotent or not can_help(error, endpoint.reached):
                raise
            moment = yield from now()
            pause = backoff.after(moment, random.random(), error.retry_after)  # noqa: S311
            if pause is None:
                raise
        yield Pause(pause)


def seconds(time: Time, name: str) -> float:
    """A time in seconds; it cannot be negative."""
    value = time.total_seconds() if isinstance(time, timedelta) else float(time)
    # NaN is no time either.
    if not 0 <= value < 1e11:
        raise BadRequest(f"{name}: {time!r} is no time", remedy="give seconds or a timedelta")
    return value


def duration(time: Optional[Time], name: str) -> Optional[Duration]:
    """A time on the wire, None for none."""
    if time is None:
        return None
    whole, part = divmod(round(seconds(time, name) * 1e9), 10**9)
    return Duration(seconds=whole, nanos=part)
