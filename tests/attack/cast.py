"""Who takes part in an attack, and which addresses each has. The same in every network, down to the last octet."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES_MAC = "33:33:00:00:00:01"
ALL_NODES = "ff02::1"
V4_SUBNET = ipaddress.IPv4Network("10.1.0.0/24")
V6_SUBNET = ipaddress.IPv6Network("fd00:1::/64")
NOBODY_MAC = "52:54:00:00:00:99"
"""A unicast address that no port has."""
NOBODY = 0x99


@dataclass(frozen=True)
class Member:
    """A guest, or the router outside: one MAC address and, in both families, one address in the subnet."""

    name: str
    number: int
    mac: str

    def address(self, version: int) -> str:
        return address(self.number, version)

    @property
    def link_local(self) -> str:
        """The address that the guest makes of its MAC address (RFC 4291, appendix A)."""
        return link_local(self.mac)


def address(number: int, version: int) -> str:
    """Return the subnet's address with this number in its last octet."""
    return str((V4_SUBNET if version == 4 else V6_SUBNET)[number])


def link_local(mac: str) -> str:
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + octets[:3] + b"\xff\xfe" + octets[3:]))


def guest(name: str, number: int) -> Member:
    return Member(name, number, f"52:54:00:00:00:{number:02x}")


ATTACKER = guest("attacker", 10)
"""Bound to its addresses by port security, where that is on; no security group."""
VICTIM = guest("victim", 11)
"""In the security group VICTIMS."""
NEIGHBOUR = guest("neighbour", 12)
"""No security group: sees all that is flooded."""
CONFINED = guest("confined", 13)
"""In a security group with egress rules."""
INSIDER = guest("insider", 14)
"""No port security and no security group: what does not get from here to VICTIM, the security group has stopped."""
STATELESS = guest("stateless", 15)
"""In a stateless security group."""
GUESTS = (ATTACKER, VICTIM, NEIGHBOUR, CONFINED, INSIDER, STATELESS)
ROUTER = Member("router", 1, "0c:00:00:00:00:01")
"""Outside, behind the uplink: the gateway of both subnets."""
MEMBERS = (*GUESTS, ROUTER)

PAIR, PAIR_WITH_MAC = 100, 101
"""Allowed addresses of ATTACKER: one with its own MAC address, one with PAIR_MAC."""
PAIR_MAC = "00:00:5e:00:01:65"
PAIR_PREFIX = {4: "10.9.0.0/28", 6: "fd00:9::/120"}
BESIDE_PREFIX = {4: "10.9.0.16", 6: "fd00:9::1:0"}
"""The first address after the allowed prefix."""
ELSEWHERE = {4: "192.0.2.7", 6: "2001:db8::7"}
"""Of no subnet that is here."""
FOREIGN_FRIEND = 77
"""An address of the remote group FRIENDS in the other network; in the guarded one nobody has it."""


def ether(source: str, destination: str, payload: Any = b"", **fields: Any) -> bytes:
    """Return an Ethernet frame; `payload` is a packet of scapy or octets."""
    return bytes(Ether(src=source, dst=destination, **fields) / payload)


def ip(version: int, source: str, destination: str, **fields: Any) -> Any:
    """Return an IP header of scapy."""
    return IP(src=source, dst=destination, **fields) if version == 4 else IPv6(src=source, dst=destination, **fields)


def between(source: Member, destination: Member, version: int, payload: Any, **fields: Any) -> bytes:
    """Return a frame with both ends' own addresses."""
    header = ip(version, source.address(version), destination.address(version), **fields)
    return ether(source.mac, destination.mac, header / payload)
