"""Broadcast and multicast: a copy to every port of the network and one to its uplink."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Bucket, Flow, Group, Match, Resubmit, SetField, Term, ToGroup
from ofctl.pipeline.probe import BROADCAST, Direction, Probe, probe_frame
from ofctl.pipeline.tables import (
    DELIVER,
    DESTINATION,
    DESTINATION_KNOWN,
    FLOOD,
    NETWORK,
    TO_OUTSIDE,
    Priority,
    flood_group_id,
    network_cookie,
)
from ofctl.pipeline.world import World, WorldPort

MAX_PROBED_COPIES = 64
"""In a network with more ports a broadcast is no probe: each copy comes back to who sent it."""


class Flooding(FeatureApp):
    """One flow for each network, one group for each shard, one bucket for each port.

    A bucket names its port by index, and what goes to a filtered port goes through the same tables as unicast. The
    sender gets no copy: the switch never outputs to the port a frame came from (OpenFlow 1.5.1, 4.5). For the same
    reason the uplink is no bucket: the flow goes on to it, and a frame from there stops.
    """

    name = "flooding"
    tables = (FLOOD,)

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        groups = tuple(ToGroup(flood_group_id(network, shard)) for shard in world.shards(network))
        match, cookie = Match.of(Term(NETWORK, network)), network_cookie(network)
        if world.uplink_of(network) is None:
            yield Flow(FLOOD, Priority.BROAD, match, cookie, groups)
        else:
            to_uplink = SetField(DESTINATION, TO_OUTSIDE)
            yield Flow(FLOOD, Priority.BROAD, match, cookie, (*groups, to_uplink), goto=DELIVER)

    def shard_groups(self, network: NetworkIndex, shard: int, world: World) -> Iterable[Group]:
        buckets = tuple(
            flood_bucket(port.index, filtered=bool(port.security_groups)) for port in world.ports_of(network, shard)
        )
        yield Group(flood_group_id(network, shard), buckets)

    def probes(self, port: WorldPort, world: World) -> Iterable[Probe]:
        everyone = [
            other.index for shard in world.shards(port.network) for other in world.ports_of(port.network, shard)
        ]
        if len(everyone) > MAX_PROBED_COPIES:
            return
        # The port's own copy is among them: the switch holds it back, but its bucket is there.
        outside = () if world.uplink_of(port.network) is None else (TO_OUTSIDE,)
        expected = frozenset((*everyone, *outside))
        yield Probe("broadcast", Direction.FROM_PORT, probe_frame(BROADCAST, port.mac_number), expected)


@lru_cache(maxsize=8192)
def flood_bucket(index: PortIndex, *, filtered: bool) -> Bucket:
    """Return the bucket of a port. Remembered, because each plug compiles a group of up to 500 that were there.

    A copy to a port that nothing filters is spared the look-ups on the way: there is a limit to them for each frame.
    """
    return Bucket(index, (SetField(DESTINATION, index), Resubmit(DESTINATION_KNOWN if filtered else DELIVER)))
