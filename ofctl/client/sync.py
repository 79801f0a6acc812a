"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Generator
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ofctl.client import described
from ofctl.client.calls import Stubs, blocking, blocking_listing
from ofctl.client.channel import DEFAULT_TIMEOUT_S, OPTIONS, Tls, target_or_default
from ofctl.client.errors import Unavailable, api_error
from ofctl.client.watching import RESUME_AFTER_S, PortEvent, WatchedPorts
from ofctl.v1 import port_pb2


class Client:
    """Calls the agent. Every call may raise a class of `ofctl.client.errors`; threads may share a client.

    `timeout_s` is the deadline of each call unless it is given one of its own.
    """

    def __init__(
        self, target: str | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S, tls: Tls | None = None
    ) -> None:
        """`target`: `unix:/PATH` or `HOST:PORT`; $OFCTL_CONNECT or the default socket if None. Does not connect yet."""
        self.target = target_or_default(target)
        self.timeout_s = timeout_s
        if tls is None:
            self._channel = grpc.insecure_channel(self.target, options=OPTIONS)
        else:
            self._channel = grpc.secure_channel(self.target, tls.credentials(), options=OPTIONS)
        self._stubs = Stubs.of(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    plug = blocking(described.plug)
    plug_all = blocking(described.plug_all)
    update = blocking(described.update)
    unplug = blocking(described.unplug)
    port = blocking(described.port)
    request = blocking(described.request)
    ports = blocking_listing(described.ports)
    verify = blocking(described.verify)
    apply_network = blocking(described.apply_network)
    delete_network = blocking(described.delete_network)
    network = blocking(described.network)
    networks = blocking_listing(described.networks)
    apply_security_group = blocking(described.apply_security_group)
    delete_security_group = blocking(described.delete_security_group)
    security_group = blocking(described.security_group)
    security_groups = blocking_listing(described.security_groups)
    apply_address_group = blocking(described.apply_address_group)
    delete_address_group = blocking(described.delete_address_group)
    address_group = blocking(described.address_group)
    address_groups = blocking_listing(described.address_groups)
    host = blocking(described.host)
    audit = blocking(described.audit)

    def watch(
        self,
        *,
        network_id: str = "",
        project_id: str = "",
        device_id: str = "",
        host_id: str = "",
        timeout_s: float | None = None,
    ) -> Generator[PortEvent, None, None]:
        """Yield the ports that match (PRESENT), SYNCED, then each change of them, without end.

        A stream that is cut (the agent restarts, this reader was too slow) is resumed, for as long as that takes, and
        nothing is told twice: a snapshot that has to be sent again shows as the changes since. SYNCED comes again each
        time. Raises Unavailable if the agent is not there at first, DeadlineExceeded after `timeout_s` seconds (None:
        never), and whatever cannot be resumed. Close it (`contextlib.closing`) to end it before its time.
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
            try:
                for event in stream:
                    yield from watched.take(event)
                pause_s = RESUME_AFTER_S
            except grpc.RpcError as failed:
                error = api_error(failed)
                if not watched.resumes_after(error):
                    raise error from None
                pause_s = error.retry_after_s or RESUME_AFTER_S
            finally:
                stream.cancel()
            time.sleep(pause_s)

    def wait_until_ready(self, *, timeout_s: float | None = None) -> None:
        """Block until the agent is there and its switch connected and resynced. Raises DeadlineExceeded."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            remaining_s = max(deadline - time.monotonic(), 0)
            watch = self._health.Watch(health_pb2.HealthCheckRequest(), timeout=remaining_s, wait_for_ready=True)
            try:
                for reply in watch:
                    if reply.status == health_pb2.HealthCheckResponse.SERVING:
                        return
            except grpc.RpcError as failed:
                error = api_error(failed)
                if not isinstance(error, Unavailable):
                    raise error from None
                # The agent went away meanwhile; `wait_for_ready` waits for the next one.
            finally:
                watch.cancel()
