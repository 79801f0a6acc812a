"""The asyncio client; the same calls as the blocking one."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from types import TracebackType
from typing import Self, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ofctl.client.channel import DEFAULT_TIMEOUT_S, OPTIONS, Tls, target_or_default
from ofctl.client.errors import NotFound, Unavailable, api_error
from ofctl.client.watching import RESUME_AFTER_S, PortEvent, WatchedPorts
from ofctl.v1 import host_pb2, host_pb2_grpc, network_pb2, network_pb2_grpc, port_pb2, port_pb2_grpc
from ofctl.v1.confirmation_pb2 import CONFIRMATION_LEVEL_UNSPECIFIED, ConfirmationLevel

Request = TypeVar("Request")
Response = TypeVar("Response")


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
        self._ports = port_pb2_grpc.PortServiceStub(self._channel)
        self._networks = network_pb2_grpc.NetworkServiceStub(self._channel)
        self._hosts = host_pb2_grpc.HostServiceStub(self._channel)
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

    async def plug(
        self,
        port: port_pb2.PortSpec,
        *,
        request_id: str | None = None,
        level: ConfirmationLevel.ValueType = CONFIRMATION_LEVEL_UNSPECIFIED,
        validate_only: bool = False,
        generation: int = 0,
        timeout_s: float | None = None,
    ) -> port_pb2.Port:
        """Plug a port; return it when it is confirmed. The proto comment of PlugPort says what that promises.

        `generation` fences the port, here and in `unplug`: a smaller one that comes later is refused; 0 is no fence.
        """
        request = port_pb2.PlugPortRequest(
            port=port,
            request_id=request_id or str(uuid.uuid4()),
            level=level,
            validate_only=validate_only,
            generation=generation,
        )
        return (await self._call(self._ports.PlugPort, request, timeout_s, request.request_id)).port

    async def plug_all(
        self,
        ports: Iterable[port_pb2.PortSpec],
        *,
        request_id: str | None = None,
        level: ConfirmationLevel.ValueType = CONFIRMATION_LEVEL_UNSPECIFIED,
        validate_only: bool = False,
        generation: int = 0,
        timeout_s: float | None = None,
    ) -> list[port_pb2.Port]:
        """Plug the ports of one guest, all or nothing; return them in the same order."""
        request = port_pb2.PlugPortsRequest(
            ports=ports,
            request_id=request_id or str(uuid.uuid4()),
            level=level,
            validate_only=validate_only,
            generation=generation,
        )
        return list((await self._call(self._ports.PlugPorts, request, timeout_s, request.request_id)).ports)

    async def unplug(
        self,
        port_id: str,
        *,
        host_id: str = "",
        force: bool = False,
        generation: int = 0,
        missing_ok: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        """Remove a port; return when its absence is verified. With `missing_ok` it may be absent before."""
        request = port_pb2.UnplugPortRequest(port_id=port_id, host_id=host_id, force=force, generation=generation)
        try:
            await self._call(self._ports.UnplugPort, request, timeout_s)
        except NotFound:
            if not missing_ok:
                raise

    async def port(self, port_id: str, *, host_id: str = "", timeout_s: float | None = None) -> port_pb2.Port:
        """Return a port as it is known now."""
        request = port_pb2.GetPortRequest(port_id=port_id, host_id=host_id)
        return (await self._call(self._ports.GetPort, request, timeout_s)).port

    async def request(self, request_id: str, *, timeout_s: float | None = None) -> port_pb2.GetPortResponse:
        """Return the outcome of an earlier plug, and its port if it is there."""
        return await self._call(self._ports.GetPort, port_pb2.GetPortRequest(request_id=request_id), timeout_s)

    async def ports(
        self,
        *,
        network_id: str = "",
        project_id: str = "",
        device_id: str = "",
        host_id: str = "",
        state: port_pb2.PortState.ValueType = port_pb2.PORT_STATE_UNSPECIFIED,
        timeout_s: float | None = None,
    ) -> AsyncIterator[port_pb2.Port]:
        """Yield all ports that match, in order of their ids; asks page by page, each with the deadline."""
        request = port_pb2.ListPortsRequest(
            network_id=network_id, project_id=project_id, device_id=device_id, host_id=host_id, state=state
        )
        while True:
            page = await self._call(self._ports.ListPorts, request, timeout_s)
            for port in page.ports:
                yield port
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def verify(
        self,
        port_id: str,
        *,
        host_id: str = "",
        level: ConfirmationLevel.ValueType = CONFIRMATION_LEVEL_UNSPECIFIED,
        timeout_s: float | None = None,
    ) -> port_pb2.Port:
        """Return a port that is there, with evidence afresh. Raises what does not hold; nothing is mended."""
        request = port_pb2.VerifyPortRequest(port_id=port_id, host_id=host_id, level=level)
        return (await self._call(self._ports.VerifyPort, request, timeout_s)).port

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
            stream = self._ports.WatchPorts(watched.next_request(), timeout=left_s, wait_for_ready=watched.began)
            try:
                async for event in stream:
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

    async def apply_network(
        self, network: network_pb2.Network, *, timeout_s: float | None = None
    ) -> network_pb2.Network:
        """Create a network or make it as given; return it with its defaults filled in."""
        request = network_pb2.ApplyNetworkRequest(network=network)
        return (await self._call(self._networks.ApplyNetwork, request, timeout_s)).network

    async def delete_network(
        self, network_id: str, *, missing_ok: bool = False, timeout_s: float | None = None
    ) -> None:
        """Delete a network that no port uses."""
        try:
            await self._call(
                self._networks.DeleteNetwork, network_pb2.DeleteNetworkRequest(network_id=network_id), timeout_s
            )
        except NotFound:
            if not missing_ok:
                raise

    async def network(self, network_id: str, *, timeout_s: float | None = None) -> network_pb2.Network:
        """Return a network."""
        request = network_pb2.GetNetworkRequest(network_id=network_id)
        return (await self._call(self._networks.GetNetwork, request, timeout_s)).network

    async def networks(self, *, timeout_s: float | None = None) -> AsyncIterator[network_pb2.Network]:
        """Yield all networks in order of their ids; asks page by page, each with the deadline."""
        request = network_pb2.ListNetworksRequest()
        while True:
            page = await self._call(self._networks.ListNetworks, request, timeout_s)
            for network in page.networks:
                yield network
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def host(self, *, host_id: str = "", timeout_s: float | None = None) -> host_pb2.Host:
        """Return what the host says of itself; answers also when it is not ready."""
        return (await self._call(self._hosts.GetHost, host_pb2.GetHostRequest(host_id=host_id), timeout_s)).host

    async def audit(
        self, *, repair: bool = False, host_id: str = "", timeout_s: float | None = None
    ) -> host_pb2.AuditResponse:
        """Compare the host with its intents; with `repair`, make it so. See the proto comment of Audit."""
        request = host_pb2.AuditRequest(host_id=host_id, repair=repair)
        return await self._call(self._hosts.Audit, request, timeout_s)

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

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_s: float | None,
        request_id: str = "",
    ) -> Response:
        try:
            return await method(request, timeout=self.timeout_s if timeout_s is None else timeout_s)
        except grpc.RpcError as failed:
            raise api_error(failed, request_id=request_id) from None
