"""What the engine's tests stand on, and the independent eyes that they look with.

`Lab.seen` reads the kernel, the switch and both databases with `ip`, `ovs-vsctl`, `ovs-ofctl` and `ovsdb-client`, and
not with a line of ours.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import os
import re
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from typing import Any

from ofctl.engine.contract import PlugRequest, UnplugRequest
from ofctl.engine.host_engine import HostEngine
from ofctl.engine.startup import Host, HostOptions
from ofctl.model.confirmation import Level, RequestRecord
from ofctl.model.ids import DeviceName, HostId, NetworkId, PhysicalNetwork, PortId, RequestId
from ofctl.model.network import Network, NumberedNetwork, Subnet
from ofctl.model.port import NamespaceConsumer, PortSpec, VmConsumer
from ofctl.model.vif import DatapathType, PluggedPort
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs, run

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


@dataclass(frozen=True)
class Seen:
    """What exists for ofctl, each as a set of names or numbers, as the system's own tools tell it."""

    devices: frozenset[str]
    rows: frozenset[str]
    cookies: frozenset[int]
    """Port indexes that have flows."""
    buckets: frozenset[int]
    """Port indexes that have a bucket in some flood group."""
    intents: frozenset[str]

    def of_ports(self, ports: Sequence[PluggedPort]) -> bool:
        """Tell whether exactly these ports exist, wholly."""
        names = frozenset(str(port.binding.device) for port in ports)
        indexes = frozenset(int(port.binding.numbers.index) for port in ports)
        ids = frozenset(str(port.binding.port_id) for port in ports)
        return self == Seen(devices=names, rows=names, cookies=indexes, buckets=indexes, intents=ids)


NOTHING = Seen(frozenset(), frozenset(), frozenset(), frozenset(), frozenset())


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

    def pings(self, address: str, *, count: int = 1) -> bool:
        """Tell whether all of `count` echo requests were answered."""
        argv = ["nsenter", f"--net={self.path}", "ping", "-c", str(count), "-i", "0.05", "-W", "2", address]
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

    async def start(self, *, physical_networks: Mapping[PhysicalNetwork, DeviceName] | None = None) -> None:
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
        """Return what exists, as `ip`, `ovs-vsctl`, `ovs-ofctl` and `ovsdb-client` show it."""
        return Seen(
            devices=frozenset(self._devices()),
            rows=frozenset(self.ovs.vsctl("list-ports", BRIDGE).split()),
            cookies=frozenset(self._cookies()),
            buckets=frozenset(self._buckets()),
            intents=frozenset(self._intents()),
        )

    @staticmethod
    def _devices() -> list[str]:
        links = json.loads(run(["ip", "-j", "link", "show"]))
        return [link["ifname"] for link in links if str(link.get("ifalias", "")).startswith("ofctl:")]

    def _cookies(self) -> set[int]:
        """Cookies are 0x0fc1, version, kind, index (docs/pipeline.md); kind 3 is a port's."""
        dump = self.ovs.ovs_ofctl("dump-flows", BRIDGE)
        cookies = {int(text, 16) for text in re.findall(r"cookie=(0x[0-9a-f]+)", dump)}
        return {cookie & 0xFFFFFFFF for cookie in cookies if cookie >> 48 == 0x0FC1 and cookie >> 32 & 0xFF == 3}

    def _buckets(self) -> set[int]:
        return {int(text) for text in re.findall(r"bucket_id:(\d+)", self.ovs.ovs_ofctl("dump-groups", BRIDGE))}

    def _intents(self) -> list[str]:
        query = json.dumps(["ofctl", {"op": "select", "table": "Binding", "where": [], "columns": ["port_id"]}])
        answer = json.loads(self.ovs.command("ovsdb-client", "transact", self.intents.connection, query))
        return [row["port_id"] for row in answer[0]["rows"]]

    async def see(self, *ports: PluggedPort, timeout_s: float = 5.0) -> None:
        """Return when exactly these ports exist; fail with what is there at the end of the time."""
        deadline = time.monotonic() + timeout_s
        while not (seen := self.seen()).of_ports(ports):
            assert time.monotonic() < deadline, f"{seen} is not {[port.binding.port_id for port in ports]}"
            await asyncio.sleep(0.05)


def in_s(seconds: float) -> float:
    """Return a deadline."""
    return asyncio.get_running_loop().time() + seconds


TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002


def open_tap(device: str) -> FileIO:
    """Hold a TAP open as a guest does, until the file is closed (linux/if_tun.h)."""
    tun = FileIO("/dev/net/tun", "r+b")
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP_NO_PI))
    return tun
