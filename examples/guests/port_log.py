"""Follows ofctl's ports, and plugs one itself: ofctl's events are ordinary os-ken events."""

from ryu.base import app_manager
from ryu.controller.handler import set_ev_cls

from ofctl.ryu import ofctl_event


class PortLog(app_manager.RyuApp):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.plugged = False

    @set_ev_cls(ofctl_event.EventPortConfirmed)
    def confirmed(self, ev):
        self.logger.info("port %s is confirmed on %s", ev.port_id, ev.device)
        if not self.plugged:
            self.plugged = True
            twin = {"port_id": f"{ev.port_id}-twin", "network_id": ev.network_id, "vm": {}}
            reply = self.send_request(ofctl_event.EventPlugRequest(twin))
            self.logger.info("the twin: %s", reply.error or reply.port["state"])

    @set_ev_cls(ofctl_event.EventPortLost)
    def lost(self, ev):
        self.logger.info("port %s is lost: %s", ev.port_id, ev.reason)

    @set_ev_cls(ofctl_event.EventHostReady)
    def ready(self, ev):
        self.logger.info("the host is %s", "ready" if ev.ready else "not ready")
