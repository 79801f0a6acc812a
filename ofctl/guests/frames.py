"""As much OpenFlow as the fence needs: headers of every version, errors, a count of flows, a token bucket. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

OF10, OF13, OF15 = 0x01, 0x04, 0x06
HEADER = struct.Struct("!BBHI")

OFPT_HELLO = 0
OFPT_ERROR = 1
OFPT_ECHO_REQUEST = 2
OFPT_ECHO_REPLY = 3
OFPT_FEATURES_REQUEST = 5
OFPT_SET_CONFIG = 9
OFPT_PACKET_IN = 10
OFPT_PACKET_OUT = 13
OFPT_FLOW_MOD = 14

OFPET_BAD_REQUEST, OFPBRC_BAD_VERSION, OFPBRC_BAD_LEN = 1, 0, 6
OFPET_FLOW_MOD_FAILED = {OF10: 3}
"""5 from OpenFlow 1.1 on."""
OFPFMFC_TABLE_FULL = {OF10: 0}
"""1 from OpenFlow 1.1 on."""
OFPT_EXPERIMENTER = 4
OFPT_BUNDLE_CONTROL, OFPT_BUNDLE_ADD_MESSAGE = 33, 34
ONF = 0x4F4E4600
ONF_BUNDLE_CONTROL, ONF_BUNDLE_ADD_MESSAGE = 2300, 2301
"""Bundles for OpenFlow 1.3 (ONF extension 230)."""
OFPET_BUNDLE_FAILED, OFPBFC_MSG_TOO_MANY = 17, 12
MAX_BUNDLED = 500
"""Messages that are applied at once; the switch does nothing else meanwhile, 30 us for each."""

CHEAP = frozenset({OFPT_HELLO, OFPT_ERROR, OFPT_ECHO_REPLY})
"""Neither change anything nor make the switch work."""
DEFAULT_MISS_SEND_LEN = 128
COUNT_XID = 0xFC1C0DE5
"""Transaction of the fence's own request; a guest counts from a random number on (os-ken, Datapath)."""
OXS_FLOW_COUNT = (0x8002, 3)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. `octets` is all of it, header included."""

    version: int
    kind: int
    xid: int
    octets: bytes


class BadFrame(Exception):
    """The stream cannot be cut into messages any more; `octets` has the header that is wrong."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(f"a message with the header {octets.hex()} has less than 8 bytes")
        self.octets = octets


class Frames:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, octets: bytes) -> Iterator[Frame]:
        """Yield what is complete. Raises BadFrame."""
        rest = self._rest
        rest += octets
        start = 0
        try:
            while len(rest) - start >= HEADER.size:
                version, kind, length, xid = HEADER.unpack_from(rest, start)
                if length < HEADER.size:
                    raise BadFrame(bytes(rest[start : start + HEADER.size]))
                if len(rest) - start < length:
                    break
                start += length
                yield Frame(version, kind, xid, bytes(rest[start - length : start]))
        finally:
            del rest[:start]


def message(version: int, kind: int, xid: int, body: bytes = b"") -> bytes:
    """Return a message with its header."""
    return HEADER.pack(version, kind, HEADER.size + len(body), xid) + body


def error(frame: Frame, kind: int, code: int) -> bytes:
    """Return the error message that refuses `frame` (OpenFlow 1.3.5, 7.5.4)."""
    return message(frame.version, OFPT_ERROR, frame.xid, struct.pack("!HH", kind, code) + frame.octets[:64])


def table_full(frame: Frame) -> bytes:
    """Return the error message for a flow that is one too many."""
    return error(frame, OFPET_FLOW_MOD_FAILED.get(frame.version, 5), OFPFMFC_TABLE_FULL.get(frame.version, 1))


def adds_flow(frame: Frame) -> bool:
    """Tell whether the message is a flow-mod that adds."""
    if frame.kind != OFPT_FLOW_MOD:
        return False
    if frame.version == OF10:
        return frame.octets[56:58] == b"\0\0"  # After match and cookie (OpenFlow 1.0, 5.3.3).
    return frame.octets[25:26] == b"\0"  # After cookie, its mask and the table (OpenFlow 1.3.5, 7.3.4.1).


def bundled(frame: Frame) -> Frame | None:
    """Return the message that is put into a bundle; None if the message does not do that."""
    if frame.kind == OFPT_BUNDLE_ADD_MESSAGE and frame.version > OF13:
        inner = frame.octets[16:]
    elif _experiment(frame) == (ONF, ONF_BUNDLE_ADD_MESSAGE):
        inner = frame.octets[24:]
    else:
        return None
    if len(inner) < HEADER.size:
        return None
    version, kind, _, xid = HEADER.unpack_from(inner)
    return Frame(version, kind, xid, inner)


def controls_bundle(frame: Frame) -> bool:
    """Tell whether the message opens, closes, commits or discards a bundle."""
    native = frame.kind == OFPT_BUNDLE_CONTROL and frame.version > OF13
    return native or _experiment(frame) == (ONF, ONF_BUNDLE_CONTROL)


def _experiment(frame: Frame) -> tuple[int, int] | None:
    if frame.kind != OFPT_EXPERIMENTER or len(frame.octets) < 16:
        return None
    experimenter, kind = struct.unpack_from("!II", frame.octets, 8)
    return experimenter, kind


def asks_for_many(frame: Frame) -> bool:
    """Tell whether the message is a multipart (in OpenFlow 1.0 a statistics) request."""
    return frame.kind == (16 if frame.version == OF10 else 18)


def tell_me(version: int) -> bytes:
    """Return what makes a management socket tell asynchronous messages: it sends none until then."""
    return message(version, OFPT_SET_CONFIG, COUNT_XID, struct.pack("!HH", 0, DEFAULT_MISS_SEND_LEN))


def count_request(version: int) -> bytes:
    """Return a request for the number of all flows (OFPMP_AGGREGATE)."""
    if version == OF10:
        wildcards = 0x003FFFFF
        body = struct.pack("!HH", 2, 0) + struct.pack("!I36x", wildcards) + struct.pack("!BxH", 0xFF, 0xFFFF)
        return message(version, 16, COUNT_XID, body)
    any_match = struct.pack("!HH4x", 1, 4)
    body = struct.pack("!HH4x", 2, 0) + struct.pack("!B3xII4xQQ", 0xFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0) + any_match
    return message(version, 18, COUNT_XID, body)


def counted(frame: Frame) -> int | None:
    """Return the answer to `count_request`; None if that is not what the message is."""
    if frame.xid != COUNT_XID or frame.kind != (17 if frame.version == OF10 else 19):
        return None
    body = frame.octets[12:] if frame.version == OF10 else frame.octets[16:]
    if frame.version < OF15:
        return int.from_bytes(body[16:20], "big")
    offset = 4
    while offset + 4 <= len(body):
        oxs_class, field, length = struct.unpack_from("!HBB", body, offset)
        if (oxs_class, field >> 1) == OXS_FLOW_COUNT:
            return int.from_bytes(body[offset + 4 : offset + 4 + length], "big")
        offset += 4 + length
    return None


class TokenBucket:
    """So many a second, and a tenth of a second's at once after a rest."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._burst = max(1.0, rate / 10)
        self._tokens = self._burst
        self._at = now

    def spare(self, now: float) -> bool:
        """Take one if there is one; tell whether there was."""
        there = min(self._burst, self._tokens + (now - self._at) * self.rate) >= 1
        if there:
            self.take(now)
        return there

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take some; return the seconds after which they may be used, 0 for now."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate) - cost
        self._at = now
        return max(0.0, -self._tokens / self.rate)
