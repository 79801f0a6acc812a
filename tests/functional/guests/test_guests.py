"""Classic applications, unmodified, on bridges of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from pathlib import Path

from click.testing import CliRunner

from ofctl.cli.main import cli
from ofctl.client import Network, PortSpec, PortState, Subnet, VmConsumer
from ofctl.sandbox.processes import ProcessFailed
from ofctl.v1.host_pb2 import AppState
from tests.functional.guests.conftest import EXAMPLES, Start


def test_a_learning_switch_forwards_and_installs_flows(guests: Start) -> None:
    lab = guests(learn=EXAMPLES / "learning_switch.py")
    lab.running("learn")
    one, _ = lab.host("br-learn")
    _, other = lab.host("br-learn")
    assert one.pings(other, count=3), lab.log()
    assert any("dl_dst=" in flow for flow in lab.flows("br-learn"))
    app = lab.wait_for("learn", lambda app: app.flows >= 3)
    assert app.kind == "guest" and app.bridge == "br-learn" and not app.last_error and not app.restarts


SPEAKS = """
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_@@ as ofproto

class App(app_manager.RyuApp):
    OFP_VERSIONS = [ofproto.OFP_VERSION]

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, ev):
        dp = ev.msg.datapath
        ofp, parser = dp.ofproto, dp.ofproto_parser
        if ofp.OFP_VERSION == 1:
            dp.send_msg(parser.OFPFlowMod(dp, parser.OFPMatch(), 0, ofp.OFPFC_ADD, actions=[
                parser.OFPActionOutput(ofp.OFPP_CONTROLLER)]))
        else:
            actions = [parser.OFPActionOutput(ofp.OFPP_CONTROLLER, ofp.OFPCML_NO_BUFFER)]
            dp.send_msg(parser.OFPFlowMod(dp, match=parser.OFPMatch(), priority=0, instructions=[
                parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)]))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, ev):
        self.logger.error("SEEN %d bytes in version %d", len(ev.msg.data), ev.msg.version)

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_status(self, ev):
        self.logger.warning("PORT %s", ev.msg.desc.name)
"""


def test_a_guest_chooses_its_version_of_openflow(guests: Start) -> None:
    lab = guests(**{f"v{number}": SPEAKS.replace("@@", number) for number in "0345"})
    for number, version in (("0", 1), ("3", 4), ("4", 5), ("5", 6)):
        lab.running(f"v{number}")
        host, _ = lab.host(f"br-v{number}")
        host.run("sh", "-c", "ping -c1 -W0.1 10.9.0.99 || true")
        lab.wait_for(f"v{number}", lambda app, version=version: f"in version {version}" in app.last_error)  # type: ignore[misc]


def test_rest_of_flows_and_switches(guests: Start, rundir: Path) -> None:
    lab = guests(rest=EXAMPLES / "rest_switch.py")
    lab.wait_for("rest", lambda app: app.state == AppState.APP_STATE_RUNNING)
    socket_file = rundir / "guests" / "rest.sock"

    def curl(path: str, *arguments: str) -> str:
        argv = ["curl", "-sS", "--fail", "--unix-socket", str(socket_file), f"http://localhost{path}", *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=10).stdout

    deadline = time.monotonic() + 10
    while not (switches := json.loads(curl("/switches"))):
        assert time.monotonic() < deadline, lab.log()
    (dpid,) = switches
    curl(f"/flows/{dpid}", "-d", json.dumps({"priority": 7, "match": {"eth_type": 2048}, "actions": []}))
    (entries,) = json.loads(curl(f"/flows/{dpid}")).values()
    assert [entry["priority"] for entry in entries] == [7]
    assert any("priority=7,ip" in flow for flow in lab.flows("br-rest"))
    assert (
        "404"
        in subprocess.run(
            ["curl", "-sS", "-i", "--unix-socket", str(socket_file), "http://localhost/nothing"],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout
    )


def test_ofctls_events_and_a_plug_of_a_guest(guests: Start) -> None:
    lab = guests(ports=EXAMPLES / "port_log.py")
    lab.wait_for("ports", lambda app: app.state == AppState.APP_STATE_RUNNING)
    lab.client.apply_network(Network(network_id="n", subnets=[Subnet(cidr="192.0.2.0/24")]))
    lab.client.plug(PortSpec(port_id="p1", network_id="n", vm=VmConsumer()))
    lab.wait_for_log("the host is ready", "port p1 is confirmed", "the twin: PORT_STATE_ACTIVE", "p1-twin is confirmed")
    twin = lab.client.port("p1-twin")
    assert twin.state == PortState.PORT_STATE_ACTIVE
    lab.client.unplug("p1")
    lab.wait_for_log("port p1 is lost: UNPLUGGED")


def test_a_guest_that_cannot_be_loaded_is_told_and_tried_again(guests: Start) -> None:
    lab = guests(broken="import ryu.base\nimport no_such_module\n", empty="import ryu.base\n")
    app = lab.wait_for("broken", lambda app: app.restarts > 0)
    assert "No module named 'no_such_module'" in app.last_error
    assert "has no class" in lab.wait_for("empty", lambda app: app.restarts > 0).last_error
    listed = CliRunner().invoke(cli, ["app", "list", "--connect", lab.sandbox.target])
    assert listed.exit_code == 0 and "no_such_module" in listed.output and "br-empty" in listed.output


def test_guests_die_with_their_agent_and_come_back_with_the_next(guests: Start) -> None:
    lab = guests(learn=EXAMPLES / "learning_switch.py")
    pid = lab.running("learn").pid
    lab.sandbox.kill_agent()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lab.sandbox.start_agent()
    assert lab.running("learn").pid != pid


def test_a_switch_that_is_restarted_is_a_switch_that_left_and_came(guests: Start) -> None:
    lab = guests(learn=EXAMPLES / "learning_switch.py")
    lab.running("learn")
    lab.ovs.kill_vswitchd()
    lab.ovs.start_vswitchd()
    deadline = time.monotonic() + 15
    flows: list[str] = []
    while not flows:
        assert time.monotonic() < deadline, lab.log()
        time.sleep(0.05)
        with contextlib.suppress(ProcessFailed):
            flows = lab.flows("br-learn")
    assert not lab.app("learn").restarts


def test_a_bridge_of_somebody_else_costs_its_guest_alone(guests: Start, rundir: Path) -> None:
    lab = guests(learn=EXAMPLES / "learning_switch.py")
    lab.running("learn")
    lab.sandbox.stop_agent()
    lab.ovs.vsctl("remove", "Bridge", "br-learn", "external_ids", "ofctl-owner")
    lab.sandbox.start_agent()
    app = lab.wait_for("learn", lambda app: app.state == AppState.APP_STATE_STOPPED)
    assert "br-learn" in app.last_error and not app.pid
    assert lab.client.host().ready
