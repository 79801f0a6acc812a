"""A REST interface of flows and switches in the manner of Ryu's: GET /switches, GET and POST /flows/{dpid}."""

import json

from ryu.app.wsgi import ControllerBase, Response, WSGIApplication, route
from ryu.base import app_manager
from ryu.controller import dpset, ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.lib import dpid as dpid_lib
from ryu.lib import ofctl_v1_3
from ryu.ofproto import ofproto_v1_3


class RestSwitch(app_manager.RyuApp):
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]
    _CONTEXTS = {"dpset": dpset.DPSet, "wsgi": WSGIApplication}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.dpset = kwargs["dpset"]
        self.waiters = {}
        kwargs["wsgi"].register(RestController, {"switch": self})

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def stats(self, ev):
        waiting = self.waiters.get(ev.msg.datapath.id, {})
        if ev.msg.xid not in waiting:
            return
        event, messages = waiting[ev.msg.xid]
        messages.append(ev.msg)
        if not ev.msg.flags & ev.msg.datapath.ofproto.OFPMPF_REPLY_MORE:
            del waiting[ev.msg.xid]
            event.set()


class RestController(ControllerBase):
    def __init__(self, req, link, data, **config):
        super().__init__(req, link, data, **config)
        self.switch = data["switch"]

    @route("switches", "/switches", methods=["GET"])
    def switches(self, req, **_):
        names = [dpid_lib.dpid_to_str(dpid) for dpid, _ in self.switch.dpset.get_all()]
        return Response(content_type="application/json", text=json.dumps(names))

    @route("flows", "/flows/{dpid}", methods=["GET"], requirements={"dpid": dpid_lib.DPID_PATTERN})
    def flows(self, req, dpid, **_):
        datapath = self.switch.dpset.get(dpid_lib.str_to_dpid(dpid))
        if datapath is None:
            return Response(status=404)
        flows = ofctl_v1_3.get_flow_stats(datapath, self.switch.waiters)
        return Response(content_type="application/json", text=json.dumps(flows))

    @route("flows", "/flows/{dpid}", methods=["POST"], requirements={"dpid": dpid_lib.DPID_PATTERN})
    def add(self, req, dpid, **_):
        datapath = self.switch.dpset.get(dpid_lib.str_to_dpid(dpid))
        if datapath is None:
            return Response(status=404)
        ofctl_v1_3.mod_flow_entry(datapath, req.json, datapath.ofproto.OFPFC_ADD)
        return Response(status=204)
