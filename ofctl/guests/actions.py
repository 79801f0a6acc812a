"""Instructions, actions and buckets of a fenced guest, to what the owned bridge is told, and back. No I/O.

What a guest sends to a port is a look-up in ofctl's table FENCE_OUTPUT with that port for in_port, on a copy of the
frame: so it is delivered as any frame is, by the port's number of the moment. Behind the look-up stands the guest's
own output, to a frame that seems to come from there, which therefore sends nothing: the switch finds flows by it
(out_port of a delete and of a list). An entry without goto says at its end that the frame was TAKEN.
"""

from __future__ import annotations

import struct

from ofctl.guests import matches
from ofctl.guests.of13 import (
    ANY,
    OFPP_ALL,
    OFPP_CONTROLLER,
    OFPP_FLOOD,
    OFPP_IN_PORT,
    OFPP_LOCAL,
    OFPP_MAX,
    OFPP_NORMAL,
    OFPP_TABLE,
    Refusal,
    pieces,
)
from ofctl.pipeline.fence import MAX_OWN_ID, FencedGuest
from ofctl.pipeline.fields import RegisterSlice
from ofctl.pipeline.flow import MAX_BUCKETS
from ofctl.pipeline.tables import FENCE, FENCE_OUTPUT, TAKEN

OUTPUT, GROUP, SET_FIELD, EXPERIMENTER = 0, 22, 25, 0xFFFF
PLAIN = frozenset({11, 12, 15, 16, 17, 18, 19, 20, 21, 23, 24, 26, 27})
"""Those that pass as they are: TTL, tags, queue."""
GOTO, WRITE_METADATA, WRITE_ACTIONS, APPLY_ACTIONS, CLEAR_ACTIONS, METER = 1, 2, 3, 4, 5, 6
SET_ORDER = (12, 18, 20, 27, 19, 26, 17, 11, 24, 16, 23, 15, SET_FIELD, 21, GROUP, OUTPUT)
"""The order in which the actions of an action set are applied (OpenFlow 1.3.5, 5.10)."""
NICIRA = 0x2320
RESUBMIT_TABLE, REG_LOAD, NOTE, CONTROLLER, CLONE = 14, 7, 8, 20, 42
NXM_IN_PORT = 0x0000_0002
"""In OpenFlow 1.3 OVS takes no set-field of OXM's in_port, of 32 bits, but this one, of 16."""
NXM_REG = 0x0001_0004
NO_MATCH, BY_ACTION = 0, 1
BUCKET_BYTES = 16
MAX_CONTENT = 8192
"""Octets of the actions of an entry, for the switch. ofctl lists guests' entries with its own."""
MAX_GROUP = 32768
"""Octets of the buckets of a group, for the switch: more than twice as many in a list corrupt it (as do more than about
2,500 buckets), and it is ofctl's list, too."""

_output = struct.Struct("!HHIH6x")
_resubmit = struct.Struct("!HHIHHB3x")
_controller = struct.Struct("!HHIHHHBx")
_set_in_port = struct.Struct("!HHIH6x")


def resubmit(table: int, port: int = OFPP_IN_PORT) -> bytes:
    """Return a look-up in a table, with this number for in_port."""
    return _resubmit.pack(EXPERIMENTER, 16, NICIRA, RESUBMIT_TABLE, port & 0xFFFF, table)


def load(target: RegisterSlice, value: int) -> bytes:
    """Return what puts a constant in a register slice (NXAST_REG_LOAD)."""
    place = target.start << 6 | target.bits - 1
    register = NXM_REG | target.register << 9
    return struct.pack("!HHIHHIQ", EXPERIMENTER, 24, NICIRA, REG_LOAD, place, register, value)


def clone(*actions: bytes) -> bytes:
    """Return what does the actions with a copy of the frame."""
    body = b"".join(actions)
    return struct.pack("!HHIH6x", EXPERIMENTER, 16 + len(body), NICIRA, CLONE) + body


def output(port: int, max_len: int = 0) -> bytes:
    """Return OpenFlow's own output action."""
    return _output.pack(OUTPUT, 16, port, max_len)


def set_in_port(port: int) -> bytes:
    """Return what makes a frame seem to come in at a port."""
    return _set_in_port.pack(SET_FIELD, 16, NXM_IN_PORT, port & 0xFFFF)


MARK_TAKEN = load(FENCE, TAKEN)
WRITTEN = struct.pack("!HHIH6s", EXPERIMENTER, 16, NICIRA, NOTE, b"write\0")
"""Does nothing; what is behind it the guest has put in its action set."""
HAIRPIN = clone(set_in_port(0), resubmit(FENCE_OUTPUT.number, OFPP_TABLE))
"""To the port that the frame came from: the switch would not send it there."""
EVERYWHERE = {port: clone(resubmit(FENCE_OUTPUT.number, port)) for port in (OFPP_NORMAL, OFPP_FLOOD, OFPP_ALL)}
_PORT_BY_FORM = {HAIRPIN: OFPP_IN_PORT, **{form: port for port, form in EVERYWHERE.items()}}


def to_port(port: int, max_len: int = 0) -> bytes:
    """Return what sends a frame to a port, by ofctl's delivery."""
    return clone(resubmit(FENCE_OUTPUT.number, port), set_in_port(port), output(port, max_len))


class Translator:
    """Between one guest and the switch."""

    def __init__(self, place: FencedGuest) -> None:
        self._place = place

    # Numbers

    def table(self, number: int, refusal: Refusal) -> int:
        """Return the switch's number of a table of the guest's. Raises Refused if it has no such table."""
        if number >= self._place.tables:
            raise refusal.error()
        return self._place.first_table + number

    def own_id(self, number: int, refusal: Refusal) -> int:
        """Return the switch's id of a group or meter of the guest's. Raises Refused if it cannot have this id."""
        if number > MAX_OWN_ID:
            raise refusal.error()
        return self._place.first_id + number

    def is_own_id(self, number: int) -> bool:
        """Tell whether the switch's group or meter is the guest's."""
        return self._place.first_id <= number <= self._place.first_id + MAX_OWN_ID

    # To the switch

    def actions(self, octets: bytes, *, reason: int = BY_ACTION) -> bytes:
        """Return the actions of an action list. Raises Refused."""
        return b"".join([self._action(kind, each, reason) for kind, each in pieces(octets, 0, Refusal.BAD_ACTION_LEN)])

    def _action(self, kind: int, octets: bytes, reason: int) -> bytes:
        if kind == OUTPUT:
            if len(octets) != 16:
                raise Refusal.BAD_ACTION_LEN.error()
            _, _, port, max_len = _output.unpack(octets)
            return self._output(port, max_len, reason)
        if kind == GROUP:
            if len(octets) != 8:
                raise Refusal.BAD_ACTION_LEN.error()
            group = self.own_id(int.from_bytes(octets[4:], "big"), Refusal.BAD_OUT_GROUP)
            return octets[:4] + group.to_bytes(4, "big")
        if kind == SET_FIELD:
            if not matches.settable(int.from_bytes(octets[4:8], "big")):
                raise Refusal.BAD_SET_TYPE.error()
        elif kind == EXPERIMENTER:
            raise Refusal.EXPERIMENTER_ACTION.error()
        elif kind not in PLAIN:
            raise Refusal.BAD_ACTION_TYPE.error()
        return octets

    def _output(self, port: int, max_len: int, reason: int) -> bytes:
        if port == OFPP_CONTROLLER:
            controller = self._place.controller_id
            return _controller.pack(EXPERIMENTER, 16, NICIRA, CONTROLLER, max_len, controller, reason)
        if port == OFPP_IN_PORT:
            return HAIRPIN
        if port in EVERYWHERE:
            return EVERYWHERE[port]
        if not 0 < port < OFPP_MAX and port != OFPP_LOCAL:
            raise Refusal.BAD_OUT_PORT.error()
        return to_port(port, max_len)

    def instructions(self, octets: bytes, *, table: int, reason: int) -> bytes:
        """Return the instructions of an entry in a table of the guest's. Raises Refused.

        An action set is applied at the end of the entry that writes it, so there is none together with a goto.
        """
        before: list[bytes] = []
        after: list[bytes] = []
        applied = written = b""
        goes_on = False
        for kind, each in pieces(octets, 0, Refusal.BAD_INSTRUCTION_LEN):
            if kind == APPLY_ACTIONS:
                applied = self.actions(each[8:], reason=reason)
            elif kind == WRITE_ACTIONS:
                written = WRITTEN + self.actions(_as_set(each[8:]), reason=reason)
            elif kind == METER:
                meter = self.own_id(int.from_bytes(each[4:8], "big"), Refusal.INVALID_METER)
                before.append(each[:4] + meter.to_bytes(4, "big"))
            elif kind == WRITE_METADATA:
                after.append(each)
            elif kind == GOTO:
                goes_on = True
                if each[4] <= table:
                    raise Refusal.BAD_GOTO.error()
                after.append(each[:4] + bytes((self.table(each[4], Refusal.BAD_GOTO),)) + each[5:])
            elif kind == EXPERIMENTER:
                raise Refusal.EXPERIMENTER_INSTRUCTION.error()
            elif kind != CLEAR_ACTIONS:  # Nothing is in the action set.
                raise Refusal.UNKNOWN_INSTRUCTION.error()
        if goes_on and written:
            raise Refusal.UNSUPPORTED_INSTRUCTION.error()
        actions = applied + written + (b"" if goes_on else MARK_TAKEN)
        if len(actions) > MAX_CONTENT:
            raise Refusal.TOO_MANY_ACTIONS.error()
        listed = [_instruction(APPLY_ACTIONS, actions)] if actions else []
        return b"".join((*before, *listed, *after))

    def buckets(self, octets: bytes) -> bytes:
        """Return the buckets of a group. Raises Refused."""
        found, at = [], 0
        while at < len(octets):
            if len(octets) - at < BUCKET_BYTES:
                raise Refusal.BAD_LEN.error()
            length, weight, port, group = struct.unpack_from("!HHII", octets, at)
            if length < BUCKET_BYTES or at + length > len(octets):
                raise Refusal.BAD_LEN.error()
            actions = self.actions(octets[at + BUCKET_BYTES : at + length])
            watched = group if group == ANY else self.own_id(group, Refusal.INVALID_GROUP)
            found.append(_bucket(weight, port, watched, actions))
            at += length
        listed = b"".join(found)
        if len(found) > MAX_BUCKETS or len(listed) > MAX_GROUP:
            raise Refusal.OUT_OF_BUCKETS.error()
        return listed

    # Back to the guest

    def own_actions(self, octets: bytes) -> bytes:
        """Return the guest's form of a list of actions that the switch has."""
        return b"".join([self._own_action(kind, each) for kind, each in pieces(octets, 0, Refusal.BAD_ACTION_LEN)])

    def _own_action(self, kind: int, octets: bytes) -> bytes:
        if kind == GROUP:
            return octets[:4] + (int.from_bytes(octets[4:], "big") & MAX_OWN_ID).to_bytes(4, "big")
        if kind != EXPERIMENTER:
            return octets
        subtype = int.from_bytes(octets[8:10], "big")
        if subtype == CONTROLLER:
            return output(OFPP_CONTROLLER, int.from_bytes(octets[10:12], "big"))
        if subtype != CLONE:
            return b""
        port = _PORT_BY_FORM.get(octets)
        return octets[-16:] if port is None else output(port)

    def own_instructions(self, octets: bytes) -> bytes:
        """Return the guest's form of the instructions that the switch has."""
        return b"".join([self._own_instruction(kind, each) for kind, each in pieces(octets, 0, Refusal.BAD_LEN)])

    def _own_instruction(self, kind: int, octets: bytes) -> bytes:
        if kind == METER:
            return octets[:4] + (int.from_bytes(octets[4:8], "big") & MAX_OWN_ID).to_bytes(4, "big")
        if kind == GOTO:
            return octets[:4] + bytes((octets[4] - self._place.first_table,)) + octets[5:]
        if kind != APPLY_ACTIONS:
            return octets
        applied, _, written = octets[8:].removesuffix(MARK_TAKEN).partition(WRITTEN)
        own = [(APPLY_ACTIONS, self.own_actions(applied)), (WRITE_ACTIONS, self.own_actions(written))]
        return b"".join([_instruction(each, actions) for each, actions in own if actions])

    def own_buckets(self, octets: bytes) -> bytes:
        """Return the guest's form of the buckets that the switch has."""
        found, at = [], 0
        while at + BUCKET_BYTES <= len(octets):
            length, weight, port, group = struct.unpack_from("!HHII", octets, at)
            if length < BUCKET_BYTES:
                break
            actions = self.own_actions(octets[at + BUCKET_BYTES : at + length])
            found.append(_bucket(weight, port, group if group == ANY else group & MAX_OWN_ID, actions))
            at += length
        return b"".join(found)


def _instruction(kind: int, actions: bytes) -> bytes:
    return struct.pack("!HH4x", kind, 8 + len(actions)) + actions


def _bucket(weight: int, port: int, group: int, actions: bytes) -> bytes:
    length = BUCKET_BYTES + len(actions)
    if length > 0xFFFF:
        raise Refusal.TOO_MANY_ACTIONS.error()
    return struct.pack("!HHII4x", length, weight, port, group) + actions


def _as_set(octets: bytes) -> bytes:
    """Return the actions as an action set has and applies them: one of each type, and of a field."""
    last: dict[tuple[int, bytes], bytes] = {}
    for kind, each in pieces(octets, 0, Refusal.BAD_ACTION_LEN):
        if kind not in SET_ORDER:
            raise (Refusal.EXPERIMENTER_ACTION if kind == EXPERIMENTER else Refusal.BAD_ACTION_TYPE).error()
        last[kind, each[4:7] if kind == SET_FIELD else b""] = each
    if any(kind == GROUP for kind, _ in last):
        last.pop((OUTPUT, b""), None)
    return b"".join([last[key] for key in sorted(last, key=lambda key: SET_ORDER.index(key[0]))])
