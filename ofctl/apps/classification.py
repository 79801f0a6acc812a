"""Which network and which port a frame comes from: the only way into the pipeline."""

from __future__ import annotations

from collections.abc import Iterable

from ofctl.model.ids import NetworkIndex
from ofctl.pipeline.addresses import is_secured
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import IN_PORT, VLAN_PRESENT, VLAN_VID
from ofctl.pipeline.flow import Flow, Match, PopVlan, SetField, Term
from ofctl.pipeline.probe import BROADCAST, Direction, Probe, probe_frame
from ofctl.pipeline.tables import (
    CLASSIFY,
    FROM_OUTSIDE,
    NETWORK,
    ORIGIN,
    SENDER,
    SOURCE,
    SOURCE_KNOWN,
    Priority,
    network_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

MULTICAST_BIT = 1 << 40
UNTAGGED = Term(VLAN_VID, 0)


class Classification(FeatureApp):
    """Port, or uplink and tag, to network. What fits nothing is dropped, so a secured port's tagged frames are.

    A port whose sender is not checked may send tagged frames: the tag is the guest's own, and stays on the frame.
    """

    name = "classification"
    tables = (CLASSIFY,)

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        uplink = world.uplink_of(network)
        if uplink is None:
            return
        tag = world.networks[network].segmentation_id
        marks = (SetField(NETWORK, network), SetField(SOURCE, FROM_OUTSIDE))
        yield Flow(
            CLASSIFY,
            Priority.PORT,
            Match.of(Term(IN_PORT, uplink.ofport), UNTAGGED if tag is None else Term(VLAN_VID, tag | VLAN_PRESENT)),
            network_cookie(network),
            marks if tag is None else (PopVlan(), *marks),
            goto=ORIGIN,
        )

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        at_the_port = Term(IN_PORT, port.ofport)
        secured = is_secured(port, world)
        yield Flow(
            CLASSIFY,
            Priority.PORT,
            Match.of(at_the_port, UNTAGGED) if secured else Match.of(at_the_port),
            port_cookie(port.index),
            (SetField(NETWORK, port.network), SetField(SOURCE, port.index)),
            goto=SENDER if secured else SOURCE_KNOWN,
        )

    def probes(self, port: WorldPort, world: World) -> Iterable[Probe]:
        if not is_secured(port, world):
            return
        tagged = probe_frame(BROADCAST, port.mac_number, tag=1)
        yield Probe("broadcast with a VLAN tag", Direction.FROM_PORT, tagged)
        from_group = probe_frame(BROADCAST, port.mac_number | MULTICAST_BIT)
        yield Probe("broadcast from a group address", Direction.FROM_PORT, from_group)
