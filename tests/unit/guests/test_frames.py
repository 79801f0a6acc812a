"""What the fence makes of OpenFlow, with os-ken's encoder as the other opinion."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any

import os_ken.base.app_manager  # noqa: F401 - os-ken imports in a circle, and only this end of it may be first
import pytest
from os_ken.ofproto import (
    ofproto_parser,
    ofproto_protocol,
    ofproto_v1_0,
    ofproto_v1_0_parser,
    ofproto_v1_2,
    ofproto_v1_2_parser,
    ofproto_v1_3,
    ofproto_v1_3_parser,
    ofproto_v1_4,
    ofproto_v1_4_parser,
    ofproto_v1_5,
    ofproto_v1_5_parser,
)

from ofctl.guests import frames
from ofctl.guests.frames import BadFrame, Frame, Frames, TokenBucket

PARSERS = {
    each.OFP_VERSION: (each, parser)
    for each, parser in (
        (ofproto_v1_0, ofproto_v1_0_parser),
        (ofproto_v1_2, ofproto_v1_2_parser),
        (ofproto_v1_3, ofproto_v1_3_parser),
        (ofproto_v1_4, ofproto_v1_4_parser),
        (ofproto_v1_5, ofproto_v1_5_parser),
    )
}


def frame_of(message: Any) -> Frame:
    message.set_xid(7)
    message.serialize()
    (frame,) = Frames().feed(bytes(message.buf))
    return frame


def flow_mod(version: int, command: int) -> Frame:
    _, parser = PARSERS[version]
    datapath = ofproto_protocol.ProtocolDesc(version)
    if version == frames.OF10:
        match: Any = parser.OFPMatch()
        return frame_of(parser.OFPFlowMod(datapath, match, 0, command, actions=[]))
    return frame_of(parser.OFPFlowMod(datapath, command=command, match=parser.OFPMatch(), instructions=[]))


@pytest.mark.parametrize("version", PARSERS)
def test_only_an_add_adds(version: int) -> None:
    ofproto: ModuleType = PARSERS[version][0]
    assert frames.adds_flow(flow_mod(version, ofproto.OFPFC_ADD))
    for command in (ofproto.OFPFC_MODIFY, ofproto.OFPFC_DELETE, ofproto.OFPFC_DELETE_STRICT):
        assert not frames.adds_flow(flow_mod(version, command))


@pytest.mark.parametrize("version", PARSERS)
def test_what_the_fence_says_is_what_os_ken_reads(version: int) -> None:
    ofproto = PARSERS[version][0]
    datapath = ofproto_protocol.ProtocolDesc(version)
    flow = flow_mod(version, ofproto.OFPFC_ADD)
    text = frames.table_full(flow)
    read = ofproto_parser.msg(datapath, *struct.unpack_from("!BBHI", text), text)
    assert (read.type, read.xid) == (ofproto.OFPET_FLOW_MOD_FAILED, 7)
    name = "OFPFMFC_ALL_TABLES_FULL" if version == frames.OF10 else "OFPFMFC_TABLE_FULL"
    assert read.code == getattr(ofproto, name)
    text = frames.error(flow, frames.OFPET_BAD_REQUEST, frames.OFPBRC_BAD_LEN)
    read = ofproto_parser.msg(datapath, *struct.unpack_from("!BBHI", text), text)
    assert (read.type, read.code) == (ofproto.OFPET_BAD_REQUEST, ofproto.OFPBRC_BAD_LEN)


@pytest.mark.parametrize("version", [frames.OF15, 0x05])
def test_a_message_in_a_bundle_is_seen(version: int) -> None:
    ofproto, parser = PARSERS[version]
    datapath = ofproto_protocol.ProtocolDesc(version)
    inner = parser.OFPFlowMod(datapath, match=parser.OFPMatch(), instructions=[])
    inner.set_xid(7)
    frame = frame_of(parser.OFPBundleAddMsg(datapath, 1, ofproto.OFPBF_ATOMIC, inner, []))
    found = frames.bundled(frame)
    assert found is not None and frames.adds_flow(found)
    control = parser.OFPBundleCtrlMsg(datapath, 1, ofproto.OFPBCT_COMMIT_REQUEST, ofproto.OFPBF_ATOMIC, [])
    assert frames.controls_bundle(frame_of(control)) and not frames.controls_bundle(frame)


def test_bundles_of_the_extension_for_1_3_are_seen() -> None:
    parser = ofproto_v1_3_parser
    datapath = ofproto_protocol.ProtocolDesc(frames.OF13)
    inner = parser.OFPFlowMod(datapath, match=parser.OFPMatch(), instructions=[])
    inner.set_xid(7)
    found = frames.bundled(frame_of(parser.ONFBundleAddMsg(datapath, 1, 1, inner, [])))
    assert found is not None and frames.adds_flow(found)
    assert frames.controls_bundle(frame_of(parser.ONFBundleCtrlMsg(datapath, 1, 4, 1, [])))


def test_a_stream_is_cut_wherever_it_was_sent_in_pieces() -> None:
    whole = frames.message(4, 0, 1) + frames.message(4, 14, 2, b"x" * 100) + frames.message(4, 20, 3)
    for size in (1, 7, 8, 9, 50, 1000):
        stream = Frames()
        seen = [frame for start in range(0, len(whole), size) for frame in stream.feed(whole[start : start + size])]
        assert [frame.xid for frame in seen] == [1, 2, 3]
        assert b"".join(frame.octets for frame in seen) == whole


def test_a_length_below_the_header_ends_the_stream_after_what_was_right() -> None:
    stream = Frames().feed(frames.message(4, 0, 1) + bytes([4, 14, 0, 3, 0, 0, 0, 2]))
    assert next(stream).xid == 1
    with pytest.raises(BadFrame):
        next(stream)


def test_a_bucket_lets_a_tenth_of_a_second_through_and_then_its_rate() -> None:
    bucket = TokenBucket(100, now=0.0)
    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == pytest.approx(0.01)
    assert bucket.take(0.0) == pytest.approx(0.02)
    assert bucket.take(1.0) == 0.0
    assert bucket.take(1.0, cost=29) == pytest.approx(0.2)
