"""Attempts on port security: senders that are not who they say, in Ethernet, IP and ARP."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.layers.l2 import ARP, LLC, SNAP, Dot3
from scapy.packet import Raw

from tests.attack.attempt import Attempt, Attempts, Stopper, both
from tests.attack.cast import (
    ATTACKER,
    BESIDE_PREFIX,
    BROADCAST,
    ELSEWHERE,
    NEIGHBOUR,
    NOBODY_MAC,
    PAIR,
    PAIR_MAC,
    PAIR_WITH_MAC,
    ROUTER,
    VICTIM,
    address,
    ether,
    ip,
)

ETHERTYPES = {4: 0x0800, 6: 0x86DD}
HARDWARE_IEEE802 = 6
"""What ARP of IEEE 802 networks may say instead of 1 (RFC 1042); Linux takes both."""


def stopped(name: str, family: int, *frames: bytes) -> Attempt:
    return Attempt(name, Stopper.PORT_SECURITY, family, frames)


def spoofed(version: int) -> Attempts:
    """Yield what has a false MAC address, a false IP address, or a pair of both that was not allowed."""
    own = ATTACKER.address(version)
    for name, mac, source in (
        ("the victim's MAC and IP address", VICTIM.mac, VICTIM.address(version)),
        ("the victim's MAC address with the own IP address", VICTIM.mac, own),
        ("the gateway's MAC and IP address", ROUTER.mac, ROUTER.address(version)),
        ("the gateway's MAC address with the own IP address", ROUTER.mac, own),
        ("a MAC address of nobody", NOBODY_MAC, own),
        ("the victim's IP address", ATTACKER.mac, VICTIM.address(version)),
        ("the gateway's IP address", ATTACKER.mac, ROUTER.address(version)),
        ("an IP address of nobody", ATTACKER.mac, address(200, version)),
        ("an IP address of another network", ATTACKER.mac, ELSEWHERE[version]),
        ("an allowed IP address with another MAC address than its own", ATTACKER.mac, address(PAIR_WITH_MAC, version)),
        ("an allowed MAC address with an IP address that is not its own", PAIR_MAC, own),
        ("an allowed MAC address with a pair of the port's own", PAIR_MAC, address(PAIR, version)),
        ("the address after an allowed prefix", ATTACKER.mac, BESIDE_PREFIX[version]),
        ("the unspecified address", ATTACKER.mac, "0.0.0.0" if version == 4 else "::"),
        ("the loopback address", ATTACKER.mac, "127.0.0.1" if version == 4 else "::1"),
        ("a group as the source address", ATTACKER.mac, "224.0.0.251" if version == 4 else "ff02::1"),
    ):
        packet = ip(version, source, NEIGHBOUR.address(version)) / UDP(sport=4000, dport=5000) / name
        yield stopped(f"{name} as sender", version, ether(mac, NEIGHBOUR.mac, packet))
    yield from _encapsulated(version)
    yield from _broken(version)


def _encapsulated(version: int) -> Attempts:
    packet = ip(version, VICTIM.address(version), NEIGHBOUR.address(version)) / UDP(sport=4000, dport=5000)
    snap = Dot3(src=ATTACKER.mac, dst=NEIGHBOUR.mac) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3)
    yield stopped(
        "the victim's IP address inside of LLC and SNAP", version, bytes(snap / SNAP(code=ETHERTYPES[version]) / packet)
    )
    mpls = (16 << 12 | 1 << 8 | 64).to_bytes(4, "big")
    yield stopped(
        "the victim's IP address behind an MPLS label",
        version,
        ether(ATTACKER.mac, NEIGHBOUR.mac, Raw(mpls + bytes(packet)), type=0x8847),
    )
    pppoe = bytes.fromhex("1100 0001") + (len(packet) + 2).to_bytes(2, "big") + {4: b"\0\x21", 6: b"\0\x57"}[version]
    yield stopped(
        "the victim's IP address in a PPPoE session",
        version,
        ether(ATTACKER.mac, NEIGHBOUR.mac, Raw(pppoe + bytes(packet)), type=0x8864),
    )


def _broken(version: int) -> Attempts:
    """Yield headers that a switch may not be able to read, so that it sees no source address."""
    packet = bytes(ip(version, VICTIM.address(version), NEIGHBOUR.address(version)) / UDP(sport=4000, dport=5000))
    too_long = packet[:2] + b"\x7f\xff" + packet[4:] if version == 4 else packet[:4] + b"\x7f\xff" + packet[6:]
    yield stopped(
        "the victim's IP address and a length beyond the frame",
        version,
        ether(ATTACKER.mac, NEIGHBOUR.mac, Raw(too_long), type=ETHERTYPES[version]),
    )
    none = packet[:2] + bytes(2) + packet[4:] if version == 4 else packet[:4] + bytes(2) + packet[6:]
    yield stopped(
        "the victim's IP address and a length of 0",
        version,
        ether(ATTACKER.mac, NEIGHBOUR.mac, Raw(none), type=ETHERTYPES[version]),
    )
    other = b"\x65" + packet[1:]
    yield stopped(
        "an IP header of another version",
        version,
        ether(ATTACKER.mac, NEIGHBOUR.mac, Raw(other), type=0x0800),
    )
    yield stopped(
        "half an IP header",
        version,
        ether(ATTACKER.mac, NEIGHBOUR.mac, Raw(packet[:16]), type=ETHERTYPES[version]),
    )


def in_other_names(version: int) -> Attempts:
    """Yield what works in the name of somebody else only."""
    ping = ICMP() if version == 4 else ICMPv6EchoRequest()
    source, target = VICTIM.address(version), "255.255.255.255" if version == 4 else "ff02::1"
    destination = BROADCAST if version == 4 else "33:33:00:00:00:01"
    yield stopped(
        "a ping to all, the answers to the victim",
        version,
        ether(ATTACKER.mac, destination, ip(version, source, target) / ping),
    )
    syn = ip(version, source, NEIGHBOUR.address(version)) / TCP(sport=4000, dport=80, flags="S")
    yield stopped("a SYN in the victim's name", version, ether(ATTACKER.mac, NEIGHBOUR.mac, syn))
    reset = ip(version, ROUTER.address(version), NEIGHBOUR.address(version)) / TCP(sport=443, dport=40000, flags="R")
    yield stopped("a reset in the gateway's name", version, ether(ATTACKER.mac, NEIGHBOUR.mac, reset))


def icmp_redirect() -> Attempts:
    inner = ip(4, NEIGHBOUR.address(4), ELSEWHERE[4]) / UDP(sport=1, dport=2)
    packet = ip(4, ROUTER.address(4), NEIGHBOUR.address(4)) / ICMP(type=5, code=1, gw=ATTACKER.address(4)) / inner
    yield stopped("an ICMP redirect in the gateway's name", 4, ether(ATTACKER.mac, NEIGHBOUR.mac, packet))


def arp(mac: str, sha: str, spa: str, *, tpa: str, destination: str = BROADCAST, op: int = 2, **fields: Any) -> bytes:
    tha = "00:00:00:00:00:00" if destination == BROADCAST else destination
    return ether(mac, destination, ARP(op=op, hwsrc=sha, psrc=spa, hwdst=tha, pdst=tpa, **fields))


def poisoned() -> Attempts:
    """Yield ARP that would put an address of somebody else into caches."""
    own, mine = ATTACKER.mac, ATTACKER.address(4)
    victim, gateway, reader = VICTIM.address(4), ROUTER.address(4), NEIGHBOUR.address(4)
    to_reader: dict[str, Any] = {"tpa": reader, "destination": NEIGHBOUR.mac}
    for name, frame in (
        ("ARP request with the victim's IP address", arp(own, own, victim, tpa=address(201, 4), op=1)),
        ("ARP request with the victim's MAC address", arp(own, VICTIM.mac, mine, tpa=address(201, 4), op=1)),
        ("ARP request with both of the victim's", arp(own, VICTIM.mac, victim, tpa=address(201, 4), op=1)),
        ("ARP request in an Ethernet frame of the victim's", arp(VICTIM.mac, own, mine, tpa=address(201, 4), op=1)),
        ("unsolicited ARP reply for the gateway", arp(own, own, gateway, **to_reader)),
        ("unsolicited ARP reply for the victim", arp(own, own, victim, **to_reader)),
        ("unsolicited ARP reply with a MAC address of nobody", arp(own, NOBODY_MAC, mine, **to_reader)),
        ("ARP reply for the victim with different senders", arp(own, VICTIM.mac, victim, **to_reader)),
        ("ARP reply for the gateway to all", arp(own, own, gateway, tpa=reader)),
        ("gratuitous ARP request for the gateway", arp(own, own, gateway, tpa=gateway, op=1)),
        ("gratuitous ARP request for the victim", arp(own, own, victim, tpa=victim, op=1)),
        ("gratuitous ARP reply for the gateway", arp(own, own, gateway, tpa=gateway)),
        ("gratuitous ARP reply for the victim", arp(own, own, victim, tpa=victim)),
        ("ARP for an allowed address with another MAC address", arp(own, own, address(PAIR_WITH_MAC, 4), tpa=reader)),
        ("ARP of an allowed MAC address for the own address", arp(PAIR_MAC, PAIR_MAC, mine, tpa=reader)),
        ("ARP for the address after an allowed prefix", arp(own, own, BESIDE_PREFIX[4], tpa=reader)),
        ("ARP probe with a MAC address of somebody else", arp(own, VICTIM.mac, "0.0.0.0", tpa=victim, op=1)),
        ("ARP of IEEE 802 hardware for the victim", arp(own, own, victim, **to_reader, hwtype=HARDWARE_IEEE802)),
        ("ARP with an operation above 255 for the victim", arp(own, own, victim, **to_reader, op=0x102)),
        ("inverse ARP for the victim", arp(own, own, victim, **to_reader, op=9)),
    ):
        yield stopped(name, 4, frame)
    reverse = ARP(op=4, hwsrc=VICTIM.mac, psrc=victim, hwdst=NEIGHBOUR.mac, pdst=reader)
    yield stopped("RARP for another", 4, ether(own, NEIGHBOUR.mac, reverse, type=0x8035))
    snap = Dot3(src=own, dst=NEIGHBOUR.mac) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x0806)
    lie = ARP(op=2, hwsrc=own, psrc=victim, hwdst=NEIGHBOUR.mac, pdst=reader)
    yield stopped("ARP for the victim inside of LLC and SNAP", 4, bytes(snap / lie))
    yield stopped("half an ARP for the victim", 4, ether(own, NEIGHBOUR.mac, Raw(bytes(lie)[:20]), type=0x0806))


ATTEMPTS = (*both(spoofed), *both(in_other_names), *icmp_redirect(), *poisoned())
