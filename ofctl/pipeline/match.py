"""What a flow matches: terms on fields and register slices, and how they are written in ovs-ofctl syntax."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ofctl.pipeline import fields as f
from ofctl.pipeline.fields import Field, RegisterSlice


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """One field or register slice that must have a value; `mask` None means all of it."""

    field: Field | RegisterSlice
    value: int
    mask: int | None = None

    def __post_init__(self) -> None:
        full = (1 << self.field.bits) - 1
        if not 0 <= self.value <= full or (self.mask is not None and not 0 < self.mask <= full):
            raise ValueError(f"{self.field.name}={self.value:#x}/{self.mask} does not fit in {self.field.bits} bits")
        if self.mask is not None and self.value & ~self.mask:
            raise ValueError(f"{self.field.name}: value {self.value:#x} has bits outside of its mask {self.mask:#x}")

    def __str__(self) -> str:
        if isinstance(self.field, RegisterSlice):
            mask = self.field.mask if self.mask is None else self.mask << self.field.start
            return f"reg{self.field.register}={self.value << self.field.start:#x}/{mask:#x}"
        return f"{self.field.name}={_format_masked(self.field, self.value, self.mask)}"


_MAC = frozenset(each.name for each in (f.ETH_DST, f.ETH_SRC, f.ARP_SHA, f.ARP_THA, f.ND_SLL, f.ND_TLL))
_IPV4 = frozenset(each.name for each in (f.IPV4_SRC, f.IPV4_DST, f.ARP_SPA, f.ARP_TPA, f.CT_NW_SRC, f.CT_NW_DST))
_IPV6 = frozenset(each.name for each in (f.IPV6_SRC, f.IPV6_DST, f.ND_TARGET, f.CT_IPV6_SRC, f.CT_IPV6_DST))
_DECIMAL = frozenset(
    each.name
    for each in (f.IN_PORT, f.CONJ_ID, f.NW_TTL, f.ICMPV4_TYPE, f.ICMPV4_CODE, f.ICMPV6_CODE, f.CT_NW_PROTO, f.CT_ZONE)
)
_NEED_PROTOCOL = frozenset((f.CT_TP_SRC.name, f.CT_TP_DST.name))
_FRAGMENTS = {
    (0, 3): "no",
    (0, f.FRAG_ANY): "no",
    (f.FRAG_ANY, f.FRAG_ANY): "yes",
    (f.FRAG_ANY, 3): "first",
    (3, 3): "later",
    (f.FRAG_LATER, f.FRAG_LATER): "later",
    (0, f.FRAG_LATER): "not_later",
}


def format_value(field: Field, value: int) -> str:
    """Return a value of a field as ovs-ofctl writes it."""
    if field.name in _MAC:
        return ":".join(f"{octet:02x}" for octet in value.to_bytes(6, "big"))
    if field.name in _IPV4:
        return ".".join(str(octet) for octet in value.to_bytes(4, "big"))
    if field.name in _IPV6:
        return ":".join(f"{value >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))
    return str(value) if field.name in _DECIMAL else f"{value:#x}"


def _format_masked(field: Field, value: int, mask: int | None) -> str:
    if field.name == f.IP_FRAG.name and (value, 3 if mask is None else mask) in _FRAGMENTS:
        return _FRAGMENTS[value, 3 if mask is None else mask]
    if mask is None:
        return format_value(field, value)
    names = {f.CT_STATE.name: f.CT_STATES, f.TCP_FLAGS.name: f.TCP_FLAG_BITS}.get(field.name)
    flags = _format_flags(value, mask, names) if names else None
    return flags or f"{format_value(field, value)}/{format_value(field, mask)}"


def _format_flags(value: int, mask: int, names: Mapping[str, int]) -> str | None:
    """Return +name for bits that must be set and -name for those that must not, None if a bit has no name."""
    if mask & ~sum(names.values()):
        return None
    return "".join(f"{'+' if value & bit else '-'}{name}" for name, bit in names.items() if mask & bit)


def ct_state(flags: str) -> Term:
    """Return the term that wants bits of a packet's connection state set or not, such as "+trk-inv+rpl".

    The names are those of ovs-fields(7): new, est, rel, rpl, inv, trk. Raises ValueError for anything else.
    """
    value = mask = 0
    if not re.fullmatch(r"([+-][a-z]+)+", flags):
        raise ValueError(f"ct_state {flags!r} is not of the form +trk-inv")
    for sign, name in re.findall(r"([+-])([a-z]+)", flags):
        bit = f.CT_STATES.get(name)
        if bit is None:
            raise ValueError(f"ct_state {flags!r}: {name} is none of {', '.join(f.CT_STATES)}")
        if mask & bit:
            raise ValueError(f"ct_state {flags!r} speaks of {name} twice")
        mask |= bit
        value |= bit if sign == "+" else 0
    return Term(f.CT_STATE, value, mask)


@dataclass(frozen=True, slots=True)
class Match:
    """A conjunction of terms, sorted and without repetition. `Match.of(...)` is the constructor to use."""

    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, *terms: Term) -> Match:
        """Return the match on all of `terms`; raises ValueError if two speak of the same field."""
        ordered = tuple(sorted(terms, key=lambda term: term.field.name))
        names = [term.field.name for term in ordered]
        if len(set(names)) != len(names):
            raise ValueError(f"a field is matched twice: {names}")
        if _NEED_PROTOCOL.intersection(names) and f.CT_NW_PROTO.name not in names:
            raise ValueError(f"ct_tp_src or ct_tp_dst without ct_nw_proto, which makes OVS forget them: {names}")
        return cls(ordered)

    def __str__(self) -> str:
        parts: dict[str, str] = {}
        registers: dict[int, tuple[int, int]] = {}
        for term in self.terms:
            if isinstance(term.field, RegisterSlice):
                # Slices of one register are one match: ovs-ofctl lets the last one of a field win.
                name = f"reg{term.field.register}"
                value, mask = registers.get(term.field.register, (0, 0))
                value |= term.value << term.field.start
                mask |= term.field.mask if term.mask is None else term.mask << term.field.start
                registers[term.field.register] = (value, mask)
                parts[name] = f"{name}={value:#x}/{mask:#x}"
            else:
                parts[term.field.name] = str(term)
        return ",".join(parts.values())
