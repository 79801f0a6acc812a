"""What a guest's own network stack would make of a frame, read by hand: the judge of mutated frames.

Kept apart from the pipeline on purpose. It reads as Linux does (net/ipv4/ip_input.c, net/ipv6/ip6_input.c,
net/ipv4/arp.c), which is more than Open vSwitch reads.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

IPV4, ARP, RARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 0, 43, 44, 51, 60
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
SHORTEST = {TCP: 20, UDP: 8}


@dataclass(frozen=True)
class Packet:
    """An IP packet as far as a receiver looks before it has all fragments."""

    version: int
    source: str
    destination: str
    hop_limit: int
    protocol: int
    """Behind the extension headers; that of a later fragment is the fragment header's own."""
    payload: bytes
    """Empty in a later fragment."""
    later: bool = False

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port, None if there are none: not even the header is whole."""
        if len(self.payload) < SHORTEST.get(self.protocol, 1 << 16):
            return None
        return int.from_bytes(self.payload[:2], "big"), int.from_bytes(self.payload[2:4], "big")


def ethertype(frame: bytes) -> tuple[int, bytes]:
    """Return what a frame carries and where that begins, LLC with SNAP unpacked; 0 for other LLC."""
    kind, rest = int.from_bytes(frame[12:14], "big"), frame[14:]
    if kind >= 0x600:
        return kind, rest
    if rest[:6] == bytes.fromhex("aaaa03000000"):
        return int.from_bytes(rest[6:8], "big"), rest[8:]
    return 0, rest


def read_ip(kind: int, octets: bytes) -> Packet | None:
    """Return a packet, None if a receiver discards it for its form."""
    if kind == IPV4:
        return _read_ipv4(octets)
    return _read_ipv6(octets) if kind == IPV6 else None


def _read_ipv4(octets: bytes) -> Packet | None:
    if len(octets) < 20 or octets[0] >> 4 != 4 or octets[0] & 15 < 5:
        return None
    header, length = 4 * (octets[0] & 15), int.from_bytes(octets[2:4], "big")
    if not header <= length <= len(octets):
        return None
    later = bool(int.from_bytes(octets[6:8], "big") & 0x1FFF)
    source, destination = (str(ipaddress.IPv4Address(octets[start : start + 4])) for start in (12, 16))
    payload = b"" if later else octets[header:length]
    return Packet(4, source, destination, octets[8], octets[9], payload, later)


def _read_ipv6(octets: bytes) -> Packet | None:
    if len(octets) < 40 or octets[0] >> 4 != 6:
        return None
    length = 40 + int.from_bytes(octets[4:6], "big")
    if length == 40 and octets[6] == HOP_BY_HOP:
        length = len(octets)  # As if it were a jumbogram, even without the option that makes it one.
    if length > len(octets):
        return None
    source, destination = (str(ipaddress.IPv6Address(octets[start : start + 16])) for start in (8, 24))
    protocol, rest, later = octets[6], octets[40:length], False
    while protocol in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS):
        if len(rest) < 8:
            return None
        if protocol == FRAGMENT and int.from_bytes(rest[2:4], "big") & 0xFFF8:
            later, protocol, rest = True, FRAGMENT, b""
            break
        size = 8 if protocol == FRAGMENT else 4 * (rest[1] + 2) if protocol == AUTHENTICATION else 8 * (rest[1] + 1)
        if size > len(rest):
            return None
        protocol, rest = rest[0], rest[size:]
    return Packet(6, source, destination, octets[7], protocol, rest, later)


def with_checksums(frame: bytes) -> bytes:
    """Return the frame with the checksums that its addresses, ports and payload need, as far as they can be read."""
    kind, octets = ethertype(frame)
    packet = read_ip(kind, octets)
    if packet is None:
        return frame
    changed, start = bytearray(octets), 0
    addresses = ipaddress.ip_address(packet.source).packed + ipaddress.ip_address(packet.destination).packed
    if packet.version == 4:
        start, end = 4 * (octets[0] & 15), int.from_bytes(octets[2:4], "big")
        changed[10:12] = bytes(2)
        changed[10:12] = checksum(bytes(changed[:start]))
    else:
        end = 40 + int.from_bytes(octets[4:6], "big") if octets[4:6] != bytes(2) else len(octets)
        start = end - len(packet.payload)
    at = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}.get(packet.protocol)
    if at is not None and at + 2 <= len(packet.payload):
        pseudo = addresses + len(packet.payload).to_bytes(4, "big") + packet.protocol.to_bytes(4, "big")
        changed[start + at : start + at + 2] = bytes(2)
        summed = b"" if packet.protocol == ICMP else pseudo
        changed[start + at : start + at + 2] = checksum(summed + bytes(changed[start:end]))
    return frame[: len(frame) - len(octets)] + bytes(changed)


def checksum(octets: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071)."""
    padded = octets + bytes(len(octets) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2, "big")


def options(octets: bytes) -> dict[int, list[bytes]] | None:
    """Return options of neighbor discovery by type, None if they are malformed (RFC 4861, 4.6)."""
    found: dict[int, list[bytes]] = {}
    while octets:
        if len(octets) < 2 or not octets[1] or 8 * octets[1] > len(octets):
            return None
        found.setdefault(octets[0], []).append(octets[2 : 8 * octets[1]])
        octets = octets[8 * octets[1] :]
    return found
