"""Between a guest and its switch: passes OpenFlow on, and keeps what the guest can cost in bounds.

As it is here it is for a bridge that the guest has whole; `ofctl.guests.inner` makes one on the owned bridge of it.

From the guest: messages whose framing is wrong, or whose version is not the negotiated one, never reach the switch;
changes and packet-outs go at the guest's rates (what is too early waits, and all that comes after it); flows beyond
its limit are refused. To the guest: echo requests are answered here, so that a guest that is busy stays connected;
packet-ins that it is too slow for are dropped; if it does not take the rest either it is disconnected.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass
from pathlib import Path

from ofctl.guests import frames
from ofctl.guests.frames import BadFrame, Frame, Frames, TokenBucket

logger = logging.getLogger(__name__)

READ_SIZE = 16 * 1024
"""From a guest at once: what its messages cost until the loop serves others."""
PACKET_IN_ROOM = 256 * 1024
"""Octets waiting for the guest at which packet-ins are dropped."""
ROOM = 4 * 1024 * 1024
"""Octets waiting for the guest at which it is disconnected."""
COUNT_INTERVAL_S = 1.0
FLOWS_FOR_ONE = 20
"""Flows that the switch can list in the time that a change of one takes."""


@dataclass(frozen=True, slots=True)
class FenceLimits:
    """What a guest may do."""

    max_change_rate: int
    max_packet_rate: int
    max_flows: int


@dataclass(slots=True)
class FenceCounts:
    """What was seen, over all connections of a guest."""

    flows: int = 0
    dropped_packet_ins: int = 0
    delayed_messages: int = 0
    refused_messages: int = 0


class GuestRefused(Exception):
    """The guest cannot be served at all; says why."""


class Fence:
    """One connection of a guest to its switch."""

    def __init__(self, name: str, limits: FenceLimits, counts: FenceCounts) -> None:
        self.name = name
        self.refusal = ""
        """Why the guest cannot be served at all, however often it connects."""
        self._limits = limits
        self._counts = counts
        self._version = 0
        """Negotiated; 0 before the guest has used it."""
        self._bundled = 0
        """Messages put into bundles since one was opened or closed."""
        now = asyncio.get_running_loop().time()
        self._changes = TokenBucket(limits.max_change_rate, now)
        self._packets = TokenBucket(limits.max_packet_rate, now)
        self._switch: asyncio.StreamWriter | None = None
        self._guest: asyncio.StreamWriter | None = None

    async def run(self, guest_end: socket.socket, management: Path) -> str:
        """Connect to the switch, pass messages on until one side is gone; return why. Raises OSError if it cannot."""
        switch_reader, switch = await asyncio.open_unix_connection(management)
        guest_reader, guest = await asyncio.open_unix_connection(sock=guest_end, limit=READ_SIZE)
        self._switch, self._guest = switch, guest
        self._opened()
        tasks = {
            asyncio.create_task(self._outward(guest_reader, switch), name=f"guest-{self.name}-to-switch"),
            asyncio.create_task(self._inward(switch_reader, guest), name=f"guest-{self.name}-from-switch"),
            asyncio.create_task(self._count(switch), name=f"guest-{self.name}-count"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return " and ".join(sorted(_reason(task) for task in done))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for writer in (switch, guest):
                writer.transport.abort()
            for writer in (switch, guest):
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _outward(self, reader: asyncio.StreamReader, switch: asyncio.StreamWriter) -> str:
        stream = Frames()
        while octets := await reader.read(READ_SIZE):
            try:
                for frame in stream.feed(octets):
                    await self._pass(frame, switch)
            except GuestRefused as refused:
                self.refusal = str(refused)
                return self.refusal
            except BadFrame as bad:
                self._refuse(Frame(bad.octets[0], bad.octets[1], int.from_bytes(bad.octets[4:8], "big"), bad.octets))
                return f"the guest sent nonsense: {bad}"
            await switch.drain()
        return "the guest has closed the connection"

    async def _pass(self, frame: Frame, switch: asyncio.StreamWriter) -> None:
        """Let one message of the guest through when its time has come, or refuse it."""
        if frame.kind != frames.OFPT_HELLO:
            if frame.kind == frames.OFPT_FEATURES_REQUEST and not self._version:
                self._version = frame.version
                switch.write(frames.tell_me(frame.version))
            elif frame.version != self._version:
                self._refuse(frame, code=frames.OFPBRC_BAD_VERSION)
                return
        inner = frames.bundled(frame)
        if frames.adds_flow(inner or frame) and self._counts.flows >= self._limits.max_flows:
            self._counts.refused_messages += 1
            self._tell_guest(frames.table_full(frame))
            return
        if inner is not None and self._bundled >= frames.MAX_BUNDLED:
            self._refuse(frame, kind=frames.OFPET_BUNDLE_FAILED, code=frames.OFPBFC_MSG_TOO_MANY)
            return
        self._bundled = 0 if frames.controls_bundle(frame) else self._bundled + (inner is not None)
        if frame.kind not in frames.CHEAP:
            await self._wait_for_turn(frame)
        await self._send(frame, switch)
        if switch.transport.get_write_buffer_size():
            await switch.drain()

    def _opened(self) -> None:
        """Begin: both sides are connected."""

    async def _send(self, frame: Frame, switch: asyncio.StreamWriter) -> None:
        """Send the switch what the guest has sent."""
        switch.write(frame.octets)

    async def _receive(self, frame: Frame, guest: asyncio.StreamWriter) -> None:
        """Send the guest what the switch has sent."""
        guest.write(frame.octets)

    def _count_request(self) -> bytes:
        return frames.count_request(self._version)

    def _counted(self, frame: Frame) -> int | None:
        return frames.counted(frame)

    async def _wait_for_turn(self, frame: Frame) -> None:
        bucket = self._packets if frame.kind == frames.OFPT_PACKET_OUT else self._changes
        await self._wait(bucket, 1 + self._counts.flows / FLOWS_FOR_ONE if frames.asks_for_many(frame) else 1)

    async def _wait(self, bucket: TokenBucket, cost: float) -> None:
        delay = bucket.take(asyncio.get_running_loop().time(), cost)
        if delay > 0:
            self._counts.delayed_messages += 1
            await asyncio.sleep(delay)

    def _refuse(self, frame: Frame, *, kind: int = frames.OFPET_BAD_REQUEST, code: int = frames.OFPBRC_BAD_LEN) -> None:
        self._counts.refused_messages += 1
        answer = Frame(self._version or frame.version, frame.kind, frame.xid, frame.octets)
        self._tell_guest(frames.error(answer, kind, code))

    def _tell_guest(self, octets: bytes) -> None:
        assert self._guest is not None
        if self._guest.transport.get_write_buffer_size() < ROOM:
            self._guest.write(octets)

    async def _inward(self, reader: asyncio.StreamReader, guest: asyncio.StreamWriter) -> str:
        stream = Frames()
        while octets := await reader.read(READ_SIZE):
            for frame in stream.feed(octets):
                waiting = guest.transport.get_write_buffer_size()
                if frame.kind == frames.OFPT_ECHO_REQUEST:
                    assert self._switch is not None
                    self._switch.write(
                        frames.message(frame.version, frames.OFPT_ECHO_REPLY, frame.xid, frame.octets[8:])
                    )
                elif (flows := self._counted(frame)) is not None:
                    self._counts.flows = flows
                elif frame.xid == frames.COUNT_XID:
                    pass  # The switch refused what the fence asked for itself.
                elif frame.kind == frames.OFPT_PACKET_IN and waiting > PACKET_IN_ROOM:
                    self._counts.dropped_packet_ins += 1
                elif waiting > ROOM:
                    return f"the guest does not read: {waiting} bytes wait for it"
                else:
                    await self._receive(frame, guest)
        return "the switch has closed the connection"

    async def _count(self, switch: asyncio.StreamWriter) -> str:
        """Ask for the number of flows now and then."""
        while True:
            if self._version:
                switch.write(self._count_request())
            await asyncio.sleep(COUNT_INTERVAL_S)


def _reason(task: asyncio.Task[str]) -> str:
    error = task.exception()
    return str(error) or type(error).__name__ if error is not None else task.result()
