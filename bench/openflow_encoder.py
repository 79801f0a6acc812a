"""How many flows a second the encoder does, and how much faster that is than os-ken.

Run it as `python bench/openflow_encoder.py`. The flows are like those of a port: a match on registers and addresses,
a few actions, a goto.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from os_ken.ofproto import ofproto_protocol, ofproto_v1_5, ofproto_v1_5_parser

from ofctl.openflow.wire import encode_change, flow_image
from ofctl.pipeline import fields as f
from ofctl.pipeline.changes import AddFlow
from ofctl.pipeline.fields import RegisterSlice
from ofctl.pipeline.flow import Cookie, Flow, Match, Output, SetField, Table, Term

FLOWS = 5_000
ROUNDS = 5
FIRST, LATER = Table(1, "first", "bench", "bench"), Table(7, "later", "bench", "bench")
NETWORK, PORT = RegisterSlice("network", 0, 0, 16), RegisterSlice("port", 1, 0, 24)
DATAPATH = ofproto_protocol.ProtocolDesc(version=ofproto_v1_5.OFP_VERSION)


def flow(number: int) -> Flow:
    """Return the flow that the encoder gets."""
    match = Match.of(Term(f.ETH_TYPE, 0x0800), Term(f.IPV4_DST, number), Term(f.ETH_DST, number), Term(NETWORK, 5))
    actions = (SetField(PORT, number), SetField(f.ETH_SRC, number), Output(number % 60_000 + 1))
    return Flow(FIRST, 100, match, Cookie(number), actions, LATER)


def os_ken(number: int) -> bytes:
    """Return the same flow, encoded by os-ken."""
    parser = ofproto_v1_5_parser
    mac = ":".join(f"{octet:02x}" for octet in number.to_bytes(6, "big"))
    address = ".".join(str(octet) for octet in number.to_bytes(4, "big"))
    match = parser.OFPMatch(eth_type=0x0800, ipv4_dst=address, eth_dst=mac, xreg0=(5 << 32, 0xFFFF << 32))
    actions = [
        parser.OFPActionSetField(reg1=(number, 0xFFFFFF)),
        parser.OFPActionSetField(eth_src=mac),
        parser.OFPActionOutput(number % 60_000 + 1, 0xFFFF),
    ]
    instructions = [
        parser.OFPInstructionActions(ofproto_v1_5.OFPIT_APPLY_ACTIONS, actions),
        parser.OFPInstructionGotoTable(LATER.number),
    ]
    message = parser.OFPFlowMod(
        DATAPATH, cookie=number, table_id=1, priority=100, match=match, instructions=instructions
    )
    message.set_xid(1)
    message.serialize()
    return bytes(message.buf)


def rate(work: Callable[[int], object], count: int) -> float:
    """Return the best number of flows a second in a few rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for number in range(1, count + 1):
            work(number)
        best = max(best, count / (time.perf_counter() - begun))
    return best


def main() -> None:
    flows = {number: flow(number) for number in range(1, FLOWS + 1)}
    ours = rate(lambda number: encode_change(AddFlow(flows[number]), number), FLOWS)
    images = rate(lambda number: flow_image(flows[number]), FLOWS)
    theirs = rate(os_ken, FLOWS // 10)
    print(f"encode_change  {ours:10,.0f} flows/s")
    print(f"flow_image     {images:10,.0f} flows/s")
    print(f"os-ken         {theirs:10,.0f} flows/s")
    print(f"ratio          {ours / theirs:10.1f}")


if __name__ == "__main__":
    main()
