"""Known unicast: a plugged port's MAC address is known from the intent, never learned."""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

from collections.abc import Iterable

from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import ETH_DST
from ofctl.pipeline.flow import Flow, Match, SetField, Term
from ofctl.pipeline.probe import STRANGER, Direction, Probe, probe_frame
from ofctl.pipeline.tables import (
    DESTINATION,
    DESTINATION_KNOWN,
    FORWARD,
    NEIGHBORS,
    NETWORK,
    UNKNOWN,
    Priority,
    host_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

MULTICAST_BIT = 1 << 40
RESERVED_GROUPS = Term(ETH_DST, 0x0180_C200_0000, 0xFFFF_FFFF_FFF0)
"""Addresses that no bridge forwards: spanning tree, LACP, LLDP, 802.1X (IEEE 802.1D-2004, 7.12.6)."""


class Forwarding(FeatureApp):
    """Unicast to the port that has the address in this network; the rest goes to the tables for it."""

    name = "forwarding"
    tables = (FORWARD,)

    def host_flows(self, world: World) -> Iterable[Flow]:
        cookie = host_cookie()
        group_address = Match.of(Term(ETH_DST, MULTICAST_BIT, MULTICAST_BIT))
        yield Flow(FORWARD, Priority.FORBIDDEN, Match.of(RESERVED_GROUPS), cookie)
        yield Flow(FORWARD, Priority.BROAD, group_address, cookie, goto=NEIGHBORS)
        yield Flow(FORWARD, Priority.MISS, Match(), cookie, goto=UNKNOWN)

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        yield Flow(
            FORWARD,
            Priority.PORT,
            Match.of(Term(NETWORK, port.network), Term(ETH_DST, port.mac_number)),
            port_cookie(port.index),
            (SetField(DESTINATION, port.index),),
            goto=DESTINATION_KNOWN,
        )

    def probes(self, port: WorldPort, world: World) -> Iterable[Probe]:
        mine = port.mac_number
        neighbour = _first_neighbour(port, world)
        if neighbour is None:
            to_itself = probe_frame(mine, mine)
            yield Probe("unicast to itself", Direction.FROM_PORT, to_itself, frozenset({port.index}))
        else:
            to_neighbour = probe_frame(neighbour.mac_number, mine)
            yield Probe("unicast to a neighbour", Direction.FROM_PORT, to_neighbour, frozenset({neighbour.index}))
        arriving = probe_frame(mine, STRANGER)
        yield Probe("unicast to the port", Direction.TO_PORT, arriving, frozenset({port.index}))
        yield Probe("reserved multicast", Direction.FROM_PORT, probe_frame(RESERVED_GROUPS.value, mine))


def _first_neighbour(port: WorldPort, world: World) -> WorldPort | None:
    """Return the port of the same network that has been there longest: the one that is least likely to go."""
    for shard in world.shards(port.network):
        for other in world.ports_of(port.network, shard):
            if other.index != port.index:
                return other
    return None
