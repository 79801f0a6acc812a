"""A traffic monitor in the manner of Ryu's documentation: what flows and ports have carried, every ten seconds.

It forwards nothing itself, so it belongs in a fence on the bridge that ofctl owns: what it counts goes on from there as
if it were not there.
"""

from operator import attrgetter

from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3

INTERVAL_S = 10
ETHERTYPES = {"arp": 0x0806, "ipv4": 0x0800, "ipv6": 0x86DD}


class TrafficMonitor(app_manager.RyuApp):
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.datapaths = {}
        self.monitor_thread = hub.spawn(self._monitor)

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, ev):
        """Count each kind of frame, and let it go on."""
        datapath = ev.msg.datapath
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        for ethertype in ETHERTYPES.values():
            actions = [parser.OFPActionOutput(ofproto.OFPP_NORMAL)]
            instructions = [parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions)]
            datapath.send_msg(
                parser.OFPFlowMod(
                    datapath=datapath,
                    priority=1,
                    match=parser.OFPMatch(eth_type=ethertype),
                    instructions=instructions,
                )
            )

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_changed(self, ev):
        datapath = ev.datapath
        if ev.state == MAIN_DISPATCHER:
            if datapath.id not in self.datapaths:
                self.logger.info("register datapath: %016x", datapath.id)
                self.datapaths[datapath.id] = datapath
        elif ev.state == DEAD_DISPATCHER and datapath.id in self.datapaths:
            self.logger.info("unregister datapath: %016x", datapath.id)
            del self.datapaths[datapath.id]

    def _monitor(self):
        while True:
            for datapath in list(self.datapaths.values()):
                self._request_statistics(datapath)
            hub.sleep(INTERVAL_S)

    def _request_statistics(self, datapath):
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        datapath.send_msg(parser.OFPFlowStatsRequest(datapath))
        datapath.send_msg(parser.OFPPortStatsRequest(datapath, 0, ofproto.OFPP_ANY))

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def flow_statistics(self, ev):
        flows = [flow for flow in ev.msg.body if flow.priority == 1]
        for flow in sorted(flows, key=lambda flow: flow.match["eth_type"]):
            self.logger.info(
                "flow %04x: %d packets, %d bytes", flow.match["eth_type"], flow.packet_count, flow.byte_count
            )

    @set_ev_cls(ofp_event.EventOFPPortStatsReply, MAIN_DISPATCHER)
    def port_statistics(self, ev):
        for port in sorted(ev.msg.body, key=attrgetter("port_no")):
            self.logger.info(
                "port %x: received %d packets, %d bytes, %d errors; sent %d packets, %d bytes, %d errors",
                port.port_no,
                port.rx_packets,
                port.rx_bytes,
                port.rx_errors,
                port.tx_packets,
                port.tx_bytes,
                port.tx_errors,
            )
