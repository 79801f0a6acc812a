"""Attempts that hide what they are: in fragments, behind options and headers, and by a route of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scapy.layers.inet import IP, UDP, IPOption_LSRR, IPOption_RR, IPOption_SSRR, IPOption_Timestamp
from scapy.layers.inet6 import (
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    IPv6ExtHdrSegmentRouting,
    PadN,
    RouterAlert,
)
from scapy.layers.ipsec import AH
from scapy.packet import Raw

from tests.attack.attempt import Attempts, both
from tests.attack.cast import ATTACKER, CONFINED, INSIDER, NEIGHBOUR, ROUTER, VICTIM, Member, ether, ip
from tests.attack.filtering import filtered, tcp, to_victim, udp
from tests.attack.senders import stopped

FIRST = 1280
"""Octets of a first fragment: smaller ones the switch takes for hostile by themselves."""


def piece(
    version: int,
    number: int,
    octets: bytes,
    *,
    offset: int = 0,
    more: bool = False,
    proto: int = 17,
    sender: Member = INSIDER,
    to: Member = VICTIM,
    source: str = "",
) -> bytes:
    """Return one fragment; `offset` in octets."""
    source = source or sender.address(version)
    if version == 4:
        flags = "MF" if more else 0
        header = ip(4, source, to.address(4), id=number, flags=flags, frag=offset // 8, proto=proto)
        return ether(sender.mac, to.mac, header / Raw(octets))
    fragment = IPv6ExtHdrFragment(id=number, offset=offset // 8, m=int(more), nh=proto)
    return ether(sender.mac, to.mac, ip(6, source, to.address(6)) / fragment / Raw(octets))


def datagram(version: int, sport: int, dport: int, *, sender: Member = INSIDER, to: Member = VICTIM) -> bytes:
    """Return a UDP datagram of 2,560 octets. Its checksum is right: the switch looks at it when it has all of it."""
    header = ip(version, sender.address(version), to.address(version))
    whole = bytes(header / UDP(sport=sport, dport=dport) / Raw(bytes(2 * FIRST - 8)))
    return whole[20 if version == 4 else 40 :]


def segment(version: int, sport: int, dport: int) -> bytes:
    """Return a SYN from INSIDER to VICTIM with its checksum."""
    return to_victim(version, tcp(sport, dport))[14 + (20 if version == 4 else 40) :]


def cut(version: int, number: int, whole: bytes, at: int = FIRST, **fields: Any) -> tuple[bytes, bytes]:
    """Return two fragments of a packet."""
    return (
        piece(version, number, whole[:at], more=True, **fields),
        piece(version, number, whole[at:], offset=at, **fields),
    )


def in_fragments(version: int) -> Attempts:
    """Yield fragments of what is not let in."""
    first, last = cut(version, 101, datagram(version, 4101, 53))
    yield filtered("a datagram to a closed port in two fragments", version, first, last)
    first, last = cut(version, 102, datagram(version, 4102, 53))
    yield filtered("the same, the last fragment first", version, last, first)
    yield filtered("a later fragment alone", version, cut(version, 103, datagram(version, 4103, 53))[1])
    yield filtered(
        "a fragment in the middle alone", version, piece(version, 104, bytes(FIRST), offset=FIRST, more=True)
    )
    yield filtered(
        "a first fragment to a closed port alone", version, cut(version, 105, datagram(version, 4105, 53))[0]
    )
    syn = segment(version, 4106, 22)
    yield filtered("a TCP header cut after its ports", version, *cut(version, 106, syn, 8, proto=6))
    yield filtered(
        "a TCP header cut before its flags, to the open port",
        version,
        *cut(version, 107, segment(version, 4107, 80), 8, proto=6),
    )
    yield filtered("a later fragment that says it is TCP", version, piece(version, 108, syn, offset=FIRST, proto=6))
    for number, order in ((109, "the bad one first"), (110, "the bad one last")):
        good, end = cut(version, number, datagram(version, 4109, 5000))
        bad = piece(version, number, datagram(version, 4109, 53)[:FIRST], more=True)
        frames = (bad, good, end) if number == 109 else (good, bad, end)
        twice = filtered(f"two first fragments, one to a closed port, {order}", version, *frames)
        yield replace(twice, harmless=(good, end))
    good, end = cut(version, 114, datagram(version, 4114, 5000))
    bad = piece(version, 114, bytes(datagram(version, 4114, 53)[8:FIRST]), offset=8, more=True)
    over = filtered("a fragment over a part of the first one", version, good, bad, end)
    yield replace(over, harmless=(good, end))
    other = piece(version, 115, datagram(version, 4115, 53)[:FIRST], offset=FIRST)
    first = piece(version, 115, datagram(version, 4115, 53)[:FIRST], more=True)
    yield filtered("two halves of different datagrams", version, first, other)
    long = piece(version, 111, datagram(version, 4111, 53)[:FIRST], more=True)
    beyond = piece(version, 111, bytes(FIRST), offset=65_528)
    yield filtered("fragments of more than a packet can have", version, long, beyond)
    whole = piece(version, 112, segment(version, 4112, 22), proto=6)
    if version == 6:
        yield filtered("an atomic fragment to a closed port", 6, whole)
    yield filtered(
        "a later fragment of an unknown protocol", version, piece(version, 113, bytes(64), offset=FIRST, proto=253)
    )


def headers() -> Attempts:
    """Yield IPv6 headers before a closed port."""
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    hop = IPv6ExtHdrHopByHop(options=[RouterAlert()])
    for name, chain in (
        ("hop-by-hop options", hop),
        ("destination options", options),
        ("both", hop / options.copy()),
        ("a routing header of type 0", IPv6ExtHdrRouting(type=0, addresses=[ROUTER.address(6)], segleft=0)),
        (
            "a routing header of type 0 with a way to go",
            IPv6ExtHdrRouting(type=0, addresses=[ROUTER.address(6)], segleft=1),
        ),
        ("a segment routing header", IPv6ExtHdrSegmentRouting(addresses=[ROUTER.address(6)], segleft=0)),
        ("an authentication header", AH(spi=1, seq=1, icv=bytes(12), padding=b"")),
        ("a fragment header and destination options", IPv6ExtHdrFragment(id=120) / options.copy()),
        ("two fragment headers", IPv6ExtHdrFragment(id=121) / IPv6ExtHdrFragment(id=122)),
        ("eight headers", chain_of(options, 8)),
        ("thirty headers", chain_of(options, 30)),
        ("hop-by-hop options in the wrong place", options.copy() / hop.copy()),
    ):
        for to, payload in (("TCP", tcp(4120, 22)), ("UDP", udp(4121, 53))):
            header = ip(6, INSIDER.address(6), VICTIM.address(6))
            yield filtered(
                f"{to} to a closed port behind {name}", 6, ether(INSIDER.mac, VICTIM.mac, header / chain / payload)
            )
        header = ip(6, CONFINED.address(6), ROUTER.address(6))
        yield filtered(
            f"out: TCP to a port that is not allowed behind {name}",
            6,
            ether(CONFINED.mac, ROUTER.mac, header / chain / tcp(4122, 22)),
            sender=CONFINED,
        )
    for name, number in (("no next header", 59), ("a mobility header", 135), ("HIP", 139), ("shim6", 140)):
        header = ip(6, INSIDER.address(6), VICTIM.address(6), nh=number)
        payload = bytes([6, 0]) + bytes(6) + segment(6, 4123, 22)
        yield filtered(f"TCP to a closed port behind {name}", 6, ether(INSIDER.mac, VICTIM.mac, header / Raw(payload)))
    hop_by_hop = ip(6, INSIDER.address(6), VICTIM.address(6)) / hop.copy() / tcp(4126, 22)
    endless = ether(INSIDER.mac, VICTIM.mac, hop_by_hop)
    yield filtered(
        "TCP to a closed port in a packet that says its length is 0", 6, endless[:18] + bytes(2) + endless[20:]
    )
    beyond = bytes([6, 200]) + bytes(6) + segment(6, 4124, 80)
    for name, number in (("destination options", 60), ("hop-by-hop options", 0), ("a routing header", 43)):
        header = ip(6, INSIDER.address(6), VICTIM.address(6), nh=number)
        yield filtered(
            f"{name} that are longer than the packet", 6, ether(INSIDER.mac, VICTIM.mac, header / Raw(beyond))
        )
    short = bytes(IPv6ExtHdrDestOpt(nh=6, options=[PadN(optdata=bytes(12))]))
    first = piece(6, 125, short, more=True, proto=60)
    last = piece(6, 125, segment(6, 4125, 22), offset=len(short), proto=60)
    yield filtered("TCP to a closed port in the second fragment, the first without its header", 6, first, last)


def chain_of(header: Any, times: int) -> Any:
    """Return `times` copies, one behind the other."""
    chain = header.copy()
    for _ in range(times - 1):
        chain = chain / header.copy()
    return chain


def options() -> Attempts:
    """Yield IPv4 options, which no flow can match: what they hide is filtered all the same."""
    way = [ROUTER.address(4)]
    for name, option in (
        ("a loose source route", IPOption_LSRR(routers=way)),
        ("a strict source route", IPOption_SSRR(routers=way)),
        ("a record of the route", IPOption_RR(routers=way)),
        ("a time stamp", IPOption_Timestamp()),
    ):
        header = IP(src=INSIDER.address(4), dst=VICTIM.address(4), options=[option])
        yield filtered(f"TCP to a closed port with {name}", 4, ether(INSIDER.mac, VICTIM.mac, header / tcp(4130, 22)))
        header = IP(src=VICTIM.address(4), dst=NEIGHBOUR.address(4), options=[option])
        yield stopped(
            f"the victim's IP address with {name}", 4, ether(ATTACKER.mac, NEIGHBOUR.mac, header / udp(4131, 5000))
        )
        header = IP(src=CONFINED.address(4), dst=ROUTER.address(4), options=[option])
        yield filtered(
            f"out: TCP to a port that is not allowed with {name}",
            4,
            ether(CONFINED.mac, ROUTER.mac, header / tcp(4132, 22)),
            sender=CONFINED,
        )


def unfinished_routes() -> Attempts:
    """Yield source routes that go on from the victim, to an open port.

    Their checksum is of the last address (RFC 793, 3.1; RFC 8200, 8.1), so for the connection table they are invalid.
    """
    for name, option in (
        ("a loose source route", IPOption_LSRR(routers=[ROUTER.address(4)])),
        ("a strict source route", IPOption_SSRR(routers=[ROUTER.address(4)])),
    ):
        header = IP(src=INSIDER.address(4), dst=VICTIM.address(4), options=[option])
        for protocol, payload in (("TCP", tcp(4133, 80)), ("UDP", udp(4134, 5000))):
            frame = ether(INSIDER.mac, VICTIM.mac, header / payload)
            yield filtered(f"{name} by way of the victim, {protocol}", 4, frame)
    for name, chain in (
        ("a routing header of type 0", IPv6ExtHdrRouting(type=0, addresses=[ROUTER.address(6)], segleft=1)),
        ("a routing header of type 2", IPv6ExtHdrRouting(type=2, addresses=[ROUTER.address(6)], segleft=1)),
    ):
        header = ip(6, INSIDER.address(6), VICTIM.address(6))
        for protocol, payload in (("TCP", tcp(4135, 80)), ("UDP", udp(4136, 5000))):
            frame = ether(INSIDER.mac, VICTIM.mac, header / chain / payload)
            yield filtered(f"{name} by way of the victim, {protocol}", 6, frame)


def spoofed(version: int) -> Attempts:
    """Yield fragments in the victim's name, and out of a port that may not send what they are of."""
    lie: dict[str, Any] = {"sender": ATTACKER, "to": NEIGHBOUR, "source": VICTIM.address(version)}
    first, last = cut(version, 140, datagram(version, 4140, 5000, sender=ATTACKER, to=NEIGHBOUR), **lie)
    yield stopped("a first fragment in the victim's name", version, first)
    yield stopped("a later fragment in the victim's name", version, last)
    away: dict[str, Any] = {"sender": CONFINED, "to": ROUTER}
    first, last = cut(version, 141, datagram(version, 4141, 54, **away), **away)
    yield filtered("out: a datagram that is not allowed in two fragments", version, first, last, sender=CONFINED)
    alone = cut(version, 142, datagram(version, 4142, 54, **away), **away)[1]
    yield filtered("out: a later fragment alone", version, alone, sender=CONFINED)


MAKERS: tuple[Callable[[int], Attempts], ...] = (in_fragments, spoofed)
ATTEMPTS = (*(attempt for make in MAKERS for attempt in both(make)), *headers(), *options(), *unfinished_routes())
