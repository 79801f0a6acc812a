"""More ports than one flood group takes, on a real switch; the ports' devices are not needed for that."""

from __future__ import annotations

import re
from dataclasses import replace

from ofctl.model.ids import MacAddress, NetworkId, NetworkIndex, OfPort, PortId, PortIndex
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.security import SecurityGroupId, SecurityRule
from ofctl.pipeline.changes import AddFlow, AddGroup, InsertBucket
from ofctl.pipeline.flow import MAX_BUCKETS
from ofctl.pipeline.tables import DELIVER, DESTINATION, flood_group_id
from ofctl.pipeline.world import MAX_COPY_LOOKUPS, World, WorldPort
from tests.functional.pipeline.lab import BRIDGE, Lab
from tests.unit.pipeline.worlds import IN, OUT, security_group

BLUE = NumberedNetwork(network=Network(network_id=NetworkId("blue")), index=NetworkIndex(1))


def port(number: int) -> WorldPort:
    return WorldPort(
        port_id=PortId(f"p{number}"),
        index=PortIndex(number + 1),
        slot=number,
        network=BLUE.index,
        mac_address=MacAddress(f"52:54:00:00:{number >> 8:02x}:{number & 0xFF:02x}"),
        ofport=OfPort(number + 1),
        port_security=False,
    )


def delivered(lab: Lab, sender: int, packet: str = "") -> list[int]:
    """Return the indexes of the ports that a broadcast goes to, by the switch's own account (ofproto/trace)."""
    broadcast = f"in_port={sender},dl_dst=ff:ff:ff:ff:ff:ff,dl_src=52:54:00:00:00:00"
    trace = lab.ovs.appctl("ofproto/trace", BRIDGE, f"{broadcast},{packet}".strip(","))
    lookups = re.findall(rf"^ *{DELIVER.number}\. reg{DESTINATION.register}=(0x[0-9a-f]+|\d+)", trace, re.MULTILINE)
    return [int(index, 0) for index in lookups]


def buckets(lab: Lab) -> dict[int, int]:
    """Return how many buckets each group has."""
    dump = lab.ovs.ovs_ofctl("dump-groups", BRIDGE)
    groups = re.findall(r"group_id=(\d+)(.*)", dump)
    return {int(group_id): rest.count("bucket_id:") for group_id, rest in groups}


def test_600_ports_of_a_network_are_flooded_to_in_two_shards(lab: Lab) -> None:
    empty = World().with_network(BLUE)
    lab.become(empty.with_ports(port(number) for number in range(MAX_BUCKETS)))
    first, second = flood_group_id(BLUE.index, 0), flood_group_id(BLUE.index, 1)
    assert buckets(lab) == {first: MAX_BUCKETS}

    changes = lab.become(lab.world.with_port(port(MAX_BUCKETS)))
    flows = len(lab.compiler.compile_port(PortIndex(MAX_BUCKETS + 1), lab.world).flows)
    with_flood = [AddGroup, *[AddFlow] * (flows + 1)]
    assert [type(change) for change in changes] == with_flood, "the network's flood flow gets a group"
    changes = lab.become(lab.world.with_port(port(MAX_BUCKETS + 1)))
    assert [type(change) for change in changes] == [InsertBucket, *[AddFlow] * flows]
    lab.become(lab.world.with_ports(port(number) for number in range(MAX_BUCKETS + 2, 600)))
    assert buckets(lab) == {first: MAX_BUCKETS, second: 100}
    assert delivered(lab, sender=1) == list(range(1, 601))

    lab.become(lab.world.without_ports([PortIndex(number + 1) for number in range(MAX_BUCKETS, 600)]))
    assert buckets(lab) == {first: MAX_BUCKETS}
    assert delivered(lab, sender=1) == list(range(1, MAX_BUCKETS + 1))


def test_a_flood_has_the_look_ups_for_as_many_filtered_ports_as_may_be(lab: Lab) -> None:
    group = security_group(1, SecurityRule(direction=IN), SecurityRule(direction=OUT), stateful=False)
    members = [replace(port(number), security_groups=(SecurityGroupId("sg-1"),)) for number in range(800)]
    lab.become(World().with_network(BLUE).with_security_group(group).with_ports(members))
    assert lab.world.copy_lookups == {BLUE.index: MAX_COPY_LOOKUPS}
    packet = "udp,nw_src=10.0.0.1,nw_dst=10.0.0.255,nw_ttl=64,nw_frag=no,udp_src=1,udp_dst=2"
    assert delivered(lab, sender=1, packet=packet) == list(range(1, 801))
