"""The match fields and register slices that flows are written in.

A field's name is that of ovs-fields(7). How it goes on the wire is `ofctl.openflow.oxm`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """A header or metadata field.

    `bits` is its width; `maskable` whether a part of it can be matched; `writable` whether an action can set it.
    """

    name: str
    bits: int
    maskable: bool = True
    writable: bool = True

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class RegisterSlice:
    """Bits `start` to `start + bits - 1` of the 32-bit register `register` (0 to 15), under a name of its own."""

    name: str
    register: int
    start: int
    bits: int
    maskable: ClassVar[bool] = True
    writable: ClassVar[bool] = True

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
"""Writable: OVS sends nothing back to the port that a packet came from, so a reply sets in_port to 0 first."""
METADATA = Field("metadata", 64)
XXREG2 = Field("xxreg2", 128)
"""Registers 8 to 11 in one, for an IPv6 address; for actions. Matches name the registers, as OVS dumps them."""
CONJ_ID = Field("conj_id", 32, maskable=False, writable=False)
"""The conjunction all of whose clauses the packet has met in this table."""
ETH_DST = Field("eth_dst", 48)
ETH_SRC = Field("eth_src", 48)
ETH_TYPE = Field("eth_type", 16, maskable=False, writable=False)
VLAN_VID = Field("vlan_vid", 13)
"""OpenFlow 1.2+ form: bit 12 (0x1000) says that a tag is there; 0 matches untagged frames (OpenFlow 1.5.1, 7.2.3.8)."""
IP_PROTO = Field("ip_proto", 8, maskable=False, writable=False)
IP_FRAG = Field("ip_frag", 2, writable=False)
"""FRAG_ANY: a fragment; FRAG_LATER: not the first one. Later fragments show ports and ICMP types of 0."""
NW_TTL = Field("nw_ttl", 8, maskable=False)
"""TTL or hop limit."""
IPV4_SRC = Field("ipv4_src", 32)
IPV4_DST = Field("ipv4_dst", 32)
IPV6_SRC = Field("ipv6_src", 128)
IPV6_DST = Field("ipv6_dst", 128)
TCP_SRC = Field("tcp_src", 16)
TCP_DST = Field("tcp_dst", 16)
TCP_FLAGS = Field("tcp_flags", 12, writable=False)
UDP_SRC = Field("udp_src", 16)
UDP_DST = Field("udp_dst", 16)
SCTP_SRC = Field("sctp_src", 16)
SCTP_DST = Field("sctp_dst", 16)
ICMPV4_TYPE = Field("icmp_type", 8, maskable=False)
ICMPV4_CODE = Field("icmp_code", 8, maskable=False)
ICMPV6_TYPE = Field("icmpv6_type", 8, maskable=False)
ICMPV6_CODE = Field("icmpv6_code", 8, maskable=False)
ARP_OP = Field("arp_op", 16, maskable=False)
ARP_SPA = Field("arp_spa", 32)
ARP_TPA = Field("arp_tpa", 32)
ARP_SHA = Field("arp_sha", 48)
ARP_THA = Field("arp_tha", 48)
ND_TARGET = Field("nd_target", 128)
ND_SLL = Field("nd_sll", 48)
"""Source link-layer address option, of a neighbour solicitation only."""
ND_TLL = Field("nd_tll", 48)
"""Target link-layer address option, of a neighbour advertisement only."""
ND_RESERVED = Field("nd_reserved", 32, maskable=False)
"""The word after an advertisement's checksum: its flags (RFC 4861, 4.4) are the uppermost three bits."""
ND_OPTIONS_TYPE = Field("nd_options_type", 8, maskable=False)
CT_STATE = Field("ct_state", 8, writable=False)
"""The CS_* bits, of which OVS 3.1 knows eight; matches are made by `ofctl.pipeline.match.ct_state`."""
CT_ZONE = Field("ct_zone", 16, maskable=False, writable=False)
CT_MARK = Field("ct_mark", 32, writable=False)
"""The connection's own, set by `Conntrack(mark=...)` alone."""
CT_NW_PROTO = Field("ct_nw_proto", 8, maskable=False, writable=False)
"""CT_NW_* to CT_TP_*: the connection's original direction, whichever way the packet goes."""
CT_NW_SRC = Field("ct_nw_src", 32, writable=False)
CT_NW_DST = Field("ct_nw_dst", 32, writable=False)
CT_IPV6_SRC = Field("ct_ipv6_src", 128, writable=False)
CT_IPV6_DST = Field("ct_ipv6_dst", 128, writable=False)
CT_TP_SRC = Field("ct_tp_src", 16, writable=False)
"""Of ICMP the type. Without CT_NW_PROTO in the match OVS forgets it."""
CT_TP_DST = Field("ct_tp_dst", 16, writable=False)
"""Of ICMP the code. Without CT_NW_PROTO in the match OVS forgets it."""

VLAN_PRESENT = 0x1000

CS_NEW = 1 << 0
CS_ESTABLISHED = 1 << 1
CS_RELATED = 1 << 2
CS_REPLY = 1 << 3
CS_INVALID = 1 << 4
CS_TRACKED = 1 << 5
CT_STATES = {
    "new": CS_NEW, "est": CS_ESTABLISHED, "rel": CS_RELATED, "rpl": CS_REPLY, "inv": CS_INVALID, "trk": CS_TRACKED,
}  # fmt: skip
"""The bits of CT_STATE by their names in ovs-fields(7)."""

FRAG_ANY = 1 << 0
FRAG_LATER = 1 << 1

TCP_FLAG_BITS = {
    "fin": 1 << 0, "syn": 1 << 1, "rst": 1 << 2, "psh": 1 << 3, "ack": 1 << 4, "urg": 1 << 5, "ece": 1 << 6,
    "cwr": 1 << 7, "ns": 1 << 8,
}  # fmt: skip

FIELDS: tuple[Field, ...] = (
    IN_PORT, METADATA, CONJ_ID, ETH_DST, ETH_SRC, ETH_TYPE, VLAN_VID, IP_PROTO, IP_FRAG, NW_TTL, IPV4_SRC, IPV4_DST,
    IPV6_SRC, IPV6_DST, TCP_SRC, TCP_DST, TCP_FLAGS, UDP_SRC, UDP_DST, SCTP_SRC, SCTP_DST, ICMPV4_TYPE, ICMPV4_CODE,
    ICMPV6_TYPE, ICMPV6_CODE, ARP_OP, ARP_SPA, ARP_TPA, ARP_SHA, ARP_THA, ND_TARGET, ND_SLL, ND_TLL, ND_RESERVED,
    ND_OPTIONS_TYPE, CT_STATE, CT_ZONE, CT_MARK, CT_NW_PROTO, CT_NW_SRC, CT_NW_DST, CT_IPV6_SRC, CT_IPV6_DST,
    CT_TP_SRC, CT_TP_DST,
)  # fmt: skip
