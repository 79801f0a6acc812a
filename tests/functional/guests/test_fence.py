"""The fence between a guest and its switch: limits that the guest sees as OpenFlow, or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

from ofctl.v1.host_pb2 import AppState
from tests.functional.guests.conftest import Start
from tests.functional.guests.sources import COMMON

TELLS_ERRORS = """
    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def refused(self, ev):
        self.logger.error("REFUSED %d/%d", ev.msg.type, ev.msg.code)
"""


BURSTS = 30
SENDER = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(5000):
    sender.sendto(bytes(1000), ("10.9.0.99", 9))
"""


def guest(go: Path, body: str) -> str:
    return COMMON.replace("{go!r}", repr(str(go))) + body


def test_flows_beyond_the_limit_are_refused(guests: Start, rundir: Path) -> None:
    body = """
    def act(self):
        for number in range(2, 100_000):
            self.flow(number, eth_dst=number)
            hub.sleep(0.005)
"""
    go = rundir / "go"
    lab = guests(many=guest(go, body + TELLS_ERRORS), options={"max_flows": 50})
    lab.running("many")
    go.touch()
    lab.wait_for("many", lambda app: app.last_error == "REFUSED 5/1")  # OFPET_FLOW_MOD_FAILED, OFPFMFC_TABLE_FULL
    assert 50 <= len(lab.flows("br-many")) < 400  # They are counted once a second.


def test_nonsense_is_answered_with_errors_and_the_switch_does_not_see_it(guests: Start, rundir: Path) -> None:
    body = """
    def act(self):
        self.dp.send(bytes([9, 14, 0, 12, 0, 0, 0, 9, 1, 2, 3, 4]))
"""
    go = rundir / "go"
    lab = guests(odd=guest(go, body + TELLS_ERRORS))
    lab.running("odd")
    go.touch()
    lab.wait_for("odd", lambda app: app.last_error == "REFUSED 1/0")  # OFPET_BAD_REQUEST, OFPBRC_BAD_VERSION
    assert not lab.app("odd").restarts


def test_packet_ins_that_a_blocked_guest_does_not_take_are_dropped(guests: Start, rundir: Path) -> None:
    body = """
    def act(self):
        ofp, parser = self.dp.ofproto, self.dp.ofproto_parser
        actions = [parser.OFPActionOutput(ofp.OFPP_CONTROLLER, ofp.OFPCML_NO_BUFFER)]
        self.dp.send_msg(parser.OFPFlowMod(self.dp, priority=65535, match=parser.OFPMatch(), instructions=[
            parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)]))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, ev):
        threading.Event().wait()
"""
    go = rundir / "go"
    lab = guests(deaf=guest(go, body))
    lab.running("deaf")
    host, _ = lab.host("br-deaf")
    go.touch()
    lab.wait_for("deaf", lambda app: app.flows >= 2)
    host.run("ip", "neigh", "add", "10.9.0.99", "lladdr", "02:00:00:00:00:99", "dev", "eth0")
    # How many of a burst become packet-ins is the switch's affair: its own queue holds about a hundred at a time.
    for _ in range(BURSTS):
        host.run(sys.executable, "-c", SENDER)
        if lab.app("deaf").dropped_packet_ins:
            break
    app = lab.wait_for("deaf", lambda app: app.dropped_packet_ins > 0 and app.queue_depth == 128)
    assert not app.restarts
    lab.wait_for("deaf", lambda app: app.state == AppState.APP_STATE_BLOCKED)
