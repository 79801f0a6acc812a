"""The outside of FLAT and VLAN networks: who is there, and what goes there because nobody here has the address."""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

import itertools
from collections.abc import Iterable

from ofctl.model.ids import NetworkIndex
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import ETH_DST, ETH_SRC
from ofctl.pipeline.flow import Flow, Learn, LearnLoad, LearnMatch, Match, Resubmit, SetField, Term
from ofctl.pipeline.probe import STRANGER, Direction, Probe, probe_frame
from ofctl.pipeline.tables import (
    DELIVER,
    DESTINATION,
    FROM_OUTSIDE,
    IS_PROBE,
    NETWORK,
    NO_PROBE,
    ORIGIN,
    OUTSIDE,
    SOURCE,
    SOURCE_KNOWN,
    TO_OUTSIDE,
    TO_UNKNOWN,
    UNKNOWN,
    Priority,
    host_cookie,
    learned_cookie,
    network_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

LEARNED_IDLE_S = 300
"""The recommended ageing time of a bridge (IEEE 802.1Q-2018, table 8-6)."""
FROM_GROUP = Term(ETH_SRC, 1 << 40, 1 << 40)
LEARNED_LIMIT = 4096
"""MAC addresses of one network. Beyond it nothing is lost: an unknown address goes to the same uplink."""


class Provider(FeatureApp):
    """Learns the outside's addresses, believes no plugged port's from there, and sends the unknown out."""

    name = "provider"
    tables = (ORIGIN, UNKNOWN, OUTSIDE)

    def host_flows(self, world: World) -> Iterable[Flow]:
        # From outside to an address that is not here: the physical switch flooded it. It must not go back.
        from_outside = Match.of(Term(SOURCE, FROM_OUTSIDE))
        yield Flow(UNKNOWN, Priority.FORBIDDEN, from_outside, host_cookie())
        # A group address is no sender (IEEE 802.3, 3.2.3), and must not be learned as one.
        yield Flow(ORIGIN, Priority.FORBIDDEN, Match.of(FROM_GROUP), host_cookie())
        # Nobody is outside because a probe says so.
        yield Flow(ORIGIN, Priority.BROAD, Match.of(IS_PROBE), host_cookie(), goto=SOURCE_KNOWN)

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        if world.uplink_of(network) is None:
            return
        match, cookie = Match.of(Term(NETWORK, network)), network_cookie(network)
        learns = Match.of(Term(NETWORK, network), NO_PROBE)
        yield Flow(ORIGIN, Priority.BROAD, learns, cookie, (learn_sender(network),), goto=SOURCE_KNOWN)
        look_up = (SetField(DESTINATION, TO_UNKNOWN), Resubmit(OUTSIDE))
        yield Flow(UNKNOWN, Priority.BROAD, match, cookie, look_up, goto=DELIVER)

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        # A loop outside, or a forgery. One flow a port, and only where there can be an outside.
        if world.networks[port.network].physical_network is not None:
            match = Match.of(Term(NETWORK, port.network), Term(ETH_SRC, port.mac_number))
            yield Flow(ORIGIN, Priority.PORT, match, port_cookie(port.index))

    def probes(self, port: WorldPort, world: World) -> Iterable[Probe]:
        uplink = world.uplink_of(port.network)
        here = {
            other.mac_number for shard in world.shards(port.network) for other in world.ports_of(port.network, shard)
        }
        nobody = next(address for address in itertools.count(STRANGER) if address not in here)
        to_stranger = probe_frame(nobody, port.mac_number)
        out = frozenset({TO_UNKNOWN} if uplink is not None else ())
        yield Probe("unicast to an unknown address", Direction.FROM_PORT, to_stranger, out)
        if uplink is None:
            return
        tag = world.networks[port.network].segmentation_id
        arriving = probe_frame(port.mac_number, nobody, tag=tag)
        yield Probe("unicast from outside", Direction.FROM_OUTSIDE, arriving, frozenset({port.index}))
        forged = probe_frame(port.mac_number, port.mac_number, tag=tag)
        yield Probe("its own address from outside", Direction.FROM_OUTSIDE, forged)


def learn_sender(network: NetworkIndex) -> Learn:
    """Return the action that makes the frame's source address known as being outside."""
    return Learn(
        OUTSIDE,
        matches=(LearnMatch(NETWORK, NETWORK), LearnMatch(ETH_DST, ETH_SRC)),
        loads=(LearnLoad(DESTINATION, TO_OUTSIDE),),
        priority=Priority.PORT,
        cookie=learned_cookie(network),
        idle_timeout_s=LEARNED_IDLE_S,
        limit=LEARNED_LIMIT,
    )
