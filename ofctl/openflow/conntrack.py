"""Connections of the switch's connection tracker: naming them, and removing them over OpenFlow.

NXT_CT_FLUSH_ZONE and NXT_CT_FLUSH (OVS's include/openflow/nicira-ext.h, 3.1 and later) have no answer; the barrier
behind them says that it is done.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ofctl.openflow.actions import NICIRA
from ofctl.openflow.channel import OFPT_ERROR
from ofctl.openflow.exchanges import OFPT_BARRIER_REPLY, OFPT_BARRIER_REQUEST, ConnectionGone
from ofctl.openflow.refusals import Refusal, refusal
from ofctl.openflow.wire import message

OFPT_EXPERIMENTER = 4
NXT_CT_FLUSH_ZONE = 29
NXT_CT_FLUSH = 32
NXT_CT_ORIG_TUPLE = 0
NXT_CT_ZONE_ID = 2
NXT_CT_TUPLE_SRC = 0
NXT_CT_TUPLE_DST = 1
NXT_CT_TUPLE_SRC_PORT = 2
NXT_CT_TUPLE_DST_PORT = 3
NXT_CT_TUPLE_ICMP_ID = 4
NXT_CT_TUPLE_ICMP_TYPE = 5
NXT_CT_TUPLE_ICMP_CODE = 6
ICMP = 1
ICMPV6 = 58
ICMP_REQUESTS = (8, 13, 15)
"""Echo, timestamp, information: what an ICMP connection begins with."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Echo:
    """What ICMP has instead of ports; `kind` is the request's type."""

    identifier: int
    kind: int
    code: int


@dataclass(frozen=True, slots=True)
class ConnectionTuple:
    """One direction of a connection, or the part of it that matters: None, and a port of 0, mean any."""

    protocol: int | None = None
    source: Address | None = None
    destination: Address | None = None
    source_port: int | None = None
    destination_port: int | None = None
    echo: Echo | None = None

    def __post_init__(self) -> None:
        if self.source is not None and self.destination is not None and self.source.version != self.destination.version:
            raise ValueError(f"a connection from {self.source} to {self.destination}: two address families")


def check_removable(part: ConnectionTuple) -> None:
    """Raise ValueError for what OVS 3.1 cannot remove, or does not survive.

    Removing an ICMPv6 connection by itself, however it is named, ends ovs-vswitchd, and so does an ICMP type that is no
    request (`tuple_to_conn_key` in its lib/conntrack.c, until 3.1.7). Of ICMP only what is named wholly is found.
    """
    if part.protocol is None and not any(isinstance(each, IPv4Address) for each in (part.source, part.destination)):
        raise ValueError(f"{part}: without a protocol, ICMPv6 would be among it, which OVS does not survive; name one")
    if part.protocol is None and (part.source_port or part.destination_port or part.echo):
        raise ValueError(f"{part}: ports without a protocol")
    if part.protocol == ICMPV6:
        raise ValueError(f"{part}: OVS does not survive the removal of an ICMPv6 connection; flush its whole zone")
    if part.protocol == ICMP:
        if None in (part.source, part.destination, part.echo):
            raise ValueError(f"{part}: an ICMP connection is named by source, destination and echo, all of them")
        if part.echo is not None and part.echo.kind not in ICMP_REQUESTS:
            raise ValueError(f"{part}: ICMP type {part.echo.kind} begins no connection")


def flush_message(zone: int, original: ConnectionTuple | None, xid: int) -> bytes:
    """Return what removes the connections of a zone, or those of them whose original direction is like `original`.

    Raises ValueError: see `check_removable`.
    """
    if not 0 <= zone <= 0xFFFF:
        raise ValueError(f"ct zone {zone} is not 0 to 65535")
    if original is None or original == ConnectionTuple():
        return message(OFPT_EXPERIMENTER, xid, struct.pack("!II6xH", NICIRA, NXT_CT_FLUSH_ZONE, zone))
    check_removable(original)
    head = struct.pack("!IIB7x", NICIRA, NXT_CT_FLUSH, original.protocol or 0)
    tuple_bytes = _tuple(original)
    nested = struct.pack("!HH4x", NXT_CT_ORIG_TUPLE, 8 + len(tuple_bytes)) + tuple_bytes if tuple_bytes else b""
    return message(OFPT_EXPERIMENTER, xid, head + nested + _property(NXT_CT_ZONE_ID, struct.pack("!H2x", zone)))


def _tuple(part: ConnectionTuple) -> bytes:
    properties = []
    for kind, address in ((NXT_CT_TUPLE_SRC, part.source), (NXT_CT_TUPLE_DST, part.destination)):
        if address is not None:
            properties.append(_property(kind, _mapped(address)))
    for kind, port in ((NXT_CT_TUPLE_SRC_PORT, part.source_port), (NXT_CT_TUPLE_DST_PORT, part.destination_port)):
        if port:
            properties.append(_property(kind, struct.pack("!H2x", port)))
    if part.echo is not None:
        properties.append(_property(NXT_CT_TUPLE_ICMP_ID, struct.pack("!H2x", part.echo.identifier)))
        properties.append(_property(NXT_CT_TUPLE_ICMP_TYPE, struct.pack("!B", part.echo.kind)))
        properties.append(_property(NXT_CT_TUPLE_ICMP_CODE, struct.pack("!B", part.echo.code)))
    return b"".join(properties)


def _mapped(address: Address) -> bytes:
    """IPv4 goes as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2)."""
    return address.packed if isinstance(address, IPv6Address) else bytes(10) + b"\xff\xff" + address.packed


def _property(kind: int, content: bytes) -> bytes:
    return struct.pack("!HH", kind, 4 + len(content)) + content + bytes(-(4 + len(content)) % 8)


class FlushExchange:
    """Some flushes and the barrier behind them; `done` gets the refusals."""

    def __init__(self, first_xid: int, flushes: Sequence[tuple[int, ConnectionTuple | None]]) -> None:
        self.first_xid = first_xid
        self.last_xid = first_xid + len(flushes)
        self.done: asyncio.Future[list[Refusal]] = asyncio.get_running_loop().create_future()
        self._refusals: list[Refusal] = []
        frames = [flush_message(zone, part, xid) for xid, (zone, part) in enumerate(flushes, first_xid)]
        self.request = b"".join(frames) + message(OFPT_BARRIER_REQUEST, self.last_xid)

    def received(self, kind: int, xid: int, body: bytes) -> bool:
        if kind == OFPT_ERROR:
            self._refusals.append(refusal(xid, body))
        if kind != OFPT_BARRIER_REPLY:
            return False
        if not self.done.done():
            self.done.set_result(self._refusals)
        return True

    def lost(self) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionGone())
            self.done.exception()
