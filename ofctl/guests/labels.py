"""Whose a guest's tables are, written in the switch itself, so that it is lost exactly when they are.

A guest that is not configured any more, or that has got other tables, leaves nothing behind: at the start of the agent
everything in the fence that does not bear the right label is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from ofctl.errors import SwitchUnavailable
from ofctl.guests import frames, of13
from ofctl.guests.frames import Frame, Frames
from ofctl.guests.of13 import ANY, Kind, Multipart, entries, message
from ofctl.pipeline.fence import OWN_ID_BITS, FencedGuest
from ofctl.pipeline.tables import FENCE_LABELS, GUEST_TABLES, LAYOUT_VERSION, is_guest_group

ADD, DELETE, DELETE_STRICT = 0, 3, 4
EMPTY_MATCH = struct.pack("!HH4x", 1, 4)
READ_SIZE = 64 * 1024


def label_of(place: FencedGuest) -> int:
    """Return the cookie of a guest's label: another one for every other place."""
    text = f"{place.name}\0{place.fence}\0{place.own_tables}\0{LAYOUT_VERSION}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def put_label(place: FencedGuest, xid: int = frames.COUNT_XID) -> bytes:
    """Return the flow-mod that says whose the tables of this place are."""
    return _flow_mod(ADD, FENCE_LABELS.number, xid, priority=place.number, cookie=label_of(place))


async def sweep(management: Path, places: Sequence[FencedGuest], *, deadline: float) -> int:
    """Remove the flows, groups and meters in the fence that belong to none of `places`; return how many deletions sent.

    `management` is the bridge's socket. Raises SwitchUnavailable; no guest may be connected meanwhile.
    """
    try:
        async with asyncio.timeout_at(deadline):
            reader, writer = await asyncio.open_unix_connection(management)
            try:
                return await _Sweep(reader, writer).run(places)
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise SwitchUnavailable(
            f"the fence on {management} cannot be cleared: {error or 'no answer in time'}"
        ) from error


class _Sweep:
    """One conversation with the switch."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = self._arriving()
        self._xid = 0

    async def run(self, places: Sequence[FencedGuest]) -> int:
        self._writer.write(message(Kind.HELLO, 0, struct.pack("!HHI", 1, 8, 1 << of13.VERSION)))
        labels = {
            int.from_bytes(entry[12:14], "big"): int.from_bytes(entry[24:32], "big")
            async for entry in self._ask(Multipart.FLOW, _any_flow(FENCE_LABELS.number))
        }
        kept = {place.number: place for place in places if labels.get(place.number) == label_of(place)}
        tables = set(GUEST_TABLES) - {table for place in kept.values() for table in place.own_tables}
        used = {
            entry
            async for body in self._bodies(Multipart.TABLE, b"")
            for entry, active in struct.iter_unpack("!B3xI16x", body)
            if active
        }
        groups = [int.from_bytes(entry[4:8], "big") async for entry in self._ask(Multipart.GROUP_DESC, b"")]
        wanted = struct.pack("!I4x", ANY)
        meters = [int.from_bytes(entry[4:8], "big") async for entry in self._ask(Multipart.METER_CONFIG, wanted)]
        changes = [
            *(_flow_mod(DELETE, table, 0) for table in sorted(tables & used)),
            *(_modify(Kind.GROUP_MOD, each) for each in _strays(groups, kept)),
            *(_modify(Kind.METER_MOD, each) for each in _strays(meters, kept)),
            *(_flow_mod(DELETE_STRICT, FENCE_LABELS.number, 0, priority=each) for each in labels.keys() - kept.keys()),
        ]
        self._writer.write(b"".join(changes))
        await self._barrier()
        return len(changes)

    async def _ask(self, kind: Multipart, body: bytes) -> AsyncIterator[bytes]:
        async for whole in self._bodies(kind, body):
            for entry in entries(whole):
                yield entry

    async def _bodies(self, kind: Multipart, body: bytes) -> AsyncIterator[bytes]:
        self._xid += 1
        self._writer.write(message(Kind.MULTIPART_REQUEST, self._xid, struct.pack("!HH4x", kind, 0) + body))
        while True:
            frame = await self._answer(self._xid)
            if frame.kind != Kind.MULTIPART_REPLY:
                return  # A switch without meters has none of them.
            yield frame.octets[16:]
            if not frame.octets[11] & of13.OFPMPF_MORE:
                return

    async def _barrier(self) -> None:
        self._xid += 1
        self._writer.write(message(Kind.BARRIER_REQUEST, self._xid))
        await self._answer(self._xid)

    async def _answer(self, xid: int) -> Frame:
        async for frame in self._frames:
            if frame.kind == Kind.ECHO_REQUEST:
                self._writer.write(message(Kind.ECHO_REPLY, frame.xid, frame.octets[8:]))
            elif frame.xid == xid and frame.kind != Kind.HELLO:
                return frame
        raise ConnectionResetError("the switch has closed the connection")

    async def _arriving(self) -> AsyncIterator[Frame]:
        stream = Frames()
        while octets := await self._reader.read(READ_SIZE):
            for frame in stream.feed(octets):
                yield frame


def _strays(numbers: Iterable[int], kept: Iterable[int]) -> list[int]:
    """Return the ids of guests' groups or meters that are none of those guests'."""
    return sorted(each for each in numbers if is_guest_group(each) and each >> OWN_ID_BITS & 0xF not in set(kept))


def _any_flow(table: int) -> bytes:
    return struct.pack("!B3xII4xQQ", table, ANY, ANY, 0, 0) + EMPTY_MATCH


def _flow_mod(command: int, table: int, xid: int, *, priority: int = 0, cookie: int = 0) -> bytes:
    head = struct.pack("!QQBBHHHIIIH2x", cookie, 0, table, command, 0, 0, priority, ANY, ANY, ANY, 0)
    return message(Kind.FLOW_MOD, xid, head + EMPTY_MATCH)


def _modify(kind: Kind, number: int) -> bytes:
    """Return the deletion of a group or meter; both have their command and id at the same place."""
    return message(kind, 0, struct.pack("!HHI", 2, 0, number))
