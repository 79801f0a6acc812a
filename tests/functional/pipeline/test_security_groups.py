"""What security groups let through on a real switch that has what the compiler says, and what they do not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest

from ofctl.model.ids import NetworkId, NetworkIndex, PhysicalNetwork
from ofctl.model.network import Network, NetworkType, NumberedNetwork
from ofctl.model.security import (
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    AddressGroupId,
    IcmpMessage,
    NumberedSecurityGroup,
    Ports,
    SecurityGroupId,
    SecurityRule,
)
from ofctl.pipeline.world import World
from tests.functional.pipeline.guarded import (
    IN,
    OUT,
    Guest,
    address_group,
    arp_frame,
    echo,
    fragments,
    group,
    icmpv6,
    other,
    sctp,
    tcp,
    udp,
    unreachable,
)
from tests.functional.pipeline.lab import Lab, frame

A, B, C = Guest("a", 1), Guest("b", 2), Guest("c", 3)
"""In the network blue; C is never filtered."""
RED_A, RED_B = Guest("red-a", 1), Guest("red-b", 2)
"""In the network red, with the addresses of A and B."""
OUTSIDE = Guest("up", 9)
PHYSICAL = PhysicalNetwork("physnet")
BLUE = NumberedNetwork(
    network=Network(network_id=NetworkId("blue"), network_type=NetworkType.FLAT, physical_network=PHYSICAL),
    index=NetworkIndex(1),
)
RED = NumberedNetwork(network=Network(network_id=NetworkId("red")), index=NetworkIndex(2))
FAMILIES = (4, 6)
PING = (
    SecurityRule(direction=IN, protocol=ICMP, icmp=IcmpMessage(8)),
    SecurityRule(direction=IN, protocol=ICMPV6, icmp=IcmpMessage(128)),
)


def web(*, first: int = 80, last: int = 80, protocol: int = UDP, **remote: object) -> SecurityRule:
    return SecurityRule(direction=IN, protocol=protocol, ports=Ports(first, last), **remote)  # type: ignore[arg-type]


class Guarded:
    """The lab with five guests and an outside, all unfiltered at first."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.attach(*(guest.name for guest in (A, B, C, RED_A, RED_B, OUTSIDE)))
        self.base = World().with_network(BLUE).with_network(RED).with_uplink(lab.uplink("up", PHYSICAL))
        for number, (guest, network) in enumerate(((A, 1), (B, 1), (C, 1), (RED_A, 2), (RED_B, 2)), 1):
            port = lab.port(guest.name, number, network, guest.mac)
            self.base = self.base.with_port(
                replace(port, addresses=guest.addresses, zone=100 + number, port_security=False)
            )
        lab.become(self.base)

    def with_groups(
        self, groups: Iterable[NumberedSecurityGroup], ports: Mapping[str, str], world: World | None = None
    ) -> World:
        """Return a world with the groups, and with ports in them: `{"a": "sg-1 sg-2"}`."""
        world = self.base if world is None else world
        for each in groups:
            world = world.with_security_group(each)
        for name, ids in ports.items():
            (port,) = [port for port in world.ports.values() if port.port_id == name]
            world = world.with_port(replace(port, security_groups=tuple(map(SecurityGroupId, ids.split()))))
        return world

    def guard(self, *groups: NumberedSecurityGroup, **ports: str) -> None:
        """Put groups on the switch, and ports in them, that have none."""
        self.lab.become(self.with_groups(groups, ports))

    def passes(self, sender: Guest, receiver: Guest, *frames: bytes) -> bool:
        """Tell whether frames that one sends get to the other, and to nobody else; all or none."""
        # The switch may reorder frames of different flows that it takes at once.
        got = {name: sorted(each) for name, each in self.lab.send(sender.name, *frames).items()}
        assert got in ({}, {receiver.name: sorted(frames)}), got
        return bool(got)


@pytest.fixture
def guarded(lab: Lab) -> Guarded:
    return Guarded(lab)


def test_nothing_gets_in_but_what_a_rule_allows_and_its_replies_get_out(guarded: Guarded) -> None:
    guarded.guard(group(1, web(first=80, last=90), web(protocol=TCP), *PING), a="sg-1")
    for version in FAMILIES:
        for sender in (C, OUTSIDE):
            assert guarded.passes(sender, A, udp(sender, A, version, 80))
            assert guarded.passes(sender, A, udp(sender, A, version, 90))
            assert guarded.passes(A, sender, udp(A, sender, version, 4000, source=80))
            assert not guarded.passes(sender, A, udp(sender, A, version, 79))
            assert not guarded.passes(sender, A, udp(sender, A, version, 91))
            assert guarded.passes(sender, A, tcp(sender, A, version, 80, "S"))
            assert not guarded.passes(sender, A, tcp(sender, A, version, 81, "S"))
            assert not guarded.passes(sender, A, tcp(sender, A, version, 81, "A"))
            assert guarded.passes(A, sender, tcp(A, sender, version, 4000, "SA", source=80))
            assert guarded.passes(sender, A, tcp(sender, A, version, 80, "A"))
            assert guarded.passes(sender, A, echo(sender, A, version))
            assert guarded.passes(A, sender, echo(A, sender, version, reply=True))
            assert not guarded.passes(sender, A, other(sender, A, version, 47))


def test_all_gets_out_and_only_its_replies_get_in(guarded: Guarded) -> None:
    guarded.guard(group(1), a="sg-1")
    for version in FAMILIES:
        for peer in (C, OUTSIDE):
            assert not guarded.passes(peer, A, udp(peer, A, version, 4000, source=53))
            assert guarded.passes(A, peer, udp(A, peer, version, 53))
            assert guarded.passes(peer, A, udp(peer, A, version, 4000, source=53))
            assert not guarded.passes(peer, A, udp(peer, A, version, 4001, source=53))
            assert not guarded.passes(peer, A, echo(peer, A, version, reply=True))
            assert guarded.passes(A, peer, echo(A, peer, version))
            assert guarded.passes(peer, A, echo(peer, A, version, reply=True))
            assert not guarded.passes(peer, A, echo(peer, A, version))
            assert guarded.passes(A, peer, other(A, peer, version, 47))
            assert guarded.passes(peer, A, other(peer, A, version, 47))


def test_an_egress_rule_closes_the_rest(guarded: Guarded) -> None:
    dns = SecurityRule(direction=OUT, protocol=UDP, ports=Ports(53, 53), remote_prefix=ip_network("10.0.0.3/32"))
    web6 = SecurityRule(direction=OUT, protocol=TCP, ip_version=6, ports=Ports(80, 80))
    guarded.guard(group(1, dns), group(2, web6, web()), a="sg-1 sg-2")
    assert guarded.passes(A, C, udp(A, C, 4, 53))
    assert guarded.passes(C, A, udp(C, A, 4, 4000, source=53))
    assert not guarded.passes(A, OUTSIDE, udp(A, OUTSIDE, 4, 53))
    assert not guarded.passes(A, C, udp(A, C, 6, 53))
    assert not guarded.passes(A, C, udp(A, C, 4, 54))
    assert guarded.passes(A, OUTSIDE, tcp(A, OUTSIDE, 6, 80, "S"))
    assert guarded.passes(OUTSIDE, A, tcp(OUTSIDE, A, 6, 4000, "SA", source=80))
    assert not guarded.passes(A, OUTSIDE, tcp(A, OUTSIDE, 4, 80, "S"))
    for version in FAMILIES:
        assert not guarded.passes(A, C, udp(A, C, version, 4000, source=80))
        assert guarded.passes(C, A, udp(C, A, version, 80))
        assert guarded.passes(A, C, udp(A, C, version, 4000, source=80))
    assert not guarded.passes(A, C, frame(C.mac, A.mac))


def test_errors_about_a_connection_pass_and_others_do_not(guarded: Guarded) -> None:
    guarded.guard(group(1, web()), a="sg-1")
    for version in FAMILIES:
        sent = udp(A, C, version, 53)
        assert not guarded.passes(C, A, unreachable(C, A, version, sent))
        assert guarded.passes(A, C, sent)
        assert guarded.passes(C, A, unreachable(C, A, version, sent))
        # From a router on the way.
        assert guarded.passes(OUTSIDE, A, unreachable(OUTSIDE, A, version, sent))
        received = udp(C, A, version, 80)
        assert guarded.passes(C, A, received)
        assert guarded.passes(A, C, unreachable(A, C, version, received))


def test_two_filtered_ports_are_both_asked(guarded: Guarded) -> None:
    groups = group(1, web()), group(2, SecurityRule(direction=OUT, protocol=UDP, ports=Ports(80, 81)))
    guarded.guard(*groups, a="sg-1", b="sg-2")
    for version in FAMILIES:
        assert guarded.passes(B, A, udp(B, A, version, 80))
        assert not guarded.passes(B, A, udp(B, A, version, 81))
        assert not guarded.passes(B, A, udp(B, A, version, 82))
        assert guarded.passes(A, B, udp(A, B, version, 4000, source=80))
        assert not guarded.passes(A, B, udp(A, B, version, 80))


def test_a_remote_group_means_its_ports_and_members_on_the_same_network(guarded: Guarded) -> None:
    remote = web(remote_security_group=SecurityGroupId("sg-2"))
    members = [("blue", "10.0.0.9/32"), ("blue", "fd00::9/128"), ("red", "10.0.0.3/32")]
    clients = group(2, members=members)
    guarded.guard(clients, group(1, remote, web(first=443, last=443)), a="sg-1")
    lab = guarded.lab
    for version in FAMILIES:
        assert not guarded.passes(B, A, udp(B, A, version, 80))
        assert guarded.passes(OUTSIDE, A, udp(OUTSIDE, A, version, 80))
        assert guarded.passes(C, A, udp(C, A, version, 443))
    lab.become(guarded.with_groups((), {"b": "sg-2"}, lab.world))
    for version in FAMILIES:
        assert guarded.passes(B, A, udp(B, A, version, 80))
        assert not guarded.passes(B, A, udp(B, A, version, 81))
        assert not guarded.passes(C, A, udp(C, A, version, 80))
    lab.become(guarded.with_groups([group(2, members=members[2:])], {"b": ""}, lab.world))
    for version in FAMILIES:
        assert not guarded.passes(B, A, udp(B, A, version, 80))
        assert not guarded.passes(OUTSIDE, A, udp(OUTSIDE, A, version, 80))
        assert not guarded.passes(C, A, udp(C, A, version, 80))


def test_the_same_addresses_in_two_networks_have_groups_of_their_own(guarded: Guarded) -> None:
    remote = web(remote_security_group=SecurityGroupId("sg-2"))
    lab = guarded.lab
    lab.become(guarded.with_groups([group(2), group(1, remote)], {"a": "sg-1", "red-a": "sg-1", "red-b": "sg-2"}))
    for version in FAMILIES:
        assert guarded.passes(RED_B, RED_A, udp(B, A, version, 80))
        assert not guarded.passes(B, A, udp(B, A, version, 80))


def test_address_groups_are_prefixes(guarded: Guarded) -> None:
    lab = guarded.lab
    rules = (
        web(remote_address_group=AddressGroupId("ag-1")),
        web(first=81, last=81, remote_prefix=ip_network("fd00::/124")),
    )
    world = guarded.base.with_address_group(address_group(1, "10.0.0.2/31", "fd00::2/127"))
    lab.become(guarded.with_groups([group(1, *rules)], {"a": "sg-1"}, world))
    for version in FAMILIES:
        assert guarded.passes(B, A, udp(B, A, version, 80))
        assert guarded.passes(C, A, udp(C, A, version, 80))
        assert not guarded.passes(OUTSIDE, A, udp(OUTSIDE, A, version, 80))
        assert guarded.passes(OUTSIDE, A, udp(OUTSIDE, A, version, 81)) == (version == 6)
    lab.become(lab.world.with_address_group(address_group(1, "0.0.0.0/0")))
    assert guarded.passes(OUTSIDE, A, udp(OUTSIDE, A, 4, 80))
    assert not guarded.passes(B, A, udp(B, A, 6, 80))


def test_a_rule_that_goes_stops_what_it_allowed_and_nothing_else(guarded: Guarded) -> None:
    lab = guarded.lab
    both = group(1, web(), web(first=81, last=81))
    guarded.guard(both, a="sg-1")
    for version in FAMILIES:
        for port in (80, 81):
            assert guarded.passes(C, A, udp(C, A, version, port))
            assert guarded.passes(A, C, udp(A, C, version, 4000, source=port))
    changes = lab.become(lab.world.with_security_group(group(1, web())))
    assert len(changes) == 2, changes
    for version in FAMILIES:
        assert guarded.passes(C, A, udp(C, A, version, 80))
        assert guarded.passes(A, C, udp(A, C, version, 4000, source=80))
        assert not guarded.passes(C, A, udp(C, A, version, 81))
        assert not guarded.passes(A, C, udp(A, C, version, 4000, source=81))


def test_stateless_groups_judge_every_frame(guarded: Guarded) -> None:
    answers = SecurityRule(direction=OUT, protocol=UDP, ports=Ports(4000, 4000))
    guarded.guard(group(1, web(first=0, last=1023), *PING, answers, stateful=False), a="sg-1")
    for version in FAMILIES:
        for peer in (C, OUTSIDE):
            assert guarded.passes(peer, A, udp(peer, A, version, 80))
            assert guarded.passes(A, peer, udp(A, peer, version, 4000, source=80))
            assert not guarded.passes(A, peer, udp(A, peer, version, 53))
            assert not guarded.passes(peer, A, udp(peer, A, version, 4000, source=53))
            assert guarded.passes(peer, A, echo(peer, A, version))
            assert not guarded.passes(A, peer, echo(A, peer, version, reply=True))
            first, *later = fragments(peer, A, version, 80)
            assert guarded.passes(peer, A, first)
            assert not guarded.passes(peer, A, *later)
            # In the range is port 0, which later fragments seem to have.
            assert not guarded.passes(peer, A, *fragments(peer, A, version, 1024))
    assert "zone" not in guarded.lab.ovs.appctl("dpctl/dump-conntrack")


def test_later_fragments_pass_stateless_rules_without_ports(guarded: Guarded) -> None:
    any_udp = SecurityRule(direction=IN, protocol=UDP, ports=Ports(0, 65535))
    guarded.guard(group(1, any_udp, stateful=False), group(2, SecurityRule(direction=IN), stateful=False), a="sg-1")
    for kind in ("sg-1", "sg-2"):
        guarded.lab.become(guarded.with_groups((), {"a": kind}, guarded.lab.world))
        for version in FAMILIES:
            assert guarded.passes(C, A, *fragments(C, A, version, 80))


def test_a_stateful_neighbour_leaves_no_state_at_a_stateless_port(guarded: Guarded) -> None:
    guarded.guard(group(1, web(), stateful=False), group(2), a="sg-1", b="sg-2")
    for version in FAMILIES:
        assert guarded.passes(B, A, udp(B, A, version, 80))
    assert "zone=102" in guarded.lab.ovs.appctl("dpctl/dump-conntrack")
    assert all("zone=102" in line for line in guarded.lab.ovs.appctl("dpctl/dump-conntrack").splitlines())


def test_fragments_pass_as_their_datagram(guarded: Guarded) -> None:
    guarded.guard(group(1, web()), group(2), a="sg-1", b="sg-2")
    for version in FAMILIES:
        for sender in (C, B):
            assert guarded.passes(sender, A, *fragments(sender, A, version, 80))
            assert not guarded.passes(sender, A, *fragments(sender, A, version, 81))
            assert guarded.passes(sender, A, *fragments(sender, A, version, 80))
        assert guarded.passes(A, C, *fragments(A, C, version, 53))


@pytest.mark.parametrize("version", FAMILIES)
def test_fragments_that_the_switch_has_left_do_not_go_to_another_network(guarded: Guarded, version: int) -> None:
    """Of datagrams that are complete it sends 32 packets at once, and more with the next ones of any zone."""
    anything = SecurityRule(direction=IN)
    guarded.lab.become(guarded.with_groups([group(1, anything)], {"a": "sg-1", "red-a": "sg-1"}))
    datagrams = [fragments(RED_B, RED_A, version, 80, count=40, number=number) for number in range(1, 11)]
    for datagram in datagrams:
        assert not guarded.lab.send(RED_B.name, *datagram[:-1])
    # One by one it would have little left of each.
    guarded.lab.ovs.freeze_vswitchd()
    for datagram in datagrams:
        os.write(guarded.lab.taps[RED_B.name].descriptor, datagram[-1])
    opening = udp(C, A, version, 80)
    os.write(guarded.lab.taps[C.name].descriptor, opening)
    guarded.lab.ovs.thaw_vswitchd()
    got = guarded.lab.send(C.name)
    assert set(got.get(A.name, ())) <= {opening} and got.keys() <= {A.name, RED_A.name}
    for number in range(3):
        opening = udp(C, A, version, 80, source=5000 + number)
        got = guarded.lab.send(C.name, opening)
        assert got.pop(A.name) == [opening] and got.keys() <= {RED_A.name}


def test_protocol_numbers(guarded: Guarded) -> None:
    numbers = [SecurityRule(direction=IN, protocol=number) for number in (47, SCTP)]
    guarded.guard(group(1, *numbers), a="sg-1")
    for version in FAMILIES:
        for number in (47, SCTP):
            assert guarded.passes(C, A, other(C, A, version, number))
            assert guarded.passes(A, C, other(A, C, version, number))
        assert not guarded.passes(C, A, other(C, A, version, 50))
        assert not guarded.passes(C, A, udp(C, A, version, 80))


def test_sctp_ports_are_read_in_each_packet(guarded: Guarded) -> None:
    guarded.guard(group(1, web(protocol=SCTP, first=5, last=6)), a="sg-1")
    for version in FAMILIES:
        assert not guarded.passes(C, A, sctp(C, A, version, 7))
        opening = sctp(C, A, version, 5)
        assert guarded.passes(C, A, opening)
        assert not guarded.passes(C, A, sctp(C, A, version, 7))
        assert guarded.passes(A, C, sctp(A, C, version, 4000, source=5))
        assert not guarded.passes(A, C, sctp(A, C, version, 4000, source=7))
        assert guarded.passes(C, A, opening)
        assert guarded.passes(A, C, unreachable(A, C, version, opening))


def test_what_was_refused_is_not_remembered(guarded: Guarded) -> None:
    guarded.guard(group(1, web()), a="sg-1")
    for version in FAMILIES:
        assert not guarded.passes(C, A, udp(C, A, version, 81))
        assert not guarded.passes(C, A, *fragments(C, A, version, 81))
    assert guarded.lab.ovs.appctl("dpctl/dump-conntrack") == ""
    assert guarded.passes(C, A, udp(C, A, 4, 80))
    assert "zone=101" in guarded.lab.ovs.appctl("dpctl/dump-conntrack")


@pytest.mark.parametrize("stateful", [True, False])
def test_neighbors_listeners_and_dhcp_pass_whatever_the_rules_say(guarded: Guarded, stateful: bool) -> None:
    nothing = SecurityRule(direction=OUT, protocol=250)
    guarded.guard(group(1, nothing, stateful=stateful), a="sg-1")
    for sender, receiver in ((A, C), (C, A), (A, OUTSIDE), (OUTSIDE, A)):
        for kind in (130, 131, 132, 133, 134, 135, 136, 137, 143):
            assert guarded.passes(sender, receiver, icmpv6(sender, receiver, kind)), kind
        assert not guarded.passes(sender, receiver, icmpv6(sender, receiver, 138))
        client = sender == A
        for version, ports in ((4, (68, 67)), (6, (546, 547))):
            source, to = ports if client else ports[::-1]
            assert guarded.passes(sender, receiver, udp(sender, receiver, version, to, source=source))
            assert not guarded.passes(sender, receiver, udp(sender, receiver, version, source, source=to))
    arp = arp_frame(A, C)
    assert guarded.passes(A, C, arp) and guarded.passes(C, A, arp_frame(C, A))
    assert not guarded.passes(A, C, frame(C.mac, A.mac)) and not guarded.passes(C, A, frame(A.mac, C.mac))


def test_ports_come_and_go_between_all_kinds(guarded: Guarded) -> None:
    lab = guarded.lab
    installed = lab.installed.canonical()
    kinds = ["", "sg-1", "sg-2", "sg-3"]
    closed = SecurityRule(direction=OUT, protocol=TCP)
    lab.become(guarded.with_groups([group(1), group(2, closed), group(3, stateful=False)], {}))
    for kind in (1, 0, 2, 0, 3, 1, 2, 1, 3, 2, 3, 0):  # From each to each.
        lab.become(guarded.with_groups((), {"a": kinds[kind]}, lab.world))
        assert guarded.passes(A, C, udp(A, C, 4, 53)) == (kind != 2)
        assert guarded.passes(OUTSIDE, A, udp(OUTSIDE, A, 4, 53)) == (kind == 0)
    lab.become(guarded.base)
    assert lab.installed.canonical() == installed


def test_floods_reach_filtered_ports_as_far_as_rules_allow(guarded: Guarded) -> None:
    everyone = ("a", "b", "c")
    guarded.guard(group(1, web()), group(2, stateful=False), a="sg-1", b="sg-2")
    for version in FAMILIES:
        for port, receivers in ((80, "ac"), (81, "c")):
            sent = b"\xff" * 6 + udp(OUTSIDE, A, version, port)[6:]
            got = guarded.lab.send("up", sent)
            assert got == {name: [sent] for name in everyone if name in receivers}
    arp = b"\xff" * 6 + bytes.fromhex("525400000009") + b"\x08\x06" + bytes(46)
    assert guarded.lab.send("up", arp) == {name: [arp] for name in everyone}
