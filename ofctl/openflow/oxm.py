"""Match fields on the wire: OXM and NXM headers, and the order and form in which OVS dumps them.

OVS rebuilds a match from its own classifier when it dumps it (`nx_put_raw` in its lib/nx-match.c): in a fixed order of
fields, without full masks, and (OpenFlow 1.5) with the registers in pairs as 64-bit packet registers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ofctl.pipeline import fields as f
from ofctl.pipeline.fields import Field, RegisterSlice
from ofctl.pipeline.flow import Match

OPENFLOW_BASIC = 0x8000
PACKET_REGISTERS = 0x8001
NXM_0 = 0x0000
NXM_1 = 0x0001


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


_NUMBERS: tuple[tuple[Field, int, int | None], ...] = (
    (f.IN_PORT, 0, None),
    (f.ETH_SRC, 4, header(NXM_0, 2, 6)),
    (f.ETH_DST, 3, header(NXM_0, 1, 6)),
    (f.ETH_TYPE, 5, header(NXM_0, 3, 2)),
    (f.VLAN_VID, 6, None),
    (f.IPV4_SRC, 11, header(NXM_0, 7, 4)),
    (f.IPV4_DST, 12, header(NXM_0, 8, 4)),
    (f.IPV6_SRC, 26, header(NXM_1, 19, 16)),
    (f.IPV6_DST, 27, header(NXM_1, 20, 16)),
    (f.IP_PROTO, 10, header(NXM_0, 6, 1)),
    (f.TCP_SRC, 13, header(NXM_0, 9, 2)),
    (f.TCP_DST, 14, header(NXM_0, 10, 2)),
    (f.UDP_SRC, 15, header(NXM_0, 11, 2)),
    (f.UDP_DST, 16, header(NXM_0, 12, 2)),
    (f.ICMPV6_TYPE, 29, header(NXM_1, 21, 1)),
    (f.ND_TARGET, 31, header(NXM_1, 23, 16)),
    (f.ARP_OP, 21, header(NXM_0, 15, 2)),
    (f.ARP_SPA, 22, header(NXM_0, 16, 4)),
    (f.ARP_TPA, 23, header(NXM_0, 17, 4)),
    (f.ARP_SHA, 24, header(NXM_1, 17, 6)),
    (f.METADATA, 2, None),
)
"""In OVS's order; the registers come before METADATA. Numbers: OpenFlow 1.5.1, 7.2.3.7, and ovs-fields(7)."""


def _wire_fields() -> dict[str, WireField]:
    table = {}
    for place, (field, number, nxm) in enumerate(_NUMBERS):
        length = (field.bits + 7) // 8
        bare = header(OPENFLOW_BASIC, number, length)
        table[field.name] = WireField(
            rank=200 if field is f.METADATA else place,
            length=length,
            bare=bare.to_bytes(4, "big"),
            masked=header(OPENFLOW_BASIC, number, length, masked=True).to_bytes(4, "big"),
            nxm=bare if nxm is None else nxm,
            full=(1 << field.bits) - 1,
        )
    return table


WIRE_FIELDS = _wire_fields()

_XREG_RANK = 100
_XREG_BARE = tuple(header(PACKET_REGISTERS, n, 8) for n in range(8))
_XREG_MASKED = tuple(header(PACKET_REGISTERS, n, 8, masked=True) for n in range(8))
_XREG_FULL = (1 << 64) - 1
_pack_xreg = struct.Struct("!IQ").pack
_pack_masked_xreg = struct.Struct("!IQQ").pack

REGISTER_BARE = tuple(header(NXM_1, n, 4) for n in range(16))
REGISTER_MASKED = tuple(header(NXM_1, n, 4, masked=True) for n in range(16))
IN_PORT_NXM = header(NXM_0, 0, 2)
"""The 16-bit form of in_port, which is what a learned 16-bit register slice is loaded from."""


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
            parts.append((wire.rank, wire.bare + value.to_bytes(wire.length, "big")))
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


def set_field_bytes(field: Field | RegisterSlice, value: int) -> bytes:
    """Return the OXM of a set_field action: a slice of a register is a masked write of that register."""
    if isinstance(field, RegisterSlice):
        number, shifted = field.register, value << field.start
        if field.bits == 32:
            return (REGISTER_BARE[number] << 32 | shifted).to_bytes(8, "big")
        return (REGISTER_MASKED[number] << 64 | shifted << 32 | field.mask).to_bytes(12, "big")
    wire = WIRE_FIELDS[field.name]
    return wire.bare + value.to_bytes(wire.length, "big")
