"""A switch's database and a store of intents on real servers."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ofctl.model.ids import DeviceName, HostId, MacAddress, PortId
from ofctl.ovsdb.intents import IntentStore
from ofctl.ovsdb.switch import SwitchDatabase
from ofctl.ovsdb.values import Attachment, BridgeSpec
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs

HOST = HostId("compute-1")
BRIDGE = "br-int"
SCHEMA = Path(__file__).parents[3] / "etc" / "ofctl.ovsschema"


def soon(seconds: float = 10.0) -> float:
    """A deadline in the running loop's clock."""
    return asyncio.get_running_loop().time() + seconds


def tap(name: str) -> DeviceName:
    """Make a persistent TAP in the test's namespace."""
    subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], check=True)
    return DeviceName(name)


def attachment(device: str, *, mtu: int | None = None) -> Attachment:
    return Attachment(
        device=DeviceName(device),
        bridge=BRIDGE,
        port_id=PortId(f"port-{device}"),
        mac_address=MacAddress("52:54:00:00:00:01"),
        host_id=HOST,
        device_id="instance-1",
        mtu=mtu,
    )


@pytest.fixture
async def switch(ovs: PrivateOvs) -> AsyncIterator[SwitchDatabase]:
    """A started driver with its bridge."""
    database = SwitchDatabase(ovs.database.connection, host_id=HOST)
    await database.start(deadline=soon())
    try:
        await database.ensure_bridge(BridgeSpec(name=BRIDGE), deadline=soon())
        yield database
    finally:
        await database.close()


@pytest.fixture
def intent_server(rundir: Path) -> Iterator[OvsdbServer]:
    server = OvsdbServer(rundir, name="ofctl", schema=SCHEMA)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def store(intent_server: OvsdbServer) -> AsyncIterator[IntentStore]:
    intents = IntentStore(intent_server.connection, host_id=HOST)
    await intents.start(deadline=soon())
    try:
        yield intents
    finally:
        await intents.close()
