"""Guests in fences on the owned bridge: what frames meet, and what stays true of ports."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from ofctl.cli.main import cli
from ofctl.client import ConfirmationLevel, Network, NetworkType, SecurityGroup, Subnet
from ofctl.client.rules import rule
from ofctl.sandbox.processes import ProcessFailed
from ofctl.v1.host_pb2 import App, AppState
from tests.functional.engine.lab import Namespace
from tests.functional.guests.conftest import EXAMPLES, GuestLab, Start
from tests.functional.guests.sources import COMMON, bad_guest
from tests.functional.guests.test_isolation import MAX_RATIO, MEASURED, compare

PIPELINE = ConfirmationLevel.CONFIRMATION_LEVEL_PIPELINE


def audited(lab: GuestLab) -> None:
    """Check that the host is as it shall be."""
    assert not lab.client.audit().findings


def blocked(namespace: Namespace, address: str) -> bool:
    """Tell whether an echo request is not answered soon."""
    with contextlib.suppress(ProcessFailed):
        namespace.run("ping", "-c1", "-W0.3", address)
        return False
    return True


def eventually(seen: Callable[[], bool], lab: GuestLab) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + 10
    while not seen():
        assert time.monotonic() < deadline, lab.log()
        time.sleep(0.02)


def test_a_monitor_counts_and_a_learning_switch_forwards(guests: Start) -> None:
    """In two networks on one uplink, of which the guests know no more than the port."""
    monitor = (EXAMPLES / "traffic_monitor.py").read_text().replace("INTERVAL_S = 10\n", "INTERVAL_S = 0.2\n")
    sources = {"monitor": monitor, "learn": EXAMPLES / "learning_switch.py"}
    lab = guests(
        **sources,
        fenced=dict.fromkeys(sources, "from-port"),
        agent={"physical_networks": "physical:br-out"},
        bridges=("br-out",),
    )
    lab.wait_for("monitor", lambda app: app.flows == 3)
    lab.running("learn")
    for name, tag in {"n1": 100, "n2": 200}.items():
        network = Network(
            network_id=name,
            type=NetworkType.NETWORK_TYPE_VLAN,
            physical_network="physical",
            segmentation_id=tag,
            subnets=[Subnet(cidr="10.9.0.0/24")],
        )
        lab.client.apply_network(network)
        inside, address, _ = lab.plugged(f"p-{name}", name)
        outside, far = lab.host("br-out", f"tag={tag}")
        # Known to each other: each of the two frames of one ping is seen by the guest, and none comes again.
        inside.run("ip", "neigh", "add", far, "lladdr", mac(outside), "dev", "eth0")
        outside.run("ip", "neigh", "add", address, "lladdr", mac(inside), "dev", "eth0")
        assert inside.pings(far), lab.log()
    lab.client.apply_security_group(SecurityGroup(security_group_id="out", rules=[rule("out")]))
    one, own, _ = lab.plugged("p1", "n1", groups=["out"])
    two, other, ofport = lab.plugged("p2", "n1", level=PIPELINE)
    foreign, _, _ = lab.plugged("p3", "n2")
    assert one.pings(other, count=5), lab.log()
    assert blocked(two, own), "security groups are asked of what a guest forwards, too"
    lab.wait_for_log("register datapath", "flow 0800: 15 packets, 1470 bytes", f"port {ofport:x}: received")
    assert any("dl_dst=" in flow and f"output:{ofport}" in flow for flow in lab.flows("br-int"))
    foreign.run("ip", "neigh", "add", other, "lladdr", mac(two), "dev", "eth0")
    before = received(two)
    assert blocked(foreign, other) and received(two) == before, "a guest carries nothing from one network to another"
    for name in sources:
        app = lab.app(name)
        assert app.kind == "guest" and app.bridge == "br-int" and not app.last_error and not app.restarts
    listed = CliRunner().invoke(cli, ["app", "list", "--connect", lab.sandbox.target])
    assert listed.exit_code == 0 and "monitor" in listed.output and "br-int" in listed.output
    audited(lab)
    lab.ovs.kill_vswitchd()
    lab.ovs.start_vswitchd()
    lab.wait_for_log("unregister datapath", "flow 0800: 0 packets")
    eventually(lambda: one.pings(other), lab)


def mac(namespace: Namespace) -> str:
    """Return the MAC address of a namespace."""
    return namespace.run("ip", "-o", "link", "show", "eth0").split("link/ether ")[1][:17]


ACTS = """
    def act(self):
        ofp, parser = self.dp.ofproto, self.dp.ofproto_parser

        def add(actions, priority=5, **match):
            self.dp.send_msg(parser.OFPFlowMod(self.dp, cookie=7, priority=priority, match=parser.OFPMatch(**match),
                instructions=[parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)] if actions else []))

        def to(port):
            return parser.OFPActionOutput(port)

"""
PINGS = "eth_type=0x800, ip_proto=1"


def guest(go: Path, *lines: str) -> str:
    """Return the source of a guest that acts once `go` exists."""
    return COMMON.replace("{go!r}", repr(str(go))) + ACTS + "".join(f"        {line}\n" for line in lines)


def acted(lab: GuestLab, flows: Mapping[str, int], go: Path) -> None:
    """Let guests act; return when each has so many flows."""
    for name in flows:
        lab.running(name)
    go.touch()
    for name, count in flows.items():
        lab.wait_for(name, lambda app, count=count: app.flows == count)  # type: ignore[misc]


def test_frames_meet_guests_in_turn_and_a_way_that_is_lost_is_mended(guests: Start, rundir: Path) -> None:
    """The first lets pings on, to the second; that drops those to one address, and the third those to another."""
    go = rundir / "go"
    sources = {
        "first": guest(go, f"add([to(ofp.OFPP_NORMAL)], {PINGS})"),
        "second": guest(go, f"add([], {PINGS}, ipv4_dst='10.9.0.2')"),
        "third": guest(go, f"add([], {PINGS}, ipv4_dst='10.9.0.3')"),
    }
    lab = guests(**sources, fenced={"first": "from-port", "second": "from-port", "third": "to-port"})
    one, _, _ = lab.plugged("p1")
    _, second, _ = lab.plugged("p2")
    _, third, _ = lab.plugged("p3")
    _, fourth, _ = lab.plugged("p4")
    assert one.pings(second) and one.pings(third) and one.pings(fourth)
    acted(lab, dict.fromkeys(sources, 2), go)
    assert blocked(one, second) and blocked(one, third) and one.pings(fourth)
    lab.plugged("p5", level=PIPELINE)
    audited(lab)
    for table in (200, 201):
        lab.ovs.ovs_ofctl("del-flows", "br-int", f"table={table}")
        eventually(lambda table=table: any(f"table={table}," in flow for flow in lab.flows("br-int")), lab)  # type: ignore[misc]
    lab.wait_for_log("somebody else has changed the flow tables")
    eventually(lambda: one.pings(fourth), lab)
    assert blocked(one, second) and blocked(one, third)
    assert [lab.app(name).flows for name in sources] == [2, 2, 2]
    audited(lab)


WANTS_PACKETS = """
    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, ev):
        own = ev.msg.match["in_port"] and ev.msg.cookie == 7
        self.logger.error("SEEN %s", "a ping" if own else "what is not its own")
"""


def test_back_where_it_came_from_to_a_port_by_its_number_and_to_the_guest(guests: Start, rundir: Path) -> None:
    """Pings to addresses that nobody has: a guest sends some back as answers, others to a port."""
    go, config = rundir / "go", rundir / "ports"
    lines = (
        f"self.macs, self.ports = eval(open({str(config)!r}).read())",
        "add([parser.OFPActionSetField(ipv4_src='10.9.0.99'), parser.OFPActionSetField(eth_src='02:00:00:00:00:99'),"
        " parser.OFPActionSetField(ipv4_dst='10.9.0.1'), parser.OFPActionSetField(eth_dst=self.macs[0]),"
        " parser.OFPActionSetField(icmpv4_type=0), to(ofp.OFPP_IN_PORT)],"
        f" {PINGS}, icmpv4_type=8, ipv4_dst='10.9.0.99')",
        "add([parser.OFPActionSetField(eth_dst=self.macs[1]), parser.OFPActionSetField(ipv4_dst='10.9.0.2'),"
        f" to(self.ports[1])], {PINGS}, ipv4_dst='10.9.0.98')",
    )
    asks = f"add([to(ofp.OFPP_CONTROLLER), to(ofp.OFPP_NORMAL)], {PINGS})"
    sources = {
        "mirror": guest(go, *lines),
        "idle": guest(rundir / "never") + WANTS_PACKETS,
        "asks": guest(go, asks) + WANTS_PACKETS,
        "old": guest(rundir / "never").replace("ofproto_v1_3", "ofproto_v1_0"),
    }
    lab = guests(**sources, fenced=dict.fromkeys(sources, "from-port") | {"asks": "to-port"})
    one, _, first = lab.plugged("p1")
    two, _, second = lab.plugged("p2")
    config.write_text(repr(([mac(one), mac(two)], [first, second])))
    lab.running("idle")
    acted(lab, {"mirror": 3, "asks": 2}, go)
    for last in (98, 99):
        one.run("ip", "neigh", "add", f"10.9.0.{last}", "lladdr", f"02:00:00:00:00:{last}", "dev", "eth0")
    assert one.pings("10.9.0.99"), lab.log()
    before = received(two)
    assert one.pings("10.9.0.98") and received(two) == before + 1
    lab.wait_for("asks", lambda app: app.last_error == "SEEN a ping")
    lab.plugged("p3", level=PIPELINE)
    assert not lab.app("idle").last_error and lab.app("asks").last_error == "SEEN a ping"
    lab.wait_for("old", lambda app: app.last_error.startswith("it does not speak OpenFlow 1.3, and in a fence there"))
    audited(lab)


def received(namespace: Namespace) -> int:
    """Return how many echo requests a namespace has got."""
    lines = [line.split() for line in namespace.run("cat", "/proc/net/snmp").splitlines() if line.startswith("Icmp:")]
    return int(dict(zip(*lines, strict=True))["InEchos"])


def test_a_guest_that_is_started_again_finds_its_flows_and_one_that_is_gone_leaves_none(
    guests: Start, rundir: Path
) -> None:
    go = rundir / "go"
    wall = guest(go, f"add([], {PINGS}, ipv4_dst='10.9.0.2')")
    own = EXAMPLES / "learning_switch.py"
    lab = guests(wall=wall, other=guest(rundir / "never"), own=own, fenced={"wall": "from-port", "other": "to-port"})
    one, _, _ = lab.plugged("p1")
    _, other, _ = lab.plugged("p2")
    acted(lab, {"wall": 2}, go)
    go.unlink()
    os.kill(lab.app("wall").pid, signal.SIGKILL)
    lab.wait_for("wall", lambda app: app.restarts == 1)
    lab.running("wall")
    assert lab.app("wall").flows == 2 and blocked(one, other)
    lab.running("own")
    lab.sandbox.stop_agent()
    assert blocked(one, other)
    lab.ovs.vsctl("add-br", "br-mine", "--", "set", "bridge", "br-mine", "external_ids:ofctl-owner=sandbox")
    for name in ("wall", "own"):
        lab.forget(name)
    lab.sandbox.start_agent()
    lab.running("other")
    assert one.pings(other)
    left = [flow for flow in lab.flows("br-int") if "cookie=0xfc1" not in flow and "table=204," not in flow]
    assert len(left) == 1
    assert set(lab.ovs.vsctl("list-br").split()) == {"br-int", "br-mine"}
    audited(lab)


RUNNING, BLOCKED = AppState.APP_STATE_RUNNING, AppState.APP_STATE_BLOCKED
HOSTILE: dict[str, Callable[[App], bool]] = {
    "raises": lambda app: "RuntimeError: on purpose" in app.last_error,
    "deletes": lambda app: app.flows == 0,
    "configures": lambda app: app.state == RUNNING,
    "babbles": lambda app: app.state == RUNNING,
    "blocks": lambda app: app.queue_depth > 0 or app.state == BLOCKED,
    "floods": lambda app: app.delayed_messages > 0 and app.flows > 50,
    "spins": lambda app: app.state == RUNNING,
}
"""Of `sources.MISBEHAVIOURS`, in the order in which they begin, and what GetHost says then."""


@pytest.mark.parametrize("timed", [False, pytest.param(True, marks=pytest.mark.chaos)])
def test_hostile_guests_harm_neither_plugs_nor_each_other(guests: Start, rundir: Path, *, timed: bool) -> None:
    names = tuple(HOSTILE) if timed else ("deletes", "configures", "babbles", "floods")
    bad = {name: bad_guest(name, rundir / f"go-{name}") for name in names}
    everybody = {**bad, "good": EXAMPLES / "learning_switch.py"}
    lab = guests(**everybody, fenced=dict.fromkeys(everybody, "from-port"), options={"max_change_rate": 200})
    one, _, _ = lab.plugged("one")
    _, other, _ = lab.plugged("other")
    fragments = lab.ovs.ovs_ofctl("get-frags", "br-int")
    for name in everybody:
        lab.running(name)
    for name in names:
        (rundir / f"go-{name}").touch()
        lab.wait_for(name, HOSTILE[name])
        if timed and name in MEASURED:
            without_ms, with_ms = compare(lab)
            assert with_ms <= MAX_RATIO * without_ms
        assert one.pings(other, count=2), f"{name}\n{lab.log()}"
        lab.plugged(f"with-{name}", level=PIPELINE)
    good = lab.app("good")
    assert good.state == RUNNING and not good.last_error and not good.restarts
    assert lab.ovs.ovs_ofctl("get-frags", "br-int") == fragments
    audited(lab)
