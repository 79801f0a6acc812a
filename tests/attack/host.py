"""One real host for the whole suite: networks that differ in what protects them, and a hub that does nothing."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import os
import struct
import threading
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ofctl.engine.dropping import Limits
from ofctl.model.confirmation import Level
from ofctl.model.ids import DeviceName, MacAddress, NetworkId, PhysicalNetwork, PortId
from ofctl.model.network import Network, NetworkType, Subnet
from ofctl.model.port import PortSpec, VmConsumer
from ofctl.model.security import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    AddressGroup,
    AddressGroupId,
    AddressPair,
    GroupMember,
    IcmpMessage,
    Ports,
    RuleDirection,
    SecurityGroup,
    SecurityGroupId,
    SecurityRule,
)
from ofctl.pipeline.anchors import place_apps
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs, run
from tests.attack.cast import (
    ATTACKER,
    CONFINED,
    FOREIGN_FRIEND,
    GUESTS,
    INSIDER,
    MEMBERS,
    NEIGHBOUR,
    PAIR,
    PAIR_MAC,
    PAIR_PREFIX,
    PAIR_WITH_MAC,
    ROUTER,
    STATELESS,
    V4_SUBNET,
    V6_SUBNET,
    VICTIM,
    Member,
    address,
)
from tests.attack.scene import Scene, ready
from tests.functional.engine.lab import HOST, in_s
from tests.functional.plugins.handlers import Passing
from tests.functional.plugins.lab import AppLab

PHYSNET = PhysicalNetwork("physnet1")
UPLINK = "uplink"
HUB = "hub"
HUB_MTU = 9000
"""More than the networks have."""
GUARDED = Network(
    network_id=NetworkId("guarded"),
    network_type=NetworkType.VLAN,
    physical_network=PHYSNET,
    segmentation_id=100,
    subnets=(
        Subnet(cidr=V4_SUBNET, gateway=V4_SUBNET[1]),
        Subnet(cidr=V6_SUBNET, gateway=V6_SUBNET[1]),
    ),
)
OPEN = replace(GUARDED, network_id=NetworkId("open"), segmentation_id=200, port_security=False, neighbor_replies=False)
FLAT = replace(OPEN, network_id=NetworkId("flat"), network_type=NetworkType.FLAT, segmentation_id=None)
IN, OUT = RuleDirection.INGRESS, RuleDirection.EGRESS
VICTIMS, CONFINEMENT, FRIENDS, UNTRACKED = (
    SecurityGroupId(name) for name in ("victims", "confinement", "friends", "untracked")
)
HOSTS = AddressGroupId("hosts")
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002
CALL_TIMEOUT_S = 30.0
MAX_CONNECTIONS = 300
"""Of one port: few, so that a test soon has that many."""
PACKET_INS = Limits(per_sender=20, per_app=200)

R = TypeVar("R")


def open_device(name: str) -> int:
    """Return a descriptor of the TAP, made if it is not there, as a guest holds it; reads do not block."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP_NO_PI))
    return descriptor


class Live:
    """An event loop that runs in a thread of its own: the engine goes on while a test looks at devices."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine in the loop and return its result; raises what it raises, and TimeoutError."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CALL_TIMEOUT_S)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self.loop.close()


class AttackedHost:
    """The host, its networks and the hub: one network is guarded, one open, one open and without a tag outside.

    Run in a network namespace of its own.
    """

    def __init__(self, ovs: PrivateOvs, intents: OvsdbServer) -> None:
        # What the kernel sends on its own account would be taken for the switch's.
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        self.live = Live()
        self.lab = AppLab(ovs, intents)
        # An app that asks for frames of one ethertype, for floods of them.
        self.lab.extra = {
            "apps": place_apps((Passing,), {}),
            "packet_in_limits": PACKET_INS,
            "max_connections_per_port": MAX_CONNECTIONS,
        }
        self.descriptors: list[int] = []
        self.hub = self._hub()
        uplink = self._device(UPLINK)
        run(["ip", "link", "set", "dev", UPLINK, "up"])
        self.live.call(self.lab.start(physical_networks={PHYSNET: (DeviceName(UPLINK),)}))
        self.live.call(self._groups())
        self.guarded = self._network(GUARDED, uplink, guarded=True)
        self.open = self._network(OPEN, uplink, guarded=False)
        self.flat = self._network(FLAT, uplink, guarded=False)
        self.guarded.others, self.open.others = (self.open, self.flat), (self.guarded, self.flat)
        self.flat.others = (self.guarded, self.open)
        for scene in (self.hub, self.flat, self.open, self.guarded):
            ready(scene)

    def close(self) -> None:
        self.live.call(self.lab.stop())
        self.live.close()
        for descriptor in self.descriptors:
            os.close(descriptor)

    def _device(self, name: str) -> int:
        descriptor = open_device(name)
        self.descriptors.append(descriptor)
        return descriptor

    def _hub(self) -> Scene:
        """A bridge that nobody owns and that copies each frame to all its ports, the sender's too."""
        ovs = self.lab.ovs
        names = {member: f"{HUB}-{member.name}" for member in MEMBERS}
        devices = {member: self._device(name) for member, name in names.items()}
        ovs.vsctl("add-br", HUB, "--", "set", "bridge", HUB, "datapath_type=netdev", "fail_mode=secure")
        ports = [word for name in names.values() for word in ("--", "add-port", HUB, name)]
        ovs.vsctl(*ports[1:])
        for name in names.values():
            run(["ip", "link", "set", "dev", name, "mtu", str(HUB_MTU), "up"])
        ovs.ovs_ofctl("add-flow", HUB, "actions=in_port,all")
        return Scene(HUB, devices, dumb=True)

    async def _groups(self) -> None:
        engine = self.lab.engine
        await engine.apply_address_group(hosts(), level=Level.DATAPATH, deadline=in_s(CALL_TIMEOUT_S))
        for group in (friends(), victims(), confinement(), untracked()):
            await engine.apply_security_group(group, level=Level.DATAPATH, deadline=in_s(CALL_TIMEOUT_S))

    def _network(self, network: Network, uplink: int, *, guarded: bool) -> Scene:
        self.live.call(self.lab.apply_network(network))
        specs = [port_spec(member, network, guarded=guarded) for member in GUESTS]
        ports = self.live.call(self.lab.plug(*specs))
        devices = {member: self._device(port.binding.device) for member, port in zip(GUESTS, ports, strict=True)}
        return Scene(network.network_id, {**devices, ROUTER: uplink}, tag=network.segmentation_id)


def port_spec(member: Member, network: Network, *, guarded: bool) -> PortSpec:
    """Return a guest's port; in the guarded network with what protects it."""
    return PortSpec(
        port_id=PortId(f"{network.network_id}-{member.name}"),
        network_id=network.network_id,
        host_id=HOST,
        consumer=VmConsumer(),
        mac_address=MacAddress(member.mac),
        fixed_ips=tuple(ipaddress.ip_address(member.address(version)) for version in (4, 6)),
        port_security=False if member == INSIDER else None,
        allowed_address_pairs=attackers_pairs() if member == ATTACKER else (),
        security_groups=(GROUPS[member],) if guarded and member in GROUPS else (),
    )


GROUPS = {VICTIM: VICTIMS, CONFINED: CONFINEMENT, STATELESS: UNTRACKED}
FILTERED = frozenset(member.name for member in GROUPS)


def prefix(member: Member, version: int) -> Any:
    return ipaddress.ip_network(member.address(version))


def hosts() -> AddressGroup:
    return AddressGroup(address_group_id=HOSTS, addresses=(prefix(NEIGHBOUR, 4), prefix(NEIGHBOUR, 6)))


def friends() -> SecurityGroup:
    """Return the group of NEIGHBOUR, and of an address in the other network."""
    members = [GroupMember(GUARDED.network_id, prefix(NEIGHBOUR, version)) for version in (4, 6)]
    foreign = [ipaddress.ip_network(address(FOREIGN_FRIEND, version)) for version in (4, 6)]
    return SecurityGroup(
        security_group_id=FRIENDS, members=(*members, *(GroupMember(OPEN.network_id, each) for each in foreign))
    )


def victims() -> SecurityGroup:
    rules = (
        SecurityRule(direction=IN, protocol=TCP, ports=Ports(80, 80)),
        SecurityRule(direction=IN, protocol=UDP, ports=Ports(5000, 5010)),
        SecurityRule(direction=IN, protocol=ICMP, icmp=IcmpMessage(8)),
        SecurityRule(direction=IN, protocol=ICMPV6, icmp=IcmpMessage(128)),
        SecurityRule(direction=IN, protocol=TCP, ports=Ports(2222, 2222), remote_prefix=prefix(INSIDER, 4)),
        SecurityRule(direction=IN, protocol=TCP, ports=Ports(3306, 3306), remote_security_group=FRIENDS),
        SecurityRule(direction=IN, protocol=UDP, ports=Ports(7000, 7000), remote_address_group=HOSTS),
    )
    return SecurityGroup(security_group_id=VICTIMS, rules=rules)


def confinement() -> SecurityGroup:
    gateways = [prefix(ROUTER, version) for version in (4, 6)]
    rules = (
        *(SecurityRule(direction=OUT, protocol=TCP, ports=Ports(443, 443), remote_prefix=each) for each in gateways),
        SecurityRule(direction=OUT, protocol=UDP, ports=Ports(53, 53)),
        SecurityRule(direction=IN, protocol=TCP, ports=Ports(80, 80)),
    )
    return SecurityGroup(security_group_id=CONFINEMENT, rules=rules)


def untracked() -> SecurityGroup:
    rules = (SecurityRule(direction=IN, protocol=TCP, ports=Ports(80, 80)),)
    return SecurityGroup(security_group_id=UNTRACKED, stateful=False, rules=rules)


def attackers_pairs() -> tuple[AddressPair, ...]:
    """Return what ATTACKER may use besides its own addresses."""
    return tuple(
        pair
        for version in (4, 6)
        for pair in (
            AddressPair(ipaddress.ip_network(address(PAIR, version))),
            AddressPair(ipaddress.ip_network(address(PAIR_WITH_MAC, version)), MacAddress(PAIR_MAC)),
            AddressPair(ipaddress.ip_network(PAIR_PREFIX[version])),
        )
    )
