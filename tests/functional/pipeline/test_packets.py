"""Where real frames go on a real switch that has what the compiler says."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from ofctl.model.ids import NetworkId, NetworkIndex, PhysicalNetwork, PortIndex
from ofctl.model.network import Network, NetworkType, NumberedNetwork
from ofctl.pipeline.changes import AddFlow, InsertBucket
from ofctl.pipeline.flow import Learn
from ofctl.pipeline.tables import ORIGIN, learned_cookie, network_cookie
from ofctl.pipeline.world import World
from tests.functional.pipeline.lab import BRIDGE, Lab, frame

BROADCAST = "ff:ff:ff:ff:ff:ff"
MULTICAST = "01:00:5e:00:00:fb"
MACS = [f"52:54:00:00:00:{number:02x}" for number in range(10)]
NOBODY = "52:54:00:ff:ff:ff"
OUTSIDER = "0c:00:00:00:00:01"

BLUE = NumberedNetwork(network=Network(network_id=NetworkId("blue")), index=NetworkIndex(1))
RED = NumberedNetwork(network=Network(network_id=NetworkId("red")), index=NetworkIndex(2))
PHYSICAL = PhysicalNetwork("physnet")
VLAN = NumberedNetwork(
    network=Network(
        network_id=NetworkId("vlan"), network_type=NetworkType.VLAN, segmentation_id=100, physical_network=PHYSICAL
    ),
    index=NetworkIndex(3),
)
FLAT = NumberedNetwork(
    network=Network(network_id=NetworkId("flat"), network_type=NetworkType.FLAT, physical_network=PHYSICAL),
    index=NetworkIndex(4),
)
VLAN_COOKIE = network_cookie(VLAN.index)


@pytest.fixture
def two_networks(lab: Lab) -> Lab:
    """Ports b1, b2, b3 in blue and r1, r2 in red; r1 and r2 have the addresses of b1 and b2."""
    lab.attach("b1", "b2", "b3", "r1", "r2")
    ports = [lab.port(f"b{number}", number, 1, MACS[number]) for number in (1, 2, 3)]
    ports += [lab.port(f"r{number}", 10 + number, 2, MACS[number]) for number in (1, 2)]
    lab.become(World().with_network(BLUE).with_network(RED).with_ports(ports))
    return lab


@pytest.fixture
def outside(lab: Lab) -> Lab:
    """Ports v1, v2 in the VLAN network, f1 in the flat one, b1 in a local one, and the uplink `up` of the first two."""
    lab.attach("v1", "v2", "f1", "b1", "up")
    world = World().with_network(VLAN).with_network(FLAT).with_network(BLUE).with_uplink(lab.uplink("up", PHYSICAL))
    ports = [lab.port("v1", 1, 3, MACS[1]), lab.port("v2", 2, 3, MACS[2]), lab.port("f1", 3, 4, MACS[1])]
    lab.become(world.with_ports([*ports, lab.port("b1", 4, 1, MACS[1])]))
    return lab


def test_unicast_reaches_its_port_and_no_other(two_networks: Lab) -> None:
    sent = frame(MACS[2], MACS[1])
    assert two_networks.send("b1", sent) == {"b2": [sent]}


def test_the_same_addresses_in_two_networks_do_not_meet(two_networks: Lab) -> None:
    sent = frame(MACS[2], MACS[1])
    assert two_networks.send("r1", sent) == {"r2": [sent]}
    assert two_networks.send("b1", sent) == {"b2": [sent]}
    only_in_blue = frame(MACS[3], MACS[1])
    assert two_networks.send("r1", only_in_blue) == {}


@pytest.mark.parametrize("destination", [BROADCAST, MULTICAST])
def test_flooding_reaches_all_of_the_network_but_the_sender(two_networks: Lab, destination: str) -> None:
    sent = frame(destination, MACS[1])
    assert two_networks.send("b1", sent) == {"b2": [sent], "b3": [sent]}
    assert two_networks.send("r2", sent) == {"r1": [sent]}


def test_what_a_port_must_not_send_goes_nowhere(two_networks: Lab) -> None:
    for sent in (
        frame(NOBODY, MACS[1]),
        frame("01:80:c2:00:00:00", MACS[1]),
        frame("01:80:c2:00:00:0e", MACS[1]),
        frame("01:80:c2:00:00:0f", MACS[1]),
        frame(MACS[1], MACS[1]),
    ):
        assert two_networks.send("b1", sent) == {}, sent.hex()
    next_address = frame("01:80:c2:00:00:10", MACS[1])
    assert two_networks.send("b1", next_address) == {"b2": [next_address], "b3": [next_address]}


def test_a_tag_of_the_guest_s_own_stays_inside_of_its_network(outside: Lab) -> None:
    for tag in (0, 5, 100, 101):
        sent = frame(BROADCAST, MACS[1], tag=tag)
        received = outside.send("v1", sent)
        assert received == {"v2": [sent], "up": [with_tag(sent, 100)]}
        assert outside.send("up", with_tag(frame(BROADCAST, OUTSIDER, tag=tag), 100)) == {
            each: [frame(BROADCAST, OUTSIDER, tag=tag)] for each in ("v1", "v2")
        }
        # A flat network has no tag to put around it: it would be in the provider's VLAN of that number.
        assert outside.send("f1", sent, frame(NOBODY, MACS[1], tag=tag)) == {}
    twice = with_tag(frame(BROADCAST, MACS[1], tag=101), 102)
    assert outside.send("v1", twice) == {"v2": [twice], "up": [with_tag(twice, 100)]}
    assert outside.send("f1", twice) == {}


def with_tag(inner: bytes, tag: int) -> bytes:
    """Return the frame with another 802.1Q tag around all others."""
    return inner[:12] + struct.pack("!HH", 0x8100, tag) + inner[12:]


def test_a_plug_and_an_unplug_touch_what_changed_only(two_networks: Lab) -> None:
    two_networks.attach("b4")
    before, installed = two_networks.world, two_networks.installed
    changes = two_networks.become(before.with_port(two_networks.port("b4", 4, 1, MACS[4])))
    flows = len(two_networks.compiler.compile_port(PortIndex(4), two_networks.world).flows)
    assert [type(change) for change in changes] == [InsertBucket, *[AddFlow] * flows]
    sent = frame(BROADCAST, MACS[1])
    assert two_networks.send("b1", sent) == {"b2": [sent], "b3": [sent], "b4": [sent]}

    two_networks.become(two_networks.world.without_port(PortIndex(4)))
    assert two_networks.installed.canonical() == installed.canonical()
    assert two_networks.send("b1", sent) == {"b2": [sent], "b3": [sent]}
    assert two_networks.send("b1", frame(MACS[4], MACS[1])) == {}
    assert two_networks.send("b4", sent) == {}


def test_nothing_is_left_when_all_is_gone(outside: Lab) -> None:
    outside.send("up", frame(BROADCAST, OUTSIDER, tag=100))
    assert outside.learned()
    world = outside.world.without_ports(list(outside.world.ports))
    for network in (VLAN, FLAT, BLUE):
        world = world.without_network(network.index)
    outside.become(world)
    flows = outside.ovs.ovs_ofctl("dump-flows", BRIDGE, "--no-stats").splitlines()
    fence_and_host = len(outside.compiler.compile_host(world).flows) + 1
    assert len([line for line in flows if "actions=" in line]) == fence_and_host
    assert "group_id" not in outside.ovs.ovs_ofctl("dump-groups", BRIDGE)


def test_frames_leave_with_the_tag_of_their_network(outside: Lab) -> None:
    assert outside.send("v1", frame(BROADCAST, MACS[1])) == {
        "v2": [frame(BROADCAST, MACS[1])],
        "up": [frame(BROADCAST, MACS[1], tag=100)],
    }
    assert outside.send("v1", frame(NOBODY, MACS[1])) == {"up": [frame(NOBODY, MACS[1], tag=100)]}
    assert outside.send("f1", frame(NOBODY, MACS[1])) == {"up": [frame(NOBODY, MACS[1])]}
    assert outside.send("f1", frame(BROADCAST, MACS[1])) == {"up": [frame(BROADCAST, MACS[1])]}
    assert outside.send("b1", frame(BROADCAST, MACS[1])) == {}


def test_known_unicast_does_not_leave(outside: Lab) -> None:
    sent = frame(MACS[2], MACS[1])
    assert outside.send("v1", sent) == {"v2": [sent]}


def test_frames_enter_the_network_of_their_tag(outside: Lab) -> None:
    received = frame(MACS[1], OUTSIDER)
    assert outside.send("up", frame(MACS[1], OUTSIDER, tag=100)) == {"v1": [received]}
    assert outside.send("up", received) == {"f1": [received]}
    received = frame(BROADCAST, OUTSIDER)
    assert outside.send("up", frame(BROADCAST, OUTSIDER, tag=100)) == {"v1": [received], "v2": [received]}
    assert outside.send("up", received) == {"f1": [received]}
    assert outside.send("up", frame(BROADCAST, OUTSIDER, tag=101)) == {}
    assert outside.send("up", frame(BROADCAST, OUTSIDER, tag=0)) == {}


def test_unknown_unicast_from_outside_goes_nowhere(outside: Lab) -> None:
    assert outside.send("up", frame(NOBODY, OUTSIDER, tag=100)) == {}
    assert outside.send("up", frame(NOBODY, OUTSIDER)) == {}
    assert outside.send("up", frame("01:80:c2:00:00:00", OUTSIDER)) == {}


def test_the_outside_is_learned_by_network(outside: Lab) -> None:
    assert outside.learned() == []
    outside.send("up", frame(BROADCAST, OUTSIDER, tag=100))
    (flow,) = outside.learned()
    assert f"cookie={learned_cookie(VLAN.index):#x}" in flow
    assert "reg0=0x3/0xffff" in flow and f"dl_dst={OUTSIDER}" in flow and "idle_timeout=300" in flow
    assert outside.send("v1", frame(OUTSIDER, MACS[1])) == {"up": [frame(OUTSIDER, MACS[1], tag=100)]}
    trace = outside.ovs.appctl(
        "ofproto/trace", BRIDGE, f"in_port={outside.taps['v1'].ofport},dl_src={MACS[1]},dl_dst={OUTSIDER}"
    )
    assert "set_field:0x1000000->reg2" in trace.replace("load:0x1000000->NXM_NX_REG2[]", "set_field:0x1000000->reg2")


def test_learning_stops_at_the_limit(outside: Lab) -> None:
    (learning,) = [flow for flow in outside.installed.flows if flow.table is ORIGIN and flow.cookie == VLAN_COOKIE]
    (learn,) = learning.actions
    assert isinstance(learn, Learn)
    outside.bundle([AddFlow(replace(learning, actions=(replace(learn, limit=2),)))])
    outside.send("up", *(frame(BROADCAST, f"0c:00:00:00:00:{number:02x}", tag=100) for number in range(4)))
    assert len(outside.learned()) == 2
    assert outside.send("v1", frame("0c:00:00:00:00:03", MACS[1])) == {
        "up": [frame("0c:00:00:00:00:03", MACS[1], tag=100)]
    }


def test_a_plugged_address_is_not_believed_from_outside(outside: Lab) -> None:
    assert outside.send("up", frame(BROADCAST, MACS[1], tag=100)) == {}
    assert outside.send("up", frame(BROADCAST, "01:00:00:00:00:01", tag=100)) == {}
    assert outside.learned() == []
    # What is plugged in one network is nobody in another.
    outside.send("up", frame(BROADCAST, MACS[2]))
    (flow,) = outside.learned()
    assert f"cookie={learned_cookie(FLAT.index):#x}" in flow


def test_a_port_wins_over_what_was_learned_before_it_came(outside: Lab) -> None:
    outside.send("up", frame(BROADCAST, MACS[5], tag=100))
    outside.attach("v5")
    outside.become(outside.world.with_port(outside.port("v5", 5, 3, MACS[5])))
    sent = frame(MACS[5], MACS[1])
    assert outside.send("v1", sent) == {"v5": [sent]}


def test_a_network_goes_on_when_its_uplink_is_gone(outside: Lab) -> None:
    outside.become(outside.world.without_uplink(PHYSICAL))
    sent = frame(BROADCAST, MACS[1])
    assert outside.send("v1", sent) == {"v2": [sent]}
    assert outside.send("v1", frame(NOBODY, MACS[1])) == {}
    assert outside.send("up", frame(BROADCAST, OUTSIDER, tag=100)) == {}
