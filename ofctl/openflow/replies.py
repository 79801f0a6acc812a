"""Multipart replies, read as far as ofctl needs them: entries are cut apart, what is inside is compared as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ofctl.openflow.images import FlowImage, GroupImage
from ofctl.openflow.wire import ANY, OFPTT_ALL
from ofctl.pipeline.changes import FlowKey

OFPMP_DESC = 0
OFPMP_FLOW_DESC = 1
OFPMP_GROUP_DESC = 7
OFPMP_PORT_DESC = 13
OFPG_ALL = 0xFFFFFFFC
ALL_ONES = (1 << 64) - 1
OXS_PACKET_COUNT = 0x8002 << 8 | 4 << 1
"""Class and field of the header of an OXS field (OpenFlow 1.5.1, 7.2.4.2)."""

_flow_entry = struct.Struct("!H2xBxH8sQHH").unpack_from
_lengths = struct.Struct("!HH").unpack_from
_group_entry = struct.Struct("!HBxIH6x").unpack_from
_bucket_entry = struct.Struct("!HHI").unpack_from
_port_entry = struct.Struct("!IH2x6s2x16s").unpack_from
_description = struct.Struct("!256s256s256s32s256s").unpack_from
_pack_flow_request = struct.Struct("!B3xII4xQQHH4x").pack
_pack_id_request = struct.Struct("!I4x").pack


@dataclass(frozen=True, slots=True)
class SwitchDescription:
    """What a switch says of itself (OpenFlow 1.5.1, 7.3.5.1); of Open vSwitch, `software` is its version."""

    manufacturer: str
    hardware: str
    software: str
    serial_number: str
    datapath: str


def description(body: bytes) -> Iterator[SwitchDescription]:
    """Yield the description, which is one."""
    yield SwitchDescription(*(text.rstrip(b"\0").decode(errors="replace") for text in _description(body)))


def flow_request(cookie: int | None, table: int | None) -> bytes:
    """Return the body of an OFPMP_FLOW_DESC request; an exact cookie is looked up in an index by OVS."""
    mask = 0 if cookie is None else ALL_ONES
    return _pack_flow_request(OFPTT_ALL if table is None else table, ANY, ANY, cookie or 0, mask, 1, 4)


def group_request(group_id: int | None) -> bytes:
    """Return the body of an OFPMP_GROUP_DESC request."""
    return _pack_id_request(OFPG_ALL if group_id is None else group_id)


def port_request() -> bytes:
    """Return the body of an OFPMP_PORT_DESC request for all ports."""
    return _pack_id_request(ANY)


def flows(body: bytes) -> Iterator[FlowImage]:
    """Yield the flows of one part (OpenFlow 1.5.1, 7.3.5.2): the statistics are skipped, they change by themselves."""
    offset, end = 0, len(body)
    while offset < end:
        length, table, priority, lead, cookie, _, match_length = _flow_entry(body, offset)
        statistics = offset + 24 + (match_length + 7 & ~7)
        content = statistics + (_lengths(body, statistics)[1] + 7 & ~7)
        if length < 32 or content > offset + length or offset + length > end:
            raise ValueError("the switch sent a flow description that is cut off")
        key = FlowKey(table, priority, body[offset + 28 : offset + 24 + match_length])
        yield FlowImage(key, cookie, lead + body[content : offset + length])
        offset += length


@dataclass(frozen=True, slots=True)
class FlowCount:
    """How many packets a flow has matched since it was added."""

    priority: int
    cookie: int
    packets: int


def flow_counts(body: bytes) -> Iterator[FlowCount]:
    """Yield the packet counts of the flows of one part (OpenFlow 1.5.1, 7.2.4.2, OXS fields)."""
    offset, end = 0, len(body)
    while offset < end:
        length, _, priority, _, cookie, _, match_length = _flow_entry(body, offset)
        statistics = offset + 24 + (match_length + 7 & ~7)
        stop = statistics + _lengths(body, statistics)[1]
        if length < 32 or stop > offset + length or offset + length > end:
            raise ValueError("the switch sent a flow description that is cut off")
        field = statistics + 4
        packets = 0
        while field < stop:
            header = int.from_bytes(body[field : field + 4], "big")
            size = header & 0xFF
            if header >> 8 == OXS_PACKET_COUNT:
                packets = int.from_bytes(body[field + 4 : field + 4 + size], "big")
            field += 4 + size
        yield FlowCount(priority, cookie, packets)
        offset += length


def groups(body: bytes) -> Iterator[GroupImage]:
    """Yield the groups of one part (OpenFlow 1.5.1, 7.3.5.8)."""
    offset, end = 0, len(body)
    while offset < end:
        length, kind, group_id, buckets_length = _group_entry(body, offset)
        if length < 16 or 16 + buckets_length > length or offset + length > end:
            raise ValueError("the switch sent a group description that is cut off")
        buckets = sorted(_buckets(body[offset + 16 : offset + 16 + buckets_length]))
        yield GroupImage(group_id, kind, tuple(buckets))
        offset += length


def _buckets(body: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(body):
        length, _, bucket_id = _bucket_entry(body, offset)
        if length < 8 or offset + length > len(body):
            raise ValueError("the switch sent a bucket that is cut off")
        yield bucket_id, body[offset : offset + length]
        offset += length


def ports(body: bytes) -> Iterator[tuple[str, int]]:
    """Yield (name, OpenFlow port number) of one part (OpenFlow 1.5.1, 7.2.1.1)."""
    offset, end = 0, len(body)
    while offset < end:
        number, length, _, name = _port_entry(body, offset)
        if length < 40 or offset + length > end:
            raise ValueError("the switch sent a port description that is cut off")
        yield name.rstrip(b"\0").decode(errors="replace"), number
        offset += length
