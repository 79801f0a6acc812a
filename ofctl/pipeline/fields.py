"""The match fields and register slices that flows are written in.

A field's name is that of ovs-fields(7). How it goes on the wire is `ofctl.openflow.oxm`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """A header or metadata field. `bits` is its width; `maskable` whether a part of it can be matched."""

    name: str
    bits: int
    maskable: bool = True

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class RegisterSlice:
    """Bits `start` to `start + bits - 1` of the 32-bit register `register` (0 to 15), under a name of its own."""

    name: str
    register: int
    start: int
    bits: int

    def __post_init__(self) -> None:
        if not (0 <= self.register <= 15 and self.start >= 0 and self.bits >= 1 and self.start + self.bits <= 32):
            raise ValueError(f"register slice {self.name} lies outside of 16 registers of 32 bits")

    @property
    def mask(self) -> int:
        """The slice's bits within its register."""
        return ((1 << self.bits) - 1) << self.start

    def __str__(self) -> str:
        return f"reg{self.register}[{self.start}..{self.start + self.bits - 1}]"


IN_PORT = Field("in_port", 32, maskable=False)
METADATA = Field("metadata", 64)
ETH_DST = Field("eth_dst", 48)
ETH_SRC = Field("eth_src", 48)
ETH_TYPE = Field("eth_type", 16, maskable=False)
VLAN_VID = Field("vlan_vid", 13)
"""OpenFlow 1.2+ form: bit 12 (0x1000) says that a tag is there; 0 matches untagged frames (OpenFlow 1.5.1, 7.2.3.8)."""
IP_PROTO = Field("ip_proto", 8, maskable=False)
IPV4_SRC = Field("ipv4_src", 32)
IPV4_DST = Field("ipv4_dst", 32)
IPV6_SRC = Field("ipv6_src", 128)
IPV6_DST = Field("ipv6_dst", 128)
TCP_SRC = Field("tcp_src", 16)
TCP_DST = Field("tcp_dst", 16)
UDP_SRC = Field("udp_src", 16)
UDP_DST = Field("udp_dst", 16)
ARP_OP = Field("arp_op", 16, maskable=False)
ARP_SPA = Field("arp_spa", 32)
ARP_TPA = Field("arp_tpa", 32)
ARP_SHA = Field("arp_sha", 48)
ICMPV6_TYPE = Field("icmpv6_type", 8, maskable=False)
ND_TARGET = Field("nd_target", 128)

VLAN_PRESENT = 0x1000

FIELDS: tuple[Field, ...] = (
    IN_PORT, METADATA, ETH_DST, ETH_SRC, ETH_TYPE, VLAN_VID, IP_PROTO, IPV4_SRC, IPV4_DST, IPV6_SRC, IPV6_DST,
    TCP_SRC, TCP_DST, UDP_SRC, UDP_DST, ARP_OP, ARP_SPA, ARP_TPA, ARP_SHA, ICMPV6_TYPE, ND_TARGET,
)  # fmt: skip
