"""The match fields that a fenced guest has: those of the frame. Registers and the like are ofctl's. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ofctl.guests.of13 import Refusal

OFPMT_OXM = 1
OPENFLOW_BASIC, NXM_0, NXM_1 = 0x8000, 0x0000, 0x0001
TUNNEL_ID, METADATA, IN_PORT = 38, 2, 0
LAST_BASIC = 39
FRAME_FIELDS_OF_NXM_1 = frozenset({17, 18, *range(19, 27), 27, 28, 29, 34})
"""arp_sha, arp_tha, ipv6_*, icmpv6_*, nd_*, ip_frag, ipv6_label, ip_ecn, nw_ttl, tcp_flags (ovs-fields(7))."""
LAST_NXM_0 = 17
PADDED = 8
EMPTY_LENGTH = 4


def own_field(header: int) -> bool:
    """Tell whether an OXM or NXM header names a field that a guest has; of the mask it says nothing."""
    oxm_class, number = header >> 16, header >> 9 & 0x7F
    if oxm_class == OPENFLOW_BASIC:
        return number <= LAST_BASIC and number != TUNNEL_ID
    if oxm_class == NXM_0:
        return number <= LAST_NXM_0
    return oxm_class == NXM_1 and number in FRAME_FIELDS_OF_NXM_1


def settable(header: int) -> bool:
    """Tell whether a guest may set this field: one of the frame's headers."""
    return own_field(header) and (header >> 16, header >> 9 & 0x7F) not in {
        (OPENFLOW_BASIC, IN_PORT),
        (OPENFLOW_BASIC, METADATA),
        (NXM_0, 0),
    }


def match_length(octets: bytes, at: int) -> int:
    """Return the length of the match at an offset, padding included. Raises Refused if there is none."""
    if len(octets) < at + PADDED:
        raise Refusal.BAD_MATCH_LEN.error()
    kind, length = struct.unpack_from("!HH", octets, at)
    if kind != OFPMT_OXM:
        raise Refusal.BAD_MATCH_TYPE.error()
    padded: int = length + 7 & ~7
    if length < EMPTY_LENGTH or at + padded > len(octets):
        raise Refusal.BAD_MATCH_LEN.error()
    return padded


def check_match(octets: bytes, at: int) -> int:
    """Return where the match at an offset ends. Raises Refused if it is malformed or names a field of ofctl's."""
    end = at + match_length(octets, at)
    for header, _ in fields(octets, at):
        if not own_field(header):
            raise Refusal.BAD_FIELD.error()
    return end


def is_empty(octets: bytes, at: int) -> bool:
    """Tell whether the match at an offset matches everything."""
    return octets[at + 2 : at + 4] == EMPTY_LENGTH.to_bytes(2, "big")


def fields(octets: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield header and value of each field of the match at an offset. Raises Refused if it cannot be cut."""
    end = at + int.from_bytes(octets[at + 2 : at + 4], "big")
    at += 4
    while at < end:
        if end - at < 4:
            raise Refusal.BAD_MATCH_LEN.error()
        header = int.from_bytes(octets[at : at + 4], "big")
        length = header & 0xFF
        if at + 4 + length > end:
            raise Refusal.BAD_MATCH_LEN.error()
        yield header, octets[at + 4 : at + 4 + length]
        at += 4 + length


def own_match(octets: bytes, at: int) -> bytes:
    """Return the match at an offset with the guest's fields alone, padded: for what the switch tells of a frame."""
    kept = b"".join([header.to_bytes(4, "big") + value for header, value in fields(octets, at) if own_field(header)])
    length = EMPTY_LENGTH + len(kept)
    return struct.pack("!HH", OFPMT_OXM, length) + kept + bytes(-length % 8)


def field(octets: bytes, at: int, oxm_class: int, number: int) -> int | None:
    """Return the value of one field of the match at an offset, without its mask; None if it is not there."""
    for header, value in fields(octets, at):
        if header >> 16 == oxm_class and header >> 9 & 0x7F == number:
            masked = header >> 8 & 1
            return int.from_bytes(value[: len(value) // 2] if masked else value, "big")
    return None
