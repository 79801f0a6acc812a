"""Guests behind security groups, and their frames in both families."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrFragment,
    fragment6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from ofctl.model.ids import NetworkId
from ofctl.model.network import IpAddress
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    AddressGroupIndex,
    GroupMember,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    RuleDirection,
    SecurityGroup,
    SecurityGroupId,
    SecurityGroupIndex,
    SecurityRule,
)

IN, OUT = RuleDirection.INGRESS, RuleDirection.EGRESS


@dataclass(frozen=True)
class Guest:
    """Somebody with one address of each family."""

    name: str
    number: int

    @property
    def mac(self) -> str:
        return f"52:54:00:00:00:{self.number:02x}"

    def address(self, version: int) -> IpAddress:
        return ip_address(f"10.0.0.{self.number}" if version == 4 else f"fd00::{self.number:x}")

    @property
    def addresses(self) -> tuple[IpAddress, ...]:
        return self.address(4), self.address(6)


def group(number: int, *rules: SecurityRule, stateful: bool = True, members: Any = ()) -> NumberedSecurityGroup:
    """Return the security group `sg-NUMBER`; `members` are (network id, prefix)."""
    return NumberedSecurityGroup(
        index=SecurityGroupIndex(number),
        group=SecurityGroup(
            security_group_id=SecurityGroupId(f"sg-{number}"),
            stateful=stateful,
            rules=rules,
            members=tuple(GroupMember(NetworkId(network), ip_network(prefix)) for network, prefix in members),
        ),
    )


def address_group(number: int, *prefixes: str) -> NumberedAddressGroup:
    """Return the address group `ag-NUMBER`."""
    return NumberedAddressGroup(
        index=AddressGroupIndex(number),
        group=AddressGroup(address_group_id=AddressGroupId(f"ag-{number}"), addresses=tuple(map(ip_network, prefixes))),
    )


def ip(sender: Guest, receiver: Guest, version: int) -> Packet:
    layer = IP if version == 4 else IPv6
    addresses = {"src": str(sender.address(version)), "dst": str(receiver.address(version))}
    return Ether(src=sender.mac, dst=receiver.mac) / layer(**addresses)


def octets(packet: Packet) -> bytes:
    """Return a frame as a device takes it, no shorter than Ethernet allows."""
    return bytes(packet).ljust(60, b"\0")


def udp(sender: Guest, receiver: Guest, version: int, to: int, *, source: int = 4000, size: int = 8) -> bytes:
    return octets(ip(sender, receiver, version) / UDP(sport=source, dport=to) / Raw(b"x" * size))


def tcp(sender: Guest, receiver: Guest, version: int, to: int, flags: str, *, source: int = 4000) -> bytes:
    return octets(ip(sender, receiver, version) / TCP(sport=source, dport=to, flags=flags, seq=1000, ack=1000))


def echo(sender: Guest, receiver: Guest, version: int, *, reply: bool = False) -> bytes:
    if version == 4:
        return octets(ip(sender, receiver, 4) / ICMP(type=0 if reply else 8, id=7, seq=1) / Raw(b"x" * 20))
    message = ICMPv6EchoReply if reply else ICMPv6EchoRequest
    return octets(ip(sender, receiver, 6) / message(id=7, seq=1, data=b"x" * 20))


def unreachable(sender: Guest, receiver: Guest, version: int, about: bytes) -> bytes:
    """Return the ICMP error of `sender` about a frame of `receiver`."""
    inner = Ether(about).payload
    if version == 4:
        return octets(ip(sender, receiver, 4) / ICMP(type=3, code=3) / inner)
    return octets(ip(sender, receiver, 6) / ICMPv6DestUnreach(code=4) / inner)


def other(sender: Guest, receiver: Guest, version: int, protocol: int) -> bytes:
    """Return a packet of a protocol of which nothing but the number is known."""
    packet = ip(sender, receiver, version)
    packet.payload.setfieldval("proto" if version == 4 else "nh", protocol)
    return octets(packet / Raw(b"\0" * 40))


def sctp(sender: Guest, receiver: Guest, version: int, to: int, *, source: int = 4000) -> bytes:
    """Return an SCTP packet as far as a switch reads it."""
    packet = ip(sender, receiver, version)
    packet.payload.setfieldval("proto" if version == 4 else "nh", 132)
    return octets(packet / Raw(source.to_bytes(2, "big") + to.to_bytes(2, "big") + bytes(40)))


def fragments(sender: Guest, receiver: Guest, version: int, to: int, *, count: int = 3, number: int = 1) -> list[bytes]:
    """Return a UDP datagram of so many fragments, with an identification of its own."""
    datagram = UDP(sport=4000, dport=to) / Raw(bytes(range(200)) * 7 * count)
    if version == 4:
        packet = ip(sender, receiver, 4)
        packet.payload.setfieldval("id", number)
        return [octets(part) for part in fragment(packet / datagram, fragsize=1480)]
    # The checksum is over the whole datagram.
    whole = IPv6(bytes((ip(sender, receiver, 6) / datagram).payload))
    header = Ether(src=sender.mac, dst=receiver.mac)
    packet = IPv6(src=whole.src, dst=whole.dst) / IPv6ExtHdrFragment(id=number) / UDP(bytes(whole.payload))
    return [octets(header / part) for part in fragment6(packet, 1480)]


def icmpv6(sender: Guest, receiver: Guest, kind: int) -> bytes:
    """Return an ICMPv6 message of a type, with nothing in it that means something."""
    return octets(ip(sender, receiver, 6) / ICMPv6Unknown(type=kind, msgbody=b"\0" * 20))


def arp_frame(sender: Guest, receiver: Guest) -> bytes:
    return octets(Ether(src=sender.mac, dst=receiver.mac) / ARP(hwsrc=sender.mac, psrc=str(sender.address(4))))
