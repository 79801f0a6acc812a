"""The flows that bind senders and answer for neighbors: those of a host, and how many a port costs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from ofctl.apps.arp_nd import ArpNd
from ofctl.apps.port_security import PortSecurity
from ofctl.model.ids import MacAddress
from ofctl.model.network import NumberedNetwork, Subnet
from ofctl.model.security import AddressPair
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.flow import FlowSet
from ofctl.pipeline.world import World, WorldPort
from tests.unit.pipeline.test_golden import compare, text
from tests.unit.pipeline.worlds import LOCAL, port

SENDERS, NEIGHBORS = Compiler([PortSecurity()]), Compiler([ArpNd()])
WORLD = World().with_network(LOCAL)
VIRTUAL = MacAddress("00:00:5e:00:01:07")
V4, V6 = ip_address("10.0.0.1"), ip_address("fd00::1")


def plugged(addresses: str, *pairs: str | tuple[str, MacAddress]) -> WorldPort:
    """Return a port with an address of each version named, and pairs with its own or another MAC address."""
    fixed = tuple(address for address in (V4, V6) if str(address.version) in addresses)
    named = [(pair, None) if isinstance(pair, str) else pair for pair in pairs]
    allowed = tuple(AddressPair(ip_network(net), mac) for net, mac in named)
    return replace(port(1, 1), addresses=fixed, address_pairs=allowed)


PORTS = {
    "mac": plugged(""),
    "ipv4": plugged("4"),
    "dual": plugged("46"),
    "pairs": plugged("46", "10.7.0.0/16", "fd07::/64", "10.0.0.9/32", ("10.0.0.8/32", VIRTUAL)),
}


@pytest.mark.parametrize("name", PORTS)
def test_the_flows_of_a_port_are_as_written_down(name: str) -> None:
    world = WORLD.with_port(PORTS[name])
    flows = [flow for each in (SENDERS, NEIGHBORS) for flow in each.compile_port(PORTS[name].index, world).flows]
    compare(f"guard-{name}", text(FlowSet(tuple(flows))))


def test_the_flows_of_a_network_that_floods_no_questions_are_as_written_down() -> None:
    subnets = (Subnet(cidr=ip_network("10.0.0.0/24"), gateway=V4), Subnet(cidr=ip_network("fd00::/64"), gateway=V6))
    quiet = NumberedNetwork(
        network=replace(LOCAL.network, flood_unknown_neighbors=False, subnets=subnets), index=LOCAL.index
    )
    world = World().with_network(quiet)
    compare("guard-quiet", text(NEIGHBORS.compile_network(LOCAL.index, world)))
    silent = replace(quiet, network=replace(quiet.network, neighbor_replies=False))
    assert not NEIGHBORS.compile_network(LOCAL.index, World().with_network(silent)).flows


@pytest.mark.parametrize(
    ("pairs", "flows"),
    [
        ((), 8),
        (("10.1.0.1/32",), 9),
        (("fd01::1/128",), 9),
        (("10.1.0.0/24",), 10),
        (tuple(f"10.1.0.{2 * number + 1}/32" for number in range(32)), 40),
        (("10.1.0.0/25", "10.1.0.128/25"), 10),
        ((("10.1.0.1/32", VIRTUAL),), 11),
        ((("fd01::1/128", VIRTUAL),), 13),
    ],
)
def test_a_pair_costs_a_flow_a_prefix_two_and_a_mac_address_four(
    pairs: tuple[str | tuple[str, MacAddress], ...], flows: int
) -> None:
    there = plugged("46", *pairs)
    assert len(SENDERS.compile_port(there.index, WORLD.with_port(there)).flows) == flows
    assert len(NEIGHBORS.compile_port(there.index, WORLD.with_port(there)).flows) == 5


def test_what_is_off_costs_nothing() -> None:
    there = replace(PORTS["dual"], port_security=False)
    assert not SENDERS.compile_port(there.index, WORLD.with_port(there)).flows
    assert len(NEIGHBORS.compile_port(there.index, WORLD.with_port(there)).flows) == 4, "no link-local address"
    silent = NumberedNetwork(network=replace(LOCAL.network, neighbor_replies=False), index=LOCAL.index)
    assert not NEIGHBORS.compile_port(there.index, World().with_network(silent).with_port(there)).flows


def test_a_link_local_address_may_be_another_port_s_fixed_one() -> None:
    link_local = ip_address("fe80::5054:ff:fe00:1")
    other = replace(port(2, 1), addresses=(link_local,))
    own = replace(PORTS["dual"], addresses=(V4, V6, link_local))
    for there in ([PORTS["dual"], other], [own]):
        NEIGHBORS.compile_all(WORLD.with_ports(there))
    assert len(NEIGHBORS.compile_port(own.index, WORLD.with_port(own)).flows) == 5
    subnet = Subnet(cidr=ip_network("fe80::/64"), gateway=link_local)
    network = replace(LOCAL.network, subnets=(subnet,), flood_unknown_neighbors=False)
    world = World().with_network(NumberedNetwork(network=network, index=LOCAL.index)).with_port(PORTS["dual"])
    identities = [flow.identity for flow in NEIGHBORS.compile_all(world).flows]
    assert len(set(identities)) == len(identities)
