"""From the switch to a fenced guest: what is the guest's, in the guest's own numbers; the rest is dropped. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from ofctl.guests import matches
from ofctl.guests.actions import Translator
from ofctl.guests.asked import Asked, Requests
from ofctl.guests.frames import Frame
from ofctl.guests.of13 import OFPMPF_MORE, Kind, Multipart, entries, message
from ofctl.guests.outward import Standing
from ofctl.guests.packet_outs import PacketOuts
from ofctl.guests.table_features import own_table_features
from ofctl.pipeline.fence import MAX_OWN_ID, FencedGuest

FLOW_ENTRY_MATCH, TABLE_ENTRY, METER_ENTRY_LENGTH_AT = 48, 24, 4
PACKET_IN_MATCH, FLOW_REMOVED_MATCH = 24, 48
PACKET_IN_REASON, PORT_STATUS_REASON, FLOW_REMOVED_REASON = 14, 8, 18
SLICE = 64
"""Entries of a list that are translated before others get their turn."""


class Inward:
    """Translates what the switch sends on one connection of a guest."""

    def __init__(
        self,
        place: FencedGuest,
        translator: Translator,
        packet_outs: PacketOuts,
        *,
        requests: Requests,
        standing: Standing,
    ) -> None:
        self._place = place
        self._translator = translator
        self._packet_outs = packet_outs
        self._requests = requests
        self._standing = standing
        self._ways: dict[int, Callable[[Frame], bytes]] = {
            Kind.ERROR: self._error,
            Kind.FEATURES_REPLY: self._features,
            Kind.PACKET_IN: self._packet_in,
            Kind.FLOW_REMOVED: self._flow_removed,
            Kind.PORT_STATUS: self._port_status,
            **dict.fromkeys(
                (Kind.ECHO_REPLY, Kind.BARRIER_REPLY, Kind.QUEUE_GET_CONFIG_REPLY), lambda frame: frame.octets
            ),
        }
        self._entries: dict[int, Callable[[bytes], Iterator[bytes]]] = {
            Multipart.FLOW: self._flow_entries,
            Multipart.TABLE: self._table_entries,
            Multipart.GROUP: self._group_entries,
            Multipart.GROUP_DESC: self._group_descriptions,
            Multipart.METER: self._meter_entries,
            Multipart.METER_CONFIG: self._meter_configurations,
            Multipart.GROUP_FEATURES: self._group_features,
            Multipart.METER_FEATURES: self._meter_features,
            Multipart.TABLE_FEATURES: lambda body: own_table_features(body, place.own_tables),
        }

    def steps(self, frame: Frame) -> Iterator[bytes]:
        """Yield what the guest is sent for a message, in parts of a message: between two, others may have a turn."""
        if frame.kind == Kind.MULTIPART_REPLY:
            yield from self._multipart(frame)
        elif (way := self._ways.get(frame.kind)) is not None:
            yield way(frame)

    # What comes unasked

    def _error(self, frame: Frame) -> bytes:
        if len(frame.octets) >= 20 and frame.octets[13] == Kind.MULTIPART_REQUEST:
            self._requests.answered(frame.xid, int.from_bytes(frame.octets[20:22], "big"), more=False)
        quoted = self._requests.quote(frame.xid)
        return b"" if quoted is None else message(Kind.ERROR, frame.xid, frame.octets[8:12] + quoted)

    def _features(self, frame: Frame) -> bytes:
        octets = frame.octets
        return octets[:20] + bytes((self._place.tables,)) + octets[21:]

    def _wants(self, first: int, reason: int) -> bool:
        return bool(self._standing.wanted[first] >> reason & 1)

    def _packet_in(self, frame: Frame) -> bytes:
        octets = frame.octets
        if not self._wants(0, octets[PACKET_IN_REASON]):
            return b""
        end = PACKET_IN_MATCH + matches.match_length(octets, PACKET_IN_MATCH)
        self._packet_outs.show(octets, PACKET_IN_MATCH, octets[end + 2 :])
        table = self._own_table(octets[15]) or 0  # By a packet-out or a group it comes from no table.
        head = octets[8:15] + bytes((table,)) + octets[16:PACKET_IN_MATCH]
        return message(Kind.PACKET_IN, frame.xid, head + matches.own_match(octets, PACKET_IN_MATCH) + octets[end:])

    def _flow_removed(self, frame: Frame) -> bytes:
        octets = frame.octets
        table = self._own_table(octets[19])
        if table is None or not self._wants(4, octets[FLOW_REMOVED_REASON]):
            return b""
        return octets[:19] + bytes((table,)) + octets[20:]

    def _port_status(self, frame: Frame) -> bytes:
        return frame.octets if self._wants(2, frame.octets[PORT_STATUS_REASON]) else b""

    def _own_table(self, number: int) -> int | None:
        own = self._place.own_tables
        return number - own.start if number in own else None

    # Answers

    def _multipart(self, frame: Frame) -> Iterator[bytes]:
        kind, flags = struct.unpack_from("!HH", frame.octets, 8)
        more = bool(flags & OFPMPF_MORE)
        asked = self._requests.answered(frame.xid, kind, more=more)
        if asked is None:
            return
        body = frame.octets[16:]
        if kind == Multipart.AGGREGATE:
            asked.add(body)
            if asked.parts <= 0:
                yield self._answer(frame, kind, asked.total(), more=False)
            return
        if kind not in self._entries:
            yield frame.octets
            return
        yield from self._in_slices(frame, kind, body, asked, more=more)

    def _in_slices(self, frame: Frame, kind: int, body: bytes, asked: Asked, *, more: bool) -> Iterator[bytes]:
        part: list[bytes] = []
        for entry in self._entries[kind](body):
            if len(part) == SLICE:
                yield self._answer(frame, kind, b"".join(part), more=True)
                part = []
            part.append(entry)
        last = not more and asked.parts <= 0
        if part or last:
            yield self._answer(frame, kind, b"".join(part), more=not last)

    @staticmethod
    def _answer(frame: Frame, kind: int, body: bytes, *, more: bool) -> bytes:
        return message(Kind.MULTIPART_REPLY, frame.xid, struct.pack("!HH4x", kind, OFPMPF_MORE * more) + body)

    def _flow_entries(self, body: bytes) -> Iterator[bytes]:
        for entry in entries(body):
            table = self._own_table(entry[2])
            if table is not None:
                end = FLOW_ENTRY_MATCH + matches.match_length(entry, FLOW_ENTRY_MATCH)
                content = entry[3:end] + self._translator.own_instructions(entry[end:])
                yield struct.pack("!HB", 3 + len(content), table) + content

    def _table_entries(self, body: bytes) -> Iterator[bytes]:
        for at in range(0, len(body) - TABLE_ENTRY + 1, TABLE_ENTRY):
            table = self._own_table(body[at])
            if table is not None:
                yield bytes((table,)) + body[at + 1 : at + TABLE_ENTRY]

    def _group_entries(self, body: bytes) -> Iterator[bytes]:
        for entry in entries(body):
            if (own := self._own_id(entry, 4)) is not None:
                yield entry[:4] + own + entry[8:]

    def _group_descriptions(self, body: bytes) -> Iterator[bytes]:
        for entry in entries(body):
            if (own := self._own_id(entry, 4)) is not None:
                content = entry[2:4] + own + self._translator.own_buckets(entry[8:])
                yield (2 + len(content)).to_bytes(2, "big") + content

    def _meter_entries(self, body: bytes) -> Iterator[bytes]:
        for entry in entries(body, length_at=METER_ENTRY_LENGTH_AT):
            if (own := self._own_id(entry, 0)) is not None:
                yield own + entry[4:]

    def _meter_configurations(self, body: bytes) -> Iterator[bytes]:
        for entry in entries(body):
            if (own := self._own_id(entry, 4)) is not None:
                yield entry[:4] + own + entry[8:]

    def _own_id(self, entry: bytes, at: int) -> bytes | None:
        number = int.from_bytes(entry[at : at + 4], "big")
        return (number & MAX_OWN_ID).to_bytes(4, "big") if self._translator.is_own_id(number) else None

    @staticmethod
    def _group_features(body: bytes) -> Iterator[bytes]:
        limits = (min(each, MAX_OWN_ID + 1) for each in struct.unpack_from("!4I", body, 8))
        yield body[:8] + struct.pack("!4I", *limits) + body[24:]

    @staticmethod
    def _meter_features(body: bytes) -> Iterator[bytes]:
        yield min(int.from_bytes(body[:4], "big"), MAX_OWN_ID).to_bytes(4, "big") + body[4:]
