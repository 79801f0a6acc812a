"""Guests that do what they should not, once their file is there."""

from __future__ import annotations

from pathlib import Path

COMMON = """
import os, threading, time
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3

class App(app_manager.RyuApp):
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, ev):
        self.dp = ev.msg.datapath
        self.flow(1, eth_dst=1)
        hub.spawn(self.wait)

    def flow(self, cookie, **match):
        parser = self.dp.ofproto_parser
        self.dp.send_msg(parser.OFPFlowMod(self.dp, cookie=cookie, match=parser.OFPMatch(**match), instructions=[]))

    def wait(self):
        while not os.path.exists({go!r}):
            hub.sleep(0.05)
        self.dp.send_msg(self.dp.ofproto_parser.OFPBarrierRequest(self.dp))
        self.act()

    def act(self):
        pass

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def handle(self, ev):
        pass
"""

MISBEHAVIOURS = {
    "raises": """
    def act(self):
        for _ in range(50):
            self.dp.send_msg(self.dp.ofproto_parser.OFPBarrierRequest(self.dp))

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def handle(self, ev):
        raise RuntimeError("on purpose")
""",
    "blocks": """
    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def handle(self, ev):
        threading.Event().wait()
""",
    "spins": """
    def act(self):
        for _ in range(4):
            threading.Thread(target=self.spin).start()

    def spin(self):
        while True:
            pass
""",
    "leaks": """
    def act(self):
        while True:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            time.sleep(0.001)
""",
    "deletes": """
    def act(self):
        ofp, parser = self.dp.ofproto, self.dp.ofproto_parser
        self.dp.send_msg(parser.OFPFlowMod(self.dp, command=ofp.OFPFC_DELETE, table_id=ofp.OFPTT_ALL,
            out_port=ofp.OFPP_ANY, out_group=ofp.OFPG_ANY))
        self.dp.send_msg(parser.OFPGroupMod(self.dp, ofp.OFPGC_DELETE, group_id=ofp.OFPG_ALL))
        self.dp.send_msg(parser.OFPMeterMod(self.dp, ofp.OFPMC_DELETE, meter_id=ofp.OFPM_ALL))
""",
    "configures": """
    def act(self):
        self.dp.send_msg(self.dp.ofproto_parser.OFPSetConfig(self.dp, self.dp.ofproto.OFPC_FRAG_DROP, 0))
""",
    "babbles": """
    def act(self):
        self.dp.send(bytes([9, 14, 0, 12, 0, 0, 0, 9, 1, 2, 3, 4]))      # a version that nobody speaks
        self.dp.send(bytes([4, 14, 0, 12, 0, 0, 0, 9, 1, 2, 3, 4]))      # a flow-mod that is cut off
        self.dp.send(bytes([4, 77, 0, 8, 0, 0, 0, 9]))                   # a type that does not exist
        self.dp.send(bytes([4, 14, 0, 3, 0, 0, 0, 9]) + os.urandom(64))  # and from here on nonsense
""",
    "floods": """
    def act(self):
        hub.spawn(self.packets)
        number = 0
        while True:
            number += 1
            self.flow(number, eth_dst=number % 5000)

    def packets(self):
        ofp, parser = self.dp.ofproto, self.dp.ofproto_parser
        while True:
            self.dp.send_msg(parser.OFPPacketOut(self.dp, buffer_id=ofp.OFP_NO_BUFFER, in_port=ofp.OFPP_CONTROLLER,
                actions=[parser.OFPActionOutput(ofp.OFPP_FLOOD)], data=b"\\xff" * 64))
""",
}


def bad_guest(misbehaviour: str, go: Path) -> str:
    """Return the source of a guest that misbehaves once `go` exists."""
    return COMMON.replace("{go!r}", repr(str(go))) + MISBEHAVIOURS[misbehaviour]
