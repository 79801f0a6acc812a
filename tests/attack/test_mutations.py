"""Frames that are nearly right: mutated at random, and what arrives all the same is read as its receiver would."""

from __future__ import annotations

import ipaddress
import random

import pytest

from tests.attack.attempts import ATTEMPTS
from tests.attack.cast import (
    ATTACKER,
    INSIDER,
    NEIGHBOUR,
    PAIR,
    PAIR_MAC,
    PAIR_PREFIX,
    PAIR_WITH_MAC,
    VICTIM,
    Member,
    address,
    link_local,
)
from tests.attack.host import AttackedHost
from tests.attack.reading import (
    ARP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    RARP,
    UDP,
    Packet,
    ethertype,
    options,
    read_ip,
    with_checksums,
)
from tests.attack.scene import Scene
from tests.attack.test_allowed import ALLOWED

MUTANTS = 2_000
AT_ONCE = 60
LEAST = 0.02
INTERESTING = (0, 1, 2, 4, 5, 6, 8, 17, 43, 44, 51, 58, 60, 64, 67, 68, 127, 128, 133, 134, 135, 136, 137, 255)
FOR_ROUTERS = {130: 24, 134: 16, 137: 40}
"""What only routers say in ICMPv6, and how long it is at least."""
LISTENER_MESSAGES = (130, 131, 132, 143)


def mutants(seed: int, sender: Member) -> list[bytes]:
    """Return frames of the attempts and of what is allowed, from one sender, with a few octets changed."""
    chance = random.Random(seed)
    models = [
        frame for each in (*ATTEMPTS, *ALLOWED) if each.sender == sender for frame in each.frames if len(frame) < 400
    ]
    return [_mutated(chance, chance.choice(models), models) for _ in range(MUTANTS)]


def _mutated(chance: random.Random, frame: bytes, models: list[bytes]) -> bytes:
    changed = bytearray(frame)
    for _ in range(chance.randint(1, 3)):
        match chance.randrange(6):
            case 0 | 1:
                changed[chance.randrange(6, min(len(changed), 90))] = chance.choice(INTERESTING)
            case 2:
                changed[chance.randrange(12, len(changed))] ^= 1 << chance.randrange(8)
            case 3:
                other = chance.choice(models)
                at = (
                    chance.randrange(14, min(len(changed), len(other), 80) + 1)
                    if min(len(changed), len(other)) > 14
                    else 14
                )
                changed = bytearray(changed[:at] + other[at:])
            case 4:
                at = chance.randrange(14, len(changed) + 1)
                changed[at:at] = bytes(chance.choice(INTERESTING) for _ in range(chance.choice((2, 4, 8))))
            case _:
                del changed[max(15, len(changed) - chance.randrange(1, 30)) :]
    return with_checksums(bytes(changed).ljust(15, b"\0"))


def arrived(scene: Scene, sender: Member, frames: list[bytes]) -> list[tuple[str, bytes]]:
    """Send frames in a network and return what came out, and where; not what its sender was answered."""
    found = []
    for start in range(0, len(frames), AT_ONCE):
        got = scene.send(sender, *frames[start : start + AT_ONCE])
        found += [(place, frame) for place, each in got.items() if place != sender.name for frame in each]
    return found


@pytest.mark.parametrize("seed", [1])
def test_port_security_lets_nothing_false_through(host: AttackedHost, seed: int) -> None:
    def false(scene: Scene) -> list[str]:
        came = arrived(scene, ATTACKER, mutants(seed, ATTACKER))
        assert len(came) > MUTANTS * LEAST, "hardly anything arrives: that would show nothing"
        return [f"{place}: {what}: {frame.hex()}" for place, frame in came if (what := falsehood(frame))]

    assert len(false(host.open)) > MUTANTS * LEAST
    assert not false(host.guarded)


@pytest.mark.parametrize("seed", [2])
def test_security_groups_let_nothing_else_in(host: AttackedHost, seed: int) -> None:
    def uninvited(scene: Scene) -> list[str]:
        came = [frame for place, frame in arrived(scene, INSIDER, mutants(seed, INSIDER)) if place == VICTIM.name]
        assert len(came) > MUTANTS * LEAST
        return [frame.hex() for frame in came if not may_come_in(frame)]

    host.lab.ovs.appctl("dpctl/flush-conntrack")  # What earlier tests have asked for may be answered.
    assert len(uninvited(host.open)) > MUTANTS * LEAST
    assert not uninvited(host.guarded)


# What is false in a frame of ATTACKER's


def allowed_sources(mac: str, version: int) -> list[str]:
    if mac == PAIR_MAC:
        return [address(PAIR_WITH_MAC, version), *_link_local(mac, version)]
    own = [ATTACKER.address(version), address(PAIR, version), *_link_local(mac, version)]
    return own + [str(each) for each in ipaddress.ip_network(PAIR_PREFIX[version])]


def _link_local(mac: str, version: int) -> list[str]:
    return [link_local(mac)] if version == 6 else []


def falsehood(frame: bytes) -> str:
    """Tell what is false in a frame; empty if nothing is, or if a receiver would discard it."""
    mac = frame[6:12].hex(":")
    if mac not in (ATTACKER.mac, PAIR_MAC):
        return "MAC address"
    kind, octets = ethertype(frame)
    if kind == ARP:
        return _false_arp(mac, octets)
    if kind == RARP:
        return "" if octets[8:14].hex(":") == mac else "RARP"
    if kind not in (IPV4, IPV6):
        return "ethertype"
    packet = read_ip(kind, octets)
    return "" if packet is None else _false_ip(mac, packet)


def _false_arp(mac: str, octets: bytes) -> str:
    if len(octets) < 28 or octets[2:6] != bytes.fromhex("08000604"):
        return ""
    if octets[8:14].hex(":") != mac:
        return "ARP sender MAC address"
    claimed = octets[14:18] if octets[14:18] != bytes(4) else octets[24:28]
    return "" if str(ipaddress.IPv4Address(claimed)) in allowed_sources(mac, 4) else "ARP sender IP address"


def _false_ip(mac: str, packet: Packet) -> str:
    if packet.protocol == ICMPV6 and packet.version == 6 and not packet.later and packet.payload:
        false = _false_nd(mac, packet)
        if false:
            return false
    server = (67, 68) if packet.version == 4 else (547, 546)
    if packet.protocol == UDP and packet.ports == server:
        return "DHCP server"
    if packet.source in ("0.0.0.0", "::"):
        return "" if _may_be_unspecified(packet) else "no source address"
    return "" if packet.source in allowed_sources(mac, packet.version) else "source address"


def _may_be_unspecified(packet: Packet) -> bool:
    if packet.version == 4:
        return packet.ports == (68, 67) or packet.protocol == 2
    return packet.protocol == ICMPV6 and packet.payload[:1] in [
        bytes([kind]) for kind in (133, 135, *LISTENER_MESSAGES)
    ]


def _false_nd(mac: str, packet: Packet) -> str:
    kind = packet.payload[0]
    if kind in FOR_ROUTERS:
        return f"ICMPv6 {kind}" if len(packet.payload) >= FOR_ROUTERS[kind] else ""
    if kind not in (135, 136) or packet.hop_limit != 255 or packet.payload[1:2] != b"\0" or len(packet.payload) < 24:
        return ""
    claimed = options(packet.payload[24:])
    if claimed is None:
        return ""
    target = str(ipaddress.IPv6Address(packet.payload[8:24]))
    if kind == 136 and target not in allowed_sources(mac, 6):
        return "ND target"
    if kind == 135 and packet.source == "::" and target not in allowed_sources(mac, 6):
        return "ND target of a detection"
    own = bytes.fromhex(mac.replace(":", ""))
    told = claimed.get(1 if kind == 135 else 2, [])
    return "" if all(each[:6] == own for each in told) else "ND link-layer address"


# What VICTIM's groups let in


def may_come_in(frame: bytes) -> bool:
    """Tell whether a frame that arrived at VICTIM is of what its groups let in (`tests.attack.host`)."""
    kind, octets = ethertype(frame)
    packet = read_ip(kind, octets)
    if packet is None or packet.later:
        return kind in (ARP, IPV4, IPV6)  # A packet that is malformed is discarded.
    if packet.protocol == ICMPV6 and packet.version == 6:
        return packet.payload[:1] in [bytes([kind]) for kind in (128, *LISTENER_MESSAGES, *range(133, 138))]
    if packet.protocol == ICMP and packet.version == 4:
        return packet.payload[:1] == b"\x08"
    return packet.ports is not None and _is_open(packet, *packet.ports)


def _is_open(packet: Packet, source: int, destination: int) -> bool:
    is_neighbours = packet.source in (NEIGHBOUR.address(4), NEIGHBOUR.address(6))
    if packet.protocol == UDP:
        server = (67, 68) if packet.version == 4 else (547, 546)
        return 5000 <= destination <= 5010 or (source, destination) == server or (is_neighbours and destination == 7000)
    prefix = destination == 2222 and packet.source == INSIDER.address(4)
    return destination == 80 or prefix or (is_neighbours and destination == 3306)
