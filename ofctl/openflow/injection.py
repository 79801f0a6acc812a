"""Frames into the tables by packet-out, and what the tables send back to us.

OpenFlow 1.5's packet-out takes registers with the frame (OpenFlow 1.5.1, 7.3.6), and the packet-in returns them. The
switch handles what comes on one connection in order and answers in order, with one packet-in for each copy of a frame
that met `controller(id=...)`. So a last packet-out that goes straight to the controller ends a series: what has not
come before its packet-in does not come.

With the kernel's datapath packet-ins travel through handler threads, and nothing was tested there.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ofctl.openflow.actions import NICIRA, action_list
from ofctl.openflow.channel import OFPT_ERROR
from ofctl.openflow.exchanges import ConnectionGone
from ofctl.openflow.oxm import PACKET_REGISTERS, match_bytes
from ofctl.openflow.refusals import Refusal, refusal
from ofctl.openflow.wire import ANY, message
from ofctl.pipeline.fields import IN_PORT, RegisterSlice
from ofctl.pipeline.flow import Action, Match, Term
from ofctl.pipeline.tables import PROBE, PROBE_BIT

OFPT_EXPERIMENTER = 4
OFPT_PACKET_OUT = 13
NXT_SET_CONTROLLER_ID = 20
OFPP_CONTROLLER = 0xFFFFFFFD
MAX_NUMBER = PROBE_BIT - 1

_pack_packet_out = struct.Struct("!IHxx").pack
_packet_in = struct.Struct("!IHBBQ").unpack_from
_match_header = struct.Struct("!HH").unpack_from


@dataclass(frozen=True, slots=True)
class PacketOut:
    """A frame, as if it came in at `in_port` (an ofport, or OFPP_CONTROLLER) with these registers, and what is done."""

    frame: bytes
    in_port: int
    actions: tuple[Action, ...]
    registers: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A frame that the tables sent us, and the registers that it had then. `in_port` is the one it came in at."""

    frame: bytes
    in_port: int
    table_number: int
    registers: tuple[int, ...]

    def value(self, part: RegisterSlice) -> int:
        """Return what is in a part of a register."""
        return (self.registers[part.register] & part.mask) >> part.start


def set_controller_id(xid: int, controller_id: int) -> bytes:
    """Return NXT_SET_CONTROLLER_ID: packet-ins for this id come to this connection, and no others do."""
    return message(OFPT_EXPERIMENTER, xid, struct.pack("!II6xH", NICIRA, NXT_SET_CONTROLLER_ID, controller_id))


def encode_packet_out(packet: PacketOut, xid: int, mark: int) -> bytes:
    """Return the OFPT_PACKET_OUT; `mark` is the whole PROBE register. Raises ValueError if it does not fit."""
    match = match_bytes(Match.of(Term(IN_PORT, packet.in_port), Term(PROBE, mark), *packet.registers))
    actions = action_list(packet.actions)
    padding = bytes(-(4 + len(match)) % 8)
    head = _pack_packet_out(ANY, len(actions)) + struct.pack("!HH", 1, 4 + len(match))
    return message(OFPT_PACKET_OUT, xid, b"".join((head, match, padding, actions, packet.frame)))


def read_packet_in(body: bytes) -> PacketIn:
    """Read an OFPT_PACKET_IN (OpenFlow 1.5.1, 7.4.1). Raises ValueError if it is cut off."""
    _, _, _, table, _ = _packet_in(body)
    _, length = _match_header(body, 16)
    end = 16 + (length + 7 & ~7) + 2
    if length < 4 or end > len(body):
        raise ValueError("the switch sent a packet-in that is cut off")
    registers = [0] * 16
    in_port = 0
    offset = 20
    while offset < 16 + length:
        oxm_class, number, size = struct.unpack_from("!HBB", body, offset)
        value = body[offset + 4 : offset + 4 + size]
        if oxm_class == PACKET_REGISTERS:
            pair = int.from_bytes(value[:8], "big")
            registers[number & ~1], registers[number | 1] = pair >> 32, pair & 0xFFFFFFFF
        elif oxm_class == 0x8000 and number >> 1 == 0:
            in_port = int.from_bytes(value, "big")
        offset += 4 + size
    return PacketIn(body[end:], in_port, table, tuple(registers))


@dataclass(eq=False)
class Probing:
    """The packet-ins of one series of probes: all that bear its mark, from when it is opened until it is closed."""

    mark: int
    came: list[PacketIn] = field(default_factory=list)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at each packet-in, and when the connection is gone."""
    ending: bytes = b""
    """The frame behind which nothing of what was injected comes any more; it is not among `came`."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `ending` has come, and when the connection is gone."""
    gone: bool = False


class PacketIns:
    """Hands each packet-in to the series whose mark it bears; the rest is nobody's."""

    def __init__(self) -> None:
        self._open: dict[int, Probing] = {}
        self._last = 0

    def open(self) -> Probing:
        """Return a series under a mark that no other open one has."""
        self._last = self._last % MAX_NUMBER + 1
        while self._last | PROBE_BIT in self._open:
            self._last = self._last % MAX_NUMBER + 1
        probing = Probing(self._last | PROBE_BIT)
        self._open[probing.mark] = probing
        return probing

    def close(self, probing: Probing) -> None:
        """Drop what still comes."""
        self._open.pop(probing.mark, None)

    def take(self, body: bytes) -> None:
        """Take an OFPT_PACKET_IN."""
        if self._open:
            packet = read_packet_in(body)
            probing = self._open.get(packet.value(PROBE))
            if probing is not None:
                if packet.frame == probing.ending:
                    probing.ended.set()
                else:
                    probing.came.append(packet)
                probing.arrival.set()

    def lose(self) -> None:
        """The connection is gone: nothing more will come."""
        for probing in self._open.values():
            probing.gone = True
            probing.ended.set()
            probing.arrival.set()


class PacketOutExchange:
    """Packet-outs of one series, of which only refusals come back."""

    def __init__(self, first_xid: int, packets: Sequence[PacketOut], mark: int) -> None:
        self.first_xid = first_xid
        self.last_xid = first_xid + len(packets) - 1
        self.request = b"".join(_encoded(packets, first_xid, mark))
        self.refused: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()

    def received(self, kind: int, xid: int, body: bytes) -> bool:
        if kind == OFPT_ERROR and not self.refused.done():
            self.refused.set_result(refusal(xid, body))
        return False

    def lost(self) -> None:
        if not self.refused.done():
            self.refused.set_exception(ConnectionGone())
            self.refused.exception()


def _encoded(packets: Sequence[PacketOut], first_xid: int, mark: int) -> Iterable[bytes]:
    for xid, packet in enumerate(packets, first_xid):
        yield encode_packet_out(packet, xid, mark)
