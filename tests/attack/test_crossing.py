"""Two networks with the same addresses, down to the last octet: nothing of one is seen in the other."""

from __future__ import annotations

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr
from scapy.layers.l2 import ARP

from tests.attack.cast import ATTACKER, BROADCAST, NEIGHBOUR, ROUTER, address, between, ether, ip
from tests.attack.filtering import udp
from tests.attack.host import FILTERED, AttackedHost

UNKNOWN = 203
CROSSING = {
    "unicast, IPv4": between(ATTACKER, NEIGHBOUR, 4, udp(4700, 5000)),
    "unicast, IPv6": between(ATTACKER, NEIGHBOUR, 6, udp(4700, 5000)),
    "to the gateway, IPv4": between(ATTACKER, ROUTER, 4, udp(4701, 53)),
    "to the gateway, IPv6": between(ATTACKER, ROUTER, 6, udp(4701, 53)),
    "ARP": ether(
        ATTACKER.mac,
        BROADCAST,
        ARP(op=1, hwsrc=ATTACKER.mac, psrc=ATTACKER.address(4), hwdst="00:00:00:00:00:00", pdst=address(UNKNOWN, 4)),
    ),
    "NS": ether(
        ATTACKER.mac,
        "33:33:ff:00:00:cb",
        ip(6, ATTACKER.address(6), "ff02::1:ff00:cb", hlim=255)
        / ICMPv6ND_NS(tgt=address(UNKNOWN, 6))
        / ICMPv6NDOptSrcLLAddr(lladdr=ATTACKER.mac),
    ),
    "DHCP": ether(
        ATTACKER.mac,
        BROADCAST,
        ip(4, "0.0.0.0", "255.255.255.255")
        / UDP(sport=68, dport=67)
        / BOOTP(chaddr=bytes(6))
        / DHCP(options=[("message-type", "discover"), "end"]),
    ),
}


@pytest.mark.parametrize("frame", CROSSING.values(), ids=CROSSING.keys())
def test_networks_do_not_meet(host: AttackedHost, frame: bytes) -> None:
    """On a hub everybody gets it; in a network its members do, and nobody else (`Scene.send` looks everywhere)."""
    assert host.hub.send(ATTACKER, frame) == host.hub.expected(ATTACKER, [frame])
    assert host.open.send(ATTACKER, frame) == host.open.expected(ATTACKER, [frame])
    expected = host.guarded.expected(ATTACKER, [frame])
    if frame == CROSSING["DHCP"]:
        expected = {place: frames for place, frames in expected.items() if place not in FILTERED}
    assert host.guarded.send(ATTACKER, frame) == expected


@pytest.mark.parametrize("tags", [(100, 200), (200, 100)], ids=str)
def test_a_second_tag_leads_nowhere(host: AttackedHost, tags: tuple[int, int]) -> None:
    """From outside, the outer tag says the network; the inner one is the members' own business."""
    outer, inner = tags
    scene = host.guarded if outer == 100 else host.open
    frame = ether(ROUTER.mac, NEIGHBOUR.mac, ip(4, ROUTER.address(4), NEIGHBOUR.address(4)) / udp(4702, 5000))
    both = frame[:12] + bytes.fromhex(f"8100{inner:04x}") + frame[12:]
    assert scene.send(ROUTER, both) == {NEIGHBOUR.name: [both]}


TAGS = {
    "a network's": "810000c8",
    "nobody's": "8100012c",
    "tag 0": "81000000",
    "802.1ad": "88a800c8",
    "two": "8100012c810000c8",
    "tag 0 before another": "81000000810000c8",
}


@pytest.mark.parametrize("tag", TAGS.values(), ids=TAGS.keys())
@pytest.mark.parametrize("to", [BROADCAST, ROUTER.mac], ids=["all", "outside"])
def test_a_guest_chooses_no_network_of_the_providers(host: AttackedHost, to: str, tag: str) -> None:
    """Where no port security holds it back, a guest's tag leaves behind the network's tag, or not at all."""
    frame = ether(ATTACKER.mac, to, ip(4, ATTACKER.address(4), "10.1.0.255") / udp(4706, 5000))
    frame = frame[:12] + bytes.fromhex(tag) + frame[12:]
    assert host.hub.send(ATTACKER, frame) == host.hub.expected(ATTACKER, [frame])
    assert host.open.send(ATTACKER, frame) == host.open.expected(ATTACKER, [frame])
    inside = {place: frames for place, frames in host.flat.expected(ATTACKER, [frame]).items() if place != ROUTER.name}
    assert host.flat.send(ATTACKER, frame) == inside


@pytest.mark.parametrize("version", [4, 6])
def test_learning_is_not_poisoned(host: AttackedHost, version: int) -> None:
    """Nobody gets another's frames by sending from its address: not from outside, and not from a port."""
    towards = between(ROUTER, NEIGHBOUR, version, udp(4703, 5000))
    among = between(ATTACKER, NEIGHBOUR, version, udp(4704, 5000))
    away = between(ATTACKER, ROUTER, version, udp(4705, 5000))
    for scene in (host.open, host.guarded):
        for thief, robbed in ((ROUTER, NEIGHBOUR), (ATTACKER, ROUTER), (ATTACKER, NEIGHBOUR)):
            stolen = ether(
                robbed.mac,
                BROADCAST,
                ip(version, thief.address(version), "10.1.0.255" if version == 4 else "ff02::1") / udp(1, 2),
            )
            scene.send(thief, stolen)
            assert scene.send(ROUTER, towards) == {NEIGHBOUR.name: [towards]}
            assert scene.send(ATTACKER, among) == {NEIGHBOUR.name: [among]}
            assert scene.send(ATTACKER, away) == {ROUTER.name: [away]}
