"""The OpenFlow 1.3 that the fence on the owned bridge understands (OpenFlow 1.3.5, 7; numbers as there). No I/O."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

VERSION = 0x04


class Kind(enum.IntEnum):
    """Types of messages."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    GET_CONFIG_REQUEST = 7
    GET_CONFIG_REPLY = 8
    SET_CONFIG = 9
    PACKET_IN = 10
    FLOW_REMOVED = 11
    PORT_STATUS = 12
    PACKET_OUT = 13
    FLOW_MOD = 14
    GROUP_MOD = 15
    PORT_MOD = 16
    TABLE_MOD = 17
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    QUEUE_GET_CONFIG_REQUEST = 22
    QUEUE_GET_CONFIG_REPLY = 23
    ROLE_REQUEST = 24
    ROLE_REPLY = 25
    GET_ASYNC_REQUEST = 26
    GET_ASYNC_REPLY = 27
    SET_ASYNC = 28
    METER_MOD = 29


class Multipart(enum.IntEnum):
    """Types of multipart messages."""

    DESC = 0
    FLOW = 1
    AGGREGATE = 2
    TABLE = 3
    PORT_STATS = 4
    QUEUE = 5
    GROUP = 6
    GROUP_DESC = 7
    GROUP_FEATURES = 8
    METER = 9
    METER_CONFIG = 10
    METER_FEATURES = 11
    TABLE_FEATURES = 12
    PORT_DESC = 13


class Refused(Exception):
    """The fence does not let a message pass; type and code of the OpenFlow error that says so."""

    def __init__(self, kind: int, code: int) -> None:
        super().__init__(f"type {kind}, code {code}")
        self.kind = kind
        self.code = code


class Refusal(enum.Enum):
    """Every error that the fence itself answers with: type and code (OpenFlow 1.3.5, 7.5.4)."""

    INCOMPATIBLE = (0, 0)
    BAD_TYPE = (1, 1)
    BAD_MULTIPART = (1, 2)
    BAD_EXPERIMENTER = (1, 3)
    BAD_LEN = (1, 6)
    BUFFER_UNKNOWN = (1, 8)
    BAD_TABLE = (1, 9)
    MULTIPART_OVERFLOW = (1, 13)
    BAD_ACTION_TYPE = (2, 0)
    BAD_ACTION_LEN = (2, 1)
    EXPERIMENTER_ACTION = (2, 2)
    BAD_OUT_PORT = (2, 4)
    TOO_MANY_ACTIONS = (2, 7)
    BAD_OUT_GROUP = (2, 9)
    BAD_SET_TYPE = (2, 13)
    UNKNOWN_INSTRUCTION = (3, 0)
    UNSUPPORTED_INSTRUCTION = (3, 1)
    BAD_GOTO = (3, 2)
    EXPERIMENTER_INSTRUCTION = (3, 5)
    BAD_INSTRUCTION_LEN = (3, 7)
    BAD_MATCH_TYPE = (4, 0)
    BAD_MATCH_LEN = (4, 1)
    BAD_FIELD = (4, 6)
    BAD_FLOW_TABLE = (5, 2)
    FLOW_NOT_PERMITTED = (5, 4)
    INVALID_GROUP = (6, 1)
    OUT_OF_GROUPS = (6, 3)
    OUT_OF_BUCKETS = (6, 4)
    PORT_NOT_PERMITTED = (7, 4)
    TABLE_NOT_PERMITTED = (8, 2)
    BAD_CONFIG_FLAGS = (10, 0)
    STALE_ROLE = (11, 0)
    UNSUPPORTED_ROLE = (11, 1)
    BAD_ROLE = (11, 2)
    INVALID_METER = (12, 2)
    OUT_OF_METERS = (12, 10)
    TABLE_FEATURES_NOT_PERMITTED = (13, 5)

    def error(self) -> Refused:
        """Return the exception to raise."""
        return Refused(*self.value)


OFPTT_ALL = 0xFF
ANY = 0xFFFFFFFF
"""OFPP_ANY, OFPG_ANY, OFPM_ALL and OFP_NO_BUFFER are the same number."""
OFPG_ALL = 0xFFFFFFFC
OFPP_MAX = 0xFF00
OFPP_IN_PORT, OFPP_TABLE, OFPP_NORMAL, OFPP_FLOOD = 0xFFFFFFF8, 0xFFFFFFF9, 0xFFFFFFFA, 0xFFFFFFFB
OFPP_ALL, OFPP_CONTROLLER, OFPP_LOCAL = 0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE
OFPMPF_MORE = 1
OFPT_HEADER = struct.Struct("!BBHI")


def message(kind: int, xid: int, body: bytes = b"") -> bytes:
    """Return a message. Raises Refused (BAD_LEN) if it is longer than one can be."""
    length = OFPT_HEADER.size + len(body)
    if length > 0xFFFF:
        raise Refusal.BAD_LEN.error()
    return OFPT_HEADER.pack(VERSION, kind, length, xid) + body


def need(octets: bytes, length: int, refusal: Refusal = Refusal.BAD_LEN) -> None:
    """Raise Refused unless there are so many octets."""
    if len(octets) < length:
        raise refusal.error()


def pieces(octets: bytes, at: int, refusal: Refusal) -> Iterator[tuple[int, bytes]]:
    """Cut a list of actions or instructions: yield type and octets of each. Raises Refused if it cannot be cut."""
    end = len(octets)
    while at < end:
        if end - at < 4:
            raise refusal.error()
        kind, length = struct.unpack_from("!HH", octets, at)
        if length < 8 or length % 8 or at + length > end:
            raise refusal.error()
        yield kind, octets[at : at + length]
        at += length


def entries(octets: bytes, *, length_at: int = 0) -> Iterator[bytes]:
    """Cut the body of a multipart reply of the switch, whose entries have their length at an offset."""
    at = 0
    while at + length_at + 2 <= len(octets):
        length = int.from_bytes(octets[at + length_at : at + length_at + 2], "big")
        if length < 8:
            return
        yield octets[at : at + length]
        at += length
