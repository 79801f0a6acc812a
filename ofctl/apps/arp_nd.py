"""ARP and neighbor discovery for the addresses that are known, answered by the switch.

A question becomes its own answer and goes back to who asked, through the delivery stage. Who asks for its own address
(duplicate address detection, a gratuitous ARP) is passed on to all instead: only another can know of a duplicate.
"""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ofctl.apps.sender_protocols import ADVERTISEMENT, ARP, NEIGHBOR_ADVERTISEMENT, REAL, SOLICITATION, UNSPECIFIED_6
from ofctl.model.ids import NetworkIndex
from ofctl.pipeline.addresses import is_secured, link_local
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import (
    ARP_OP,
    ARP_SHA,
    ARP_SPA,
    ARP_THA,
    ARP_TPA,
    ETH_DST,
    ETH_SRC,
    ICMPV6_TYPE,
    IN_PORT,
    IPV6_DST,
    IPV6_SRC,
    ND_OPTIONS_TYPE,
    ND_RESERVED,
    ND_TARGET,
    ND_TLL,
    VLAN_VID,
)
from ofctl.pipeline.flow import Action, Flow, Match, Move, SetField, Term
from ofctl.pipeline.tables import (
    CLAIM,
    DELIVER,
    DESTINATION,
    FLOOD,
    NEIGHBOR_OPTION,
    NEIGHBOR_OWNER,
    NEIGHBOR_REPLY,
    NEIGHBOR_TARGET,
    NEIGHBORS,
    NETWORK,
    OWNER,
    SOURCE,
    Priority,
    host_cookie,
    network_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

ARP_REQUEST, ARP_REPLY = 1, 2
SOURCE_OPTION, TARGET_OPTION = 1, 2
"""Link-layer address options (RFC 4861, 4.6.1)."""
SOLICITED, OVERRIDE = 1 << 30, 1 << 29
"""Flags of an advertisement (RFC 4861, 4.4). Nobody here is said to be a router: only a router knows."""
ALL_NODES = 0xFF02 << 112 | 1
ALL_NODES_MAC = 0x3333_0000_0001
UNTAGGED = Term(VLAN_VID, 0)
REQUEST = (ARP, Term(ARP_OP, ARP_REQUEST))


class ArpNd(FeatureApp):
    """Answers questions about known addresses in the switch; the others are flooded, or not."""

    name = "arp_nd"
    tables = (NEIGHBORS, NEIGHBOR_TARGET, NEIGHBOR_OWNER, NEIGHBOR_REPLY, NEIGHBOR_OPTION)

    def host_flows(self, world: World) -> Iterator[Flow]:
        yield from _questions()
        yield from _answers()

    def network_flows(self, network: NetworkIndex, world: World) -> Iterator[Flow]:
        there = world.networks[network]
        if not there.neighbor_replies or there.flood_unknown_neighbors:
            return
        cookie = network_cookie(network)
        yield Flow(NEIGHBOR_TARGET, Priority.BROAD, Match.of(Term(NETWORK, network)), cookie)
        for subnet in there.subnets:
            if subnet.gateway is not None:
                # Known to be there, but not under which MAC address.
                match = Match.of(Term(NETWORK, network), *_asks_for(subnet.gateway.version, int(subnet.gateway)))
                yield Flow(NEIGHBOR_TARGET, Priority.CLASS, match, cookie, goto=FLOOD)

    def port_flows(self, port: WorldPort, world: World) -> Iterator[Flow]:
        if not (port.addresses and world.networks[port.network].neighbor_replies):
            return
        cookie = port_cookie(port.index)
        for version, address, priority in _known(port, world):
            match = Match.of(Term(NETWORK, port.network), *_asks_for(version, address))
            found = (SetField(OWNER, port.index),)
            yield Flow(NEIGHBOR_TARGET, priority, match, cookie, found, goto=NEIGHBOR_OWNER)
        owner = Term(OWNER, port.index)
        own = Match.of(owner, Term(SOURCE, port.index))
        yield Flow(NEIGHBOR_OWNER, Priority.PORT, own, cookie, (SetField(OWNER, 0),), goto=FLOOD)
        to_asker = (SetField(OWNER, 0), Move(ETH_SRC, ETH_DST), SetField(ETH_SRC, port.mac_number))
        yield Flow(NEIGHBOR_OWNER, Priority.CLASS, Match.of(owner), cookie, to_asker, goto=NEIGHBOR_REPLY)


def _asks_for(version: int, address: int) -> tuple[Term, ...]:
    return (*REQUEST, Term(ARP_TPA, address)) if version == 4 else (*SOLICITATION, Term(ND_TARGET, address))


def _known(port: WorldPort, world: World) -> Iterator[tuple[int, int, Priority]]:
    """Yield the port's fixed addresses, and its link-local address if it can have no other.

    The latter has no claim on being nobody else's: where another port has it as a fixed one, that port is meant.
    """
    for address in port.addresses:
        yield address.version, int(address), Priority.PORT
    if is_secured(port, world) and any(address.version == 6 for address in port.addresses):
        own = ipaddress.IPv6Address(link_local(port.mac_number).value)
        if own not in port.addresses and world.networks[port.network].subnet_of(own) is None:
            yield 6, int(own), Priority.CLASS


def _questions() -> Iterator[Flow]:
    """Tell what can be answered: a guest's own tag means another link, and an answer needs the room for its option."""

    def told(priority: Priority, *terms: Term, to: bool = True) -> Flow:
        return Flow(NEIGHBORS, priority, Match.of(*terms), host_cookie(), goto=NEIGHBOR_TARGET if to else FLOOD)

    yield told(Priority.BROAD, UNTAGGED, *REQUEST)
    yield told(Priority.BROAD, UNTAGGED, *SOLICITATION, *REAL, Term(ND_OPTIONS_TYPE, SOURCE_OPTION))
    yield told(Priority.CLASS, UNTAGGED, *SOLICITATION, *REAL, UNSPECIFIED_6)
    yield told(Priority.MISS, to=False)
    yield Flow(NEIGHBOR_TARGET, Priority.MISS, Match(), host_cookie(), goto=FLOOD)


def _answers() -> Iterator[Flow]:
    """Turn the question around. The source MAC address is the owner's already, the destination is who asked."""
    # The switch sends nothing back to the port that a frame came from, unless it has forgotten that port.
    back: tuple[Action, ...] = (SetField(IN_PORT, 0), Move(SOURCE, DESTINATION))
    cookie = host_cookie()
    reply = (
        SetField(ARP_OP, ARP_REPLY),
        Move(ARP_SHA, ARP_THA),
        Move(ETH_SRC, ARP_SHA),
        Move(ARP_TPA, CLAIM),
        Move(ARP_SPA, ARP_TPA),
        Move(CLAIM, ARP_SPA),
        SetField(CLAIM, 0),
    )
    yield Flow(NEIGHBOR_REPLY, Priority.BROAD, Match.of(*REQUEST), cookie, (*reply, *back), goto=DELIVER)
    becomes = SetField(ICMPV6_TYPE, NEIGHBOR_ADVERTISEMENT)
    solicited = (
        Move(IPV6_SRC, IPV6_DST),
        Move(ND_TARGET, IPV6_SRC),
        becomes,
        SetField(ND_RESERVED, SOLICITED | OVERRIDE),
        SetField(ND_OPTIONS_TYPE, TARGET_OPTION),
    )
    yield Flow(NEIGHBOR_REPLY, Priority.BROAD, Match.of(*SOLICITATION), cookie, solicited, goto=NEIGHBOR_OPTION)
    # Open vSwitch lets an action set the option only where a flow matches the type of message that has it.
    option = (Move(ETH_SRC, ND_TLL), *back)
    yield Flow(NEIGHBOR_OPTION, Priority.BROAD, Match.of(*ADVERTISEMENT), cookie, option, goto=DELIVER)
    # Who has no address yet is told as everybody is, and needs no MAC address (RFC 4861, 7.2.4). Its question may have
    # no option; setting ND_RESERVED would then write behind the packet's end (packet_set_nd_ext in lib/packets.c).
    detected = (
        SetField(ETH_DST, ALL_NODES_MAC),
        SetField(IPV6_DST, ALL_NODES),
        Move(ND_TARGET, IPV6_SRC),
        becomes,
    )
    duplicate = Match.of(*SOLICITATION, UNSPECIFIED_6)
    yield Flow(NEIGHBOR_REPLY, Priority.CLASS, duplicate, cookie, (*detected, *back), goto=DELIVER)
