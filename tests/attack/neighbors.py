"""Attempts on port security: neighbor discovery and address configuration in the name of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise, DHCP6_Reply, DHCP6OptDNSServers
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import (
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
)
from scapy.packet import Raw

from tests.attack.attempt import Attempts
from tests.attack.cast import (
    ALL_NODES,
    ALL_NODES_MAC,
    ATTACKER,
    BROADCAST,
    NEIGHBOUR,
    NOBODY_MAC,
    PAIR_WITH_MAC,
    ROUTER,
    VICTIM,
    address,
    ether,
    ip,
)
from tests.attack.senders import stopped

OWN, MINE = ATTACKER.mac, ATTACKER.address(6)
TO_ALL = (ALL_NODES_MAC, ALL_NODES)
TO_READER = (NEIGHBOUR.mac, NEIGHBOUR.address(6))


def nd(payload: Any, *, source: str = MINE, to: tuple[str, str] = TO_ALL, hop_limit: int = 255) -> bytes:
    """Return neighbor discovery in an Ethernet frame of the attacker's own."""
    mac, destination = to
    return ether(OWN, mac, ip(6, source, destination, hlim=hop_limit) / payload)


def na(target: str, *, lladdr: str = OWN, **fields: Any) -> Any:
    return ICMPv6ND_NA(tgt=target, R=0, **{"S": 0, "O": 1, **fields}) / ICMPv6NDOptDstLLAddr(lladdr=lladdr)


def ns(target: str, lladdr: str = OWN) -> Any:
    return ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=lladdr)


def advertised() -> Attempts:
    victim, gateway = VICTIM.address(6), ROUTER.address(6)
    two = ICMPv6ND_NA(tgt=victim, S=0, O=1, R=0) / ICMPv6NDOptDstLLAddr(lladdr=OWN)
    for name, frame in (
        ("unsolicited NA with override for the victim", nd(na(victim))),
        ("unsolicited NA with override for the gateway", nd(na(gateway))),
        ("NA to one for the victim", nd(na(victim, S=1), to=TO_READER)),
        ("NA for the victim's link-local address", nd(na(VICTIM.link_local))),
        ("NA in the victim's name", nd(na(victim), source=victim)),
        ("NA for the own address with a foreign target MAC address", nd(na(MINE, lladdr=VICTIM.mac))),
        ("NA for the own address with a MAC address of nobody", nd(na(MINE, lladdr=NOBODY_MAC))),
        ("NA for the victim without a MAC address", nd(ICMPv6ND_NA(tgt=victim, S=1, O=0, R=0), to=TO_READER)),
        ("NA for the victim with a hop limit of 64", nd(na(victim), hop_limit=64)),
        ("NA for the own address with a hop limit of 64", nd(na(MINE), hop_limit=64)),
        ("NA for the victim with code 1", nd(na(victim, code=1))),
        ("NA for the victim with two target MAC addresses", nd(two / ICMPv6NDOptDstLLAddr(lladdr=NOBODY_MAC))),
        ("NA for an allowed address with another MAC address", nd(na(address(PAIR_WITH_MAC, 6)))),
        (
            "NA for the victim behind destination options",
            nd(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0")]) / na(victim)),
        ),
        ("NA for the victim in a fragment", nd(IPv6ExtHdrFragment(id=1, m=1) / na(victim))),
        ("NA for the victim in an atomic fragment", nd(IPv6ExtHdrFragment(id=1, m=0) / na(victim))),
    ):
        yield stopped(name, 6, frame)


def solicited() -> Attempts:
    victim = VICTIM.address(6)
    nobody = address(201, 6)
    for name, frame in (
        ("NS in the victim's name", nd(ns(nobody), source=victim)),
        ("NS with the victim's MAC address", nd(ns(nobody, VICTIM.mac))),
        ("NS with a MAC address of nobody", nd(ns(nobody, NOBODY_MAC), to=TO_READER)),
        ("NS with two source MAC addresses", nd(ns(nobody) / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY_MAC))),
        ("duplicate address detection for the victim's address", nd(ICMPv6ND_NS(tgt=victim), source="::")),
    ):
        yield stopped(name, 6, frame)


def routed() -> Attempts:
    """Yield what only a router may send."""
    mine = ATTACKER.link_local
    ra = ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptSrcLLAddr(lladdr=OWN)
    ra = ra / ICMPv6NDOptPrefixInfo(prefix="2001:db8:bad::", prefixlen=64)
    to_reader = (NEIGHBOUR.mac, NEIGHBOUR.link_local)
    filler = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    redirect = ICMPv6ND_Redirect(tgt=mine, dst="2001:db8::1") / ICMPv6NDOptDstLLAddr(lladdr=OWN)
    for name, frame in (
        ("RA to all", nd(ra, source=mine)),
        ("RA to one", nd(ra, source=mine, to=to_reader)),
        ("RA that ends the gateway", nd(ICMPv6ND_RA(routerlifetime=0), source=ROUTER.link_local)),
        ("RA with a hop limit of 64", nd(ra, source=mine, hop_limit=64)),
        ("RA with code 1", nd(ICMPv6ND_RA(code=1, routerlifetime=1800), source=mine)),
        ("RA behind destination options", nd(filler / ra, source=mine)),
        ("RA behind hop-by-hop options", nd(IPv6ExtHdrHopByHop(options=[RouterAlert()]) / ra, source=mine)),
        ("RA behind eight headers", nd(_chain(filler, 8) / ra, source=mine)),
        ("RA in a first fragment", nd(IPv6ExtHdrFragment(id=2, m=1) / ra, source=mine)),
        ("RA in an atomic fragment", nd(IPv6ExtHdrFragment(id=2, m=0) / ra, source=mine)),
        (
            "RA behind a fragment header and destination options",
            nd(IPv6ExtHdrFragment(id=2, m=1) / filler / ra, source=mine),
        ),
        ("redirect in the own name", nd(redirect, source=mine, to=to_reader)),
        ("redirect in the gateway's name", nd(redirect, source=ROUTER.link_local, to=to_reader)),
    ):
        yield stopped(name, 6, frame)
    endless = bytes(nd(IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]) / ra, source=mine))
    yield stopped("RA in a packet that says its length is 0", 6, endless[:18] + bytes(2) + endless[20:])
    first, second = hidden_ra(mine, ALL_NODES)
    hidden = stopped("RA in a second fragment, the first without its header", 6, first, second)
    yield replace(hidden, harmless=(second,))
    yield stopped(
        "MLD query, as the querier",
        6,
        nd(IPv6ExtHdrHopByHop(options=[RouterAlert()]) / ICMPv6MLQuery(), source=mine, hop_limit=1),
    )
    yield stopped(
        "MLDv2 query, as the querier",
        6,
        nd(IPv6ExtHdrHopByHop(options=[RouterAlert()]) / ICMPv6MLQuery2(), source=mine, hop_limit=1),
    )


def hidden_ra(source: str, destination: str) -> tuple[bytes, ...]:
    """Return an RA whose own header is in the second fragment only; the first has options (RFC 7113, section 2)."""
    ra = bytes(ip(6, source, destination, hlim=255) / ICMPv6ND_RA(routerlifetime=1800))[40:]
    options = bytes(IPv6ExtHdrDestOpt(nh=58, options=[PadN(optdata=bytes(12))]))
    assert len(options) == 16
    first = IPv6ExtHdrFragment(id=3, m=1, offset=0, nh=60) / Raw(options)
    second = IPv6ExtHdrFragment(id=3, m=0, offset=2, nh=60) / Raw(ra)
    return nd(first, source=source), nd(second, source=source)


def _chain(header: Any, times: int) -> Any:
    chain = header
    for _ in range(times - 1):
        chain = chain / header.copy()
    return chain


def routers() -> Attempts:
    """Yield what only a router may say in IPv4, in the own name."""
    for name, destination, payload in (
        ("IGMP query, as the querier", "224.0.0.1", "1164ee9b00000000"),
        ("IGMPv3 query, as the querier", "224.0.0.1", "1164ec1e00000000027d0000"),
    ):
        header = ip(4, ATTACKER.address(4), destination, ttl=1, proto=2)
        yield stopped(name, 4, ether(OWN, "01:00:5e:00:00:01", header / Raw(bytes.fromhex(payload))))
    inner = ip(4, NEIGHBOUR.address(4), "192.0.2.7") / UDP(sport=1, dport=2)
    redirect = ICMP(type=5, code=1, gw=ATTACKER.address(4)) / inner
    advertisement = ICMP(type=9) / Raw(bytes.fromhex("01020708") + bytes(8))
    for name, to, payload in (
        ("ICMP redirect in the own name", NEIGHBOUR.address(4), redirect),
        ("ICMP router advertisement", "224.0.0.1", advertisement),
    ):
        mac = NEIGHBOUR.mac if to == NEIGHBOUR.address(4) else "01:00:5e:00:00:01"
        yield stopped(name, 4, ether(OWN, mac, ip(4, ATTACKER.address(4), to) / payload))


def dhcp() -> Attempts:
    """Yield what only a DHCP server may send."""
    for name, kind, mac, destination in (
        ("DHCP offer to all", "offer", BROADCAST, "255.255.255.255"),
        ("DHCP offer to one", "offer", NEIGHBOUR.mac, NEIGHBOUR.address(4)),
        ("DHCP acknowledgement to all", "ack", BROADCAST, "255.255.255.255"),
    ):
        lease = BOOTP(op=2, yiaddr="10.1.0.66", siaddr=ATTACKER.address(4), chaddr=bytes(6))
        options = DHCP(options=[("message-type", kind), ("router", ATTACKER.address(4)), "end"])
        packet = ip(4, ATTACKER.address(4), destination) / UDP(sport=67, dport=68) / lease / options
        yield stopped(name, 4, ether(OWN, mac, packet))
        if kind == "ack":
            first = ip(4, ATTACKER.address(4), destination, id=9, flags="MF", proto=17)
            yield stopped(
                "DHCP acknowledgement in a first fragment", 4, ether(OWN, mac, first / Raw(bytes(packet.payload)[:64]))
            )
    for name, message in (("DHCPv6 advertise", DHCP6_Advertise(trid=1)), ("DHCPv6 reply", DHCP6_Reply(trid=1))):
        body = UDP(sport=547, dport=546) / message / DHCP6OptDNSServers(dnsservers=[MINE])
        for where, to, header in (
            ("", (NEIGHBOUR.mac, NEIGHBOUR.link_local), None),
            (" to all", TO_ALL, None),
            (" behind destination options", TO_ALL, IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])),
            (" in a first fragment", TO_ALL, IPv6ExtHdrFragment(id=4, m=1)),
        ):
            payload = body if header is None else header / body
            yield stopped(f"{name}{where}", 6, nd(payload, source=ATTACKER.link_local, to=to, hop_limit=64))


ATTEMPTS = (*advertised(), *solicited(), *routed(), *routers(), *dhcp())
