"""From a fenced guest to the switch: every message translated, answered by the fence itself, or refused. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ofctl.guests import matches
from ofctl.guests.actions import BY_ACTION, NO_MATCH, Translator
from ofctl.guests.asked import Requests
from ofctl.guests.frames import Frame
from ofctl.guests.of13 import (
    ANY,
    OFPG_ALL,
    OFPMPF_MORE,
    OFPTT_ALL,
    Kind,
    Multipart,
    Refusal,
    message,
    need,
)
from ofctl.guests.packet_outs import PacketOuts
from ofctl.pipeline.fence import FencedGuest
from ofctl.pipeline.tables import is_ours

FLOW_MOD_MATCH, MULTIPART_BODY, FLOW_REQUEST_MATCH = 48, 16, 48
ADD, MODIFY, MODIFY_STRICT, DELETE, DELETE_STRICT = range(5)
GROUP_DELETE = METER_DELETE = 2
NOCHANGE, EQUAL, MASTER, SLAVE = range(4)
MULTIPARTS = frozenset(Multipart)
MAX_OWN = 1024
"""Groups of a guest, and meters."""
DEFAULT_ASYNC = (0b011, 0, 0b111, 0b111, 0b1111, 0)
"""Packet-in, port status and flow removed; of each for a client that is no slave, and for one that is."""
DEFAULT_MISS_SEND_LEN = 128


@dataclass(slots=True)
class Standing:
    """What a guest has set of its switch that is the connection's alone."""

    miss_send_len: int = DEFAULT_MISS_SEND_LEN
    role: int = EQUAL
    generation: int | None = None
    wanted: tuple[int, ...] = DEFAULT_ASYNC
    groups: set[int] = field(default_factory=set)
    """The guest's, by the switch's id; perhaps some more."""
    meters: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Passed:
    """What becomes of a message: what the switch is sent, and what the guest is."""

    to_switch: bytes = b""
    to_guest: bytes = b""
    messages: int = 1
    """That go to the switch."""


class Outward:
    """Translates what one guest sends on one connection."""

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
        self._ways: dict[int, Callable[[bytes, int], Passed]] = {
            Kind.ECHO_REQUEST: self._as_it_is,
            Kind.FEATURES_REQUEST: self._as_it_is,
            Kind.BARRIER_REQUEST: self._as_it_is,
            Kind.QUEUE_GET_CONFIG_REQUEST: self._as_it_is,
            Kind.GET_CONFIG_REQUEST: self._get_config,
            Kind.SET_CONFIG: self._set_config,
            Kind.PACKET_OUT: lambda octets, xid: Passed(packet_outs.translated(octets, xid)),
            Kind.FLOW_MOD: self._flow_mod,
            Kind.GROUP_MOD: self._group_mod,
            Kind.METER_MOD: self._meter_mod,
            Kind.MULTIPART_REQUEST: self._multipart,
            Kind.ROLE_REQUEST: self._role,
            Kind.GET_ASYNC_REQUEST: self._get_async,
            Kind.SET_ASYNC: self._set_async,
            Kind.ECHO_REPLY: lambda *_: Passed(),
            Kind.ERROR: lambda *_: Passed(),
        }
        self._refusals = {
            Kind.PORT_MOD: Refusal.PORT_NOT_PERMITTED,
            Kind.TABLE_MOD: Refusal.TABLE_NOT_PERMITTED,
            Kind.EXPERIMENTER: Refusal.BAD_EXPERIMENTER,
        }

    def passed(self, frame: Frame) -> Passed:
        """Return what becomes of a message. Raises Refused."""
        way = self._ways.get(frame.kind)
        if way is None:
            refusal = next((each for kind, each in self._refusals.items() if kind == frame.kind), Refusal.BAD_TYPE)
            raise refusal.error()
        passed = way(frame.octets, frame.xid)
        if frame.kind not in (Kind.FLOW_MOD, Kind.MULTIPART_REQUEST) and passed.to_switch:
            self._requests.remember(frame.xid, frame.octets)
        return passed

    def _as_it_is(self, octets: bytes, _: int) -> Passed:
        return Passed(octets)

    # Flows

    def _flow_mod(self, octets: bytes, xid: int) -> Passed:
        need(octets, FLOW_MOD_MATCH + matches.PADDED)
        table, command = octets[24], octets[25]
        if command not in (DELETE, DELETE_STRICT) and is_ours(int.from_bytes(octets[8:16], "big")):
            raise Refusal.FLOW_NOT_PERMITTED.error()
        if command in (ADD, MODIFY, MODIFY_STRICT) and int.from_bytes(octets[32:36], "big") != ANY:
            raise Refusal.BUFFER_UNKNOWN.error()
        if table != OFPTT_ALL:
            tables = [table]
        elif command in (ADD, MODIFY_STRICT, DELETE_STRICT):
            tables = [0]
        else:
            tables = list(range(self._place.tables))
        end = matches.check_match(octets, FLOW_MOD_MATCH)
        out_group = self._out_group(octets, 40)
        is_miss = matches.is_empty(octets, FLOW_MOD_MATCH) and octets[30:32] == b"\0\0"
        found = []
        for own in tables:
            number = self._translator.table(own, Refusal.BAD_FLOW_TABLE)
            content = b""
            if command not in (DELETE, DELETE_STRICT):
                reason = NO_MATCH if is_miss else BY_ACTION
                content = self._translator.instructions(octets[end:], table=own, reason=reason)
            head = octets[8:24] + bytes((number,)) + octets[25:40] + out_group + octets[44:end]
            found.append(message(Kind.FLOW_MOD, xid, head + content))
        self._requests.remember(xid, octets, parts=len(found))
        return Passed(b"".join(found), messages=len(found))

    def _out_group(self, octets: bytes, at: int) -> bytes:
        group = int.from_bytes(octets[at : at + 4], "big")
        return (group if group == ANY else self._translator.own_id(group, Refusal.BAD_OUT_GROUP)).to_bytes(4, "big")

    # Groups and meters

    def _group_mod(self, octets: bytes, xid: int) -> Passed:
        need(octets, 16)
        command, group = struct.unpack_from("!HxxI", octets, 8)
        if group == OFPG_ALL and command == GROUP_DELETE:
            known, self._standing.groups = self._standing.groups, set()
            gone = [_group_mod(octets[8:12], each, b"", xid) for each in sorted(known)]
            return Passed(b"".join(gone), messages=len(gone))
        number = self._translator.own_id(group, Refusal.INVALID_GROUP)
        buckets = b"" if command == GROUP_DELETE else self._translator.buckets(octets[16:])
        self._keep(self._standing.groups, number, there=command != GROUP_DELETE, refusal=Refusal.OUT_OF_GROUPS)
        return Passed(_group_mod(octets[8:12], number, buckets, xid))

    def _meter_mod(self, octets: bytes, xid: int) -> Passed:
        need(octets, 16)
        command, meter = struct.unpack_from("!HxxI", octets, 8)
        if meter == ANY and command == METER_DELETE:
            known, self._standing.meters = self._standing.meters, set()
            gone = [_meter_mod(octets[8:12], each, b"", xid) for each in sorted(known)]
            return Passed(b"".join(gone), messages=len(gone))
        number = self._translator.own_id(meter, Refusal.INVALID_METER)
        self._keep(self._standing.meters, number, there=command != METER_DELETE, refusal=Refusal.OUT_OF_METERS)
        return Passed(_meter_mod(octets[8:12], number, octets[16:], xid))

    @staticmethod
    def _keep(known: set[int], number: int, *, there: bool, refusal: Refusal) -> None:
        """Take note of a group or meter that is made, changed or deleted. Raises Refused if it is one too many."""
        if not there:
            known.discard(number)
        elif number not in known and len(known) >= MAX_OWN:
            raise refusal.error()
        else:
            known.add(number)

    # Questions

    def _multipart(self, octets: bytes, xid: int) -> Passed:
        need(octets, MULTIPART_BODY)
        kind, flags = struct.unpack_from("!HH", octets, 8)
        body = octets[MULTIPART_BODY:]
        if kind == 0xFFFF:
            raise Refusal.BAD_EXPERIMENTER.error()
        if kind not in MULTIPARTS:
            raise Refusal.BAD_MULTIPART.error()
        if kind == Multipart.TABLE_FEATURES and body:
            raise Refusal.TABLE_FEATURES_NOT_PERMITTED.error()
        if flags & OFPMPF_MORE:
            raise Refusal.MULTIPART_OVERFLOW.error()
        bodies = list(self._bodies(kind, octets, body))
        self._requests.ask(xid, kind, len(bodies))
        self._requests.remember(xid, octets, parts=len(bodies))
        head = octets[8:MULTIPART_BODY]
        whole = b"".join([message(Kind.MULTIPART_REQUEST, xid, head + each) for each in bodies])
        return Passed(whole, messages=len(bodies))

    def _bodies(self, kind: int, octets: bytes, body: bytes) -> Iterable[bytes]:
        """Return the bodies of the requests that the switch is sent for one."""
        if kind in (Multipart.FLOW, Multipart.AGGREGATE):
            need(octets, FLOW_REQUEST_MATCH + matches.PADDED)
            end = matches.check_match(octets, FLOW_REQUEST_MATCH) - MULTIPART_BODY
            own = range(self._place.tables) if body[0] == OFPTT_ALL else (body[0],)
            out_group = self._out_group(body, 8)
            tables = [self._translator.table(each, Refusal.BAD_TABLE) for each in own]
            return [bytes((table,)) + body[1:8] + out_group + body[12:end] for table in tables]
        if kind in (Multipart.GROUP, Multipart.METER, Multipart.METER_CONFIG):
            need(body, 8)
            number, everything = int.from_bytes(body[:4], "big"), OFPG_ALL if kind == Multipart.GROUP else ANY
            refusal = Refusal.INVALID_GROUP if kind == Multipart.GROUP else Refusal.INVALID_METER
            number = number if number == everything else self._translator.own_id(number, refusal)
            return [number.to_bytes(4, "big") + body[4:]]
        return [body]

    # What is the connection's alone

    def _get_config(self, _: bytes, xid: int) -> Passed:
        body = struct.pack("!HH", 0, self._standing.miss_send_len)
        return Passed(to_guest=message(Kind.GET_CONFIG_REPLY, xid, body))

    def _set_config(self, octets: bytes, _: int) -> Passed:
        need(octets, 12)
        flags, self._standing.miss_send_len = struct.unpack_from("!HH", octets, 8)
        if flags:
            raise Refusal.BAD_CONFIG_FLAGS.error()
        return Passed()

    def _role(self, octets: bytes, xid: int) -> Passed:
        need(octets, 24)
        role, generation = struct.unpack_from("!I4xQ", octets, 8)
        standing = self._standing
        if role > SLAVE:
            raise Refusal.BAD_ROLE.error()
        if role == SLAVE:
            raise Refusal.UNSUPPORTED_ROLE.error()
        if role == MASTER:
            if standing.generation is not None and (generation - standing.generation) >> 63 & 1:
                raise Refusal.STALE_ROLE.error()
            standing.generation = generation
        if role != NOCHANGE:
            standing.role = role
        known = standing.generation if standing.generation is not None else 0xFFFF_FFFF_FFFF_FFFF
        return Passed(to_guest=message(Kind.ROLE_REPLY, xid, struct.pack("!I4xQ", standing.role, known)))

    def _get_async(self, _: bytes, xid: int) -> Passed:
        return Passed(to_guest=message(Kind.GET_ASYNC_REPLY, xid, struct.pack("!6I", *self._standing.wanted)))

    def _set_async(self, octets: bytes, _: int) -> Passed:
        need(octets, 32)
        self._standing.wanted = struct.unpack_from("!6I", octets, 8)
        return Passed()


def _group_mod(head: bytes, group: int, buckets: bytes, xid: int) -> bytes:
    return message(Kind.GROUP_MOD, xid, head + group.to_bytes(4, "big") + buckets)


def _meter_mod(head: bytes, meter: int, bands: bytes, xid: int) -> bytes:
    return message(Kind.METER_MOD, xid, head + meter.to_bytes(4, "big") + bands)
