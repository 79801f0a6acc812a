"""os-ken is the oracle: what it reads in our bytes is what the flow says."""

from __future__ import annotations

import base64
import ipaddress
from typing import Any

import pytest
from hypothesis import assume, example, given
from os_ken.lib import addrconv
from os_ken.ofproto import ofproto_parser, ofproto_protocol, ofproto_v1_5, ofproto_v1_5_parser

from ofctl.openflow.actions import action_list
from ofctl.openflow.wire import encode_change, flow_digest, flow_image, group_image
from ofctl.pipeline import fields as f
from ofctl.pipeline.changes import (
    AddFlow,
    AddGroup,
    Change,
    DeleteFlow,
    DeleteFlowsByCookie,
    DeleteGroup,
    InsertBucket,
    ModifyGroup,
    RemoveBucket,
)
from ofctl.pipeline.fields import Field, RegisterSlice
from ofctl.pipeline.flow import (
    Action,
    Bucket,
    Conjunction,
    Conntrack,
    Cookie,
    Flow,
    Group,
    GroupId,
    Match,
    Move,
    Output,
    OutputRegister,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    Table,
    Term,
    ToGroup,
    moved_bits,
)
from tests.unit.openflow import strategies as some

XID = 0x12345678
DATAPATH = ofproto_protocol.ProtocolDesc(version=ofproto_v1_5.OFP_VERSION)
OTHER_NAMES = {
    "ipv6_nd_target": f.ND_TARGET, "ipv6_nd_sll": f.ND_SLL, "ipv6_nd_tll": f.ND_TLL, "icmpv4_type": f.ICMPV4_TYPE,
    "icmpv4_code": f.ICMPV4_CODE, "in_port_nxm": f.IN_PORT,
    # os-ken 4.2.2 knows these by number alone: class / 128 and number.
    "field_247": f.CT_NW_PROTO, "field_248": f.CT_NW_SRC, "field_249": f.CT_NW_DST, "field_250": f.CT_IPV6_SRC,
    "field_251": f.CT_IPV6_DST, "field_252": f.CT_TP_SRC, "field_253": f.CT_TP_DST,
    "field_524289": f.ND_RESERVED, "field_524290": f.ND_OPTIONS_TYPE,
}  # fmt: skip
BY_NAME = {field.name: field for field in f.FIELDS} | OTHER_NAMES
MAC_FIELDS = (f.ETH_DST, f.ETH_SRC, f.ARP_SHA, f.ARP_THA, f.ND_SLL, f.ND_TLL)
IPV4_FIELDS = (f.IPV4_SRC, f.IPV4_DST, f.ARP_SPA, f.ARP_TPA)
IPV6_FIELDS = (f.IPV6_SRC, f.IPV6_DST, f.ND_TARGET)


def parsed(change: Change) -> Any:
    """Return what os-ken reads."""
    encoded = encode_change(change, XID)
    version, kind, length, xid = ofproto_parser.header(encoded)
    assert (version, length, xid) == (6, len(encoded), XID)
    return ofproto_parser.msg(DATAPATH, version, kind, length, xid, encoded)


def number(field: Field, text: Any) -> int:
    """Return os-ken's form of a field's value as a number."""
    if isinstance(text, int):
        return text
    if field in OTHER_NAMES.values() and text.endswith("="):
        return int.from_bytes(base64.b64decode(text), "big")
    if field in MAC_FIELDS:
        return int.from_bytes(addrconv.mac.text_to_bin(text), "big")
    return int(ipaddress.ip_address(text))


def parsed_match(match: Any) -> dict[str, tuple[int, int]]:
    """Return name -> (value, mask) of what os-ken reads, the registers in pairs."""
    result = {}
    for name, content in match.items():
        value, mask = content if isinstance(content, tuple) else (content, None)
        if name not in BY_NAME:
            full = (1 << 64) - 1
            result[name] = (value, full if mask is None else mask)
        else:
            field = BY_NAME[name]
            full = (1 << field.bits) - 1
            result[field.name] = (number(field, value), full if mask is None else number(field, mask))
    return result


def expected_match(match: Match) -> dict[str, tuple[int, int]]:
    """Return the same of what the flow says."""
    result: dict[str, tuple[int, int]] = {}
    for term in match.terms:
        mask = (1 << term.field.bits) - 1 if term.mask is None else term.mask
        if isinstance(term.field, RegisterSlice):
            shift = term.field.start + (32 if term.field.register % 2 == 0 else 0)
            name = f"xreg{term.field.register // 2}"
            value, have = result.get(name, (0, 0))
            result[name] = (value | term.value << shift, have | mask << shift)
        else:
            result[term.field.name] = (term.value, mask)
    return result


def assert_same_action(ours: Action, read: Any) -> None:
    kind = type(read).__name__
    match ours:
        case Output(port):
            assert (kind, read.port) == ("OFPActionOutput", port)
        case OutputRegister(source):
            assert kind == "NXActionOutputReg"
            assert (read.ofs_nbits, read.src) == (source.start << 6 | source.bits - 1, f"reg{source.register}")
        case ToGroup(group_id):
            assert (kind, read.group_id) == ("OFPActionGroup", group_id)
        case SetField(RegisterSlice() as field, value):
            full = field.bits == 32
            assert (kind, read.key) == ("OFPActionSetField", f"reg{field.register}")
            assert read.value == (value if full else (value << field.start, field.mask))
        case SetField(Field() as field, value):
            assert (kind, number(field, read.value)) == ("OFPActionSetField", value)
            assert BY_NAME[read.key] == field
        case _:
            assert_same_extension(ours, read, kind)


def assert_same_extension(ours: Action, read: Any, kind: str) -> None:
    match ours:
        case Conntrack(zone, commit, table, mark, force):
            assert (kind, read.flags) == ("NXActionCT", commit + 2 * force)
            assert read.recirc_table == (0xFF if table is None else table.number)
            if isinstance(zone, int):
                assert (read.zone_src, read.zone_ofs_nbits) == ("", zone)
            else:
                assert (read.zone_src, read.zone_ofs_nbits) == (f"reg{zone.register}", zone.start << 6 | 15)
            assert len(read.actions) == (mark is not None)
            for nested in read.actions:
                value, mask = nested.value if isinstance(nested.value, tuple) else (nested.value, 0xFFFFFFFF)
                assert (nested.key, (value, mask)) == ("ct_mark", ours.mark)
        case Conjunction(conj_id, clause, clauses):
            assert (kind, read.id, read.clause, read.n_clauses) == ("NXActionConjunction", conj_id, clause - 1, clauses)
        case PushVlan(ethertype):
            assert (kind, read.ethertype) == ("OFPActionPushVlan", ethertype)
        case PopVlan():
            assert kind == "OFPActionPopVlan"
        case Resubmit(table):
            assert (kind, read.table_id, read.in_port) == ("NXActionResubmitTable", table.number, 0xFFF8)
        case _:
            raise AssertionError(ours)


def assert_same_actions(ours: tuple[Action, ...], read: list[Any]) -> None:
    assert len(ours) == len(read)
    for one, other in zip(ours, read, strict=True):
        assert_same_action(one, other)


@given(some.flows)
def test_os_ken_reads_the_flow_that_was_meant(flow: Flow) -> None:
    read = parsed(AddFlow(flow))
    assert isinstance(read, ofproto_v1_5_parser.OFPFlowMod)
    assert (read.command, read.table_id, read.priority, read.cookie, read.cookie_mask) == (
        ofproto_v1_5.OFPFC_ADD,
        flow.table.number,
        flow.priority,
        flow.cookie,
        0,
    )
    assert (read.idle_timeout, read.hard_timeout, read.flags, read.importance) == (0, 0, 0, 0)
    assert (read.buffer_id, read.out_port, read.out_group) == (0xFFFFFFFF,) * 3
    assert parsed_match(read.match) == expected_match(flow.match)
    instructions = list(read.instructions)
    if flow.actions:
        apply = instructions.pop(0)
        assert apply.type == ofproto_v1_5.OFPIT_APPLY_ACTIONS
        assert_same_actions(flow.actions, apply.actions)
    if flow.goto is not None:
        assert instructions.pop(0).table_id == flow.goto.number
    assert not instructions


@given(some.flows)
def test_a_flow_is_deleted_by_what_it_is_added_by(flow: Flow) -> None:
    added, deleted = encode_change(AddFlow(flow), XID), encode_change(DeleteFlow(flow), XID)
    assert parsed(DeleteFlow(flow)).command == ofproto_v1_5.OFPFC_DELETE_STRICT
    assert encode_change(DeleteFlow(flow_image(flow).key), XID) == deleted
    assert parsed_match(parsed(DeleteFlow(flow)).match) == expected_match(flow.match)
    assert len(added) == len(deleted) + len(flow_image(flow).content) - 8


@given(some.groups)
def test_os_ken_reads_the_group_that_was_meant(group: Group) -> None:
    # os-ken 4.2.2 reads a group of one bucket at most: it takes the next bucket for properties of the one before.
    bare = Group(group.group_id, ())
    for change, command in ((AddGroup(bare), ofproto_v1_5.OFPGC_ADD), (ModifyGroup(bare), ofproto_v1_5.OFPGC_MODIFY)):
        read = parsed(change)
        assert (read.command, read.type, read.group_id) == (command, ofproto_v1_5.OFPGT_ALL, group.group_id)
        assert (read.command_bucket_id, read.buckets) == (ofproto_v1_5.OFPG_BUCKET_ALL, [])
    image = group_image(group)
    content = b"".join(content for _, content in image.buckets)
    encoded = encode_change(AddGroup(group), XID)
    assert encoded[24:] == content
    assert int.from_bytes(encoded[16:18], "big") == len(content)
    for bucket, (bucket_id, content) in zip(group.buckets, image.buckets, strict=True):
        other = ofproto_v1_5_parser.OFPBucket.parser(content, 0)
        assert bucket.bucket_id == bucket_id == other.bucket_id
        assert other.len == len(content)
        assert_same_actions(bucket.actions, other.actions)


UNNAMED = frozenset(field for name, field in OTHER_NAMES.items() if name.startswith("field_"))
NAMES = {field: name for name, field in BY_NAME.items() if field not in UNNAMED} | {f.IN_PORT: "in_port_nxm"}


@given(some.moves())
@example(Move(f.CT_STATE, f.ICMPV4_TYPE))
def test_os_ken_would_write_the_same_move(move: Move) -> None:
    """It cannot read one (4.2.2 takes the padding for another field), and of some fields knows no name."""
    parts = (move.source, move.target)
    assume(all(isinstance(part, RegisterSlice) or part in NAMES for part in parts))
    names = [f"reg{part.register}" if isinstance(part, RegisterSlice) else NAMES[part] for part in parts]
    starts = [part.start if isinstance(part, RegisterSlice) else 0 for part in parts]
    theirs = ofproto_v1_5_parser.OFPActionCopyField(moved_bits(move.target), *starts, oxm_ids=names)
    written = bytearray()
    theirs.serialize(written, 0)
    assert action_list((move,)) == bytes(written)


def test_os_ken_reads_the_other_changes() -> None:
    read = parsed(InsertBucket(GroupId(3), Bucket(8, (Output(8),))))
    assert (read.command, read.group_id, read.command_bucket_id) == (3, 3, ofproto_v1_5.OFPG_BUCKET_LAST)
    assert [bucket.bucket_id for bucket in read.buckets] == [8]
    read = parsed(RemoveBucket(GroupId(3), 8))
    assert (read.command, read.group_id, read.command_bucket_id, read.buckets) == (5, 3, 8, [])
    read = parsed(DeleteGroup(GroupId(3)))
    assert (read.command, read.group_id, read.buckets) == (ofproto_v1_5.OFPGC_DELETE, 3, [])
    read = parsed(DeleteFlowsByCookie(Cookie(0xAB)))
    assert (read.command, read.table_id) == (ofproto_v1_5.OFPFC_DELETE, ofproto_v1_5.OFPTT_ALL)
    assert (read.cookie, read.cookie_mask) == (0xAB, (1 << 64) - 1)
    assert parsed(DeleteFlowsByCookie(Cookie(0xAB), 9)).table_id == 9


def test_slices_of_one_register_that_contradict_each_other_are_refused() -> None:
    low, also_low = RegisterSlice("low", 0, 0, 16), RegisterSlice("also_low", 0, 8, 16)
    table = Table(1, "first", "test", "test")
    flow_image(Flow(table, 1, Match.of(Term(low, 0xFF00), Term(also_low, 0x00FF)), Cookie(1)))
    with pytest.raises(ValueError, match="contradict"):
        flow_image(Flow(table, 1, Match.of(Term(low, 0xFF00), Term(also_low, 0)), Cookie(1)))


@given(some.flows, some.flows)
def test_a_digest_is_of_the_set_and_of_everything_in_it(one: Flow, other: Flow) -> None:
    assert flow_digest([one, other]) == flow_digest([flow_image(other), one])
    assert (flow_digest([one]) == flow_digest([other])) == (flow_image(one) == flow_image(other))
