"""What other clients of the switch change behind our back, told by the switch itself.

Flows: a flow monitor on every table but the dynamic ones (OpenFlow 1.5.1, 7.3.5.15). Of our own changes the monitor
says only the transaction id (OFPFME_ABBREV), so what comes in full is somebody else's, or what the switch did by
itself: a timeout, the flows that go with a group. Groups and meters: OFPT_REQUESTFORWARD, which a client never gets of
its own requests. Ports: OFPT_PORT_STATUS.

A slow reader costs the switch no memory: above 128 KB of unread news it pauses the monitor (OFPFME_PAUSED), tells only
what was removed, and says at the end that it resumes (`ofmonitor_flush` in OVS's ofproto/connmgr.c). A pause is told
as `ManyChanges`, as is a flood that would be too much to tell one by one.
"""

from __future__ import annotations

import asyncio
import enum
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ofctl.model.ids import DeviceName, OfPort
from ofctl.openflow.replies import ports
from ofctl.openflow.wire import ANY, OFPT_GROUP_MOD, message

OFPT_SET_ASYNC = 28
OFPT_METER_MOD = 29
OFPMP_FLOW_MONITOR = 16
FLOW_MONITOR_KIND = OFPMP_FLOW_MONITOR.to_bytes(2, "big")
OFPFMC_ADD = 0
OFPFMF_ADD_REMOVED_MODIFY = 1 << 1 | 1 << 2 | 1 << 3
OFPFME_PAUSED = 5
OFPFME_RESUMED = 6
OFPACPT_PACKET_IN = 1
OFPACPT_PORT_STATUS = 3
OFPACPT_FLOW_REMOVED = 5
OFPACPT_REQUESTFORWARD = 11
"""The properties for a client that is no slave (OpenFlow 1.5.1, 7.3.10)."""
TABLES = 254
MAX_IN_WINDOW = 256
WINDOW_S = 0.1
"""So many changes in so many seconds are told one by one. Of more it only matters that they are many: the rest of the
window is not read, and one `ManyChanges` is told at its end."""

_pack_monitor = struct.Struct("!IIIHBBHH4x").pack
_pack_property = struct.Struct("!HHI").pack
_update_header = struct.Struct("!HH").unpack_from
_update = struct.Struct("!HHB11xQ").unpack_from
_inner = struct.Struct("!xBHII").unpack_from


class ChangeKind(enum.Enum):
    """What happened to a flow or a port."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"


@dataclass(frozen=True, slots=True)
class ForeignFlow:
    """Somebody else changed a flow that has, or had, this cookie."""

    kind: ChangeKind
    table_number: int
    cookie: int


@dataclass(frozen=True, slots=True)
class ForeignGroup:
    """Somebody else changed this group; OFPG_ALL (0xfffffffc) means all of them."""

    group_id: int


@dataclass(frozen=True, slots=True)
class ForeignMeter:
    """Somebody else changed this meter; OFPM_ALL (0xffffffff) means all of them."""

    meter_id: int


@dataclass(frozen=True, slots=True)
class PortStatus:
    """A port of the bridge came, went, or changed its settings or state; whoever did it, ovs-vswitchd included."""

    kind: ChangeKind
    name: DeviceName
    ofport: OfPort


@dataclass(frozen=True, slots=True)
class ManyChanges:
    """So much was changed at once that it is not told one by one."""


ForeignChange = ForeignFlow | ForeignGroup | ForeignMeter | PortStatus | ManyChanges

_FLOW_KINDS = {1: ChangeKind.ADDED, 2: ChangeKind.REMOVED, 3: ChangeKind.MODIFIED}
_PORT_KINDS = {0: ChangeKind.ADDED, 1: ChangeKind.REMOVED, 2: ChangeKind.MODIFIED}


def set_async(xid: int) -> bytes:
    """Return the OFPT_SET_ASYNC for packet-ins, port status and forwarded requests.

    On a management socket OVS sends nothing unasked until this comes (`handle_nxt_set_async_config`).
    """
    return _set_async(xid, packet_ins=0x3F, port_status=0b111, forwarded=0b11)


def only_packet_ins(xid: int) -> bytes:
    """Return the OFPT_SET_ASYNC for packet-ins and nothing else."""
    return _set_async(xid, packet_ins=0x3F, port_status=0, forwarded=0)


def _set_async(xid: int, *, packet_ins: int, port_status: int, forwarded: int) -> bytes:
    masks = (
        (OFPACPT_PACKET_IN, packet_ins),
        (OFPACPT_PORT_STATUS, port_status),
        (OFPACPT_FLOW_REMOVED, 0),
        (OFPACPT_REQUESTFORWARD, forwarded),
    )
    return message(OFPT_SET_ASYNC, xid, b"".join(_pack_property(kind, 8, mask) for kind, mask in masks))


def monitor_request(ignored_tables: Iterable[int]) -> bytes:
    """Return the body of an OFPMP_FLOW_MONITOR request: one monitor for each table that is not ignored.

    Not one for all: what the switch learns by itself is nobody's change and may be much. The monitor's id is the
    table's number.
    """
    ignored = frozenset(ignored_tables)
    empty_match = (1, 4)
    return b"".join(
        _pack_monitor(table, ANY, ANY, OFPFMF_ADD_REMOVED_MODIFY, table, OFPFMC_ADD, *empty_match)
        for table in range(TABLES)
        if table not in ignored
    )


def flow_updates(body: bytes) -> Iterator[ForeignChange]:
    """Yield what a flow monitor's update says of others' changes. Raises ValueError if it is cut off."""
    offset, end = 0, len(body)
    while offset < end:
        length, event = _update_header(body, offset)
        if length < 8 or offset + length > end:
            raise ValueError("the switch sent a flow update that is cut off")
        kind = _FLOW_KINDS.get(event)
        if kind is not None:
            _, _, table, cookie = _update(body, offset)
            yield ForeignFlow(kind, table, cookie)
        elif event in (OFPFME_PAUSED, OFPFME_RESUMED):
            yield ManyChanges()
        offset += length


def forwarded_request(body: bytes) -> Iterator[ForeignChange]:
    """Yield the group or meter that somebody else's request is about (OpenFlow 1.5.1, 7.4.6)."""
    kind, _, _, _ = _inner(body)
    number = struct.unpack_from("!I", body, 12)[0]
    if kind == OFPT_GROUP_MOD:
        yield ForeignGroup(number)
    elif kind == OFPT_METER_MOD:
        yield ForeignMeter(number)


def port_status(body: bytes) -> Iterator[ForeignChange]:
    """Yield the port that changed (OpenFlow 1.5.1, 7.4.3)."""
    kind = _PORT_KINDS.get(body[0])
    if kind is not None:
        for name, number in ports(body[8:]):
            yield PortStatus(kind, DeviceName(name), OfPort(number))


class ForeignChanges:
    """Gathers what comes in one turn of the event loop and tells each change once, in the order of the first."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[ForeignChange], None]] = []
        self._untold: dict[ForeignChange, None] = {}
        self._scheduled = False
        self._told = 0
        self._window_ends = 0.0
        self._flooded = False

    @property
    def watched(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self._watchers)

    def watch(self, callback: Callable[[ForeignChange], None]) -> Callable[[], None]:
        """See `Switch.watch_foreign`."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback) if callback in self._watchers else None

    def take(self, read: Callable[[bytes], Iterator[ForeignChange]], body: bytes) -> None:
        """Take a message of the switch. In a flood it is not even read."""
        if self._flooded or not self._watchers:
            return
        untold = self._untold
        for change in read(body):
            untold[change] = None
        if untold and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._scheduled = False
        untold, self._untold = self._untold, {}
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._window_ends:
            self._told, self._window_ends = 0, now + WINDOW_S
        self._told += len(untold)
        if self._told > MAX_IN_WINDOW:
            self._flooded = True
            loop.call_at(self._window_ends, self._end_flood)
            return
        for change in untold:
            self._tell_one(change)

    def _end_flood(self) -> None:
        self._flooded = False
        self._tell_one(ManyChanges())

    def _tell_one(self, change: ForeignChange) -> None:
        for callback in tuple(self._watchers):
            callback(change)
