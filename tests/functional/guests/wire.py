"""A guest that is only its connection: sends messages built by os-ken into a fence, and keeps what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from os_ken.ofproto import ofproto_parser, ofproto_protocol, ofproto_v1_3, ofproto_v1_3_parser

from ofctl.guests.fence import FenceCounts, FenceLimits
from ofctl.guests.frames import Frame, Frames
from ofctl.guests.inner import InnerFence
from ofctl.pipeline.fence import FencedGuest, place_guests
from ofctl.pipeline.world import World

OFP: Any = ofproto_v1_3
PARSER: Any = ofproto_v1_3_parser
LIMITS = FenceLimits(max_change_rate=100_000, max_packet_rate=100_000, max_flows=10_000)
ANSWER_S = 5.0
DATAPATH: Any = ofproto_protocol.ProtocolDesc(OFP.OFP_VERSION)
DATAPATH.id = 1


class Wire:
    """The guest's end."""

    def __init__(self, end: socket.socket, fence: asyncio.Task[str], counts: FenceCounts) -> None:
        self.fence = fence
        self.counts = counts
        self._end = end
        self._xids = itertools.count(100)
        self._stream = Frames()

    async def send(self, *messages: Any) -> list[Any]:
        """Send messages (os-ken's, or octets) and a barrier; return all that came up to its answer, parsed."""
        barrier = PARSER.OFPBarrierRequest(DATAPATH)
        for message in (*messages, barrier):
            await self.post(message)
        came: list[Any] = []
        async with asyncio.timeout(ANSWER_S):
            async for frame in self.frames():
                if frame.kind == OFP.OFPT_BARRIER_REPLY and frame.xid == barrier.xid:
                    return came
                if frame.kind != OFP.OFPT_HELLO:
                    came.append(parsed(frame))
        raise AssertionError(f"the fence closed the connection: {await self.fence}")

    async def post(self, message: Any) -> None:
        """Send one message and wait for nothing."""
        if not isinstance(message, bytes):
            message.set_xid(next(self._xids))
            message.serialize()
            message = bytes(message.buf)
        await asyncio.get_running_loop().sock_sendall(self._end, message)

    async def frames(self) -> AsyncIterator[Frame]:
        """Yield what comes."""
        loop = asyncio.get_running_loop()
        while octets := await loop.sock_recv(self._end, 65536):
            for frame in self._stream.feed(octets):
                yield frame

    async def next(self, kind: int) -> Any:
        """Return the next message of a kind."""
        async with asyncio.timeout(ANSWER_S):
            async for frame in self.frames():
                if frame.kind == kind:
                    return parsed(frame)
        raise AssertionError(f"the fence closed the connection: {await self.fence}")

    async def flows(self, **how: Any) -> list[Any]:
        """Return the flows that the guest is told of."""
        replies = await self.send(PARSER.OFPFlowStatsRequest(DATAPATH, **how))
        return [flow for reply in replies for flow in reply.body]

    async def errors(self, *messages: Any) -> list[tuple[int, int]]:
        """Send messages; return type and code of each error that comes."""
        return [(reply.type, reply.code) for reply in await self.send(*messages) if reply.msg_type == OFP.OFPT_ERROR]


def parsed(frame: Frame) -> Any:
    """Return a message as os-ken has it."""
    return ofproto_parser.msg(DATAPATH, frame.version, frame.kind, len(frame.octets), frame.xid, frame.octets)


@asynccontextmanager
async def fenced(
    management: Path, place: FencedGuest, *, world: World | None = None, limits: FenceLimits = LIMITS
) -> AsyncIterator[Wire]:
    """Have a fence on a bridge, and a guest in it that has said hello."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    counts = FenceCounts()
    fence = InnerFence(place, limits, counts, world=lambda: world or World())
    task = asyncio.create_task(fence.run(ours, management))
    wire = Wire(theirs, task, counts)
    try:
        await wire.send(PARSER.OFPHello(DATAPATH))
        yield wire
    finally:
        theirs.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(task, ANSWER_S)


def places(*fences: str) -> tuple[FencedGuest, ...]:
    """Return the places of guests `a`, `b` and so on."""
    return place_guests([(name, fence) for name, fence in zip("abcdefgh", fences, strict=False)])


def flow_mod(*instructions: Any, **how: Any) -> Any:
    """Return a flow-mod that adds, unless it is said otherwise."""
    match = PARSER.OFPMatch(**how.pop("match", {}))
    return PARSER.OFPFlowMod(DATAPATH, match=match, instructions=list(instructions), **how)


def apply(*actions: Any) -> Any:
    """Return an instruction."""
    return PARSER.OFPInstructionActions(OFP.OFPIT_APPLY_ACTIONS, list(actions))


def write(*actions: Any) -> Any:
    """Return an instruction."""
    return PARSER.OFPInstructionActions(OFP.OFPIT_WRITE_ACTIONS, list(actions))


def output(port: int, max_len: int = 0) -> Any:
    """Return an action."""
    return PARSER.OFPActionOutput(port, max_len)


def delete(**how: Any) -> Any:
    """Return a flow-mod that deletes, everything in all tables unless it is said otherwise."""
    wanted = {
        "command": OFP.OFPFC_DELETE,
        "table_id": OFP.OFPTT_ALL,
        "out_port": OFP.OFPP_ANY,
        "out_group": OFP.OFPG_ANY,
        **how,
    }
    return flow_mod(**wanted)


def group_and_meter() -> list[Any]:
    """Return what makes a group and a meter, number 7 each, which others have too."""
    return [
        PARSER.OFPGroupMod(DATAPATH, OFP.OFPGC_ADD, OFP.OFPGT_ALL, 7, [PARSER.OFPBucket(actions=[output(3)])]),
        PARSER.OFPMeterMod(DATAPATH, OFP.OFPMC_ADD, OFP.OFPMF_KBPS, 7, [PARSER.OFPMeterBandDrop(100, 10)]),
    ]
