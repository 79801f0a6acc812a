"""The fence on the owned bridge, message by message, on a real switch: what is sent in is what is read out."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ofctl.guests.labels import sweep
from ofctl.guests.of13 import Refusal
from ofctl.guests.outward import MAX_OWN
from ofctl.pipeline.tables import COOKIE_MAGIC, COOKIE_MAGIC_SHIFT, FENCE_LABELS
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.guests.wire import (
    ANSWER_S,
    DATAPATH,
    OFP,
    PARSER,
    Wire,
    apply,
    delete,
    fenced,
    flow_mod,
    group_and_meter,
    output,
    places,
    write,
)

BRIDGE = "br0"
A, B = places("from-port", "to-port")
OVS_KNOWS_NO_SUCH_METER = (12, 3)  # OFPMMFC_UNKNOWN_METER
OURS = "table=0,cookie=0xfc1020100000000,priority=7,actions=drop"


@pytest.fixture
def bridge(ovs: PrivateOvs) -> Path:
    """A bridge with a flow, a group and a meter that are no guest's; its management socket."""
    ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure")
    ovs.ovs_ofctl("add-flow", BRIDGE, OURS)
    ovs.ovs_ofctl("add-group", BRIDGE, "group_id=7,type=all")
    ovs.ovs_ofctl("add-meter", BRIDGE, "meter=7,kbps,band=type=drop,rate=9")
    return ovs.rundir / f"{BRIDGE}.mgmt"


@pytest.fixture
async def a(bridge: Path) -> AsyncIterator[Wire]:
    async with fenced(bridge, A) as wire:
        yield wire


@pytest.fixture
async def b(bridge: Path) -> AsyncIterator[Wire]:
    async with fenced(bridge, B) as wire:
        yield wire


def everything(ovs: PrivateOvs) -> tuple[list[str], str, str, str]:
    """Return flows, groups, meters and configuration of the bridge."""
    flows = ovs.ovs_ofctl("dump-flows", BRIDGE, "--no-stats")
    groups, meters = (ovs.ovs_ofctl(f"dump-{what}", BRIDGE).partition("\n")[2] for what in ("groups", "meters"))
    lines = sorted(line for line in flows.splitlines() if f"table={FENCE_LABELS.number}" not in line)
    return lines, groups, meters, ovs.ovs_ofctl("get-frags", BRIDGE)


def set_field(**field: Any) -> Any:
    return PARSER.OFPActionSetField(**field)


GROUP_5 = PARSER.OFPActionGroup(5)
CASES: dict[str, list[Any]] = {
    "drop": [],
    "port": [apply(output(3, 0xFFE5))],
    "local": [apply(output(OFP.OFPP_LOCAL, 0xFFE5))],
    "two ports": [apply(output(3), output(4))],
    "in_port": [apply(output(OFP.OFPP_IN_PORT))],
    "flood": [apply(output(OFP.OFPP_FLOOD))],
    "all": [apply(output(OFP.OFPP_ALL))],
    "normal": [apply(output(OFP.OFPP_NORMAL))],
    "controller": [apply(output(OFP.OFPP_CONTROLLER, 128))],
    "goto": [PARSER.OFPInstructionGotoTable(2)],
    "metadata": [PARSER.OFPInstructionWriteMetadata(5, 0xFF), PARSER.OFPInstructionGotoTable(1)],
    "group": [apply(GROUP_5)],
    "meter": [PARSER.OFPInstructionMeter(6), apply(output(3))],
    "headers": [
        apply(
            set_field(eth_src="02:00:00:00:00:01"),
            PARSER.OFPActionPushVlan(),
            set_field(vlan_vid=0x1005),
            output(3),
            PARSER.OFPActionPopVlan(),
            PARSER.OFPActionSetQueue(1),
            output(4),
        )
    ],
    "write": [write(set_field(eth_dst="02:00:00:00:00:02"), output(3))],
    "apply and write": [apply(output(4)), write(output(3))],
}


async def test_what_a_guest_writes_it_reads(a: Wire) -> None:
    assert not await a.errors(
        PARSER.OFPGroupMod(DATAPATH, OFP.OFPGC_ADD, OFP.OFPGT_ALL, 5, [PARSER.OFPBucket(actions=[output(3)])]),
        PARSER.OFPMeterMod(DATAPATH, OFP.OFPMC_ADD, OFP.OFPMF_KBPS, 6, [PARSER.OFPMeterBandDrop(100, 10)]),
    )
    mods = [
        flow_mod(*case, cookie=0xFFEE_0000_0000_0000 | number, priority=number, match={"in_port": 9, "eth_type": 0x800})
        for number, case in enumerate(CASES.values())
    ]
    assert not await a.errors(*mods)
    flows = {flow.priority: flow for flow in await a.flows()}
    assert len(flows) == len(CASES)
    for number, (name, case) in enumerate(CASES.items()):
        flow = flows[number]
        assert flow.table_id == 0 and flow.cookie == 0xFFEE_0000_0000_0000 | number
        assert flow.match["in_port"] == 9 and flow.match["eth_type"] == 0x800
        assert [text(each) for each in flow.instructions] == [text(each) for each in case], name


def text(instruction: Any) -> str:
    """Return an instruction in a form that compares; ports that stand for many have no length."""
    return str({"type": instruction.type, **instruction.to_jsondict()}).replace("'max_len': 65509", "'max_len': 0")


async def test_matches_of_every_kind_pass_and_registers_do_not(a: Wire, ovs: PrivateOvs) -> None:
    matches: list[dict[str, Any]] = [
        {"eth_type": 0x86DD, "ipv6_src": "fe80::1", "ip_proto": 58, "icmpv6_type": 135, "ipv6_nd_target": "fe80::2"},
        {"eth_type": 0x0806, "arp_op": 1, "arp_spa": "10.0.0.0/8", "arp_tha": "02:00:00:00:00:01"},
        {"eth_type": 0x0800, "ip_proto": 6, "tcp_src": 80, "ip_dscp": 3, "ipv4_dst": ("10.0.0.0", "255.0.0.0")},
        {"vlan_vid": 0x1005, "vlan_pcp": 3, "metadata": (5, 0xFF)},
        {"eth_dst": ("01:00:00:00:00:00", "01:00:00:00:00:00")},
    ]
    assert not await a.errors(*(flow_mod(match=match, priority=n) for n, match in enumerate(matches)))
    found = {flow.priority: flow.match.to_jsondict() for flow in await a.flows()}
    assert len(found) == len(matches)
    assert all(field in str(found[n]) for n, match in enumerate(matches) for field in match)
    before = everything(ovs)
    for match in ({"reg0": 1}, {"tunnel_id": 5}, {"xreg2": 7}, {"pkt_mark": 5}, {"ct_state": 1}):
        assert await a.errors(flow_mod(match=match)) == [Refusal.BAD_FIELD.value], match
        assert await a.errors(PARSER.OFPFlowStatsRequest(DATAPATH, match=PARSER.OFPMatch(**match))) == [
            Refusal.BAD_FIELD.value
        ]
    assert everything(ovs) == before


async def test_delete_all_deletes_ones_own(a: Wire, b: Wire, ovs: PrivateOvs) -> None:
    untouched = everything(ovs)
    for wire in (b, a):
        assert not await wire.errors(
            *(flow_mod(table_id=table, priority=5) for table in (0, 1, 11)), *group_and_meter()
        )
    assert await b.errors(flow_mod(table_id=A.tables)) == [Refusal.BAD_FLOW_TABLE.value]
    for wire in (a, b):
        assert not await wire.errors(
            delete(),
            PARSER.OFPGroupMod(DATAPATH, OFP.OFPGC_DELETE, group_id=OFP.OFPG_ALL),
            PARSER.OFPMeterMod(DATAPATH, OFP.OFPMC_DELETE, meter_id=OFP.OFPM_ALL),
        )
        assert not await wire.flows()
        if wire is a:
            assert len(await b.flows()) == 3
    assert everything(ovs) == untouched


async def test_a_guest_hears_of_its_own_alone(a: Wire, b: Wire) -> None:
    assert not await a.errors(flow_mod(table_id=1, cookie=5), *group_and_meter())
    for wire, there in ((a, 1), (b, 0)):
        assert len(await wire.flows()) == there
        assert [flow.table_id for flow in await wire.flows(table_id=1)] == [1] * there
        assert len(await wire.flows(cookie=5, cookie_mask=0xFF)) == there
        assert not await wire.flows(cookie=4, cookie_mask=0xFF)
        (total,) = await wire.send(
            PARSER.OFPAggregateStatsRequest(
                DATAPATH, 0, OFP.OFPTT_ALL, OFP.OFPP_ANY, OFP.OFPG_ANY, 0, 0, PARSER.OFPMatch()
            )
        )
        assert total.body.flow_count == there
        (tables,) = await wire.send(PARSER.OFPTableStatsRequest(DATAPATH, 0))
        assert [table.table_id for table in tables.body] == list(range(A.tables))
        assert sum(table.active_count for table in tables.body) == there
        for request in (
            PARSER.OFPGroupStatsRequest(DATAPATH, 0, 7),
            PARSER.OFPMeterStatsRequest(DATAPATH, 0, 7),
            PARSER.OFPGroupDescStatsRequest(DATAPATH),
            PARSER.OFPGroupStatsRequest(DATAPATH),
            PARSER.OFPMeterConfigStatsRequest(DATAPATH),
            PARSER.OFPMeterStatsRequest(DATAPATH),
        ):
            (reply,) = await wire.send(request)
            if reply.msg_type == OFP.OFPT_ERROR:
                assert not there and (reply.type, reply.code) == OVS_KNOWS_NO_SUCH_METER
                continue
            assert [getattr(each, "group_id", getattr(each, "meter_id", 0)) for each in reply.body] == [7] * there
    (reply,) = await a.send(PARSER.OFPGroupDescStatsRequest(DATAPATH))
    assert [str(action) for action in reply.body[0].buckets[0].actions] == [str(output(3))]


async def test_what_there_is_to_say_of_the_switch(a: Wire) -> None:
    (features,) = await a.send(PARSER.OFPFeaturesRequest(DATAPATH))
    assert features.n_tables == A.tables and features.datapath_id
    (description,) = await a.send(PARSER.OFPDescStatsRequest(DATAPATH))
    assert description.body.hw_desc == b"Open vSwitch"
    replies = await a.send(PARSER.OFPTableFeaturesStatsRequest(DATAPATH))
    tables = [table for reply in replies for table in reply.body]
    assert [(table.table_id, table.name) for table in tables] == [
        (number, f"table{number}".encode()) for number in range(A.tables)
    ]
    following = [each for each in tables[0].properties if each.type == OFP.OFPTFPT_NEXT_TABLES]
    assert following[0].table_ids == list(range(1, A.tables))
    assert "reg0" not in str(tables[0]) and "eth_dst" in str(tables[0])
    (ports,) = await a.send(PARSER.OFPPortDescStatsRequest(DATAPATH))
    assert [port.port_no for port in ports.body] == [OFP.OFPP_LOCAL]
    (statistics,) = await a.send(PARSER.OFPPortStatsRequest(DATAPATH))
    assert [port.port_no for port in statistics.body] == [OFP.OFPP_LOCAL]
    (meters,) = await a.send(PARSER.OFPMeterFeaturesStatsRequest(DATAPATH))
    (groups,) = await a.send(PARSER.OFPGroupFeaturesStatsRequest(DATAPATH))
    assert 0 < meters.body[0].max_meter < 1 << 20 and groups.body.max_groups == [1 << 20] * 4


async def test_settings_of_the_connection_are_answered_and_leave_the_switch_alone(a: Wire, ovs: PrivateOvs) -> None:
    before = everything(ovs)
    (config,) = await a.send(PARSER.OFPSetConfig(DATAPATH, 0, 99), PARSER.OFPGetConfigRequest(DATAPATH))
    assert (config.flags, config.miss_send_len) == (0, 99)
    roles = await a.send(
        PARSER.OFPRoleRequest(DATAPATH, OFP.OFPCR_ROLE_MASTER, 5),
        PARSER.OFPRoleRequest(DATAPATH, OFP.OFPCR_ROLE_NOCHANGE, 0),
        PARSER.OFPRoleRequest(DATAPATH, OFP.OFPCR_ROLE_MASTER, 4),
        PARSER.OFPRoleRequest(DATAPATH, OFP.OFPCR_ROLE_SLAVE, 6),
    )
    assert [(role.role, role.generation_id) for role in roles[:2]] == [(OFP.OFPCR_ROLE_MASTER, 5)] * 2
    refused = (Refusal.STALE_ROLE, Refusal.UNSUPPORTED_ROLE)
    assert [(error.type, error.code) for error in roles[2:]] == [each.value for each in refused]
    masks = [1, 2, 3, 4, 5, 6]
    asked = PARSER.OFPSetAsync(DATAPATH, masks[:2], masks[2:4], masks[4:])
    (wanted,) = await a.send(asked, PARSER.OFPGetAsyncRequest(DATAPATH))
    assert [*wanted.packet_in_mask, *wanted.port_status_mask, *wanted.flow_removed_mask] == masks
    (echo,) = await a.send(PARSER.OFPEchoRequest(DATAPATH, b"there"))
    assert echo.data == b"there"
    assert everything(ovs) == before


def raw(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHI", 4, kind, 8 + len(body), 7) + body


OFP_TOO_BIG = 1 << 20
REFUSED: dict[str, tuple[Any, Refusal]] = {
    "fragments": (PARSER.OFPSetConfig(DATAPATH, OFP.OFPC_FRAG_DROP, 0), Refusal.BAD_CONFIG_FLAGS),
    "port-mod": (
        PARSER.OFPPortMod(DATAPATH, OFP.OFPP_LOCAL, "02:00:00:00:00:01", OFP.OFPPC_PORT_DOWN, 0x7F, 0),
        Refusal.PORT_NOT_PERMITTED,
    ),
    "table-mod": (PARSER.OFPTableMod(DATAPATH, OFP.OFPTT_ALL, 3), Refusal.TABLE_NOT_PERMITTED),
    "table features": (
        PARSER.OFPTableFeaturesStatsRequest(
            DATAPATH,
            body=[
                PARSER.OFPTableFeaturesStats(
                    table_id=0, name=b"x", metadata_match=0, metadata_write=0, config=0, max_entries=1, properties=[]
                )
            ],
        ),
        Refusal.TABLE_FEATURES_NOT_PERMITTED,
    ),
    "experimenter": (PARSER.OFPExperimenter(DATAPATH, 0x2320, 20, bytes(8)), Refusal.BAD_EXPERIMENTER),
    "experimenter's statistics": (
        PARSER.OFPExperimenterStatsRequest(DATAPATH, 0, 0x2320, 0, b""),
        Refusal.BAD_EXPERIMENTER,
    ),
    "a type that is none": (raw(77), Refusal.BAD_TYPE),
    "what a switch says": (raw(OFP.OFPT_PACKET_IN, bytes(40)), Refusal.BAD_TYPE),
    "statistics that are none": (raw(OFP.OFPT_MULTIPART_REQUEST, b"\0\x63" + bytes(6)), Refusal.BAD_MULTIPART),
    "a flow-mod that is cut off": (raw(OFP.OFPT_FLOW_MOD, bytes(12)), Refusal.BAD_LEN),
    "a match that is cut off": (
        raw(OFP.OFPT_FLOW_MOD, bytes(24) + b"\xff" * 16 + b"\0\1\0\x40\0\0\0\0"),
        Refusal.BAD_MATCH_LEN,
    ),
    "a cookie of ofctl": (flow_mod(cookie=COOKIE_MAGIC << COOKIE_MAGIC_SHIFT), Refusal.FLOW_NOT_PERMITTED),
    "a table too many": (flow_mod(table_id=A.tables), Refusal.BAD_FLOW_TABLE),
    "a goto too far": (flow_mod(PARSER.OFPInstructionGotoTable(A.tables)), Refusal.BAD_GOTO),
    "a goto back": (flow_mod(PARSER.OFPInstructionGotoTable(1), table_id=1), Refusal.BAD_GOTO),
    "an action set and a goto": (
        flow_mod(write(output(1)), PARSER.OFPInstructionGotoTable(1)),
        Refusal.UNSUPPORTED_INSTRUCTION,
    ),
    "an action of Nicira": (
        flow_mod(apply(PARSER.NXActionResubmitTable(in_port=OFP.OFPP_IN_PORT & 0xFFFF, table_id=0))),
        Refusal.EXPERIMENTER_ACTION,
    ),
    "a register": (flow_mod(apply(PARSER.OFPActionSetField(reg0=5))), Refusal.BAD_SET_TYPE),
    "in_port": (flow_mod(apply(PARSER.OFPActionSetField(in_port=5))), Refusal.BAD_SET_TYPE),
    "a port that is none": (flow_mod(apply(output(0xFF01))), Refusal.BAD_OUT_PORT),
    "any port": (flow_mod(apply(output(OFP.OFPP_ANY))), Refusal.BAD_OUT_PORT),
    "a group too far": (flow_mod(apply(PARSER.OFPActionGroup(OFP_TOO_BIG))), Refusal.BAD_OUT_GROUP),
    "a group's id": (PARSER.OFPGroupMod(DATAPATH, OFP.OFPGC_ADD, 0, OFP_TOO_BIG, []), Refusal.INVALID_GROUP),
    "a group of too many buckets": (
        PARSER.OFPGroupMod(DATAPATH, OFP.OFPGC_ADD, OFP.OFPGT_ALL, 5, [PARSER.OFPBucket(actions=[])] * 501),
        Refusal.OUT_OF_BUCKETS,
    ),
    "a group of too much": (
        PARSER.OFPGroupMod(
            DATAPATH, OFP.OFPGC_ADD, OFP.OFPGT_ALL, 5, [PARSER.OFPBucket(actions=[output(3)] * 6)] * 100
        ),
        Refusal.OUT_OF_BUCKETS,
    ),
    "too many actions": (flow_mod(apply(*[output(3)] * 130)), Refusal.TOO_MANY_ACTIONS),
    "a meter's id": (
        PARSER.OFPMeterMod(DATAPATH, OFP.OFPMC_ADD, OFP.OFPMF_KBPS, OFP.OFPM_CONTROLLER, []),
        Refusal.INVALID_METER,
    ),
    "a buffer": (
        PARSER.OFPPacketOut(DATAPATH, buffer_id=5, in_port=1, actions=[], data=None),
        Refusal.BUFFER_UNKNOWN,
    ),
    "statistics of a table too many": (PARSER.OFPFlowStatsRequest(DATAPATH, table_id=A.tables), Refusal.BAD_TABLE),
}


async def test_what_is_not_a_guests_is_refused_and_the_switch_does_not_see_it(a: Wire, ovs: PrivateOvs) -> None:
    before = everything(ovs)
    for name, (message, refusal) in REFUSED.items():
        assert await a.errors(message) == [refusal.value], name
    assert everything(ovs) == before


async def test_what_the_switch_refuses_the_guest_is_told_once_in_its_own_words(a: Wire) -> None:
    bad = flow_mod(command=OFP.OFPFC_MODIFY, table_id=OFP.OFPTT_ALL, match={"tcp_src": 80})  # Without an eth_type.
    answers = await a.send(bad)
    assert [(error.type, error.code, error.xid) for error in answers] == [(4, 9, bad.xid)]  # OFPBMC_BAD_PREREQ
    assert answers[0].data == bytes(bad.buf)[:64]


async def test_groups_have_an_end(a: Wire) -> None:
    def group(number: int) -> Any:
        return PARSER.OFPGroupMod(DATAPATH, OFP.OFPGC_ADD, OFP.OFPGT_ALL, number, [])

    assert not await a.errors(*map(group, range(MAX_OWN)))
    assert await a.errors(group(MAX_OWN)) == [Refusal.OUT_OF_GROUPS.value]
    assert not await a.errors(PARSER.OFPGroupMod(DATAPATH, OFP.OFPGC_DELETE, group_id=0), group(MAX_OWN))


async def test_flows_are_found_by_where_they_send(a: Wire) -> None:
    await a.send(
        flow_mod(apply(output(3)), priority=1),
        flow_mod(apply(output(4)), priority=2),
        flow_mod(apply(output(OFP.OFPP_CONTROLLER)), priority=3),
        *group_and_meter(),
        flow_mod(apply(PARSER.OFPActionGroup(7)), priority=4),
    )
    for port, found in ((3, [1]), (OFP.OFPP_CONTROLLER, [3]), (9, [])):
        assert [flow.priority for flow in await a.flows(out_port=port)] == found
    assert [flow.priority for flow in await a.flows(out_group=7)] == [4]
    await a.send(delete(out_port=4), delete(out_group=7))
    assert sorted(flow.priority for flow in await a.flows()) == [1, 3]


async def test_flows_that_go_are_told_to_their_guest_alone(a: Wire, b: Wire) -> None:
    await a.send(flow_mod(table_id=1, cookie=5, flags=OFP.OFPFF_SEND_FLOW_REM))
    await b.send(flow_mod(table_id=2, cookie=6, flags=OFP.OFPFF_SEND_FLOW_REM))
    for wire, table, cookie in ((a, 1, 5), (b, 2, 6)):  # Told a while after the barrier is answered.
        await wire.post(delete())
        removed = await wire.next(OFP.OFPT_FLOW_REMOVED)
        assert (removed.table_id, removed.cookie, removed.reason) == (table, cookie, OFP.OFPRR_DELETE)


async def test_a_long_list_comes_in_parts_and_whole(a: Wire) -> None:
    count = 2000
    assert not await a.errors(*(flow_mod(apply(output(3)), match={"eth_dst": n}) for n in range(count)))
    replies = await a.send(PARSER.OFPFlowStatsRequest(DATAPATH))
    assert sum(len(reply.body) for reply in replies) == count
    assert [bool(reply.flags & OFP.OFPMPF_REPLY_MORE) for reply in replies] == [True] * (len(replies) - 1) + [False]


async def test_a_guest_of_another_version_is_sent_away(bridge: Path) -> None:
    async with fenced(bridge, A) as wire:
        await wire.post(struct.pack("!BBHI", 1, 0, 8, 1))
        assert "does not speak OpenFlow 1.3" in await asyncio.wait_for(wire.fence, ANSWER_S)


async def test_what_guests_leave_is_removed_when_they_are_gone(a: Wire, b: Wire, bridge: Path, ovs: PrivateOvs) -> None:
    untouched = everything(ovs)
    for wire in (a, b):
        await wire.send(flow_mod(table_id=2), *group_and_meter())
    deadline = 1e9
    assert await sweep(bridge, (A, B), deadline=deadline) == 0
    assert len(await a.flows()) == len(await b.flows()) == 1
    assert await sweep(bridge, (A,), deadline=deadline) == 4  # Table, group, meter and label.
    assert len(await a.flows()) == 1 and not await b.flows()
    (alone,) = places("from-port")  # The same guest, with more tables than before.
    await sweep(bridge, (alone,), deadline=deadline)
    assert everything(ovs) == untouched
