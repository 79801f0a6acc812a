"""The world is a value that never says two contradictory things."""

from __future__ import annotations

import pytest
from hypothesis import given

from ofctl.model.ids import NetworkIndex, OfPort, PhysicalNetwork
from ofctl.model.network import NetworkType
from ofctl.pipeline.flow import MAX_BUCKETS
from ofctl.pipeline.tables import MAX_SHARDS
from ofctl.pipeline.world import Uplink, World, WorldPort
from tests.unit.pipeline.worlds import EXAMPLE, FLAT, LOCAL, PHYSNET, VLAN, network, port, uplink, worlds


def test_a_change_leaves_the_world_before_it_alone() -> None:
    before = EXAMPLE.with_port(port(4, 1))
    after = before.without_port(port(4, 1).index).without_uplink(PHYSNET)
    assert 4 in before.ports and before.ports_of(NetworkIndex(1), 0)[-1].index == 4 and PHYSNET in before.uplinks
    assert 4 not in after.ports and len(after.ports_of(NetworkIndex(1), 0)) == 1 and not after.uplinks
    assert after.with_uplink(uplink()) == EXAMPLE


@given(worlds())
def test_shards_hold_exactly_the_ports(world: World) -> None:
    for index in world.networks:
        expected: dict[int, list[WorldPort]] = {0: []}
        for member in sorted(world.ports.values(), key=lambda member: member.index):
            if member.network == index:
                expected.setdefault(member.slot // MAX_BUCKETS, []).append(member)
        assert {shard: list(world.ports_of(index, shard)) for shard in world.shards(index)} == expected
    rebuilt = World(uplinks=world.uplinks)
    for index in world.networks:
        rebuilt = rebuilt.with_network(network(index))
    emptied = world.without_ports(list(world.ports))
    assert not emptied.shards_by_network
    assert all(emptied.shards(index) == (0,) for index in emptied.networks)
    assert emptied.with_ports(world.ports.values()) == world


@pytest.mark.parametrize(
    ("newcomer", "problem"),
    [
        (port(4, 1, ofport=11), "port-4 wants ofport 11, which port port-1 has"),
        (port(4, 1, ofport=1), "wants ofport 1, which uplink physnet has"),
        (port(4, 1, mac=1), "wants mac_address 1 52:54:00:00:00:01"),
        (port(4, 1, slot=1), "wants slot 1 1"),
        (port(4, 9), "network 9, which is not there"),
    ],
)
def test_what_another_has_is_refused(newcomer: WorldPort, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        EXAMPLE.with_port(newcomer)


def test_what_was_given_up_can_be_taken() -> None:
    moved = EXAMPLE.with_port(port(1, 1, slot=9, mac=99, ofport=50))
    world = moved.with_port(port(4, 1, slot=1, mac=1, ofport=11))
    assert world.without_ports([port(1, 1).index, port(4, 1).index]).with_port(port(1, 1)) == EXAMPLE
    # Two ports that swap their ofports do so in one step.
    assert EXAMPLE.with_ports([port(2, 2, slot=0, ofport=13), port(3, 2, slot=1, ofport=12)]).ports[port(2, 2).index]


def test_a_port_twice_in_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="index of port-4"):
        EXAMPLE.with_ports([port(4, 1), port(4, 1, slot=7, mac=7, ofport=60)])


def test_two_networks_on_one_segment_are_refused() -> None:
    with pytest.raises(ValueError, match="wants segment physnet 100, which network network-2 has"):
        EXAMPLE.with_network(network(4, NetworkType.VLAN, 100))
    world = EXAMPLE.with_network(FLAT).with_network(network(2, NetworkType.VLAN, 101))
    assert world.with_network(network(4, NetworkType.VLAN, 100))
    with pytest.raises(ValueError, match="wants segment physnet"):
        world.with_network(network(5, NetworkType.FLAT))
    assert EXAMPLE.without_ports([port(2, 2).index, port(3, 2).index]).without_network(VLAN.index).with_network(VLAN)


def test_two_uplinks_on_one_ofport_are_refused() -> None:
    with pytest.raises(ValueError, match="wants ofport 1"):
        EXAMPLE.with_uplink(Uplink(physical_network=PhysicalNetwork("other"), ofport=OfPort(1)))
    assert EXAMPLE.with_uplink(uplink(2)).with_uplink(uplink(1)) == EXAMPLE


def test_a_network_with_ports_stays() -> None:
    with pytest.raises(ValueError, match="has ports"):
        EXAMPLE.without_network(LOCAL.index)


@pytest.mark.parametrize(
    "number", [{"index": 0}, {"index": 2**24}, {"slot": -1}, {"slot": MAX_SHARDS * MAX_BUCKETS}, {"ofport": -1}]
)
def test_numbers_outside_of_their_range_are_refused(number: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is outside of"):
        port(**{"index": 5, "network": 1, "mac": 5, "ofport": 5, **number})
    with pytest.raises(ValueError, match="is outside of"):
        uplink(0xFF00)
    with pytest.raises(ValueError, match="is outside of"):
        World().with_network(network(0))
