"""The only place that sends a frame out: from DESTINATION to an OpenFlow port."""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

from collections.abc import Iterable

from ofctl.model.ids import NetworkIndex
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import VLAN_PRESENT, VLAN_VID
from ofctl.pipeline.flow import Flow, Match, Output, PushVlan, SetField, Term
from ofctl.pipeline.tables import (
    DELIVER,
    DESTINATION,
    NETWORK,
    OUTSIDE_BIT,
    Priority,
    network_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort


class Delivery(FeatureApp):
    """To a port as it is; to the outside with the network's tag, on the network's uplink."""

    name = "delivery"
    tables = (DELIVER,)

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        uplink = world.uplink_of(network)
        if uplink is None:
            return
        tag = world.networks[network].segmentation_id
        output = Output(uplink.ofport)
        yield Flow(
            DELIVER,
            Priority.BROAD,
            Match.of(Term(NETWORK, network), Term(DESTINATION, OUTSIDE_BIT, OUTSIDE_BIT)),
            network_cookie(network),
            (output,) if tag is None else (PushVlan(), SetField(VLAN_VID, tag | VLAN_PRESENT), output),
        )

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        yield Flow(
            DELIVER,
            Priority.PORT,
            Match.of(Term(DESTINATION, port.index)),
            port_cookie(port.index),
            (Output(port.ofport),),
        )
