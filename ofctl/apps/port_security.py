"""Is the sender of a frame the guest of the port that it came in through?

The addresses that a frame claims are moved into CLAIM and looked up there, so that an address costs one flow, whether
IP, ARP or ND claims it. What a guest may send at all is said once for the host (`ofctl.apps.sender_protocols`).
"""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from ofctl.apps.sender_protocols import (
    ADVERTISEMENT,
    ARP,
    IPV4,
    IPV6,
    IS_OWN,
    RARP,
    SOLICITATION,
    protocol_flows,
)
from ofctl.pipeline.addresses import Prefix, Sender, is_secured, senders
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import ARP_OP, ARP_SHA, ETH_SRC, IPV4_SRC, IPV6_SRC, ND_SLL, ND_TLL
from ofctl.pipeline.flow import Flow, Match, SetField, Table, Term
from ofctl.pipeline.probe import BROADCAST, STRANGER, Direction, Probe, probe_frame
from ofctl.pipeline.tables import (
    CLAIM,
    CLAIMS,
    OWN,
    SENDER,
    SENDER_ADDRESS,
    SENDER_IPV4,
    SENDER_IPV6,
    SENDER_LINK,
    SENDER_NEIGHBOR,
    SENDER_PROTOCOL,
    SENDER_VERDICT,
    SOURCE,
    SOURCE_KNOWN,
    Priority,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

REVERSE_REQUEST = 3
"""RARP's question, which a virtual machine monitor sends in the guest's name when it has come from another host
(QEMU, net/announce.c)."""
WORD = (1 << 32) - 1


class PortSecurity(FeatureApp):
    """Binds MAC, IPv4, IPv6, ARP and ND senders to the port's addresses and allowed pairs."""

    name = "port_security"
    tables = (
        SENDER,
        SENDER_PROTOCOL,
        SENDER_NEIGHBOR,
        SENDER_LINK,
        SENDER_ADDRESS,
        SENDER_IPV4,
        SENDER_IPV6,
        SENDER_VERDICT,
    )

    def host_flows(self, world: World) -> Iterable[Flow]:
        return protocol_flows()

    def port_flows(self, port: WorldPort, world: World) -> Iterator[Flow]:
        if not is_secured(port, world):
            return
        for sender in senders(port):
            yield from _sender_flows(port, sender)
        yield _flow(port, SENDER_LINK, port.mac_number, RARP, _REVERSE, Term(ARP_SHA, port.mac_number))

    def probes(self, port: WorldPort, world: World) -> Iterable[Probe]:
        if is_secured(port, world):
            allowed = {sender.mac_number for sender in senders(port)}
            forged = next(address for address in itertools.count(STRANGER) if address not in allowed)
            yield Probe("broadcast from another address", Direction.FROM_PORT, probe_frame(BROADCAST, forged))


_REVERSE = Term(ARP_OP, REVERSE_REQUEST)
_GOTO: dict[Table, Table] = {SENDER: SENDER_PROTOCOL, SENDER_LINK: SOURCE_KNOWN, SENDER_ADDRESS: SOURCE_KNOWN}


def _flow(port: WorldPort, table: Table, mac: int, *terms: Term) -> Flow:
    """Return a flow of a port that lets go on what it sends from one of its MAC addresses."""
    match = Match.of(Term(SOURCE, port.index), Term(ETH_SRC, mac), *terms)
    return Flow(table, Priority.PORT, match, port_cookie(port.index), goto=_GOTO[table])


def _sender_flows(port: WorldPort, sender: Sender) -> Iterator[Flow]:
    """Yield the flows of one MAC address: four or five, one for each address, two for each prefix."""
    mac, index, cookie = sender.mac_number, port.index, port_cookie(port.index)
    yield _flow(port, SENDER, mac)
    mine = (Term(SOURCE, index), Term(ETH_SRC, mac))

    def link(goto: Table, *terms: Term) -> Flow:
        actions = (SetField(OWN, 0),) if goto is SENDER_ADDRESS else ()
        return Flow(SENDER_LINK, Priority.PORT, Match.of(*mine, IS_OWN, *terms), cookie, actions, goto=goto)

    if sender.of_version(4):
        yield link(SENDER_VERDICT, ARP, Term(ARP_SHA, mac))
    if sender.of_version(6):
        yield link(SENDER_VERDICT, *SOLICITATION, Term(ND_SLL, mac))
        yield link(SENDER_ADDRESS, *ADVERTISEMENT, Term(ND_TLL, mac))
    for prefix in sender.prefixes:
        table = SENDER_IPV4 if prefix.version == 4 else SENDER_IPV6
        claimed = Match.of(*mine, *_claimed(prefix))
        yield Flow(table, Priority.PORT, claimed, cookie, (SetField(OWN, 1),))
        if not prefix.is_address:
            # Claims are whole addresses, and the switch's cache would hold one entry for each that a router forwards.
            yield _flow(port, SENDER_ADDRESS, mac, IPV4 if prefix.version == 4 else IPV6, *_source(prefix))


def _claimed(prefix: Prefix) -> Iterator[Term]:
    if prefix.version == 4:
        if prefix.length:
            yield Term(CLAIM, prefix.value, None if prefix.is_address else prefix.mask)
        return
    for part, shift in zip(CLAIMS, (96, 64, 32, 0), strict=True):
        mask = prefix.mask >> shift & WORD
        if mask:
            yield Term(part, prefix.value >> shift & WORD, None if mask == WORD else mask)


def _source(prefix: Prefix) -> Iterator[Term]:
    if prefix.length:
        yield Term(IPV4_SRC if prefix.version == 4 else IPV6_SRC, prefix.value, prefix.mask)
