"""The fence of a guest on the owned bridge: one connection that looks like a whole switch of OpenFlow 1.3.

Messages of the guest are translated into its own tables, groups and meters, answered here, or refused; of what the
switch says, the guest hears what is its own. How is told in docs/adr/0007-guests-in-tables-of-their-own.md.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable

from ofctl.guests import frames, of13
from ofctl.guests.actions import NICIRA, Translator
from ofctl.guests.asked import Requests
from ofctl.guests.fence import Fence, FenceCounts, FenceLimits, GuestRefused
from ofctl.guests.frames import Frame, TokenBucket
from ofctl.guests.inward import Inward
from ofctl.guests.labels import put_label
from ofctl.guests.of13 import ANY, Kind, Multipart, Refused, entries, message
from ofctl.guests.outward import Outward, Standing
from ofctl.guests.packet_outs import PacketOuts
from ofctl.pipeline.fence import FencedGuest
from ofctl.pipeline.world import World

logger = logging.getLogger(__name__)

HELLO = message(Kind.HELLO, 0, struct.pack("!HHI", 1, 8, 1 << of13.VERSION))
"""With a bitmap of versions that has 1.3 alone (OpenFlow 1.3.5, 7.5.1)."""
NXT_SET_CONTROLLER_ID = 20


class InnerFence(Fence):
    """One connection of a guest to its part of the owned bridge."""

    def __init__(
        self, place: FencedGuest, limits: FenceLimits, counts: FenceCounts, *, world: Callable[[], World]
    ) -> None:
        """`world` returns what the bridge forwards for at the moment."""
        super().__init__(place.name, limits, counts)
        self._version = of13.VERSION
        self._place = place
        self._standing, requests, translator = Standing(), Requests(), Translator(place)
        self._translator = translator
        packet_outs = PacketOuts(place, translator, world)
        self._guests_way = Outward(place, translator, packet_outs, requests=requests, standing=self._standing)
        self._switchs_way = Inward(place, translator, packet_outs, requests=requests, standing=self._standing)
        self._packet_ins = TokenBucket(limits.max_packet_rate, asyncio.get_running_loop().time())

    def _opened(self) -> None:
        """Greet both; ask the switch for what concerns this guest, and for the groups and meters that it has."""
        assert self._switch is not None and self._guest is not None
        controller = struct.pack("!II6xH", NICIRA, NXT_SET_CONTROLLER_ID, self._place.controller_id)
        asks = (
            struct.pack("!HH4x", Multipart.GROUP_DESC, 0),
            struct.pack("!HH4xI4x", Multipart.METER_CONFIG, 0, ANY),
        )
        self._guest.write(HELLO)
        self._switch.write(
            b"".join(
                (
                    HELLO,
                    message(Kind.EXPERIMENTER, frames.COUNT_XID, controller),
                    frames.tell_me(of13.VERSION),
                    put_label(self._place),
                    *(message(Kind.MULTIPART_REQUEST, frames.COUNT_XID, ask) for ask in asks),
                )
            )
        )

    async def _send(self, frame: Frame, switch: asyncio.StreamWriter) -> None:
        if frame.kind == Kind.HELLO:
            if not speaks_1_3(frame):
                # Without an error: os-ken of OpenFlow 1.0 dies of every one.
                raise GuestRefused("it does not speak OpenFlow 1.3, and in a fence there is no other")
            return
        try:
            passed = self._guests_way.passed(frame)
        except Refused as refused:
            self._refuse(frame, kind=refused.kind, code=refused.code)
            return
        if passed.to_guest:
            self._tell_guest(passed.to_guest)
        if passed.messages > 1:
            await self._wait(self._changes, passed.messages - 1)
        switch.write(passed.to_switch)

    async def _receive(self, frame: Frame, guest: asyncio.StreamWriter) -> None:
        if frame.kind == Kind.PACKET_IN and not self._packet_ins.spare(asyncio.get_running_loop().time()):
            self._counts.dropped_packet_ins += 1
            return
        for part in self._switchs_way.steps(frame):
            guest.write(part)
            if frame.kind == Kind.MULTIPART_REPLY:
                await asyncio.sleep(0)

    def _count_request(self) -> bytes:
        return message(Kind.MULTIPART_REQUEST, frames.COUNT_XID, struct.pack("!HH4x", Multipart.TABLE, 0))

    def _counted(self, frame: Frame) -> int | None:
        """Take the answers to what the fence has asked itself: the flows of the guest's tables, its groups, meters."""
        if frame.xid != frames.COUNT_XID or frame.kind != Kind.MULTIPART_REPLY:
            return None
        kind = int.from_bytes(frame.octets[8:10], "big")
        body = frame.octets[16:]
        if kind == Multipart.TABLE:
            rows = struct.iter_unpack("!B3xI16x", body[: len(body) // 24 * 24])
            return sum(int(active) for table, active in rows if table in self._place.own_tables)
        known = self._standing.groups if kind == Multipart.GROUP_DESC else self._standing.meters
        numbers = (int.from_bytes(entry[4:8], "big") for entry in entries(body))
        known.update(number for number in numbers if self._translator.is_own_id(number))
        return self._counts.flows


def speaks_1_3(hello: Frame) -> bool:
    """Tell whether a hello allows for OpenFlow 1.3: by its bitmap of versions, or without one by its own version."""
    for element in entries(hello.octets[8:], length_at=2):
        if element[:2] == b"\0\x01":
            return bool(int.from_bytes(element[4:8], "big") >> of13.VERSION & 1)
    return hello.version >= of13.VERSION
