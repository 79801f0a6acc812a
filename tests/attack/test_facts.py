"""What gets through all the same: each is a fact of Open vSwitch or of the protocol, and is in docs/apps/attacks.md.

A test fails here when something of it is prevented: then it belongs among the attempts.
"""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP, IPOption_LSRR, IPOption_SSRR
from scapy.layers.inet6 import ICMPv6ND_RA, IPv6ExtHdrRouting
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from tests.attack.attempt import Attempt, Attempts, Stopper, both
from tests.attack.cast import ATTACKER, BROADCAST, INSIDER, NEIGHBOUR, ROUTER, VICTIM, Member, between, ether, ip
from tests.attack.filtering import Before, error, tcp, udp
from tests.attack.fragments import cut, datagram
from tests.attack.host import FILTERED, AttackedHost


def fact(name: str, family: int, *frames: bytes, sender: Member = ATTACKER, before: Before = ()) -> Attempt:
    return Attempt(name, Stopper.CORE, family, frames, sender=sender, before=before)


def routes() -> Attempts:
    """Open vSwitch has no field for IPv4 options, and reads past routing headers: what they carry is checked."""
    for name, option in (
        ("loose source route", IPOption_LSRR(routers=[VICTIM.address(4)])),
        ("strict source route", IPOption_SSRR(routers=[VICTIM.address(4)])),
    ):
        header = IP(src=ATTACKER.address(4), dst=NEIGHBOUR.address(4), options=[option])
        yield fact(f"a {name} from the own address", 4, ether(ATTACKER.mac, NEIGHBOUR.mac, header / udp(4600, 5000)))
    routing = IPv6ExtHdrRouting(type=0, addresses=[VICTIM.address(6)], segleft=1)
    yield fact("a routing header from the own address", 6, between(ATTACKER, NEIGHBOUR, 6, routing / udp(4601, 5000)))
    unsummed = IP(src=INSIDER.address(4), dst=VICTIM.address(4), options=[IPOption_LSRR(routers=[ROUTER.address(4)])])
    datagram = UDP(sport=4602, dport=5000, chksum=0) / "x"
    yield fact(
        "a source route to an open port in a datagram without a checksum",
        4,
        ether(INSIDER.mac, VICTIM.mac, unsummed / datagram),
        sender=INSIDER,
    )


def services() -> Attempts:
    query = Raw(bytes.fromhex("1164 0000 ef010203".replace(" ", "")))
    header = ip(4, ATTACKER.address(4), "239.1.2.3", ttl=1, proto=2)
    yield fact(
        "an IGMP query about one group: its type is no field of Open vSwitch",
        4,
        ether(ATTACKER.mac, "01:00:5e:01:02:03", header / query),
    )
    request = (
        UDP(sport=68, dport=67)
        / BOOTP(chaddr=bytes.fromhex(VICTIM.mac.replace(":", "")))
        / DHCP(options=[("message-type", "discover"), "end"])
    )
    yield fact(
        "a DHCP request for another's MAC address: it is payload",
        4,
        ether(ATTACKER.mac, ROUTER.mac, ip(4, "0.0.0.0", "255.255.255.255") / request),
    )


def unchecked() -> Attempts:
    """Without port security a port may say everything, and neighbor discovery gets to filtered ports from anybody."""
    lie = ARP(op=2, hwsrc=INSIDER.mac, psrc=ROUTER.address(4), hwdst=VICTIM.mac, pdst=VICTIM.address(4))
    yield fact(
        "an ARP reply in the gateway's name from a port without port security",
        4,
        ether(INSIDER.mac, VICTIM.mac, lie),
        sender=INSIDER,
    )
    ra = ip(6, INSIDER.link_local, VICTIM.link_local, hlim=255) / ICMPv6ND_RA(routerlifetime=1800)
    yield fact("an RA from a port without port security", 6, ether(INSIDER.mac, VICTIM.mac, ra), sender=INSIDER)
    lie = ARP(op=2, hwsrc=ROUTER.mac, psrc=NEIGHBOUR.address(4), hwdst=BROADCAST, pdst=NEIGHBOUR.address(4))
    yield fact(
        "an ARP announcement of a port's address from outside", 4, ether(ROUTER.mac, BROADCAST, lie), sender=ROUTER
    )


def tracked(version: int) -> Attempts:
    yield fact(
        "an ACK without a connection to the open port",
        version,
        between(INSIDER, VICTIM, version, tcp(4610, 80, "A")),
        sender=INSIDER,
    )
    asked = ((VICTIM, between(VICTIM, INSIDER, version, udp(4611, 53))),)
    about = ip(version, VICTIM.address(version), INSIDER.address(version)) / udp(4611, 53)
    yield fact(
        "an error about a connection that exists, from somebody else",
        version,
        between(NEIGHBOUR, VICTIM, version, error(version, "unreachable", about)),
        sender=NEIGHBOUR,
        before=asked,
    )
    ports = {"sport": 67, "dport": 68} if version == 4 else {"sport": 547, "dport": 546}
    reply: Any = UDP(**ports) / Raw(bytes(60))
    yield fact(
        "a DHCP reply from a port without port security",
        version,
        between(INSIDER, VICTIM, version, reply),
        sender=INSIDER,
    )
    whole = datagram(version, 4612, 5000, sender=ATTACKER, to=NEIGHBOUR)
    yield fact(
        "a later fragment alone to a port without security groups",
        version,
        cut(version, 160, whole, sender=ATTACKER, to=NEIGHBOUR)[1],
    )


FACTS = (*routes(), *services(), *unchecked(), *both(tracked))


@pytest.mark.parametrize("fact", FACTS, ids=str)
def test_gets_through(host: AttackedHost, fact: Attempt) -> None:
    expected = host.guarded.expected(fact.sender, fact.frames)
    if "IGMP" in fact.name:  # What no rule lets in reaches no filtered port.
        expected = {place: frames for place, frames in expected.items() if place not in FILTERED}
    assert host.guarded.try_out(fact) == expected
