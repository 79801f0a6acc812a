"""Whatever a fenced guest sends is translated or refused; nothing else can happen."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

from ofctl.apps.loading import rehearsal_world
from ofctl.guests.actions import Translator
from ofctl.guests.asked import Requests
from ofctl.guests.frames import Frame, Frames
from ofctl.guests.of13 import Kind, Refused
from ofctl.guests.outward import Outward, Standing
from ofctl.guests.packet_outs import PacketOuts
from ofctl.pipeline.fence import place_guests
from ofctl.pipeline.tables import FENCE_LABELS, GUEST_TABLES
from tests.functional.guests.wire import DATAPATH, apply, delete, flow_mod, output, write

(PLACE, _) = place_guests([("a", "from-port"), ("b", "from-port")])


def outward() -> Outward:
    translator = Translator(PLACE)
    outs = PacketOuts(PLACE, translator, rehearsal_world)
    return Outward(PLACE, translator, outs, requests=Requests(), standing=Standing(groups={5}, meters={6}))


def octets(message: Any) -> bytes:
    message.set_xid(9)
    message.serialize()
    return bytes(message.buf)


def messages() -> Iterator[bytes]:
    yield octets(flow_mod(apply(output(3), parser.OFPActionGroup(5)), match={"eth_type": 0x800, "ip_proto": 6}))
    yield octets(flow_mod(write(output(ofp.OFPP_IN_PORT)), parser.OFPInstructionMeter(4), table_id=3))
    yield octets(flow_mod(parser.OFPInstructionGotoTable(2), parser.OFPInstructionWriteMetadata(1, 1)))
    yield octets(delete())
    yield octets(parser.OFPGroupMod(DATAPATH, 0, 0, 5, [parser.OFPBucket(actions=[output(3)])]))
    yield octets(parser.OFPGroupMod(DATAPATH, ofp.OFPGC_DELETE, group_id=ofp.OFPG_ALL))
    yield octets(parser.OFPMeterMod(DATAPATH, 0, ofp.OFPMF_KBPS, 6, [parser.OFPMeterBandDrop(100, 10)]))
    yield octets(parser.OFPFlowStatsRequest(DATAPATH))
    yield octets(parser.OFPGroupStatsRequest(DATAPATH))
    yield octets(parser.OFPMeterConfigStatsRequest(DATAPATH))
    yield octets(parser.OFPSetConfig(DATAPATH, 0, 9))
    yield octets(parser.OFPRoleRequest(DATAPATH, ofp.OFPCR_ROLE_MASTER, 1))
    yield octets(parser.OFPSetAsync(DATAPATH, [1, 2], [3, 4], [5, 6]))
    for in_port in (1, 14, 99, ofp.OFPP_CONTROLLER):
        for port in (14, 99, ofp.OFPP_FLOOD, ofp.OFPP_TABLE, ofp.OFPP_IN_PORT):
            packet = parser.OFPPacketOut(
                DATAPATH, buffer_id=ofp.OFP_NO_BUFFER, in_port=in_port, actions=[output(port)], data=bytes(60)
            )
            yield octets(packet)


MESSAGES = list(messages())


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_message_that_is_damaged_is_translated_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(MESSAGES)))
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.sampled_from((0, 1, 4, 8, 0x80, 0xFF)))
    body = bytes(damaged[8 : data.draw(st.integers(8, len(damaged)))])
    kind = data.draw(st.sampled_from((damaged[1], *Kind)))
    check(struct.pack("!BBHI", 4, kind, 8 + len(body), 9) + body)


@given(st.sampled_from(list(Kind)), st.binary(max_size=200))
@example(Kind.FLOW_MOD, b"")
def test_noise_is_translated_or_refused(kind: Kind, body: bytes) -> None:
    check(struct.pack("!BBHI", 4, kind, 8 + len(body), 9) + body)


def check(message: bytes) -> None:
    """Pass a message; look at every flow-mod that the switch is sent."""
    (frame,) = Frames().feed(message)
    assert isinstance(frame, Frame)
    try:
        passed = outward().passed(frame)
    except Refused:
        return
    for sent in Frames().feed(passed.to_switch):
        assert sent.version == 4 and sent.xid == 9
        if sent.kind == Kind.FLOW_MOD:
            assert sent.octets[24] in PLACE.own_tables
        elif sent.kind in (Kind.GROUP_MOD, Kind.METER_MOD):
            number = int.from_bytes(sent.octets[12:16], "big")
            assert number in {5, 6} or PLACE.first_id <= number < PLACE.first_id + (1 << 20)
        assert sent.kind not in {Kind.SET_CONFIG, Kind.PORT_MOD, Kind.TABLE_MOD, Kind.EXPERIMENTER, Kind.ROLE_REQUEST}


def test_no_guest_has_the_tables_of_the_fence() -> None:
    assert FENCE_LABELS.number not in GUEST_TABLES and set(PLACE.own_tables) < set(GUEST_TABLES)


def test_the_messages_themselves_pass() -> None:
    for message in MESSAGES:
        (frame,) = Frames().feed(message)
        passed = outward().passed(frame)
        assert passed.to_switch or passed.to_guest or frame.kind in (Kind.SET_CONFIG, Kind.SET_ASYNC)
