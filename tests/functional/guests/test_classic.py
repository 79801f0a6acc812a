"""What classic applications find besides the modules: names of Python 2, samples that build on one another, the
topology, static pages, the hub's functions, the switch's database, and the datapath id that they have been written for.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from ofctl.v1.host_pb2 import AppState
from tests.functional.guests.conftest import Start

TIMEOUT_S = 10.0
OLD_SWITCH = """
import struct
from ryu import version
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.lib.mac import haddr_to_str
from ryu.ofproto import ofproto_v1_0

class OldSwitch(app_manager.RyuApp):
    OFP_VERSIONS = [ofproto_v1_0.OFP_VERSION]

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, ev):
        msg, dp = ev.msg, ev.msg.datapath
        dst, src, _ = struct.unpack_from("!6s6sH", buffer(msg.data), 0)
        self.logger.info("FRAME of %s on %016x in Ryu %s", haddr_to_str(src), dp.id, version)
        actions = [dp.ofproto_parser.OFPActionOutput(dp.ofproto.OFPP_FLOOD)]
        dp.send_msg(dp.ofproto_parser.OFPPacketOut(
            datapath=dp, buffer_id=msg.buffer_id, in_port=msg.in_port, actions=actions, data=msg.data))
"""
HUB = """
from ryu.base import app_manager
from ryu.lib import hub

class Timed(app_manager.RyuApp):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ran = []
        killed = [hub.spawn_after(0.2, self.ran.append, "not this") for _ in range(2)]
        killed[0].cancel()
        hub.kill(killed[1])
        hub.spawn_after(0.01, self.ran.append, "this").wait()
        sleeper = hub.spawn(hub.sleep, 60)
        sleeper.kill()
        hub.joinall([*killed, sleeper])
        server = hub.StreamServer(("127.0.0.1", 0), self.greet)
        hub.spawn(server.serve_forever)
        with hub.connect(server.server.getsockname()) as connection:
            self.logger.info("HUB %s %s", self.ran, connection.recv(9).decode())

    def greet(self, connection, address):
        with connection:
            connection.sendall(b"hello")
"""
DATABASE = """
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.lib.ovs import bridge
from ryu.ofproto import ofproto_v1_3

class Queues(app_manager.RyuApp):
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    @set_ev_cls(ofp_event.EventOFPStateChange, MAIN_DISPATCHER)
    def switch_is_there(self, ev):
        self.logger.info("CONNECTED")

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_is_there(self, ev):
        name = ev.msg.desc.name.decode()
        switch = bridge.OVSBridge(self.CONF, ev.msg.datapath.id, "unix:@@", timeout=5)
        switch.init()
        if ev.msg.reason == ofproto_v1_3.OFPPR_ADD:
            switch.set_qos(name, type="linux-htb", max_rate="1000000", queues=[{"max_rate": "500000"}])
            self.logger.info("QUEUES on %s of %s", switch.get_port_name_list(), switch.br_name)
"""
PARTS = {
    "ryuapps/rest_ports.py": """
import json
from ryu.app.wsgi import ControllerBase, Response, WSGIApplication, route
from ryu.base import app_manager
from ryu.topology.api import get_link, get_switch

class RestPorts(app_manager.RyuApp):
    _CONTEXTS = {"wsgi": WSGIApplication}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        kwargs["wsgi"].register(Topology, {"app": self})

class Topology(ControllerBase):
    @route("topology", "/topology/{what}", methods=["GET"])
    def show(self, req, what, **_):
        get = {"switches": get_switch, "links": get_link}[what]
        body = json.dumps([each.to_dict() for each in get(self.data["app"], None)])
        return Response(content_type="application/json", body=body)
""",
    "ryuapps/pages/pages.py": """
import os
from webob.static import DirectoryApp
from ryu.app.wsgi import ControllerBase, WSGIApplication, route
from ryu.base import app_manager

class Pages(app_manager.RyuApp):
    _CONTEXTS = {"wsgi": WSGIApplication}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        kwargs["wsgi"].register(Static)

class Static(ControllerBase):
    def __init__(self, *args, **config):
        super().__init__(*args, **config)
        self.files = DirectoryApp(os.path.join(os.path.dirname(__file__), "html"))

    @route("pages", "/{filename:[^/]*}")
    def page(self, req, **kwargs):
        if kwargs["filename"]:
            req.path_info = kwargs["filename"]
        return self.files(req)

app_manager.require_app("ryu.app.rest_ports")
""",
    "ryuapps/pages/html/index.html": "<h1>Topology</h1>",
    "pages.conf": "[DEFAULT]\nobserve_links = true\n",
}


def test_samples_of_python_2_and_the_hub(guests: Start) -> None:
    lab = guests(old=OLD_SWITCH, hub=HUB, options={"datapath_ids": "old:0x1f"})
    lab.wait_for_log("HUB ['this'] hello")
    lab.wait_for("old", lambda app: app.state == AppState.APP_STATE_RUNNING)
    one, _ = lab.host("br-old")
    _, other = lab.host("br-old")
    deadline = time.monotonic() + TIMEOUT_S
    while not one.pings(other, wait_s=1):
        assert time.monotonic() < deadline, lab.log()
    lab.wait_for_log("on 000000000000001f in Ryu 4.34")


def test_the_database_of_the_switch(guests: Start, rundir: Path) -> None:
    lab = guests(queues=DATABASE.replace("@@", str(rundir / "openvswitch" / "db.sock")))
    lab.wait_for_log("CONNECTED")
    lab.host("br-queues")
    lab.wait_for_log("QUEUES on ['h1'] of br-queues")
    assert lab.ovs.vsctl("--bare", "--columns=other_config", "list", "qos").strip() == "max-rate=1000000"


def test_the_topology_is_observed_and_pages_are_served(guests: Start, rundir: Path) -> None:
    for name, text in PARTS.items():
        (rundir / name).parent.mkdir(parents=True, exist_ok=True)
        (rundir / name).write_text(text)
    options: dict[str, object] = {"config_files": f"pages:{rundir / 'pages.conf'}", "datapath_ids": "pages:7"}
    lab = guests(pages=rundir / "ryuapps" / "pages" / "pages.py", options=options)
    lab.running("pages")
    assert any("dl_type=0x88cc actions=CONTROLLER" in flow for flow in lab.flows("br-pages"))
    lab.host("br-pages")

    def get(path: str) -> str:
        argv = ["curl", "-sS", "--fail", "--unix-socket", str(rundir / "guests" / "pages.sock")]
        return subprocess.run(
            [*argv, f"http://localhost{path}"], check=True, capture_output=True, text=True, timeout=TIMEOUT_S
        ).stdout

    assert get("/") == get("/index.html") == "<h1>Topology</h1>"
    deadline = time.monotonic() + TIMEOUT_S
    expected = [(f"{7:016x}", ["h1"])]
    while (found := _switches(get("/topology/switches"))) != expected:
        assert time.monotonic() < deadline, f"{found}\n{lab.log()}"
        time.sleep(0.05)
    assert get("/topology/links") == "[]"


def _switches(text: str) -> list[tuple[str, list[str]]]:
    return [(switch["dpid"], [port["name"] for port in switch["ports"]]) for switch in json.loads(text)]
