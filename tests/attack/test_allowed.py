"""What the guarded network must let through: without it, an attempt that fails shows nothing."""

from __future__ import annotations

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Solicit
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from tests.attack.attempt import Attempt, Attempts, Stopper, both
from tests.attack.cast import (
    ATTACKER,
    BROADCAST,
    CONFINED,
    INSIDER,
    NEIGHBOUR,
    PAIR,
    PAIR_MAC,
    PAIR_PREFIX,
    PAIR_WITH_MAC,
    ROUTER,
    STATELESS,
    VICTIM,
    Member,
    address,
    between,
    ether,
    ip,
)
from tests.attack.filtering import connected, error, tcp, udp
from tests.attack.fragments import cut, datagram
from tests.attack.host import AttackedHost

OWN = ATTACKER.mac


def allowed(
    name: str, family: int, *frames: bytes, sender: Member = ATTACKER, before: tuple[tuple[Member, bytes], ...] = ()
) -> Attempt:
    return Attempt(name, Stopper.CORE, family, frames, sender=sender, before=before)


def sender(version: int) -> Attempts:
    inside = str(PAIR_PREFIX[version]).split("/")[0]
    for name, mac, source in (
        ("the own address", OWN, ATTACKER.address(version)),
        ("an allowed address", OWN, address(PAIR, version)),
        ("an allowed pair", PAIR_MAC, address(PAIR_WITH_MAC, version)),
        ("an allowed prefix", OWN, inside),
    ):
        packet = ip(version, source, NEIGHBOUR.address(version)) / udp(4500, 5000)
        yield allowed(name, version, ether(mac, NEIGHBOUR.mac, packet))
    yield allowed("to the gateway", version, between(ATTACKER, ROUTER, version, udp(4501, 53)))
    first, last = cut(
        version, 150, datagram(version, 4502, 5000, sender=ATTACKER, to=NEIGHBOUR), sender=ATTACKER, to=NEIGHBOUR
    )
    yield allowed("fragments", version, first, last)


def resolution() -> Attempts:
    yield allowed(
        "ARP announcement",
        4,
        ether(
            OWN,
            BROADCAST,
            ARP(op=1, hwsrc=OWN, psrc=ATTACKER.address(4), hwdst="00:00:00:00:00:00", pdst=ATTACKER.address(4)),
        ),
    )
    yield allowed(
        "ARP announcement of an allowed pair",
        4,
        ether(
            PAIR_MAC,
            BROADCAST,
            ARP(op=2, hwsrc=PAIR_MAC, psrc=address(PAIR_WITH_MAC, 4), hwdst=BROADCAST, pdst=address(PAIR_WITH_MAC, 4)),
        ),
    )
    yield allowed(
        "ARP reply",
        4,
        ether(
            OWN, ROUTER.mac, ARP(op=2, hwsrc=OWN, psrc=ATTACKER.address(4), hwdst=ROUTER.mac, pdst=ROUTER.address(4))
        ),
    )
    mine = ATTACKER.address(6)
    na = ICMPv6ND_NA(tgt=mine, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=OWN)
    yield allowed("unsolicited NA for the own address", 6, nd(na, mine))
    yield allowed(
        "NA for the own link-local address",
        6,
        nd(ICMPv6ND_NA(tgt=ATTACKER.link_local, R=0) / ICMPv6NDOptDstLLAddr(lladdr=OWN), ATTACKER.link_local),
    )
    yield allowed("RS", 6, nd(ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=OWN), ATTACKER.link_local, "ff02::2"))
    yield allowed("RS without an address", 6, nd(ICMPv6ND_RS(), "::", "ff02::2"))
    report = IPv6ExtHdrHopByHop(options=[RouterAlert()]) / ICMPv6MLReport(mladdr="ff02::1:ff00:a")
    yield allowed(
        "MLD report without an address",
        6,
        ether(OWN, "33:33:ff:00:00:0a", ip(6, "::", "ff02::1:ff00:a", hlim=1) / report),
    )
    ns = ICMPv6ND_NS(tgt=address(202, 6)) / ICMPv6NDOptSrcLLAddr(lladdr=OWN)
    yield allowed("NS for nobody", 6, ether(OWN, "33:33:ff:00:00:ca", ip(6, mine, "ff02::1:ff00:ca", hlim=255) / ns))


def nd(payload: object, source: str, destination: str = "ff02::1") -> bytes:
    mac = "33:33:00:00:00:02" if destination == "ff02::2" else "33:33:00:00:00:01"
    return ether(OWN, mac, ip(6, source, destination, hlim=255) / payload)


def leases() -> Attempts:
    """Yield a DHCP client's requests, to one server: to all they would not reach the filtered ports."""
    discover = (
        UDP(sport=68, dport=67)
        / BOOTP(chaddr=bytes.fromhex("52540000000a"))
        / DHCP(options=[("message-type", "discover"), "end"])
    )
    yield allowed("DHCP discover", 4, ether(OWN, ROUTER.mac, ip(4, "0.0.0.0", "255.255.255.255") / discover))
    solicit = UDP(sport=546, dport=547) / DHCP6_Solicit(trid=1)
    yield allowed("DHCPv6 solicit", 6, ether(OWN, ROUTER.mac, ip(6, ATTACKER.link_local, "ff02::1:2") / solicit))


def lease_replies(version: int) -> Attempts:
    ports = (67, 68) if version == 4 else (547, 546)
    reply = UDP(sport=ports[0], dport=ports[1]) / Raw(bytes(60))
    yield allowed("a DHCP reply from outside", version, between(ROUTER, VICTIM, version, reply), sender=ROUTER)


def services(version: int) -> Attempts:
    ping = ICMP(id=9) if version == 4 else ICMPv6EchoRequest(id=9)
    pong = ICMP(type=0, id=9) if version == 4 else ICMPv6EchoReply(id=9)

    def to_victim(payload: object, source: Member = INSIDER) -> bytes:
        return between(source, VICTIM, version, payload)

    asked = ((VICTIM, between(VICTIM, INSIDER, version, udp(4510, 53))),)
    about = ip(version, VICTIM.address(version), INSIDER.address(version)) / udp(4510, 53)
    for name, frame, source, before in (
        ("TCP to the open port", to_victim(tcp(4503, 80)), INSIDER, ()),
        ("UDP to the first open port", to_victim(udp(4504, 5000)), INSIDER, ()),
        ("UDP to the last open port", to_victim(udp(4505, 5010)), INSIDER, ()),
        ("a ping", to_victim(ping), INSIDER, ()),
        ("TCP from a member of the group", to_victim(tcp(4506, 3306), NEIGHBOUR), NEIGHBOUR, ()),
        ("UDP from the address group", to_victim(udp(4507, 7000), NEIGHBOUR), NEIGHBOUR, ()),
        ("an answer", to_victim(udp(53, 4510)), INSIDER, asked),
        (
            "a router's error about what was asked",
            between(ROUTER, VICTIM, version, error(version, "time exceeded", about)),
            ROUTER,
            asked,
        ),
        ("an answer to a ping", between(VICTIM, INSIDER, version, pong), VICTIM, ((INSIDER, to_victim(ping)),)),
        (
            "data in the window",
            to_victim(tcp(443, 4511, "PA", seq=501, ack=101, text="x")),
            INSIDER,
            connected(version, 4511),
        ),
        ("out: TCP to the allowed address", between(CONFINED, ROUTER, version, tcp(4512, 443)), CONFINED, ()),
        ("out: UDP to the allowed port", between(CONFINED, NEIGHBOUR, version, udp(4513, 53)), CONFINED, ()),
        (
            "out: an answer",
            between(CONFINED, INSIDER, version, tcp(80, 4514, "SA", seq=500, ack=1001)),
            CONFINED,
            ((INSIDER, between(INSIDER, CONFINED, version, tcp(4514, 80))),),
        ),
        ("stateless: TCP to the open port", between(INSIDER, STATELESS, version, tcp(4515, 80)), INSIDER, ()),
        ("stateless: what it sends", between(STATELESS, INSIDER, version, tcp(80, 4515, "SA")), STATELESS, ()),
    ):
        yield allowed(name, version, frame, sender=source, before=before)
    first, last = cut(version, 151, datagram(version, 4516, 5000))
    yield allowed("fragments to the open port", version, first, last, sender=INSIDER)
    if version == 4:
        yield allowed("TCP from the allowed prefix", 4, to_victim(tcp(4517, 2222)), sender=INSIDER)


ALLOWED = (
    *both(sender),
    *resolution(),
    *leases(),
    *both(lease_replies),
    *both(services),
)


@pytest.mark.parametrize("passage", ALLOWED, ids=str)
def test_passes(host: AttackedHost, passage: Attempt) -> None:
    for scene in (host.open, host.guarded):
        assert scene.try_out(passage) == scene.expected(passage.sender, passage.frames), scene.name
