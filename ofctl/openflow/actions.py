"""Actions and instructions on the wire, in the form in which OVS dumps them (ovs-actions(7))."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any

from ofctl.openflow import oxm
from ofctl.pipeline.fields import IN_PORT, VLAN_VID, Field, RegisterSlice
from ofctl.pipeline.flow import (
    Action,
    Conjunction,
    Conntrack,
    Learn,
    LearnLoad,
    LearnMatch,
    Move,
    Output,
    OutputRegister,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    Table,
    ToController,
    ToGroup,
    moved_bits,
)

NICIRA = 0x00002320
OFPAT_OUTPUT = 0
OFPAT_PUSH_VLAN = 17
OFPAT_POP_VLAN = 18
OFPAT_GROUP = 22
OFPAT_SET_FIELD = 25
OFPAT_COPY_FIELD = 28
OFPAT_EXPERIMENTER = 0xFFFF
NXAST_RESUBMIT_TABLE = 14
NXAST_OUTPUT_REG = 15
NXAST_CONTROLLER = 20
NXAST_CONJUNCTION = 34
NXAST_CT = 35
NXAST_CLONE = 42
NXAST_LEARN2 = 45
NX_CT_F_COMMIT = 1 << 0
NX_CT_F_FORCE = 1 << 1
NX_CT_RECIRC_NONE = 0xFF
OFPIT_GOTO_TABLE = 1
OFPIT_APPLY_ACTIONS = 4
MAX_ACTIONS = 0xFFFF - 8
OFPCML_NO_BUFFER = 0xFFFF
OFPR_APPLY_ACTION = 1
NXM_IN_PORT_RESUBMIT = 0xFFF8
LEARN_FROM_CONSTANT = 1 << 13
LEARN_INTO_LOAD = 1 << 11
LEARN_VLAN_BITS = 12
"""As a source or target of learn, OVS's vlan_vid has 12 bits: the bit that says "tagged" cannot be learned."""

_pack_output = struct.Struct("!HHIH6x").pack
_pack_group = struct.Struct("!HHI").pack
_pack_push_vlan = struct.Struct("!HHH2x").pack
_pack_set_field = struct.Struct("!HH").pack
_pack_resubmit = struct.Struct("!HHIHHB3x").pack
_pack_output_reg = struct.Struct("!HHIHHIH6x").pack
_pack_controller = struct.Struct("!HHIHHHBx").pack
_pack_copy_field = struct.Struct("!HHHHH2xII").pack
_pack_conjunction = struct.Struct("!HHIHBBI").pack
_pack_clone = struct.Struct("!HHIH6x").pack
_pack_ct = struct.Struct("!HHIHHIHB5x").pack
_pack_learn = struct.Struct("!HHIHHHHQHBxHHIHxx").pack
_pack_apply = struct.Struct("!HH4x").pack
_pack_goto = struct.Struct("!HHB3x").pack
_POP_VLAN = struct.pack("!HH4x", OFPAT_POP_VLAN, 8)


def _output(action: Output) -> bytes:
    return _pack_output(OFPAT_OUTPUT, 16, action.port, OFPCML_NO_BUFFER)


def _output_register(action: OutputRegister) -> bytes:
    ofs_nbits = action.source.start << 6 | action.source.bits - 1
    register = oxm.REGISTER_BARE[action.source.register]
    return _pack_output_reg(OFPAT_EXPERIMENTER, 24, NICIRA, NXAST_OUTPUT_REG, ofs_nbits, register, OFPCML_NO_BUFFER)


def _controller(action: ToController) -> bytes:
    return _pack_controller(
        OFPAT_EXPERIMENTER, 16, NICIRA, NXAST_CONTROLLER, OFPCML_NO_BUFFER, action.controller_id, OFPR_APPLY_ACTION
    )


def _group(action: ToGroup) -> bytes:
    return _pack_group(OFPAT_GROUP, 8, action.group_id)


def _set_field(action: SetField) -> bytes:
    return _set_field_of(oxm.set_field_bytes(action.field, action.value))


def _set_field_of(content: bytes) -> bytes:
    padding = -(4 + len(content)) % 8
    return _pack_set_field(OFPAT_SET_FIELD, 4 + len(content) + padding) + content + bytes(padding)


def _move(action: Move) -> bytes:
    """OpenFlow 1.5 has it as an action of its own; OVS takes NXAST_REG_MOVE up to 1.4 only."""
    source, target = action.source, action.target
    return _pack_copy_field(
        OFPAT_COPY_FIELD,
        24,
        moved_bits(target),
        source.start if isinstance(source, RegisterSlice) else 0,
        target.start if isinstance(target, RegisterSlice) else 0,
        oxm.copy_header(source),
        oxm.copy_header(target),
    ) + bytes(4)


def _conntrack(action: Conntrack) -> bytes:
    nested = b"" if action.mark is None else _set_field_of(oxm.ct_mark_bytes(*action.mark))
    flags = (NX_CT_F_COMMIT if action.commit else 0) | (NX_CT_F_FORCE if action.force else 0)
    table = NX_CT_RECIRC_NONE if action.table is None else action.table.number
    if isinstance(action.zone, int):
        source, zone = 0, action.zone
    else:
        source, zone = oxm.REGISTER_BARE[action.zone.register], action.zone.start << 6 | action.zone.bits - 1
    fixed = _pack_ct(OFPAT_EXPERIMENTER, 24 + len(nested), NICIRA, NXAST_CT, flags, source, zone, table)
    whole = fixed + nested
    return _pack_clone(OFPAT_EXPERIMENTER, 16 + len(whole), NICIRA, NXAST_CLONE) + whole if action.cloned else whole


def _conjunction(action: Conjunction) -> bytes:
    """On the wire clauses are counted from 0."""
    return _pack_conjunction(
        OFPAT_EXPERIMENTER, 16, NICIRA, NXAST_CONJUNCTION, action.clause - 1, action.clauses, action.conj_id
    )


def _push_vlan(action: PushVlan) -> bytes:
    return _pack_push_vlan(OFPAT_PUSH_VLAN, 8, action.ethertype)


def _pop_vlan(_: PopVlan) -> bytes:
    return _POP_VLAN


def _resubmit(action: Resubmit) -> bytes:
    return _pack_resubmit(
        OFPAT_EXPERIMENTER, 16, NICIRA, NXAST_RESUBMIT_TABLE, NXM_IN_PORT_RESUBMIT, action.table.number
    )


@functools.lru_cache(maxsize=256)
def _learn(action: Learn) -> bytes:
    specs = [_learn_match(match) for match in action.matches]
    specs += [_learn_load(load) for load in action.loads]
    body = b"".join(specs)
    padding = -(40 + len(body)) % 8
    fixed = _pack_learn(
        OFPAT_EXPERIMENTER,
        40 + len(body) + padding,
        NICIRA,
        NXAST_LEARN2,
        action.idle_timeout_s,
        action.hard_timeout_s,
        action.priority,
        action.cookie,
        0,
        action.table.number,
        0,
        0,
        action.limit,
        0,
    )
    return fixed + body + bytes(padding)


def _learn_match(match: LearnMatch) -> bytes:
    bits = LEARN_VLAN_BITS if match.field.name == VLAN_VID.name else match.field.bits
    return struct.pack("!H", bits) + _subfield(match.source, bits) + _subfield(match.field, bits)


def _learn_load(load: LearnLoad) -> bytes:
    bits = load.target.bits
    if isinstance(load.source, int):
        constant = load.source.to_bytes(2 * ((bits + 15) // 16), "big")
        return struct.pack("!H", LEARN_FROM_CONSTANT | LEARN_INTO_LOAD | bits) + constant + _subfield(load.target, bits)
    return struct.pack("!H", LEARN_INTO_LOAD | bits) + _subfield(load.source, bits) + _subfield(load.target, bits)


def _subfield(field: Field | RegisterSlice, bits: int) -> bytes:
    """Return NXM header and offset of a field's lowest `bits` bits."""
    if isinstance(field, RegisterSlice):
        return struct.pack("!IH", oxm.REGISTER_BARE[field.register], field.start)
    if field.name == IN_PORT.name and bits <= 16:
        return struct.pack("!IH", oxm.IN_PORT_NXM, 0)
    return struct.pack("!IH", oxm.WIRE_FIELDS[field.name].nxm, 0)


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Output: _output,
    OutputRegister: _output_register,
    ToController: _controller,
    ToGroup: _group,
    SetField: _set_field,
    Move: _move,
    Conntrack: _conntrack,
    Conjunction: _conjunction,
    PushVlan: _push_vlan,
    PopVlan: _pop_vlan,
    Resubmit: _resubmit,
    Learn: _learn,
}


def action_list(actions: tuple[Action, ...]) -> bytes:
    """Return the actions one after the other, each padded to eight bytes. Raises ValueError if they are too many."""
    listed = b"".join([_ENCODERS[type(action)](action) for action in actions])
    if len(listed) > MAX_ACTIONS:
        raise ValueError(f"{len(actions)} actions of {len(listed)} bytes: a list does not fit in an OpenFlow message")
    return listed


def instructions(actions: tuple[Action, ...], goto: Table | None) -> bytes:
    """Return apply_actions (left out if empty: OVS drops it) and goto_table, in OVS's order."""
    if not actions:
        return _pack_goto(OFPIT_GOTO_TABLE, 8, goto.number) if goto is not None else b""
    listed = action_list(actions)
    content = _pack_apply(OFPIT_APPLY_ACTIONS, 8 + len(listed)) + listed
    return content + _pack_goto(OFPIT_GOTO_TABLE, 8, goto.number) if goto is not None else content
