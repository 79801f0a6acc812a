"""Match fields on the wire: OXM and NXM headers, and the order and form in which OVS dumps them.

OVS rebuilds a match from its own classifier when it dumps it (`nx_put_raw` in its lib/nx-match.c): in a fixed order of
fields, without full masks, and (OpenFlow 1.5) with the registers in pairs as 64-bit packet registers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from ofctl.pipeline import fields as f
from ofctl.pipeline.fields import Field, RegisterSlice
from ofctl.pipeline.flow import Match

OPENFLOW_BASIC = 0x8000
PACKET_REGISTERS = 0x8001
NXM_0 = 0x0000
NXM_1 = 0x0001
ERICSSON = 0x1000
"""An extension's class without an experimenter's id (OVS's build-aux/extract-ofp-fields)."""


def header(oxm_class: int, number: int, length: int, *, masked: bool = False) -> int:
    """Return the 32-bit header of a field whose value has `length` bytes (OpenFlow 1.5.1, 7.2.3.2)."""
    return oxm_class << 16 | number << 9 | masked << 8 | (length * 2 if masked else length)


@dataclass(frozen=True, slots=True)
class WireField:
    """How one field goes on the wire. `rank` is its place in OVS's order."""

    rank: int
    length: int
    bare: bytes
    masked: bytes
    nxm: int
    """Header that `learn` uses: NXM where there is one, else OXM."""
    full: int
    tail: bytes = b""
    """What follows an exact value: the mask, where OVS gives one always."""


CT_STATE_NXM = header(NXM_1, 105, 4)
"""Without a mask, as an action names it; a match on it always has one."""
_OXM = OPENFLOW_BASIC
_ORDER: tuple[tuple[Field, int, int, int | None], ...] = (
    (f.CONJ_ID, NXM_1, 37, None),
    (f.IN_PORT, _OXM, 0, None),
    (f.ETH_SRC, _OXM, 4, header(NXM_0, 2, 6)),
    (f.ETH_DST, _OXM, 3, header(NXM_0, 1, 6)),
    (f.ETH_TYPE, _OXM, 5, header(NXM_0, 3, 2)),
    (f.VLAN_VID, _OXM, 6, None),
    (f.IPV4_SRC, _OXM, 11, header(NXM_0, 7, 4)),
    (f.IPV4_DST, _OXM, 12, header(NXM_0, 8, 4)),
    (f.IPV6_SRC, _OXM, 26, header(NXM_1, 19, 16)),
    (f.IPV6_DST, _OXM, 27, header(NXM_1, 20, 16)),
    (f.IP_FRAG, NXM_1, 26, None),
    (f.NW_TTL, NXM_1, 29, None),
    (f.IP_PROTO, _OXM, 10, header(NXM_0, 6, 1)),
    (f.TCP_SRC, _OXM, 13, header(NXM_0, 9, 2)),
    (f.TCP_DST, _OXM, 14, header(NXM_0, 10, 2)),
    (f.TCP_FLAGS, _OXM, 42, header(NXM_1, 34, 2)),
    (f.UDP_SRC, _OXM, 15, header(NXM_0, 11, 2)),
    (f.UDP_DST, _OXM, 16, header(NXM_0, 12, 2)),
    (f.SCTP_SRC, _OXM, 17, None),
    (f.SCTP_DST, _OXM, 18, None),
    (f.ICMPV4_TYPE, _OXM, 19, header(NXM_0, 13, 1)),
    (f.ICMPV4_CODE, _OXM, 20, header(NXM_0, 14, 1)),
    (f.ICMPV6_TYPE, _OXM, 29, header(NXM_1, 21, 1)),
    (f.ICMPV6_CODE, _OXM, 30, header(NXM_1, 22, 1)),
    (f.ND_RESERVED, ERICSSON, 1, None),
    (f.ND_TARGET, _OXM, 31, header(NXM_1, 23, 16)),
    (f.ND_OPTIONS_TYPE, ERICSSON, 2, None),
    (f.ND_SLL, _OXM, 32, header(NXM_1, 24, 6)),
    (f.ND_TLL, _OXM, 33, header(NXM_1, 25, 6)),
    (f.ARP_OP, _OXM, 21, header(NXM_0, 15, 2)),
    (f.ARP_SPA, _OXM, 22, header(NXM_0, 16, 4)),
    (f.ARP_TPA, _OXM, 23, header(NXM_0, 17, 4)),
    (f.ARP_SHA, _OXM, 24, header(NXM_1, 17, 6)),
    (f.ARP_THA, _OXM, 25, header(NXM_1, 18, 6)),
)
_ORDER_BEHIND_REGISTERS: tuple[tuple[Field, int, int, int | None], ...] = (
    (f.XXREG2, NXM_1, 113, None),
    (f.CT_STATE, NXM_1, 105, None),
    (f.CT_ZONE, NXM_1, 106, None),
    (f.CT_MARK, NXM_1, 107, None),
    (f.CT_NW_SRC, NXM_1, 120, None),
    (f.CT_IPV6_SRC, NXM_1, 122, None),
    (f.CT_NW_DST, NXM_1, 121, None),
    (f.CT_IPV6_DST, NXM_1, 123, None),
    (f.CT_NW_PROTO, NXM_1, 119, None),
    (f.CT_TP_SRC, NXM_1, 124, None),
    (f.CT_TP_DST, NXM_1, 125, None),
    (f.METADATA, _OXM, 2, None),
)
"""In OVS's order. Numbers: OpenFlow 1.5.1, 7.2.3.7, and ovs-fields(7); the last is the NXM that `learn` uses."""

_XREG_RANK = 100


def _wire_fields() -> dict[str, WireField]:
    table = {}
    ranked = [*enumerate(_ORDER), *enumerate(_ORDER_BEHIND_REGISTERS, 2 * _XREG_RANK)]
    for rank, (field, oxm_class, number, nxm) in ranked:
        length = 4 if field is f.CT_STATE else (field.bits + 7) // 8
        bare = header(oxm_class, number, length)
        table[field.name] = WireField(
            rank=rank,
            length=length,
            bare=bare.to_bytes(4, "big"),
            masked=header(oxm_class, number, length, masked=True).to_bytes(4, "big"),
            nxm=bare if nxm is None else nxm,
            full=(1 << field.bits) - 1,
        )
    state = table[f.CT_STATE.name]
    table[f.CT_STATE.name] = replace(state, bare=state.masked, tail=state.full.to_bytes(4, "big"), full=-1)
    return table


WIRE_FIELDS = _wire_fields()

_XREG_BARE = tuple(header(PACKET_REGISTERS, n, 8) for n in range(8))
_XREG_MASKED = tuple(header(PACKET_REGISTERS, n, 8, masked=True) for n in range(8))
_XREG_FULL = (1 << 64) - 1
_pack_xreg = struct.Struct("!IQ").pack
_pack_masked_xreg = struct.Struct("!IQQ").pack

REGISTER_BARE = tuple(header(NXM_1, n, 4) for n in range(16))
REGISTER_MASKED = tuple(header(NXM_1, n, 4, masked=True) for n in range(16))
IN_PORT_NXM = header(NXM_0, 0, 2)
"""The 16-bit form of in_port, the only one that actions may read or write."""


def match_bytes(match: Match) -> bytes:
    """Return the OXM list of a match, without ofp_match's header, as OVS dumps it.

    Raises ValueError if two register slices ask for different values of the same bit, KeyError for an unknown field.
    """
    parts: list[tuple[int, bytes]] = []
    xregs: dict[int, tuple[int, int]] = {}
    for term in match.terms:
        field, value, mask = term.field, term.value, term.mask
        if isinstance(field, RegisterSlice):
            shift = field.start + (0 if field.register & 1 else 32)
            bits = (((1 << field.bits) - 1) if mask is None else mask) << shift
            have, have_mask = xregs.get(field.register >> 1, (0, 0))
            if (have ^ value << shift) & have_mask & bits:
                raise ValueError(f"{match}: register slices overlap and contradict each other")
            xregs[field.register >> 1] = (have | value << shift, have_mask | bits)
            continue
        wire = WIRE_FIELDS[field.name]
        if mask is None or mask == wire.full:
            parts.append((wire.rank, wire.bare + value.to_bytes(wire.length, "big") + wire.tail))
        else:
            length = wire.length
            parts.append((wire.rank, wire.masked + value.to_bytes(length, "big") + mask.to_bytes(length, "big")))
    for number, (value, mask) in xregs.items():
        if mask == _XREG_FULL:
            parts.append((_XREG_RANK + number, _pack_xreg(_XREG_BARE[number], value)))
        else:
            parts.append((_XREG_RANK + number, _pack_masked_xreg(_XREG_MASKED[number], value, mask)))
    parts.sort()
    return b"".join([part for _, part in parts])


def copy_header(field: Field | RegisterSlice) -> int:
    """Return the header that OpenFlow 1.5's copy_field names a field by; a slice's offset is told beside it."""
    if field.name == f.IN_PORT.name:
        return IN_PORT_NXM
    if isinstance(field, RegisterSlice):
        return REGISTER_BARE[field.register]
    if field.name == f.CT_STATE.name:
        return CT_STATE_NXM
    return int.from_bytes(WIRE_FIELDS[field.name].bare, "big")


def ct_mark_bytes(value: int, mask: int) -> bytes:
    """Return the OXM of the set_field inside of a ct action."""
    wire = WIRE_FIELDS[f.CT_MARK.name]
    content = value.to_bytes(4, "big")
    return wire.bare + content if mask == wire.full else wire.masked + content + mask.to_bytes(4, "big")


def set_field_bytes(field: Field | RegisterSlice, value: int) -> bytes:
    """Return the OXM of a set_field action: a slice of a register is a masked write of that register."""
    if isinstance(field, RegisterSlice):
        number, shifted = field.register, value << field.start
        if field.bits == 32:
            return (REGISTER_BARE[number] << 32 | shifted).to_bytes(8, "big")
        return (REGISTER_MASKED[number] << 64 | shifted << 32 | field.mask).to_bytes(12, "big")
    if field.name == f.IN_PORT.name:
        return (IN_PORT_NXM << 16 | value).to_bytes(6, "big")
    wire = WIRE_FIELDS[field.name]
    return wire.bare + value.to_bytes(wire.length, "big")
