"""What a guest may send at all, by protocol, and which of a frame's addresses are claims: the same for every port.

What no flow here matches is dropped: other ethertypes, ND messages that are none, and those of routers. Where Open
vSwitch cannot see a header, it is dropped too: what it reads is in its lib/flow.c (`parse_ipv6_ext_hdrs__`,
`parse_icmpv6`), and what it gives for a header that is not there is 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from ofctl.model.security import ICMP, ICMPV6, SCTP, TCP, UDP
from ofctl.pipeline.fields import (
    ARP_OP,
    ARP_SPA,
    ARP_TPA,
    ETH_TYPE,
    FRAG_ANY,
    ICMPV4_TYPE,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IP_FRAG,
    IP_PROTO,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    ND_SLL,
    ND_TARGET,
    ND_TLL,
    NW_TTL,
    SCTP_DST,
    SCTP_SRC,
    TCP_DST,
    TCP_SRC,
    UDP_DST,
    UDP_SRC,
    XXREG2,
)
from ofctl.pipeline.flow import Action, Flow, Match, Move, Resubmit, SetField, Table, Term
from ofctl.pipeline.probe import EXPERIMENTAL
from ofctl.pipeline.tables import (
    CLAIM,
    IS_PROBE,
    OWN,
    SENDER_ADDRESS,
    SENDER_IPV4,
    SENDER_IPV6,
    SENDER_LINK,
    SENDER_NEIGHBOR,
    SENDER_PROTOCOL,
    SENDER_VERDICT,
    SOURCE_KNOWN,
    Priority,
    host_cookie,
)

IPV4, IPV6 = Term(ETH_TYPE, 0x0800), Term(ETH_TYPE, 0x86DD)
ARP, RARP = Term(ETH_TYPE, 0x0806), Term(ETH_TYPE, 0x8035)
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT = 135, 136
REDIRECT = 137
"""RFC 4861, section 4."""
ICMP_REDIRECT, ICMP_ROUTER_ADVERTISEMENT = 5, 9
"""Their counterparts in IPv4 (RFC 792, RFC 1256)."""
LISTENER_QUERY = 130
LISTENER_REPORTS = (131, 132, 143)
"""MLD: report, done, and the report of version 2; from :: before there is an address (RFC 3590)."""
IGMP = 2
ALL_HOSTS = Term(IPV4_DST, 0xE000_0001)
"""Where IGMP's general queries go, and no report ever (RFC 3376, 4.1.12 and 4.2.14). Open vSwitch has no field for the
type of an IGMP message, so a query about one group cannot be told from a report."""

ICMP6 = (IPV6, Term(IP_PROTO, ICMPV6))
SOLICITATION = (*ICMP6, Term(ICMPV6_TYPE, NEIGHBOR_SOLICITATION))
ADVERTISEMENT = (*ICMP6, Term(ICMPV6_TYPE, NEIGHBOR_ADVERTISEMENT))
REAL = (Term(ICMPV6_CODE, 0), Term(NW_TTL, 255), Term(IP_FRAG, 0))
"""Who gets an ND message discards it unless it is like this (RFC 4861, 6.1 and 7.1; RFC 6980)."""
IS_OWN = Term(OWN, 1)
FIRST_FRAGMENT = Term(IP_FRAG, FRAG_ANY)
UNSPECIFIED_4, UNSPECIFIED_6 = Term(IPV4_SRC, 0), Term(IPV6_SRC, 0)
MULTICAST_4, MULTICAST_6 = Term(IPV4_DST, 0xE000_0000, 0xF000_0000), Term(IPV6_DST, 0xFF << 120, 0xFF << 120)
EVERYONE_4 = Term(IPV4_DST, 0xFFFF_FFFF)
DHCP_SERVER, DHCP_CLIENT = 67, 68
DHCPV6_CLIENT, DHCPV6_SERVER = 546, 547
UNREADABLE = (0, 140, 253, 254)
"""IPv6 protocols that say no more than that there is another one behind them. 0: the chain of extension headers ends
outside of the packet (RFC 7112). The others are extension headers by IANA's registry, can have anything behind them
(RFC 5533, RFC 4727), and Open vSwitch does not look there."""


def protocol_flows() -> Iterator[Flow]:
    """Return the flows that every host has for what secured ports send."""
    yield from _forbidden()
    yield from _special()
    yield from _broad()
    yield from _arp()
    yield from _nd()
    yield from _addresses()


def _flow(
    table: Table, priority: Priority, *terms: Term, actions: tuple[Action, ...] = (), goto: Table | None = None
) -> Flow:
    return Flow(table, priority, Match.of(*terms), host_cookie(), actions, goto=goto)


def _forbidden() -> Iterator[Flow]:
    def never(*terms: Term, priority: Priority = Priority.FORBIDDEN) -> Flow:
        return _flow(SENDER_PROTOCOL, priority, *terms)

    for ip, server, client in ((IPV4, DHCP_SERVER, DHCP_CLIENT), (IPV6, DHCPV6_SERVER, DHCPV6_CLIENT)):
        udp = (ip, Term(IP_PROTO, UDP))
        yield never(*udp, Term(UDP_DST, client))
        yield never(*udp, Term(UDP_SRC, server), priority=Priority.CLASS)
        # A first fragment without the ports, or with half a TCP header (RFC 1858): the rest would come behind it.
        for number, source, destination in (
            (TCP, TCP_SRC, TCP_DST),
            (UDP, UDP_SRC, UDP_DST),
            (SCTP, SCTP_SRC, SCTP_DST),
        ):
            protocol = Term(IP_PROTO, number)
            yield never(ip, protocol, FIRST_FRAGMENT, Term(source, 0), Term(destination, 0))
    yield never(*ICMP6, FIRST_FRAGMENT, Term(ICMPV6_TYPE, 0))
    # The lowest address becomes the network's querier, and it is a router's (RFC 3376, 6.6.2; RFC 3810, 7.6.2).
    yield never(IPV4, Term(IP_PROTO, IGMP), ALL_HOSTS)
    for kind in (ROUTER_ADVERTISEMENT, REDIRECT, LISTENER_QUERY):
        yield never(*ICMP6, Term(ICMPV6_TYPE, kind))
    for kind in (ICMP_REDIRECT, ICMP_ROUTER_ADVERTISEMENT):
        yield never(IPV4, Term(IP_PROTO, ICMP), Term(ICMPV4_TYPE, kind))
    for number in UNREADABLE:
        yield never(IPV6, Term(IP_PROTO, number))


def _special() -> Iterator[Flow]:
    def special(*terms: Term, goto: Table = SOURCE_KNOWN) -> Flow:
        return _flow(SENDER_PROTOCOL, Priority.CLASS, *terms, goto=goto)

    dhcp = (Term(IP_PROTO, UDP), Term(UDP_SRC, DHCP_CLIENT), Term(UDP_DST, DHCP_SERVER))
    yield special(IPV4, UNSPECIFIED_4, EVERYONE_4, *dhcp)
    yield special(IPV4, UNSPECIFIED_4, MULTICAST_4, Term(IP_PROTO, IGMP))
    for kind in LISTENER_REPORTS:
        yield special(*ICMP6, Term(ICMPV6_TYPE, kind), UNSPECIFIED_6, MULTICAST_6)
    for kind in (ROUTER_SOLICITATION, NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT):
        yield special(*ICMP6, Term(ICMPV6_TYPE, kind), goto=SENDER_NEIGHBOR)


def _broad() -> Iterator[Flow]:
    for ethertype, goto in (
        (IPV4, SENDER_ADDRESS),
        (IPV6, SENDER_ADDRESS),
        (ARP, SENDER_NEIGHBOR),
        (RARP, SENDER_LINK),
    ):
        yield _flow(SENDER_PROTOCOL, Priority.BROAD, ethertype, goto=goto)
    yield _flow(SENDER_PROTOCOL, Priority.BROAD, Term(ETH_TYPE, EXPERIMENTAL), IS_PROBE, goto=SOURCE_KNOWN)


def _arp() -> Iterator[Flow]:
    sender = (Move(ARP_SPA, CLAIM), Resubmit(SENDER_IPV4))
    yield _flow(SENDER_NEIGHBOR, Priority.BROAD, ARP, actions=sender, goto=SENDER_LINK)
    # A probe claims what it asks for: two that probe one address at once both give it up (RFC 5227, 2.1.1).
    target = (Move(ARP_TPA, CLAIM), Resubmit(SENDER_IPV4))
    probe = (ARP, Term(ARP_OP, 1), Term(ARP_SPA, 0))
    yield _flow(SENDER_NEIGHBOR, Priority.CLASS, *probe, actions=target, goto=SENDER_LINK)


def _nd() -> Iterator[Flow]:
    source = (Move(IPV6_SRC, XXREG2), Resubmit(SENDER_IPV6))
    target = (Move(ND_TARGET, XXREG2), Resubmit(SENDER_IPV6))
    question = (*SOLICITATION, *REAL)
    yield _flow(SENDER_NEIGHBOR, Priority.BROAD, *question, actions=source, goto=SENDER_LINK)
    # As with ARP: duplicate address detection claims its target (RFC 4862, 5.4.3).
    yield _flow(SENDER_NEIGHBOR, Priority.CLASS, *question, UNSPECIFIED_6, actions=target, goto=SENDER_LINK)
    yield _flow(SENDER_NEIGHBOR, Priority.BROAD, *ADVERTISEMENT, *REAL, actions=target, goto=SENDER_LINK)
    for kind in (SOLICITATION, ADVERTISEMENT):
        # With an option given twice, or cut short, Open vSwitch shows neither target nor options.
        yield _flow(SENDER_NEIGHBOR, Priority.FORBIDDEN, *kind, Term(ICMPV6_CODE, 0), Term(ND_TARGET, 0))
    router = (*ICMP6, Term(ICMPV6_TYPE, ROUTER_SOLICITATION), *REAL)
    yield _flow(SENDER_NEIGHBOR, Priority.BROAD, *router, goto=SENDER_ADDRESS)
    yield _flow(SENDER_NEIGHBOR, Priority.CLASS, *router, UNSPECIFIED_6, goto=SOURCE_KNOWN)
    # Without the option nothing is said of a MAC address. An advertisement has two addresses: its source comes next.
    yield _flow(SENDER_LINK, Priority.BROAD, IS_OWN, *SOLICITATION, Term(ND_SLL, 0), goto=SENDER_VERDICT)
    again = (SetField(OWN, 0),)
    yield _flow(
        SENDER_LINK, Priority.BROAD, IS_OWN, *ADVERTISEMENT, Term(ND_TLL, 0), actions=again, goto=SENDER_ADDRESS
    )


def _addresses() -> Iterator[Flow]:
    for ip, unspecified, claim, table in (
        (IPV4, UNSPECIFIED_4, Move(IPV4_SRC, CLAIM), SENDER_IPV4),
        (IPV6, UNSPECIFIED_6, Move(IPV6_SRC, XXREG2), SENDER_IPV6),
    ):
        yield _flow(SENDER_ADDRESS, Priority.FORBIDDEN, ip, unspecified)
        yield _flow(SENDER_ADDRESS, Priority.BROAD, ip, actions=(claim, Resubmit(table)), goto=SENDER_VERDICT)
    forget = (SetField(XXREG2, 0), SetField(OWN, 0))
    yield _flow(SENDER_VERDICT, Priority.BROAD, IS_OWN, actions=forget, goto=SOURCE_KNOWN)
