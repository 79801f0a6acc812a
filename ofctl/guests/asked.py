"""What a fenced guest has asked of its switch and waits for, so that one answer comes of what had to be asked in parts.

The switch answers in the order in which it is asked, so what is first under a transaction id is what is answered.
"""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from dataclasses import dataclass, field

MAX_REMEMBERED = 1024
QUOTED = 64
"""Octets of a message that an error repeats."""


@dataclass(slots=True)
class Asked:
    """A multipart request, in so many parts that the switch has not answered yet."""

    parts: int
    failed: bool = False
    packets: int = 0
    octets: int = 0
    flows: int = 0

    def add(self, body: bytes) -> None:
        """Add the switch's answer to one part of OFPMP_AGGREGATE."""
        packets, octets, flows = struct.unpack_from("!QQI", body)
        self.packets += packets
        self.octets += octets
        self.flows += flows

    def total(self) -> bytes:
        """Return the whole answer to OFPMP_AGGREGATE."""
        return struct.pack("!QQI4x", self.packets, self.octets, self.flows)


@dataclass(slots=True)
class _Sent:
    quoted: bytes
    parts: int
    told: bool = False


@dataclass(slots=True)
class Requests:
    """Of one connection of a guest."""

    _multiparts: dict[tuple[int, int], deque[Asked]] = field(default_factory=dict)
    _sent: OrderedDict[int, _Sent] = field(default_factory=OrderedDict)

    def remember(self, xid: int, octets: bytes, *, parts: int = 1) -> None:
        """Take note of a message of the guest, which goes to the switch in so many parts."""
        self._sent[xid] = _Sent(octets[:QUOTED], parts)
        self._sent.move_to_end(xid)
        if len(self._sent) > MAX_REMEMBERED:
            self._sent.popitem(last=False)

    def quote(self, xid: int) -> bytes | None:
        """Return what an error about a message quotes; None if the guest was told of an error of it already."""
        sent = self._sent.get(xid)
        if sent is None:
            return b""
        if sent.told and sent.parts > 1:
            return None
        sent.told = True
        return sent.quoted

    def ask(self, xid: int, kind: int, parts: int) -> None:
        """Take note of a multipart request."""
        self._multiparts.setdefault((xid, kind), deque()).append(Asked(parts))

    def answered(self, xid: int, kind: int, *, more: bool) -> Asked | None:
        """Return what an answer of the switch is about, with the parts that are still to come; None: nothing."""
        waiting = self._multiparts.get((xid, kind))
        if not waiting:
            return None
        asked = waiting[0]
        if not more:
            asked.parts -= 1
            if asked.parts <= 0:
                waiting.popleft()
                if not waiting:
                    del self._multiparts[xid, kind]
        return asked
