"""What a fenced guest can cost has bounds, as on a bridge of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ofctl.guests.of13 import Kind
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.guests.wire import ANSWER_S, LIMITS, OFP, PARSER, apply, fenced, flow_mod, output, places

BRIDGE = "br0"
(A,) = places("from-port")
FRAME = "02" * 12 + "88b6" + "00" * 46
OFPFMFC_TABLE_FULL = (5, 1)


async def test_flows_beyond_the_limit_are_refused(ovs: PrivateOvs) -> None:
    ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure")
    ovs.ovs_ofctl("add-flow", BRIDGE, "table=0,actions=drop")
    async with fenced(ovs.rundir / f"{BRIDGE}.mgmt", A, limits=replace(LIMITS, max_flows=3)) as wire:
        assert not await wire.errors(*(flow_mod(table_id=number) for number in range(3)))
        async with asyncio.timeout(ANSWER_S):
            while wire.counts.flows != 3:
                await wire.send()
        assert await wire.errors(flow_mod(table_id=4)) == [OFPFMFC_TABLE_FULL]
        assert wire.counts.refused_messages == 1


async def test_packet_ins_beyond_the_rate_are_dropped_and_come_to_their_guest_alone(ovs: PrivateOvs) -> None:
    ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure")
    management = ovs.rundir / f"{BRIDGE}.mgmt"
    one, other = places("from-port", "from-port")
    async with (
        fenced(management, one, limits=replace(LIMITS, max_packet_rate=10)) as wire,
        fenced(management, other) as b,
    ):
        asks = flow_mod(apply(output(OFP.OFPP_CONTROLLER, OFP.OFPCML_NO_BUFFER)), cookie=5, table_id=1)
        assert not await wire.errors(asks)
        frames = [f"in_port=9,packet={FRAME},actions=load:5->NXM_NX_REG0[],resubmit(,{one.first_table + 1})"] * 20
        await asyncio.to_thread(lambda: [ovs.ovs_ofctl("packet-out", BRIDGE, frame) for frame in frames])
        seen = await wire.next(Kind.PACKET_IN)
        assert (seen.table_id, seen.cookie, seen.match["in_port"]) == (1, 5, 9)
        assert set(dict(seen.match.items())) == {"in_port"} and bytes(seen.data).hex() == FRAME
        async with asyncio.timeout(ANSWER_S):
            while not wire.counts.dropped_packet_ins:
                await wire.send(PARSER.OFPEchoRequest(seen.datapath, b""))
        assert not await b.send() and not b.counts.dropped_packet_ins
