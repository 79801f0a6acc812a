"""The calls of both clients, each described once: its arguments, its request, and what of the reply is the result.

`blocking` and `awaitable` make a method of a client of such a description, with the same arguments and documentation.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, cast

import grpc

from ofctl.client.errors import NotFound, api_error
from ofctl.v1 import host_pb2_grpc, network_pb2_grpc, port_pb2_grpc, security_pb2_grpc

Request = TypeVar("Request")
Response = TypeVar("Response")
Result = TypeVar("Result")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Stubs:
    """The services of one channel. Those of an asyncio channel differ in what a call returns."""

    ports: port_pb2_grpc.PortServiceStub
    networks: network_pb2_grpc.NetworkServiceStub
    security: security_pb2_grpc.SecurityServiceStub
    hosts: host_pb2_grpc.HostServiceStub

    @classmethod
    def of(cls, channel: Any) -> Stubs:
        """Return the services of a channel, blocking or asyncio."""
        return cls(
            port_pb2_grpc.PortServiceStub(channel),
            network_pb2_grpc.NetworkServiceStub(channel),
            security_pb2_grpc.SecurityServiceStub(channel),
            host_pb2_grpc.HostServiceStub(channel),
        )


# A text, since that class of grpc is generic in its stubs alone.
Method: TypeAlias = "Callable[[Stubs], grpc.UnaryUnaryMultiCallable[Request, Response]]"


class Call(Generic[Result]):
    """One call to be made."""

    def __init__(
        self,
        method: Method[Request, Response],
        request: Request,
        result: Callable[[Response], Result],
        timeout_s: float | None,
    ) -> None:
        self._method: Method[Any, Any] = method
        self._request = request
        self._result = cast(Callable[[Any], Result], result)
        self._timeout_s = timeout_s

    def begin(self, stubs: Stubs, default_timeout_s: float) -> Any:
        """Send it. Returns the reply, or with an asyncio channel what is to be awaited for it."""
        timeout_s = default_timeout_s if self._timeout_s is None else self._timeout_s
        return self._method(stubs)(self._request, timeout=timeout_s)

    def end(self, reply: object) -> Result:
        """Return the result in a reply."""
        return self._result(reply)

    def failed(self, failure: grpc.RpcError) -> Result:
        """Return the result of a failure that counts as success, else raise an ApiError."""
        raise api_error(failure, request_id=getattr(self._request, "request_id", "")) from None


class Removal(Call[None]):
    """A call that removes something; with `missing_ok` it may be absent before."""

    def __init__(
        self, method: Method[Request, Any], request: Request, *, missing_ok: bool, timeout_s: float | None
    ) -> None:
        super().__init__(method, request, lambda _: None, timeout_s)
        self._missing_ok = missing_ok

    def failed(self, failure: grpc.RpcError) -> None:
        try:
            super().failed(failure)
        except NotFound:
            if not self._missing_ok:
                raise


class PageRequest(Protocol):
    """A request of a listing."""

    page_token: str


class PageReply(Protocol):
    """A reply of a listing."""

    @property
    def next_page_token(self) -> str: ...


Paged = TypeVar("Paged", bound=PageRequest)
Page = TypeVar("Page", bound=PageReply)


class Listing(Generic[Result]):
    """Calls that list something page by page, each with the deadline."""

    def __init__(
        self,
        method: Method[Paged, Page],
        request: Paged,
        rows: Callable[[Page], Iterable[Result]],
        timeout_s: float | None,
    ) -> None:
        self._request: PageRequest = request
        self._rows = cast(Callable[[Any], Iterable[Result]], rows)
        self.page: Call[PageReply] = Call(method, request, lambda page: page, timeout_s)
        """The call for the next page."""

    def take(self, page: PageReply) -> tuple[Iterable[Result], bool]:
        """Return the rows of a page, and whether another one follows."""
        self._request.page_token = page.next_page_token
        return self._rows(page), bool(page.next_page_token)


class Blocking(Protocol):
    """What `blocking` needs of a client."""

    timeout_s: float
    _stubs: Stubs


class Awaiting(Protocol):
    """What `awaitable` needs of a client."""

    timeout_s: float
    _stubs: Stubs


def blocking(describe: Callable[P, Call[R]]) -> Callable[Concatenate[Blocking, P], R]:
    """Make a blocking method of a call."""

    @_told_as(describe)
    def method(client: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return _make(client, describe(*args, **kwargs))

    return method


def blocking_listing(describe: Callable[P, Listing[R]]) -> Callable[Concatenate[Blocking, P], Iterator[R]]:
    """Make a blocking method of a listing."""

    @_told_as(describe)
    def method(client: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        listing = describe(*args, **kwargs)
        more = True
        while more:
            rows, more = listing.take(_make(client, listing.page))
            yield from rows

    return method


def awaitable(describe: Callable[P, Call[R]]) -> Callable[Concatenate[Awaiting, P], Coroutine[Any, Any, R]]:
    """Make a coroutine method of a call."""

    @_told_as(describe)
    async def method(client: Awaiting, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await _await(client, describe(*args, **kwargs))

    return method


def awaitable_listing(describe: Callable[P, Listing[R]]) -> Callable[Concatenate[Awaiting, P], AsyncIterator[R]]:
    """Make an asynchronous generator method of a listing."""

    @_told_as(describe)
    async def method(client: Awaiting, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        listing = describe(*args, **kwargs)
        more = True
        while more:
            rows, more = listing.take(await _await(client, listing.page))
            for row in rows:
                yield row

    return method


def _told_as(describe: Callable[..., object]) -> Callable[[F], F]:
    """Give a method the name, the documentation and, after itself, the arguments of a description."""
    signature = inspect.signature(describe)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)

    def told(method: F) -> F:
        functools.update_wrapper(method, describe)
        arguments = [itself, *signature.parameters.values()]
        method.__signature__ = signature.replace(  # type: ignore[attr-defined]  # what inspect.signature reads
            parameters=arguments, return_annotation=inspect.Signature.empty
        )
        return method

    return told


def _make(client: Blocking, call: Call[R]) -> R:
    try:
        return call.end(call.begin(client._stubs, client.timeout_s))
    except grpc.RpcError as failed:
        return call.failed(failed)


async def _await(client: Awaiting, call: Call[R]) -> R:
    try:
        return call.end(await call.begin(client._stubs, client.timeout_s))
    except grpc.RpcError as failed:
        return call.failed(failed)
