"""What every call has in common: who calls, until when, and how its error is told."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ofctl.api.status import status_code, status_of, trailers_of
from ofctl.engine.contract import PlugEngine
from ofctl.errors import DeadlineExceeded, NotFound, OfctlError, Unavailable
from ofctl.log import bound, fields
from ofctl.model.confirmation import Outcome
from ofctl.model.ids import RequestId

LEAST_RESERVE_S = 0.02
LEAST_REMAINING_S = 0.001

logger = logging.getLogger(__name__)

Context = Any
"""grpc.aio.ServicerContext; the generated stubs name a class of their own."""
Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as the transport tells it: `uid:N`, `tls:NAME` or `tcp:anonymous`."""

    principal: str
    admin: bool


@dataclass(slots=True)
class Call:
    """One call in progress. `deadline` is an instant of the loop's clock at which the reply must be ready."""

    caller: Caller
    deadline: float
    request_id: RequestId = RequestId("")
    """Set by a plug, so that an error can name it."""
    told: dict[str, str] = field(default_factory=dict)
    """What a handler adds to the metadata of its error."""


def reserve_s(remaining_s: float, configured_s: float) -> float:
    """Return how long before the deadline that the agent sees it stops, in seconds.

    The configured reserve, but at most a tenth of what remains, so that a short call is not all reserve; and no less
    than 20 ms, which a busy host needs to send an answer, unless that were more than half of what remains. To that
    comes what gRPC may have added on the way: it sends a timeout with two to three digits, rounded up, so that the
    agent sees 10.1 s where the caller waits 10.0005 s (gRPC core, timeout_encoding.cc).
    """
    rounded_up = math.pow(10, math.floor(math.log10(remaining_s)) - 2)
    return rounded_up + min(configured_s, max(remaining_s / 10, min(LEAST_RESERVE_S, remaining_s / 2)))


class OpenStreams:
    """The replies in progress that have no end of their own: a server that stops does not wait for them."""

    def __init__(self) -> None:
        self._scopes: set[asyncio.Timeout] = set()
        self._ended = False

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[None]:
        """Run the body until `end`; then, and from then on, raise Unavailable."""
        scope = asyncio.timeout(0 if self._ended else None)
        self._scopes.add(scope)
        try:
            async with scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise Unavailable("the agent is stopping; watch again when it is back", reason="AGENT_STOPPING") from None
        finally:
            self._scopes.discard(scope)

    def end(self) -> None:
        """End every stream, and those that come after it."""
        self._ended = True
        for scope in self._scopes:
            scope.reschedule(0)


class Door:
    """The way that calls come in by: knows its callers and its deadlines."""

    def __init__(
        self,
        identify: Callable[[Context], Caller],
        *,
        default_timeout_s: float,
        reply_reserve_s: float,
        streams: OpenStreams,
    ) -> None:
        self.streams = streams
        self._identify = identify
        self._default_timeout_s = default_timeout_s
        self._reply_reserve_s = reply_reserve_s

    def enter(self, context: Context) -> tuple[Call, float]:
        """Return the call, and the instant at which it is cut off because the engine has not kept its deadline."""
        remaining: float | None = context.time_remaining()
        now = asyncio.get_running_loop().time()
        if remaining is None:
            deadline = now + self._default_timeout_s
            return Call(self._identify(context), deadline), deadline + self._reply_reserve_s
        reserve = reserve_s(max(remaining, LEAST_REMAINING_S), self._reply_reserve_s)
        deadline = now + remaining - reserve
        return Call(self._identify(context), deadline), deadline + min(reserve, self._reply_reserve_s) / 2


class Servicer(Protocol):
    """What `answers` needs of the class that it decorates a method of."""

    engine: PlugEngine
    door: Door


S = TypeVar("S", bound=Servicer)


def answers(
    handler: Callable[[S, Request, Call], Awaitable[Response]],
) -> Callable[[S, Request, Context], Awaitable[Response]]:
    """Make a gRPC method of `handler`: it gets the call, may raise OfctlError, and is cut off before the deadline.

    An exception of another kind is a defect: the caller gets INTERNAL and an id, the log the traceback under that id.
    """
    name = handler.__name__

    @functools.wraps(handler)
    async def method(servicer: S, request: Request, context: Context) -> Response:
        call, latest = servicer.door.enter(context)
        with bound(call=name, principal=call.caller.principal):
            try:
                return await _within(handler(servicer, request, call), latest)
            except TimeoutError:
                error: Exception = _cut_off(servicer.engine, call)
            except Exception as raised:  # noqa: BLE001 - the top of the call's task
                error = raised
            await _refuse(error, call, context)
            raise AssertionError("abort() raises")

    return method


def streams(
    handler: Callable[[S, Request, Call], AsyncGenerator[Response, None]],
) -> Callable[[S, Request, Context], Awaitable[None]]:
    """Make a gRPC method of `handler`, whose replies are sent at the pace of the reader; errors are as in `answers`.

    The stream has no deadline but the caller's, which gRPC sees to. It ends when the server stops.
    """
    name = handler.__name__

    @functools.wraps(handler)
    async def method(servicer: S, request: Request, context: Context) -> None:
        call, _ = servicer.door.enter(context)
        with bound(call=name, principal=call.caller.principal):
            try:
                async with servicer.door.streams.stream(), aclosing(handler(servicer, request, call)) as replies:
                    async for reply in replies:
                        await context.write(reply)
            except Exception as error:  # noqa: BLE001 - the top of the call's task
                await _refuse(error, call, context)

    return method


async def _refuse(error: Exception, call: Call, context: Context) -> None:
    """End the call with an error; raises what ends the handler's task."""
    told, error_id = (error, None) if isinstance(error, OfctlError) else _defect(error)
    if call.request_id:
        call.told["request_id"] = call.request_id
    status = status_of(told, context=call.told, error_id=error_id)
    logger.debug("refused", extra=fields(code=told.code, reason=told.reason, error=told.message))
    await context.abort(status_code(told), status.message, trailers_of(told, status))


async def _within(awaitable: Awaitable[Response], latest: float) -> Response:
    """Await until `latest`; raises TimeoutError only for that, never one that came from inside."""
    scope = asyncio.timeout_at(latest)
    try:
        async with scope:
            return await awaitable
    except TimeoutError as error:
        if scope.expired():
            raise
        raise RuntimeError("a wait inside the call ran out of time, and nobody handled it") from error


def _cut_off(engine: PlugEngine, call: Call) -> OfctlError:
    """Return the error for a call whose deadline passed without the engine's own answer."""
    outcome = Outcome.UNKNOWN
    if call.request_id:
        try:
            outcome = engine.request(call.request_id).outcome
        except NotFound:
            logger.debug("no record of a request that was cut off", extra=fields(request=call.request_id))
    return DeadlineExceeded(
        "the deadline passed before the work was done; ask for the outcome with GetPort and the request_id",
        metadata={"outcome": outcome.name},
    )


def _defect(defect: Exception) -> tuple[OfctlError, str]:
    error_id = uuid.uuid4().hex[:12]
    logger.error("unexpected error %s", error_id, exc_info=defect)
    return OfctlError(f"unexpected error {error_id}; the agent's log has it under that id"), error_id
