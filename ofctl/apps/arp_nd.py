"""ARP and neighbor discovery for the addresses that are known, answered by the switch."""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

from collections.abc import Iterable

from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Flow, Match
from ofctl.pipeline.tables import FLOOD, NEIGHBORS, Priority, host_cookie
from ofctl.pipeline.world import World


class ArpNd(FeatureApp):
    """Answers questions about known addresses in the switch; the others are flooded, or not."""

    name = "arp_nd"
    tables = (NEIGHBORS,)

    def host_flows(self, world: World) -> Iterable[Flow]:
        yield Flow(NEIGHBORS, Priority.MISS, Match(), host_cookie(), goto=FLOOD)
