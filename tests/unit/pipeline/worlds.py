"""Worlds for tests: one that is fit for a document, and random ones."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from ofctl.model.ids import MacAddress, NetworkId, NetworkIndex, OfPort, PhysicalNetwork, PortId, PortIndex
from ofctl.model.network import IpNetwork, Network, NetworkType, NumberedNetwork
from ofctl.model.security import (
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    AddressGroup,
    AddressGroupId,
    AddressGroupIndex,
    AddressPair,
    GroupMember,
    IcmpMessage,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    Ports,
    RuleDirection,
    SecurityGroup,
    SecurityGroupId,
    SecurityGroupIndex,
    SecurityRule,
)
from ofctl.pipeline.flow import MAX_BUCKETS
from ofctl.pipeline.world import Uplink, World, WorldPort

PHYSNET = PhysicalNetwork("physnet")


def network(index: int, kind: NetworkType = NetworkType.LOCAL, tag: int | None = None) -> NumberedNetwork:
    return NumberedNetwork(
        network=Network(
            network_id=NetworkId(f"network-{index}"),
            network_type=kind,
            segmentation_id=tag,
            physical_network=None if kind is NetworkType.LOCAL else PHYSNET,
        ),
        index=NetworkIndex(index),
    )


def port(index: int, network: int, *, slot: int | None = None, mac: int | None = None, ofport: int = 0) -> WorldPort:
    return WorldPort(
        port_id=PortId(f"port-{index}"),
        index=PortIndex(index),
        slot=index if slot is None else slot,
        network=NetworkIndex(network),
        mac_address=MacAddress("52:54:00:00:{:02x}:{:02x}".format(*divmod(index if mac is None else mac, 256))),
        ofport=OfPort(ofport or 10 + index),
    )


def uplink(ofport: int = 1) -> Uplink:
    return Uplink(physical_network=PHYSNET, ofport=OfPort(ofport))


def addressed(port: WorldPort, *pairs: str, groups: tuple[int, ...] = ()) -> WorldPort:
    """Return the port with an address of each family, allowed pairs, security groups, and a zone for them."""
    return replace(
        port,
        addresses=(ip_address(f"10.0.0.{port.index}"), ip_address(f"fd00::{port.index:x}")),
        address_pairs=tuple(AddressPair(ip_network(pair)) for pair in pairs),
        security_groups=tuple(SecurityGroupId(f"sg-{each}") for each in groups),
        zone=1000 + port.index if groups else 0,
    )


def security_group(
    index: int, *rules: SecurityRule, stateful: bool = True, members: tuple[tuple[int, str], ...] = ()
) -> NumberedSecurityGroup:
    """Return the security group `sg-INDEX`; `members` are (network index, prefix)."""
    group = SecurityGroup(
        security_group_id=SecurityGroupId(f"sg-{index}"),
        stateful=stateful,
        rules=tuple(dict.fromkeys(rules)),
        members=tuple(GroupMember(NetworkId(f"network-{place}"), ip_network(prefix)) for place, prefix in members),
    )
    return NumberedSecurityGroup(group=group, index=SecurityGroupIndex(index))


def address_group(index: int, *prefixes: str) -> NumberedAddressGroup:
    """Return the address group `ag-INDEX`."""
    group = AddressGroup(address_group_id=AddressGroupId(f"ag-{index}"), addresses=tuple(map(ip_network, prefixes)))
    return NumberedAddressGroup(group=group, index=AddressGroupIndex(index))


LOCAL = network(1)
VLAN = network(2, NetworkType.VLAN, 100)
FLAT = network(3, NetworkType.FLAT)

EXAMPLE = (
    World()
    .with_network(LOCAL)
    .with_network(VLAN)
    .with_uplink(uplink())
    .with_ports([port(1, 1), port(2, 2, slot=0), port(3, 2, slot=1)])
)

IN, OUT = RuleDirection.INGRESS, RuleDirection.EGRESS
WEB = security_group(
    1,
    SecurityRule(direction=IN, protocol=TCP, ports=Ports(8080, 8090)),
    SecurityRule(direction=IN, protocol=TCP, ports=Ports(443, 443), remote_security_group=SecurityGroupId("sg-1")),
    SecurityRule(direction=IN, protocol=ICMP, icmp=IcmpMessage(8, 0), remote_prefix=ip_network("10.0.0.0/8")),
    SecurityRule(direction=OUT, remote_address_group=AddressGroupId("ag-1")),
    members=((2, "10.9.0.0/16"),),
)
PLAIN = security_group(
    2,
    SecurityRule(direction=IN, protocol=UDP, ports=Ports(53, 53), ip_version=4),
    SecurityRule(direction=IN, protocol=ICMPV6, icmp=IcmpMessage(128)),
    SecurityRule(direction=OUT, remote_security_group=SecurityGroupId("sg-1")),
    stateful=False,
)
GUARDED = (
    EXAMPLE.with_address_group(address_group(1, "192.0.2.0/24", "2001:db8::/32"))
    .with_security_group(WEB)
    .with_security_group(PLAIN)
    .with_ports(
        [
            addressed(port(2, 2, slot=0), "10.0.0.200/32", groups=(1,)),
            addressed(port(3, 2, slot=1), groups=(2,)),
            addressed(port(4, 2), groups=(2,)),
            replace(port(5, 1), port_security=False, zone=1005),
        ]
    )
)
"""The example with a stateful port, two stateless ones, one that is not filtered, and one that is not checked."""

PREFIXES = ("10.0.0.0/24", "10.0.0.3/32", "0.0.0.0/0", "fd00::/64", "fd00::3/128", "::/0")


@st.composite
def rules(draw: st.DrawFn) -> SecurityRule:
    """A rule on few values, so that they meet; remote groups are sg-1 to sg-3 and ag-1."""
    version = draw(st.sampled_from([None, 4, 6]))
    protocols = {4: [None, TCP, UDP, SCTP, 47, ICMP], 6: [None, TCP, UDP, SCTP, 47, ICMPV6]}
    protocol = draw(st.sampled_from(protocols.get(version or 0, [None, TCP, UDP])))
    ports = icmp = None
    if protocol in (TCP, UDP, SCTP) and draw(st.booleans()):
        first, last = sorted((draw(st.integers(0, 12)), draw(st.integers(0, 12))))
        ports = draw(st.sampled_from([Ports(first, last), Ports(0, 65535)]))
    if protocol in (ICMP, ICMPV6) and draw(st.booleans()):
        icmp = IcmpMessage(8 if protocol == ICMP else 128, draw(st.sampled_from([None, 0, 1])))
    prefix: IpNetwork | None = None
    group = addresses = None
    remote = draw(st.sampled_from(["", "prefix", "group", "addresses"]))
    if remote == "prefix":
        fitting = [each for each in map(ip_network, PREFIXES) if each.version == (version or each.version)]
        prefix = draw(st.sampled_from(fitting))
    elif remote == "group":
        group = SecurityGroupId(draw(st.sampled_from(["sg-1", "sg-2", "sg-3"])))
    elif remote == "addresses":
        addresses = AddressGroupId("ag-1")
    return SecurityRule(
        direction=draw(st.sampled_from([IN, OUT])),
        ip_version=version,
        protocol=protocol,
        ports=ports,
        icmp=icmp,
        remote_prefix=prefix,
        remote_security_group=group,
        remote_address_group=addresses,
    )


@st.composite
def guarded_worlds(draw: st.DrawFn) -> World:
    """A random world with the security groups sg-1 to sg-3 and the address group ag-1, and ports in them."""
    world = draw(worlds())
    world = world.with_address_group(address_group(1, *draw(st.sets(st.sampled_from(PREFIXES)))))
    for index in (1, 2, 3):
        world = world.with_security_group(security_group(index))
    places = st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from(PREFIXES))
    for index in (1, 2, 3):
        group = security_group(
            index,
            *draw(st.lists(rules(), max_size=4)),
            stateful=draw(st.booleans()),
            members=tuple(draw(st.sets(places, max_size=3))),
        )
        world = world.with_security_group(group)
    stateful = {each.index: each.group.stateful for each in world.security_groups.values()}
    for there in list(world.ports.values()):
        kind = draw(st.booleans())
        wanted = draw(st.sets(st.sampled_from([1, 2, 3])))
        groups = tuple(index for index in sorted(wanted) if stateful[SecurityGroupIndex(index)] == kind)
        world = world.with_port(addressed(there, *draw(st.sets(st.sampled_from(PREFIXES), max_size=1)), groups=groups))
    return world


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to four networks of all kinds and twelve ports in shards 0 to 2, with the same addresses in each network."""
    world = World()
    for ofport in draw(st.sets(st.sampled_from([1, 2]), max_size=1)):
        world = world.with_uplink(uplink(ofport))
    kinds = draw(st.lists(st.sampled_from([LOCAL, VLAN, FLAT, network(2, NetworkType.VLAN, 7)]), max_size=3))
    for kind in kinds:
        world = world.with_network(kind)
    if not world.networks:
        return world
    for index in draw(st.sets(st.integers(1, 12))):
        member = draw(st.sampled_from(sorted(world.networks)))
        shard = draw(st.integers(0, 2))
        ofport = 10 + index + draw(st.sampled_from([0, 20]))
        world = world.with_port(port(index, member, slot=shard * MAX_BUCKETS + index, ofport=ofport))
    return world
