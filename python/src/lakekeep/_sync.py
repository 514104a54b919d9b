"""Carries operations out with threads and gRPC's blocking client."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, cast

import grpc
from google.protobuf.message import Message

from ._core import effects as fx
from ._core.calls import Api
from ._core.methods import Method
from ._core.status import error_of
from ._core.surface import result_signature
from ._core.target import Endpoint
from .errors import BadRequest, ClientClosed, LakekeepError

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    from ._core.surface import BoundMethod

    P = ParamSpec("P")
    C = TypeVar("C", bound=Api)
T = TypeVar("T")
U = TypeVar("U")


class _Monitor:
    """A condition whose lock, when it is left, wakes all who wait."""

    def __init__(self) -> None:
        # Reentrant: a finaliser may run in a thread that holds it.
        self.condition = threading.Condition(threading.RLock())

    def __enter__(self) -> None:
        self.condition.acquire()

    def __exit__(self, *error: object) -> None:
        self.condition.notify_all()
        self.condition.release()


class _Wire:
    """A streaming call."""

    def __init__(self, call: Any, single: bool) -> None:
        # `call` is an iterator of responses; with `single`, a future of one.
        self.call = call
        self.single = single
        # Why the requests ended early, where that was not the call's doing.
        self.failed: Optional[BaseException] = None


class Driver:
    """A connection to one manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Does not connect yet."""
        self.endpoint = endpoint
        self.closed = False
        options = endpoint.channel_options()
        if endpoint.tls is None:
            self._channel = grpc.insecure_channel(endpoint.address, options)
        else:
            tls = endpoint.tls
            secret = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            self._channel = grpc.secure_channel(endpoint.address, secret, options)
        self._perform: dict[type[Any], Callable[[Any], Any]] = {
            fx.Call: self._call,
            fx.Open: self._open,
            fx.Receive: self._receive,
            fx.Cancel: lambda effect: effect.wire.call.cancel(),
            fx.NewMonitor: lambda _: _Monitor(),
            fx.Wait: _wait,
            fx.Spawn: self._spawn,
            fx.Pause: lambda effect: time.sleep(effect.seconds),
            fx.Now: lambda _: time.monotonic(),
            fx.Pull: _pull,
            fx.Blocking: lambda effect: effect.function(),
        }

    def close(self) -> None:
        """Ends the connection and everything that goes over it."""
        self.closed = True
        self._channel.close()

    def cancel_soon(self, wire: Optional[_Wire]) -> None:
        """For finalisers."""
        if wire is not None:
            wire.call.cancel()

    def run(self, operation: fx.Operation[T]) -> T:
        """Carries an operation out."""
        step: Callable[[], Any] = functools.partial(next, operation)
        while True:
            try:
                effect = step()
            except StopIteration as end:
                return cast(T, end.value)
            step = self._next_step(operation, effect)

    def iterate(self, stream: fx.Stream[T]) -> Generator[T, None, None]:
        """Carries a stream out, item by item."""
        step: Callable[[], Any] = functools.partial(next, stream)
        while True:
            try:
                effect = step()
            except StopIteration:
                return
            if isinstance(effect, fx.Emit):
                try:
                    yield effect.item
                except BaseException as error:
                    step = functools.partial(stream.throw, error)
                else:
                    step = functools.partial(next, stream)
            else:
                step = self._next_step(stream, effect)

    def _next_step(self, generator: Generator[Any, Any, Any], effect: Any) -> Callable[[], Any]:
        try:
            result = self._perform[type(effect)](effect)
        except BaseException as error:
            return functools.partial(generator.throw, error)
        return functools.partial(generator.send, result)

    # The effects.

    def _call(self, effect: fx.Call) -> Message:
        method = effect.method
        self._check_open()
        send = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        metadata = self.endpoint.metadata()
        try:
            response = send(effect.request, timeout=effect.timeout, metadata=metadata)
        except (grpc.RpcError, ValueError) as error:
            raise self._error(error) from None
        self.endpoint.reached = True
        return cast(Message, response)

    def _open(self, effect: fx.Open) -> _Wire:
        self._check_open()
        metadata, timeout = self.endpoint.metadata(), effect.timeout
        send = self._multicallable(effect.method)
        if isinstance(effect.requests, Message):
            try:
                call = send(effect.requests, timeout=timeout, metadata=metadata)
            except (grpc.RpcError, ValueError) as error:
                raise self._error(error) from None
            return _Wire(call, single=False)
        wire = _Wire(None, single=not effect.method.streams_responses)
        requests = self._requests(effect.requests, wire)
        begin = send.future if wire.single else send
        try:
            wire.call = begin(requests, timeout=timeout, metadata=metadata)
        except (grpc.RpcError, ValueError) as error:
            raise self._error(error) from None
        return wire

    def _multicallable(self, method: Method[Any, Any]) -> Any:
        kinds = {
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }
        kind: Any = kinds[method.streams_requests, method.streams_responses]
        return kind(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )

    def _requests(self, requests: fx.Stream[Any], wire: _Wire) -> Iterator[Any]:
        """What gRPC's own thread sends: it takes the next when the last is on its way."""
        try:
            yield from self.iterate(requests)
        except GeneratorExit:
            # gRPC wants no more: the call has ended, and its status says why.
            raise
        except BaseException as error:
            wire.failed = error
            raise

    def _receive(self, effect: fx.Receive) -> Optional[Message]:
        wire: _Wire = effect.wire
        try:
            response = wire.call.result() if wire.single else next(wire.call, None)
        except (grpc.RpcError, grpc.FutureCancelledError, ValueError) as error:
            raise self._error(error, wire.failed) from None
        self.endpoint.reached = True
        return cast("Optional[Message]", response)

    def _error(self, error: BaseException, cause: Optional[BaseException] = None) -> BaseException:
        if cause is not None:
            return cause
        if self.closed:
            return ClientClosed("the client was closed")
        if isinstance(error, grpc.RpcError):
            status: Any = error
            code, message = status.code(), status.details() or ""
            metadata = status.trailing_metadata()
            return error_of(code.name, message, metadata, self.endpoint.name)
        return LakekeepError(f"request: {error}")

    def _check_open(self) -> None:
        if self.closed:
            raise ClientClosed("the client was closed", remedy="connect again")

    def _spawn(self, effect: fx.Spawn) -> None:
        # Daemons: whoever ends the program does not wait for a task's output.
        threading.Thread(
            target=self.run, args=(effect.operation,), name="lakekeep", daemon=True
        ).start()


def _wait(effect: fx.Wait) -> bool:
    monitor = cast(_Monitor, effect.monitor)
    with monitor.condition:
        return monitor.condition.wait_for(effect.ready, effect.timeout)


def _pull(effect: fx.Pull) -> Optional[bytes]:
    if effect.source.asynchronous is not None:
        raise BadRequest(
            "input: an asynchronous iterable", remedy="use lakekeep.aio, or give a plain one"
        )
    return effect.source.pull()


# Methods of the blocking classes.


def blocking(
    operation: Callable[Concatenate[C, P], fx.Operation[T]],
) -> BoundMethod[C, P, T]:
    """A method that carries the operation out."""

    @functools.wraps(operation)
    def method(self: C, *args: P.args, **kwargs: P.kwargs) -> T:
        return cast(T, self._driver.run(operation(self, *args, **kwargs)))

    return cast("BoundMethod[C, P, T]", result_signature(method, "{}"))


def blocking_as(
    operation: Callable[Concatenate[C, P], fx.Operation[T]], wrap: Callable[[C, T], U]
) -> BoundMethod[C, P, U]:
    """A method that carries the operation out, and makes something of its result."""

    @functools.wraps(operation)
    def method(self: C, *args: P.args, **kwargs: P.kwargs) -> U:
        return wrap(self, self._driver.run(operation(self, *args, **kwargs)))

    return cast("BoundMethod[C, P, U]", result_signature(method, None))


def iterating(
    stream: Callable[Concatenate[C, P], fx.Stream[T]],
) -> BoundMethod[C, P, Generator[T, None, None]]:
    """A method that yields the stream's items."""

    @functools.wraps(stream)
    def method(self: C, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        return cast("Generator[T, None, None]", self._driver.iterate(stream(self, *args, **kwargs)))

    signed = result_signature(method, "Generator[{}, None, None]")
    return cast("BoundMethod[C, P, Generator[T, None, None]]", signed)


def iterating_as(
    stream: Callable[Concatenate[C, P], fx.Stream[T]], wrap: Callable[[C, T], U]
) -> BoundMethod[C, P, Generator[U, None, None]]:
    """A method that yields something made of the stream's items."""

    @functools.wraps(stream)
    def method(self: C, *args: P.args, **kwargs: P.kwargs) -> Generator[U, None, None]:
        for item in self._driver.iterate(stream(self, *args, **kwargs)):
            yield wrap(self, item)

    signed = result_signature(method, None)
    return cast("BoundMethod[C, P, Generator[U, None, None]]", signed)
