"""The only place that sends a frame out: from DESTINATION to an OpenFlow port."""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

from collections.abc import Iterable

from ofctl.model.ids import NetworkIndex
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import VLAN_PRESENT, VLAN_VID
from ofctl.pipeline.flow import Flow, Match, Output, PushVlan, SetField, Term, ToController
from ofctl.pipeline.tables import (
    DELIVER,
    DESTINATION,
    IS_PROBE,
    NETWORK,
    NO_PROBE,
    OUTSIDE_BIT,
    PROBE_CONTROLLER,
    Priority,
    host_cookie,
    network_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

UNTAGGED = Term(VLAN_VID, 0)


class Delivery(FeatureApp):
    """To a port as it is; to the outside with the network's tag, on the network's uplink; a probe to its sender.

    A tag that a guest has put on a frame stays inside of the network's. A FLAT network has none, and there a guest's
    tag would choose among the provider's VLANs: what is tagged does not leave.
    """

    name = "delivery"
    tables = (DELIVER,)

    def host_flows(self, world: World) -> Iterable[Flow]:
        # The flows that send out do not match a probe, so that even without this one it would reach nobody.
        yield Flow(DELIVER, Priority.BROAD, Match.of(IS_PROBE), host_cookie(), (ToController(PROBE_CONTROLLER),))

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        uplink = world.uplink_of(network)
        if uplink is None:
            return
        tag = world.networks[network].segmentation_id
        output = Output(uplink.ofport)
        outside = (Term(NETWORK, network), Term(DESTINATION, OUTSIDE_BIT, OUTSIDE_BIT), NO_PROBE)
        yield Flow(
            DELIVER,
            Priority.BROAD,
            Match.of(*outside, UNTAGGED) if tag is None else Match.of(*outside),
            network_cookie(network),
            (output,) if tag is None else (PushVlan(), SetField(VLAN_VID, tag | VLAN_PRESENT), output),
        )

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        yield Flow(
            DELIVER,
            Priority.PORT,
            Match.of(Term(DESTINATION, port.index), NO_PROBE),
            port_cookie(port.index),
            (Output(port.ofport),),
        )
