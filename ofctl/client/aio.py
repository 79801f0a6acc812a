"""The asyncio client; the same calls as the blocking one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Self, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ofctl.client import described
from ofctl.client.calls import Stubs, awaitable, awaitable_listing
from ofctl.client.channel import DEFAULT_TIMEOUT_S, OPTIONS, Tls, target_or_default
from ofctl.client.errors import Unavailable, api_error
from ofctl.client.watching import RESUME_AFTER_S, PortEvent, WatchedPorts
from ofctl.v1 import port_pb2


class AsyncClient:
    """Calls the agent. Every call may raise a class of `ofctl.client.errors`. Make it inside the event loop.

    `timeout_s` is the deadline of each call unless it is given one of its own.
    """

    def __init__(
        self, target: str | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S, tls: Tls | None = None
    ) -> None:
        """`target`: `unix:/PATH` or `HOST:PORT`; $OFCTL_CONNECT or the default socket if None. Does not connect yet."""
        self.target = target_or_default(target)
        self.timeout_s = timeout_s
        if tls is None:
            self._channel = grpc.aio.insecure_channel(self.target, options=OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(self.target, tls.credentials(), options=OPTIONS)
        self._stubs = Stubs.of(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    plug = awaitable(described.plug)
    plug_all = awaitable(described.plug_all)
    update = awaitable(described.update)
    unplug = awaitable(described.unplug)
    port = awaitable(described.port)
    request = awaitable(described.request)
    ports = awaitable_listing(described.ports)
    verify = awaitable(described.verify)
    apply_network = awaitable(described.apply_network)
    delete_network = awaitable(described.delete_network)
    network = awaitable(described.network)
    networks = awaitable_listing(described.networks)
    apply_security_group = awaitable(described.apply_security_group)
    delete_security_group = awaitable(described.delete_security_group)
    security_group = awaitable(described.security_group)
    security_groups = awaitable_listing(described.security_groups)
    apply_address_group = awaitable(described.apply_address_group)
    delete_address_group = awaitable(described.delete_address_group)
    address_group = awaitable(described.address_group)
    address_groups = awaitable_listing(described.address_groups)
    host = awaitable(described.host)
    audit = awaitable(described.audit)

    async def watch(
        self,
        *,
        network_id: str = "",
        project_id: str = "",
        device_id: str = "",
        host_id: str = "",
        timeout_s: float | None = None,
    ) -> AsyncGenerator[PortEvent, None]:
        """Yield the ports that match (PRESENT), SYNCED, then each change of them, without end.

        A stream that is cut (the agent restarts, this reader was too slow) is resumed, for as long as that takes, and
        nothing is told twice: a snapshot that has to be sent again shows as the changes since. SYNCED comes again each
        time. Raises Unavailable if the agent is not there at first, DeadlineExceeded after `timeout_s` seconds (None:
        never), and whatever cannot be resumed. Close it (`contextlib.aclosing`) to end it before its time.
        """
        watched = WatchedPorts(
            port_pb2.WatchPortsRequest(
                network_id=network_id, project_id=project_id, device_id=device_id, host_id=host_id
            )
        )
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if deadline is None else max(deadline - time.monotonic(), 0)
            stream = self._stubs.ports.WatchPorts(watched.next_request(), timeout=left_s, wait_for_ready=watched.began)
            events = cast(AsyncIterator[PortEvent], stream)
            try:
                async for event in events:
                    for told in watched.take(event):
                        yield told
                pause_s = RESUME_AFTER_S
            except grpc.RpcError as failed:
                error = api_error(failed)
                if not watched.resumes_after(error):
                    raise error from None
                pause_s = error.retry_after_s or RESUME_AFTER_S
            finally:
                stream.cancel()
            await asyncio.sleep(pause_s)

    async def wait_until_ready(self, *, timeout_s: float | None = None) -> None:
        """Wait until the agent is there and its switch connected and resynced. Raises DeadlineExceeded."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            remaining_s = max(deadline - time.monotonic(), 0)
            watch = self._health.Watch(health_pb2.HealthCheckRequest(), timeout=remaining_s, wait_for_ready=True)
            try:
                async for reply in watch:
                    if reply.status == health_pb2.HealthCheckResponse.SERVING:
                        return
            except grpc.RpcError as failed:
                error = api_error(failed)
                if not isinstance(error, Unavailable):
                    raise error from None
                # The agent went away meanwhile; `wait_for_ready` waits for the next one.
            finally:
                watch.cancel()
