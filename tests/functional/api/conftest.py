"""The API over a real unix socket, in front of an engine in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ofctl.api.server import ApiServer
from ofctl.client import AsyncClient, Network, Subnet
from ofctl.settings import GrpcSettings
from tests.functional.api.memory import MemoryEngine


def settings(
    path: Path,
    *,
    mode: int = 0o660,
    group: str = "",
    listen: str | None = None,
    tls: Path | None = None,
    admin_names: frozenset[str] = frozenset(),
) -> GrpcSettings:
    """Return settings for a server on `path`, with TLS from the files in directory `tls`."""
    return GrpcSettings(
        socket=path,
        socket_mode=mode,
        socket_group=group,
        listen=listen,
        tls_cert=tls / "agent.crt" if tls else None,
        tls_key=tls / "agent.key" if tls else None,
        tls_ca=tls / "ca.crt" if tls else None,
        admin_names=admin_names,
        reply_reserve_ms=200,
    )


@pytest.fixture
def open_rundir(rundir: Path) -> Path:
    """`rundir`, open to every user."""
    rundir.chmod(0o755)
    return rundir


@pytest_asyncio.fixture
async def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest_asyncio.fixture
async def server(engine: MemoryEngine, open_rundir: Path) -> AsyncIterator[ApiServer]:
    """A server that is ready; its socket is `api.sock` in `rundir`, open to everybody."""
    server = ApiServer(engine, settings(open_rundir / "api.sock", mode=0o666), default_timeout_s=20.0)
    await server.start()
    server.set_serving(True)
    try:
        yield server
    finally:
        await server.stop(0)


@pytest_asyncio.fixture
async def client(server: ApiServer, rundir: Path) -> AsyncIterator[AsyncClient]:
    """A client of `server`, with network `blue` applied."""
    async with AsyncClient(f"unix:{rundir}/api.sock", timeout_s=10) as client:
        subnets = [Subnet(cidr="192.0.2.0/24", gateway="192.0.2.1"), Subnet(cidr="2001:db8::/64")]
        await client.apply_network(Network(network_id="blue", subnets=subnets))
        yield client
