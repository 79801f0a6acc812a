"""What a port whose sender is checked may send, and what it may not; the same frames from one that is not checked."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from ofctl.model.ids import MacAddress, NetworkId, NetworkIndex, PortIndex
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.security import AddressPair
from ofctl.pipeline.world import World
from tests.functional.pipeline.lab import Lab

GUEST, OTHER, WITNESS = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"
ROUTER_MAC = "00:00:5e:00:01:07"
V4, V6, LINK_LOCAL = "10.0.0.1", "fd00::1", "fe80::5054:ff:fe00:1"
FOREIGN_4, FOREIGN_6 = "10.0.0.99", "fd00::99"
PREFIX_4, PREFIX_6, SHARED = "10.7.0.0/16", "fd07::/64", "10.0.0.200/32"
NET = NumberedNetwork(network=Network(network_id=NetworkId("net"), neighbor_replies=False), index=NetworkIndex(1))
NODES, SOLICITED = "33:33:00:00:00:01", "33:33:ff:00:00:63"


def eth(mac: str = GUEST, to: str = WITNESS) -> Packet:
    return Ether(src=mac, dst=to)


def arp(spa: str, sha: str = GUEST, *, op: int = 1, tpa: str = FOREIGN_4, mac: str = GUEST) -> Packet:
    return eth(mac, "ff:ff:ff:ff:ff:ff") / ARP(op=op, hwsrc=sha, psrc=spa, pdst=tpa)


def ns(source: str, target: str = FOREIGN_6, sll: str | None = GUEST, *, hlim: int = 255, code: int = 0) -> Packet:
    question = (
        eth(to=SOLICITED) / IPv6(src=source, dst="ff02::1:ff00:63", hlim=hlim) / ICMPv6ND_NS(tgt=target, code=code)
    )
    return question if sll is None else question / ICMPv6NDOptSrcLLAddr(lladdr=sll)


def na(source: str, target: str, tll: str | None = GUEST) -> Packet:
    answer = eth(to=NODES) / IPv6(src=source, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=target, R=0, S=0, O=1)
    return answer if tll is None else answer / ICMPv6NDOptDstLLAddr(lladdr=tll)


def ip6(*layers: Packet, source: str = V6, mac: str = GUEST) -> Packet:
    whole = eth(mac) / IPv6(src=source, dst="fd00::3")
    for layer in layers:
        whole = whole / layer
    return whole


def ip4(*layers: Packet, source: str = V4, mac: str = GUEST) -> Packet:
    whole = eth(mac) / IP(src=source, dst="10.0.0.3")
    for layer in layers:
        whole = whole / layer
    return whole


def first(inner: int, *layers: Packet) -> Packet:
    """Return the first of several fragments, with what is given and no more."""
    return ip6(IPv6ExtHdrFragment(nh=inner, offset=0, m=1, id=7), *layers)


HOP_BY_HOP = IPv6ExtHdrHopByHop(nh=58)
AUTHENTICATED = bytes.fromhex("1102") + bytes(14) + bytes.fromhex("0005000600080000")
"""An authentication header and UDP behind it."""
ARP_ANNOUNCED = ARP(op=3, hwsrc=GUEST, psrc="0.0.0.0", hwdst=GUEST, pdst="0.0.0.0")
RARP_FORGED = ARP(op=3, hwsrc=OTHER, psrc="0.0.0.0", hwdst=OTHER, pdst="0.0.0.0")

MLD2 = bytes.fromhex("8f00000000000001040000 00ff020000000000000000000100020003".replace(" ", ""))


ALLOWED: dict[str, Callable[[], list[Packet]]] = {
    "IP from its addresses": lambda: [ip4(ICMP()), ip6(ICMPv6EchoRequest()), ip6(UDP(), source=LINK_LOCAL)],
    "IP from its pairs": lambda: [
        ip4(TCP(), source="10.7.9.9"),
        ip6(TCP(), source="fd07::5"),
        ip4(source="10.0.0.200"),
    ],
    "ARP": lambda: [arp(V4), arp(V4, op=2), arp(V4, tpa=V4), arp("10.7.3.3", op=2)],
    "ARP probe": lambda: [arp("0.0.0.0", tpa=V4)],
    "RARP of a guest that has moved": lambda: [eth(to="ff:ff:ff:ff:ff:ff") / ARP_ANNOUNCED / Raw(bytes(18))],
    "the router's MAC address": lambda: [
        ip4(UDP(), source="10.0.0.254", mac=ROUTER_MAC),
        arp("10.0.0.254", ROUTER_MAC, op=2, mac=ROUTER_MAC),
    ],
    "NS": lambda: [ns(V6), ns(LINK_LOCAL), ns(V6, sll=None), ns("fd07::5")],
    "NA": lambda: [na(V6, V6), na(LINK_LOCAL, V6), na(V6, V6, None), na("fd07::5", "fd07::5")],
    "duplicate address detection": lambda: [ns("::", V6, None), ns("::", LINK_LOCAL, None)],
    "RS": lambda: [
        eth(to="33:33:00:00:00:02") / IPv6(src=source, dst="ff02::2", hlim=255) / ICMPv6ND_RS()
        for source in ("::", LINK_LOCAL)
    ],
    "MLD": lambda: [
        eth(to="33:33:00:00:00:16") / IPv6(src=source, dst="ff02::16", hlim=1) / layer
        for source in ("::", LINK_LOCAL)
        for layer in (ICMPv6MLReport(), ICMPv6MLDone(), HOP_BY_HOP / Raw(MLD2))
    ],
    "IGMP": lambda: [
        eth(to="01:00:5e:00:00:16") / IP(src=source, dst="224.0.0.22", proto=2, ttl=1) / Raw(b"\x22" + bytes(7))
        for source in ("0.0.0.0", V4)
    ],
    "DHCP client": lambda: [
        eth(to="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / BOOTP(),
        ip4(UDP(sport=68, dport=67), BOOTP()),
        ip6(UDP(sport=546, dport=547), source=LINK_LOCAL),
    ],
    "fragments": lambda: [
        *fragment(ip4(UDP(sport=5, dport=6), Raw(bytes(900))), fragsize=400),
        *fragment(ip4(TCP(sport=5, dport=6), Raw(bytes(900))), fragsize=400),
        *fragment6(ip6(IPv6ExtHdrFragment(), UDP(sport=5, dport=6), Raw(bytes(3000))), 1280),
        *fragment6(ip6(IPv6ExtHdrFragment(), ICMPv6EchoRequest(data=bytes(3000))), 1280),
    ],
    "extension headers": lambda: [
        ip6(IPv6ExtHdrDestOpt(), UDP(sport=5, dport=6)),
        ip6(IPv6ExtHdrHopByHop(nh=51), Raw(AUTHENTICATED)),
        ip6(IPv6ExtHdrFragment(), UDP(sport=5, dport=6)),
    ],
}
FORBIDDEN: dict[str, Callable[[], list[Packet]]] = {
    "another's MAC address": lambda: [ip4(ICMP(), mac=OTHER), ip6(UDP(), mac=OTHER), arp(V4, OTHER, mac=OTHER)],
    "a group's MAC address": lambda: [ip4(ICMP(), mac="ff:ff:ff:ff:ff:ff"), ip6(UDP(), mac="01:00:5e:00:00:01")],
    "another's IP address": lambda: [
        ip4(ICMP(), source=FOREIGN_4),
        ip4(UDP(), source="10.8.0.1"),
        ip4(UDP(), source="0.0.0.0"),
        ip6(UDP(), source=FOREIGN_6),
        ip6(UDP(), source="fe80::1"),
        ip6(UDP(), source="::"),
        ip6(UDP(), source="a00:1::"),
        ip6(UDP(), source="fd07:0:0:1::5"),
    ],
    "an address of another of its MAC addresses": lambda: [
        ip4(UDP(), source="10.0.0.254"),
        ip4(UDP(), source=V4, mac=ROUTER_MAC),
        ip6(UDP(), source=V6, mac=ROUTER_MAC),
        arp("10.0.0.254"),
        arp(V4, ROUTER_MAC),
    ],
    "ARP with another's addresses": lambda: [
        arp(FOREIGN_4),
        arp(FOREIGN_4, op=2),
        arp(FOREIGN_4, tpa=FOREIGN_4),
        arp(V4, OTHER),
        arp("10.0.0.254", ROUTER_MAC, op=2),
        arp("0.0.0.0"),
        arp("0.0.0.0", op=2),
        arp("0.0.0.0", OTHER, tpa=V4),
        eth() / ARP(hwtype=6, hwsrc=GUEST, psrc=V4),
    ],
    "RARP for another": lambda: [eth(to="ff:ff:ff:ff:ff:ff") / RARP_FORGED],
    "NS with another's addresses": lambda: [
        ns(FOREIGN_6),
        ns(V6, sll=OTHER),
        ns("::", FOREIGN_6, None),
        ns("::", V6, OTHER),
        ns(V6, hlim=64),
        ns(V6, code=1),
        ns(V6) / ICMPv6NDOptSrcLLAddr(lladdr=OTHER),
    ],
    "NA with another's addresses": lambda: [
        na(V6, FOREIGN_6),
        na(FOREIGN_6, V6),
        na("::", V6),
        na(V6, V6, OTHER),
        na(V6, V6) / ICMPv6NDOptDstLLAddr(lladdr=OTHER),
    ],
    "RA and redirect": lambda: [
        eth(to=NODES) / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255) / ICMPv6ND_RA(),
        eth() / IPv6(src=LINK_LOCAL, dst="fd00::3", hlim=255) / ICMPv6ND_Redirect(tgt=V6, dst="fd09::1"),
        ip6(IPv6ExtHdrDestOpt(), ICMPv6ND_RA(), source=LINK_LOCAL),
    ],
    "what routers say": lambda: [
        eth(to="01:00:5e:00:00:01") / IP(src=V4, dst="224.0.0.1", proto=2, ttl=1) / Raw(b"\x11" + bytes(7)),
        eth(to=NODES) / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=1) / ICMPv6MLQuery(),
        ip4(ICMP(type=5)),
        ip4(ICMP(type=9)),
    ],
    "DHCP server": lambda: [
        ip4(UDP(sport=67, dport=68), BOOTP(op=2)),
        ip4(UDP(sport=1067, dport=68), BOOTP(op=2)),
        ip4(UDP(sport=67, dport=67), BOOTP(op=2)),
        ip6(UDP(sport=547, dport=546), source=LINK_LOCAL),
        ip6(UDP(sport=1547, dport=546)),
        ip6(UDP(sport=547, dport=547)),
        fragment(ip4(UDP(sport=67, dport=68), Raw(bytes(900))), fragsize=400)[0],
    ],
    "other protocols": lambda: [
        Dot3(src=GUEST, dst=WITNESS) / LLC() / Raw(bytes(60)),
        Dot3(src=GUEST, dst="01:00:0c:cc:cc:cc") / LLC() / SNAP(OUI=0x0C, code=0x2000) / Raw(bytes(60)),
        *(
            eth(to=NODES) / Raw(kind.to_bytes(2, "big") + bytes(50))
            for kind in (0x88CC, 0x88B5, 0x9100, 0x8847, 0x8863)
        ),
    ],
    "tags": lambda: [
        eth() / Dot1Q(vlan=5) / IP(src=V4, dst="10.0.0.3"),
        eth() / Dot1Q(vlan=0) / IP(src=V4, dst="10.0.0.3"),
        eth() / Dot1AD(vlan=5) / IP(src=V4, dst="10.0.0.3"),
        eth() / Dot1Q(vlan=5) / Dot1Q(vlan=6) / IP(src=V4, dst="10.0.0.3"),
        eth() / Dot1AD(vlan=5) / Dot1Q(vlan=6) / IP(src=V4, dst="10.0.0.3"),
    ],
    "fragments that hide": lambda: [
        first(58),
        first(58, ICMPv6ND_RA()),
        first(58, ICMPv6ND_NA(tgt=V6)),
        first(60, IPv6ExtHdrDestOpt(nh=58)),
        first(60),
        first(17),
        first(6, Raw(bytes(8))),
        first(132),
        *(eth() / IP(src=V4, dst="10.0.0.3", flags="MF", proto=number) for number in (17, 132)),
        eth() / IP(src=V4, dst="10.0.0.3", flags="MF", proto=6) / Raw(bytes.fromhex("0005000600000000")),
    ],
    "headers that hide": lambda: [
        eth() / IPv6(src=V6, dst="fd00::3", nh=60) / Raw(bytes.fromhex("3aff0104000000008600000000000000")),
        eth() / IPv6(src=V6, dst="fd00::3", nh=43) / Raw(bytes(4)),
        *(eth() / IPv6(src=V6, dst="fd00::3", nh=number) / Raw(bytes(16)) for number in (0, 140, 253, 254)),
        ip6(IPv6ExtHdrRouting(), IPv6ExtHdrDestOpt(), ICMPv6ND_RA()),
    ],
}


@pytest.fixture
def guarded(lab: Lab) -> Lab:
    """`guest` is checked, `open` has the same addresses and is not, each with a witness in a network of its own."""
    lab.attach("guest", "seen", "open", "shown")
    free = replace(NET, index=NetworkIndex(2), network=replace(NET.network, network_id=NetworkId("free")))
    pairs = (
        AddressPair(ipaddress.ip_network(PREFIX_4)),
        AddressPair(ipaddress.ip_network(PREFIX_6)),
        AddressPair(ipaddress.ip_network(SHARED)),
        AddressPair(ipaddress.ip_network("10.7.1.0/24")),
        AddressPair(ipaddress.ip_network("10.0.0.254/32"), MacAddress(ROUTER_MAC)),
    )
    addresses = (ipaddress.ip_address(V4), ipaddress.ip_address(V6))
    guest = replace(lab.port("guest", 1, 1, GUEST), port_security=None, addresses=addresses, address_pairs=pairs)
    ports = [guest, lab.port("seen", 2, 1, WITNESS)]
    ports += [replace(lab.port("open", 3, 2, GUEST), addresses=addresses), lab.port("shown", 4, 2, WITNESS)]
    lab.become(World().with_network(NET).with_network(free).with_ports(ports))
    return lab


def built(frames: dict[str, Callable[[], list[Packet]]], name: str) -> list[bytes]:
    made = [bytes(frame) for frame in frames[name]()]
    if "RARP" in name:
        made = [frame[:12] + b"\x80\x35" + frame[14:] for frame in made]
    return [frame.ljust(60, b"\0") for frame in made]


def missing(sent: list[bytes], came: list[bytes]) -> list[str]:
    """Return the frames that are not among those that came, in a form to read."""
    return [Ether(frame).summary() for frame in sent if frame not in came]


def test_a_guest_sends_as_itself(guarded: Lab) -> None:
    for name in ALLOWED:
        sent = built(ALLOWED, name)
        received = guarded.send("guest", *sent)
        assert not missing(sent, received.get("seen", [])), name
        assert sum(map(len, received.values())) == len(sent), name


def test_a_guest_does_not_send_as_somebody_else(guarded: Lab) -> None:
    for name in FORBIDDEN:
        sent = built(FORBIDDEN, name)
        passed = [Ether(frame).summary() for frame in guarded.send("guest", *sent).get("seen", [])]
        assert not passed, name
        shown = guarded.send("open", *sent).get("shown", [])
        assert not missing(sent, shown), f"{name}: with the check off"


def test_a_guest_without_addresses_is_bound_to_its_mac_address(guarded: Lab) -> None:
    bare = replace(guarded.world.ports[PortIndex(1)], addresses=(), address_pairs=())
    guarded.become(guarded.world.with_port(bare))
    allowed = [ip4(UDP(), source=FOREIGN_4), ip6(UDP(), source=FOREIGN_6), arp(FOREIGN_4), ns(FOREIGN_6)]
    allowed += [na(FOREIGN_6, FOREIGN_6), ns("::", FOREIGN_6, None), arp("0.0.0.0")]
    sent = [bytes(each).ljust(60, b"\0") for each in allowed]
    assert not missing(sent, guarded.send("guest", *sent).get("seen", []))
    forbidden = [
        ip4(UDP(), mac=OTHER),
        ip4(UDP(), source="0.0.0.0"),
        ip6(UDP(), source="::"),
        arp(FOREIGN_4, OTHER),
        ns(FOREIGN_6, sll=OTHER),
        na(FOREIGN_6, FOREIGN_6, OTHER),
        na(FOREIGN_6, FOREIGN_6) / ICMPv6NDOptDstLLAddr(lladdr=OTHER),
        ip4(UDP(sport=67, dport=68)),
        eth() / Dot1Q(vlan=5) / IP(src=V4, dst="10.0.0.3"),
    ]
    sent = [bytes(each).ljust(60, b"\0") for each in forbidden]
    assert not [Ether(each).summary() for each in guarded.send("guest", *sent).get("seen", [])]
