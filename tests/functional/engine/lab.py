"""What the engine's tests stand on."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from ofctl.engine.contract import (
    AddressGroupApplied,
    PlugRequest,
    SecurityGroupApplied,
    UnplugRequest,
    UpdateRequest,
)
from ofctl.engine.host_engine import HostEngine
from ofctl.engine.startup import Host, HostOptions
from ofctl.model.changes import PortChanges, PortField
from ofctl.model.confirmation import Level, RequestRecord
from ofctl.model.ids import DeviceName, HostId, NetworkId, PhysicalNetwork, PortId, RequestId
from ofctl.model.network import Network, NumberedNetwork, Subnet
from ofctl.model.port import NamespaceConsumer, PortSpec, VmConsumer
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    GroupMember,
    SecurityGroup,
    SecurityGroupId,
    SecurityRule,
)
from ofctl.model.vif import DatapathType, PluggedPort
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs, run
from tests.eyes import Seen, look

HOST = HostId("h1")
BRIDGE = DeviceName("br-int")
NETWORK = Network(
    network_id=NetworkId("n1"),
    mtu=1450,
    subnets=(
        Subnet(cidr=ipaddress.ip_network("10.1.0.0/16"), gateway=ipaddress.ip_address("10.1.0.1")),
        Subnet(cidr=ipaddress.ip_network("fd00:1::/64")),
    ),
)
CALLER = "uid:1000"


class Namespace:
    """A network namespace that lives as long as a process that sleeps in it."""

    def __enter__(self) -> Namespace:
        own = os.readlink("/proc/self/ns/net")
        self._process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
        deadline = time.monotonic() + 5
        while os.readlink(self.path) == own or "sleep" not in self._command():
            assert time.monotonic() < deadline, "the namespace was not made"
            time.sleep(0.002)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _command(self) -> str:
        with open(f"/proc/{self._process.pid}/comm") as comm:
            return comm.read()

    @property
    def path(self) -> str:
        """What PlugPort is given."""
        return f"/proc/{self._process.pid}/ns/net"

    def run(self, *argv: str) -> str:
        """Run a command inside and return its output."""
        return run(["nsenter", f"--net={self.path}", *argv])

    def pings(self, address: str, *, count: int = 1, wait_s: float = 2) -> bool:
        """Tell whether all of `count` echo requests were answered, each within `wait_s`."""
        argv = ["nsenter", f"--net={self.path}", "ping", "-c", str(count), "-i", "0.05", "-W", str(wait_s), address]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return f" {count} received" in done.stdout


class Lab:
    """A host under test and short forms of its calls."""

    def __init__(self, ovs: PrivateOvs, intents: OvsdbServer) -> None:
        self.ovs = ovs
        self.intents = intents
        self.host: Host | None = None
        self.ready: list[bool] = []
        self._requests = 0

    def options(self, **changes: Any) -> HostOptions:
        options = HostOptions(
            host_id=HOST,
            bridge=BRIDGE,
            datapath_type=DatapathType.NETDEV,
            physical_networks={},
            device_prefix="tap",
            max_ports=1000,
            max_connections_per_port=8192,
            switch_connection=self.ovs.database.connection,
            rundir=self.ovs.rundir,
            intents_connection=self.intents.connection,
            max_requests=1000,
            start_timeout_s=20.0,
            echo_interval_s=1.0,
            reconnect_max_s=0.5,
            switch_timeout_s=3.0,
        )
        return replace(options, **changes)

    async def start(self, *, physical_networks: Mapping[PhysicalNetwork, tuple[DeviceName, ...]] | None = None) -> None:
        """Start a host: the first, or the next after `stop`, as after a restart of the agent."""
        self.host = Host(self.options(physical_networks=physical_networks or {}), on_ready=self.ready.append)
        await self.host.start()

    async def stop(self) -> None:
        """Stop the host; switch and databases go on."""
        if self.host is not None:
            await self.host.close()
            self.host = None

    @property
    def engine(self) -> HostEngine:
        assert self.host is not None
        return self.host.engine

    async def apply_network(self, network: Network = NETWORK) -> NumberedNetwork:
        return await self.engine.apply_network(network, deadline=in_s(10))

    def spec(self, name: str, **changes: Any) -> PortSpec:
        """Return a VM's port on network n1."""
        spec = PortSpec(port_id=PortId(name), network_id=NETWORK.network_id, host_id=HOST, consumer=VmConsumer())
        return replace(spec, **changes)

    def inside(self, name: str, namespace: Namespace, number: int, **changes: Any) -> PortSpec:
        """Return a namespace's port on network n1 with addresses 10.1.0.`number` and fd00:1::`number`."""
        return self.spec(
            name,
            consumer=NamespaceConsumer(netns_path=namespace.path),
            fixed_ips=(ipaddress.ip_address(f"10.1.0.{number}"), ipaddress.ip_address(f"fd00:1::{number}")),
            **changes,
        )

    async def plug(
        self,
        *specs: PortSpec,
        level: Level = Level.DATAPATH,
        timeout_s: float = 10.0,
        request_id: str = "",
        principal: str = CALLER,
        validate_only: bool = False,
    ) -> tuple[PluggedPort, ...]:
        self._requests += 1
        request = PlugRequest(
            specs=specs,
            request_id=RequestId(request_id or f"r{self._requests}"),
            level=level,
            principal=principal,
            admin=False,
            deadline=in_s(timeout_s),
            validate_only=validate_only,
        )
        return await self.engine.plug(request)

    async def update(
        self,
        name: str,
        *,
        level: Level = Level.DATAPATH,
        timeout_s: float = 10.0,
        request_id: str = "",
        principal: str = CALLER,
        revision: int = 0,
        generation: int = 0,
        **changes: Any,
    ) -> PluggedPort:
        """Set fields of a port, named as in PortSpec."""
        self._requests += 1
        request = UpdateRequest(
            port_id=PortId(name),
            host_id=HOST,
            changes=PortChanges(mask=frozenset(map(PortField, changes)), **changes),
            request_id=RequestId(request_id or f"u{self._requests}"),
            level=level,
            principal=principal,
            admin=False,
            deadline=in_s(timeout_s),
            revision=revision,
            generation=generation,
        )
        return await self.engine.update(request)

    async def apply_group(
        self,
        name: str,
        *rules: SecurityRule,
        level: Level = Level.DATAPATH,
        timeout_s: float = 10.0,
        stateful: bool = True,
        members: tuple[GroupMember, ...] = (),
    ) -> SecurityGroupApplied:
        """Apply a security group."""
        group = SecurityGroup(security_group_id=SecurityGroupId(name), stateful=stateful, rules=rules, members=members)
        return await self.engine.apply_security_group(group, level=level, deadline=in_s(timeout_s))

    async def apply_addresses(
        self, name: str, *prefixes: str, level: Level = Level.DATAPATH, timeout_s: float = 10.0
    ) -> AddressGroupApplied:
        """Apply an address group."""
        addresses = tuple(map(ipaddress.ip_network, prefixes))
        group = AddressGroup(address_group_id=AddressGroupId(name), addresses=addresses)
        return await self.engine.apply_address_group(group, level=level, deadline=in_s(timeout_s))

    async def unplug(
        self, name: str, *, timeout_s: float = 10.0, principal: str = CALLER, admin: bool = False, force: bool = False
    ) -> None:
        await self.engine.unplug(
            UnplugRequest(
                port_id=PortId(name),
                host_id=HOST,
                principal=principal,
                admin=admin,
                deadline=in_s(timeout_s),
                force=force,
            )
        )

    def port(self, name: str) -> PluggedPort:
        return self.engine.port(PortId(name), HOST)

    def record(self, request_id: str) -> RequestRecord:
        return self.engine.request(RequestId(request_id))

    # Independent eyes

    def seen(self) -> Seen:
        """Return what exists."""
        return look(self.ovs, self.intents, BRIDGE)

    async def see(self, *ports: PluggedPort, timeout_s: float = 5.0) -> None:
        """Return when exactly these ports exist; fail with what is there at the end of the time."""
        names = [str(port.binding.port_id) for port in ports]
        deadline = time.monotonic() + timeout_s
        while not (seen := self.seen()).only(*names):
            assert time.monotonic() < deadline, f"{seen} is not {names}"
            await asyncio.sleep(0.05)


def in_s(seconds: float) -> float:
    """Return a deadline."""
    return asyncio.get_running_loop().time() + seconds


def some(values: Iterable[Any], *always: Any) -> list[Any]:
    """Return parameters of which only those in `always` are tested always; the others with `make chaos`."""
    chosen = []
    for value in values:
        marks = () if value in always else pytest.mark.chaos
        chosen.append(pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks))
    return chosen
