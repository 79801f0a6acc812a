"""The gRPC servers: one for each uid behind the unix socket, one for TCP; health and reflection on all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ofctl.api.calls import Caller, Context, Door, OpenStreams
from ofctl.api.networks import HostServicer, NetworkServicer
from ofctl.api.peers import PeerDoor
from ofctl.api.ports import PortServicer
from ofctl.api.security import SecurityServicer
from ofctl.engine.contract import PlugEngine
from ofctl.errors import ConfigError
from ofctl.settings import GrpcSettings
from ofctl.v1 import (
    host_pb2,
    host_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    port_pb2,
    port_pb2_grpc,
    security_pb2,
    security_pb2_grpc,
)

SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (port_pb2, "PortService"),
        (network_pb2, "NetworkService"),
        (security_pb2, "SecurityService"),
        (host_pb2, "HostService"),
    )
)
ANONYMOUS = Caller("tcp:anonymous", admin=False)


class ApiServer:
    """Serves an engine. Not ready (health NOT_SERVING) until `set_serving(True)`; all on the running event loop."""

    def __init__(
        self,
        engine: PlugEngine,
        settings: GrpcSettings,
        *,
        admin_uids: Collection[int] = (),
        default_timeout_s: float = 30.0,
    ) -> None:
        """`admin_uids` are admins besides uid 0 and the user of this process.

        `default_timeout_s` is the deadline of calls that come without one.
        """
        self._engine = engine
        self._settings = settings
        self._admin_uids = frozenset({0, os.geteuid(), *admin_uids})
        self._default_timeout_s = default_timeout_s
        self._peers = PeerDoor(settings.socket, mode=settings.socket_mode, group=settings.socket_group)
        self._servers: list[grpc.aio.Server] = []
        self._by_uid: dict[int, asyncio.Task[Path]] = {}
        self._health = health.aio.HealthServicer()
        self._health_changes: set[asyncio.Task[None]] = set()
        self._streams = OpenStreams()
        self.tcp_port: int | None = None
        """The TCP port that is listened on, None without TCP."""

    async def start(self) -> None:
        """Listen. Raises ConfigError if an address is taken or cannot be used; nothing is left open then."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            if self._settings.listen is not None:
                await self._start_tcp(self._settings.listen)
            await self._peers.open(self._server_of)
        except BaseException:
            await self.stop(0)
            raise

    async def stop(self, grace_s: float) -> None:
        """Accept nothing more and end the streams; let calls end for at most `grace_s` seconds, cancel the rest."""
        self._peers.close()
        self._streams.end()
        await self._health.enter_graceful_shutdown()
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))
        for starting in self._by_uid.values():
            starting.cancel()
        self._servers.clear()
        self._by_uid.clear()
        self._peers.release()

    def set_serving(self, serving: bool) -> None:
        """Tell grpc.health.v1 whether the switch is connected and resynced. Call it on the event loop."""
        states = health_pb2.HealthCheckResponse
        change = asyncio.ensure_future(self._set_health(states.SERVING if serving else states.NOT_SERVING))
        self._health_changes.add(change)
        change.add_done_callback(self._health_changes.discard)

    async def _set_health(self, state: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, state)

    async def _server_of(self, uid: int) -> Path:
        """Return the socket of the server for a uid, started on its first contact."""
        starting = self._by_uid.get(uid)
        if starting is None or (starting.done() and (starting.cancelled() or starting.exception())):
            starting = self._by_uid[uid] = asyncio.create_task(self._start_for(uid))
        return await asyncio.shield(starting)

    async def _start_for(self, uid: int) -> Path:
        caller = Caller(f"uid:{uid}", admin=uid in self._admin_uids)
        path = self._peers.inner / str(uid)
        server = self._new_server(lambda _: caller)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        self._servers.append(server)
        return path

    async def _start_tcp(self, address: str) -> None:
        settings = self._settings
        server = self._new_server(self._tcp_caller)
        try:
            if settings.tls_key is None or settings.tls_cert is None or settings.tls_ca is None:
                self.tcp_port = server.add_insecure_port(address)
            else:
                credentials = grpc.ssl_server_credentials(
                    [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
                    root_certificates=settings.tls_ca.read_bytes(),
                    require_client_auth=True,
                )
                self.tcp_port = server.add_secure_port(address, credentials)
        except (RuntimeError, OSError) as error:
            raise ConfigError(f"[grpc] listen: cannot listen on {address}: {error}", subject="grpc.listen") from error
        await server.start()
        self._servers.append(server)

    def _new_server(self, identify: Callable[[Context], Caller]) -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        door = Door(
            identify,
            default_timeout_s=self._default_timeout_s,
            reply_reserve_s=self._settings.reply_reserve_ms / 1000,
            streams=self._streams,
        )
        port_pb2_grpc.add_PortServiceServicer_to_server(PortServicer(self._engine, door), server)
        network_pb2_grpc.add_NetworkServiceServicer_to_server(NetworkServicer(self._engine, door), server)
        security_pb2_grpc.add_SecurityServiceServicer_to_server(SecurityServicer(self._engine, door), server)
        host_pb2_grpc.add_HostServiceServicer_to_server(HostServicer(self._engine, door), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        return server

    def _tcp_caller(self, context: Context) -> Caller:
        """Return the caller by the certificate it proved to own, or anonymous, who is never an admin."""
        names = list(context.auth_context().get("x509_common_name", ()))
        if not names:
            return ANONYMOUS
        name = names[0].decode()
        return Caller(f"tls:{name}", admin=name in self._settings.admin_names)
