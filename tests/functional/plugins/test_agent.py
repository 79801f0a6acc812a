"""An app in the agent itself: loaded by `--app`, asked for over gRPC, seen in the switch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ofctl.client import Client, InvalidArgument, Network, PortSpec, Subnet, VmConsumer
from ofctl.sandbox.sandbox import AGENT, Sandbox

GUARD = Path(__file__).parents[3] / "examples/feature_guard/ofctl_guard/__init__.py"


def spec(**annotations: str) -> PortSpec:
    named = {f"guard/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return PortSpec(port_id="p1", network_id="n1", vm=VmConsumer(), annotations=named)


def test_a_port_with_an_annotation_over_grpc(netns: None, rundir: Path) -> None:
    options = {"app:guard": {"tcp_ports": "25"}}
    with Sandbox(rundir, options=options, apps=[str(GUARD)]) as sandbox, Client(sandbox.target) as client:
        client.apply_network(Network(network_id="n1", subnets=[Subnet(cidr="192.0.2.0/24")]))
        with pytest.raises(InvalidArgument, match="TCP ports from 1 to 65535") as refused:
            client.plug(spec(tcp_ports="smtp"))
        assert refused.value.field == "port.annotations['guard/tcp-ports']"
        with pytest.raises(InvalidArgument, match="app guard has no such field; it has tcp-ports"):
            client.plug(spec(colour="red"))
        port = client.plug(spec(tcp_ports="465"))
        assert dict(port.spec.annotations) == dict(client.port("p1").spec.annotations) == {"guard/tcp-ports": "465"}
        flows = sandbox.ovs.ovs_ofctl("dump-flows", "br-int", "table=20")
        assert "tp_dst=465" in flows and "tp_dst=25 " not in flows
        (app,) = client.host().apps
        assert (app.name, app.kind, app.flows) == ("guard", "feature", 3)
        client.unplug("p1")
        assert "tp_dst=" not in sandbox.ovs.ovs_ofctl("dump-flows", "br-int", "table=20")


def test_an_agent_with_an_app_that_is_wrong_says_which_and_ends() -> None:
    argv = [sys.executable, "-c", AGENT, "--app", f"{GUARD}@br-x"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert f"app {GUARD}@br-x cannot be loaded: only guests have a place" in done.stderr
