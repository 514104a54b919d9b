"""Carries operations out with asyncio and gRPC's asynchronous client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from ._core import effects as fx
from ._core.calls import Api
from ._core.methods import Method
from ._core.status import error_of
from ._core.surface import result_signature
from ._core.target import Endpoint
from .errors import ClientClosed, LakekeepError

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    from ._core.surface import BoundMethod

    P = ParamSpec("P")
    C = TypeVar("C", bound=Api)
T = TypeVar("T")
U = TypeVar("U")

# What gRPC raises for a call that failed, or that cannot be made or written to.
_CALL_ERRORS = (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError, ValueError)


class _Monitor:
    """Wakes all who wait when it is left; in one event loop nothing needs a lock."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)

    async def wait(self, ready: Callable[[], bool], timeout: Optional[float]) -> bool:
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while not ready():
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            left = None if end is None else max(0.0, end - loop.time())
            await asyncio.wait([waiter], timeout=left)
            if not waiter.done():
                waiter.cancel()
                return ready()
        return True


class _Wire:
    """A streaming call, and the task that writes its requests."""

    def __init__(self, call: Any, single: bool) -> None:
        self.call = call
        self.single = single
        self.writer: Optional[asyncio.Task[None]] = None
        # Why the requests ended early, where that was not the call's doing.
        self.failed: Optional[BaseException] = None
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        self.call.cancel()


class Driver:
    """A connection to one manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Does not connect yet."""
        self.endpoint = endpoint
        self.closed = False
        self._opened: Optional[grpc.aio.Channel] = None
        self._running: set[asyncio.Task[None]] = set()
        self._perform: dict[type[Any], Callable[[Any], Awaitable[Any]]] = {
            fx.Call: self._call,
            fx.Open: self._open,
            fx.Receive: self._receive,
            fx.Cancel: _cancel,
            fx.NewMonitor: _new_monitor,
            fx.Wait: _wait,
            fx.Spawn: self._spawn,
            fx.Pause: lambda effect: asyncio.sleep(effect.seconds),
            fx.Now: _now,
            fx.Pull: _pull,
            fx.Blocking: lambda effect: asyncio.to_thread(effect.function),
        }

    async def close(self) -> None:
        """Ends the connection and everything that goes over it."""
        self.closed = True
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._opened is not None:
            await self._opened.close()

    def cancel_soon(self, wire: Optional[_Wire]) -> None:
        """For finalisers."""
        if wire is not None:
            wire.cancel()

    @property
    def _channel(self) -> grpc.aio.Channel:
        # Made in the event loop that uses it.
        if self.closed:
            raise ClientClosed("the client was closed", remedy="connect again")
        if self._opened is None:
            options = self.endpoint.channel_options()
            if self.endpoint.tls is None:
                self._opened = grpc.aio.insecure_channel(self.endpoint.address, options)
            else:
                tls = self.endpoint.tls
                secret = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
                self._opened = grpc.aio.secure_channel(self.endpoint.address, secret, options)
        return self._opened

    async def run(self, operation: fx.Operation[T]) -> T:
        """Carries an operation out."""
        step: Callable[[], Any] = functools.partial(next, operation)
        while True:
            try:
                effect = step()
            except StopIteration as end:
                return cast(T, end.value)
            step = await self._next_step(operation, effect)

    async def iterate(self, stream: fx.Stream[T]) -> AsyncGenerator[T, None]:
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
                step = await self._next_step(stream, effect)

    async def _next_step(
        self, generator: Generator[Any, Any, Any], effect: Any
    ) -> Callable[[], Any]:
        try:
            result = await self._perform[type(effect)](effect)
        except BaseException as error:
            return functools.partial(generator.throw, error)
        return functools.partial(generator.send, result)

    # The effects.

    async def _metadata(self) -> Any:
        if self.endpoint.blocking_metadata():
            return await asyncio.to_thread(self.endpoint.metadata)
        return self.endpoint.metadata()

    async def _call(self, effect: fx.Call) -> Message:
        send = self._multicallable(effect.method)
        metadata = await self._metadata()
        try:
            response = await send(effect.request, timeout=effect.timeout, metadata=metadata)
        except _CALL_ERRORS as error:
            raise self._error(error) from None
        self.endpoint.reached = True
        return cast(Message, response)

    async def _open(self, effect: fx.Open) -> _Wire:
        send = self._multicallable(effect.method)
        metadata, timeout = await self._metadata(), effect.timeout
        try:
            if isinstance(effect.requests, Message):
                call = send(effect.requests, timeout=timeout, metadata=metadata)
                return _Wire(call, single=False)
            call = send(timeout=timeout, metadata=metadata)
        except _CALL_ERRORS as error:
            raise self._error(error) from None
        wire = _Wire(call, single=not effect.method.streams_responses)
        wire.writer = self._start(self._write(wire, effect.requests))
        return wire

    async def _write(self, wire: _Wire, requests: fx.Stream[Any]) -> None:
        """Sends requests; the next when the last is on its way."""
        try:
            async with _closing(self.iterate(requests)) as messages:
                async for message in messages:
                    await wire.call.write(message)
            await wire.call.done_writing()
        except _CALL_ERRORS as error:
            # The call has ended: its status says why. What is not gRPC's is the caller's.
            if isinstance(error, ValueError):
                self._give_up(wire, error)
        except BaseException as error:
            self._give_up(wire, error)
            raise

    def _give_up(self, wire: _Wire, error: BaseException) -> None:
        if not wire.cancelled:
            wire.failed = error
            wire.cancel()

    def _multicallable(self, method: Method[Any, Any]) -> Any:
        kinds = {
            (False, False): self._channel.unary_unary,
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

    async def _receive(self, effect: fx.Receive) -> Optional[Message]:
        wire: _Wire = effect.wire
        try:
            response = await (wire.call if wire.single else wire.call.read())
        except asyncio.CancelledError:
            # gRPC says so too of a call that was cancelled, which is not this task.
            if wire.failed is not None:
                raise wire.failed from None
            if wire.cancelled or self.closed:
                raise ClientClosed("the call was cancelled") from None
            raise
        except _CALL_ERRORS as error:
            raise self._error(error) from None
        self.endpoint.reached = True
        return None if response is grpc.aio.EOF else cast(Message, response)

    def _error(self, error: BaseException) -> BaseException:
        if self.closed:
            return ClientClosed("the client was closed")
        if isinstance(error, grpc.aio.AioRpcError):
            code, message = error.code(), error.details() or ""
            metadata: Any = error.trailing_metadata()
            return error_of(code.name, message, metadata, self.endpoint.name)
        return LakekeepError(f"request: {error}")

    async def _spawn(self, effect: fx.Spawn) -> None:
        self._start(self.run(effect.operation))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        # The event loop itself holds tasks weakly.
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Whoever waits for what it did was told already.
            task.exception()


@contextlib.asynccontextmanager
async def _closing(
    stream: AsyncGenerator[T, None],
) -> AsyncGenerator[AsyncGenerator[T, None], None]:
    """`contextlib.aclosing` of Python 3.10."""
    try:
        yield stream
    finally:
        await stream.aclose()


async def _cancel(effect: fx.Cancel) -> None:
    effect.wire.cancel()


async def _new_monitor(_: fx.NewMonitor) -> _Monitor:
    return _Monitor()


async def _wait(effect: fx.Wait) -> bool:
    return await cast(_Monitor, effect.monitor).wait(effect.ready, effect.timeout)


async def _now(_: fx.Now) -> float:
    return time.monotonic()


async def _pull(effect: fx.Pull) -> Optional[bytes]:
    source = effect.source
    if source.asynchronous is not None:
        try:
            return cast(bytes, await source.asynchronous.__anext__())
        except StopAsyncIteration:
            return None
    return await asyncio.to_thread(source.pull) if source.blocks else source.pull()


# Methods of the asynchronous classes.


def awaiting(
    operation: Callable[Concatenate[C, P], fx.Operation[T]],
) -> BoundMethod[C, P, Coroutine[Any, Any, T]]:
    """A coroutine method that carries the operation out."""

    @functools.wraps(operation)
    async def method(self: C, *args: P.args, **kwargs: P.kwargs) -> T:
        return cast(T, await self._driver.run(operation(self, *args, **kwargs)))

    signed = result_signature(method, "{}")
    return cast("BoundMethod[C, P, Coroutine[Any, Any, T]]", signed)


def awaiting_as(
    operation: Callable[Concatenate[C, P], fx.Operation[T]], wrap: Callable[[C, T], U]
) -> BoundMethod[C, P, Coroutine[Any, Any, U]]:
    """A coroutine method that carries the operation out, and makes something of its
    result."""

    @functools.wraps(operation)
    async def method(self: C, *args: P.args, **kwargs: P.kwargs) -> U:
        return wrap(self, await self._driver.run(operation(self, *args, **kwargs)))

    signed = result_signature(method, None)
    return cast("BoundMethod[C, P, Coroutine[Any, Any, U]]", signed)


def iterating(
    stream: Callable[Concatenate[C, P], fx.Stream[T]],
) -> BoundMethod[C, P, AsyncGenerator[T, None]]:
    """A method that yields the stream's items."""

    @functools.wraps(stream)
    def method(self: C, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        items = self._driver.iterate(stream(self, *args, **kwargs))
        return cast("AsyncGenerator[T, None]", items)

    signed = result_signature(method, "AsyncGenerator[{}, None]")
    return cast("BoundMethod[C, P, AsyncGenerator[T, None]]", signed)


def iterating_as(
    stream: Callable[Concatenate[C, P], fx.Stream[T]], wrap: Callable[[C, T], U]
) -> BoundMethod[C, P, AsyncGenerator[U, None]]:
    """A method that yields something made of the stream's items."""

    @functools.wraps(stream)
    async def method(self: C, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[U, None]:
        async with _closing(self._driver.iterate(stream(self, *args, **kwargs))) as items:
            async for item in items:
                yield wrap(self, item)

    signed = result_signature(method, None)
    return cast("BoundMethod[C, P, AsyncGenerator[U, None]]", signed)
