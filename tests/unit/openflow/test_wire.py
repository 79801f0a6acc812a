"""os-ken is the oracle: what it reads in our bytes is what the flow says."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from os_ken.lib import addrconv
from os_ken.ofproto import ofproto_parser, ofproto_protocol, ofproto_v1_5, ofproto_v1_5_parser

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
    Cookie,
    Flow,
    Group,
    GroupId,
    Match,
    Output,
    OutputRegister,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    Table,
    Term,
    ToGroup,
)
from tests.unit.openflow import strategies as some

XID = 0x12345678
DATAPATH = ofproto_protocol.ProtocolDesc(version=ofproto_v1_5.OFP_VERSION)
MAC_FIELDS = (f.ETH_DST, f.ETH_SRC, f.ARP_SHA)
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
    if field in MAC_FIELDS:
        return int.from_bytes(addrconv.mac.text_to_bin(text), "big")
    return int(ipaddress.ip_address(text))


def parsed_match(match: Any) -> dict[str, tuple[int, int]]:
    """Return name -> (value, mask) of what os-ken reads, the registers in pairs."""
    by_name = {field.name: field for field in f.FIELDS}
    result = {}
    for read_name, content in match.items():
        name = "nd_target" if read_name == "ipv6_nd_target" else read_name
        value, mask = content if isinstance(content, tuple) else (content, None)
        if name not in by_name:
            full = (1 << 64) - 1
            result[name] = (value, full if mask is None else mask)
        else:
            field = by_name[name]
            full = (1 << field.bits) - 1
            result[name] = (number(field, value), full if mask is None else number(field, mask))
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
            assert read.key.removeprefix("ipv6_") == field.name.removeprefix("ipv6_")
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
