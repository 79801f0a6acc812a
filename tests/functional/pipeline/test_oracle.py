"""Random rules on the real switch, frame by frame against `allows`, which reads the same rules without one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ofctl.model.ids import PortIndex
from ofctl.model.security import ICMP as ICMP_NUMBER
from ofctl.model.security import ICMPV6, SCTP, RuleDirection, SecurityGroupId
from ofctl.model.security import TCP as TCP_NUMBER
from ofctl.model.security import UDP as UDP_NUMBER
from ofctl.pipeline.judgement import Connection, allows
from ofctl.pipeline.world import World
from tests.functional.pipeline.guarded import Guest, octets
from tests.functional.pipeline.lab import Lab
from tests.unit.pipeline.worlds import PREFIXES, address_group, network, rules, security_group

A, B, C = Guest("a", 1), Guest("b", 2), Guest("c", 3)
"""A and B may be in groups, C is not, and speaks for whom it wants: nobody's sender is checked."""
GRE = 47


@dataclass(frozen=True)
class Opening:
    """The first frame of a connection."""

    sender: Guest
    receiver: Guest
    connection: Connection

    def frame(self) -> bytes:
        what = self.connection
        layer = IP if what.source.version == 4 else IPv6
        packet = Ether(src=self.sender.mac, dst=self.receiver.mac) / layer(
            src=str(what.source), dst=str(what.destination)
        )
        if what.protocol == UDP_NUMBER:
            return octets(packet / UDP(sport=what.source_port, dport=what.destination_port))
        if what.protocol == TCP_NUMBER:
            return octets(packet / TCP(sport=what.source_port, dport=what.destination_port, flags="S"))
        if what.protocol == ICMP_NUMBER:
            return octets(packet / ICMP(type=8, id=self.sender.number))
        if what.protocol == ICMPV6:
            return octets(packet / ICMPv6EchoRequest(id=self.sender.number))
        packet.payload.setfieldval("proto" if layer is IP else "nh", what.protocol)
        ports = what.source_port.to_bytes(2, "big") + what.destination_port.to_bytes(2, "big")
        return octets(packet / Raw(ports + bytes(40)))

    def passes(self, world: World) -> bool:
        """Tell what the rules say: the sender's of what leaves, the receiver's of what comes."""
        sender, receiver = (world.ports[PortIndex(guest.number)] for guest in (self.sender, self.receiver))
        leaves = allows(sender, world, self.connection, RuleDirection.EGRESS)
        return leaves and allows(receiver, world, self.connection, RuleDirection.INGRESS)


def openings() -> list[Opening]:
    """Return connections of all protocols, none of which is another's reply: they differ in ports or addresses."""
    found: list[Opening] = []
    for version in (4, 6):
        ways = [(A, C, A), (B, A, B), (C, A, C), (C, A, Guest("elsewhere", 200))]
        for number, (sender, receiver, source) in enumerate(ways):
            ends = source.address(version), receiver.address(version)
            for port in (1, 5, 12, 13):
                for protocol in (UDP_NUMBER, TCP_NUMBER):
                    found.append(
                        Opening(sender, receiver, Connection(*ends, protocol, 1000 + 100 * number + port, port))
                    )
            found.append(Opening(sender, receiver, Connection(*ends, *((1, 8) if version == 4 else (58, 128)))))
        for number, protocol in ((60, GRE), (61, SCTP), (62, SCTP)):
            # Connection tracking tells them by their addresses alone.
            ends = Guest("", number).address(version), A.address(version)
            ports = (1000, 1 + number % 2) if protocol == SCTP else (0, 0)
            found.append(Opening(C, A, Connection(*ends, protocol, *ports)))
    return found


OPENINGS = openings()
FRAMES = {each: each.frame() for each in OPENINGS}


Guarding = tuple[World, dict[Guest, tuple[SecurityGroupId, ...]]]


@st.composite
def guardings(draw: st.DrawFn) -> Guarding:
    """Random rules in three groups, and groups of one kind for A and for B."""
    world = World().with_network(network(1)).with_network(network(2))
    world = world.with_address_group(address_group(1, *draw(st.sets(st.sampled_from(PREFIXES)))))
    for index in (1, 2, 3):
        world = world.with_security_group(security_group(index))
    kinds = {index: draw(st.booleans()) for index in (1, 2, 3)}
    places = st.tuples(st.sampled_from([1, 2]), st.sampled_from(PREFIXES))
    for index, stateful in kinds.items():
        own = draw(st.lists(rules(), max_size=5))
        members = tuple(draw(st.sets(places, max_size=2)))
        world = world.with_security_group(security_group(index, *own, stateful=stateful, members=members))
    groups: dict[Guest, tuple[SecurityGroupId, ...]] = {}
    for guest in (A, B):
        first = draw(st.sampled_from([1, 2, 3]))
        others = draw(st.sets(st.sampled_from([1, 2, 3])))
        alike = sorted(index for index in {first, *others} if kinds[index] == kinds[first])
        groups[guest] = tuple(SecurityGroupId(f"sg-{index}") for index in alike)
    return world, groups


def plugged(lab: Lab, guarding: Guarding) -> World:
    world, groups = guarding
    for guest in (A, B, C):
        port = lab.port(guest.name, guest.number, 1, guest.mac)
        port = replace(port, addresses=guest.addresses, zone=guest.number, port_security=False)
        world = world.with_port(replace(port, security_groups=groups.get(guest, ())))
    return world


@pytest.fixture
def guests(lab: Lab) -> Lab:
    lab.attach(A.name, B.name, C.name)
    return lab


@given(guarding=guardings())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_switch_lets_through_what_the_rules_say(guests: Lab, guarding: Guarding) -> None:
    world = plugged(guests, guarding)
    guests.become(world)
    guests.ovs.appctl("dpctl/flush-conntrack")
    got: dict[str, set[bytes]] = {}
    for sender in (A, B, C):
        frames = [FRAMES[each] for each in OPENINGS if each.sender == sender]
        for name, arrived in guests.send(sender.name, *frames).items():
            got.setdefault(name, set()).update(arrived)
    for each in OPENINGS:
        assert (FRAMES[each] in got.get(each.receiver.name, ())) == each.passes(world), each
