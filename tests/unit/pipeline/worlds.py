"""Worlds for tests: one that is fit for a document, and random ones."""

from __future__ import annotations

from hypothesis import strategies as st

from ofctl.model.ids import MacAddress, NetworkId, NetworkIndex, OfPort, PhysicalNetwork, PortId, PortIndex
from ofctl.model.network import Network, NetworkType, NumberedNetwork
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
