"""A whole host in a box: it starts, plugs, survives the agent's death, and `ofctl sandbox` opens a shell in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ofctl.client import Client, Network, PortSpec, PortState, Subnet, VmConsumer
from ofctl.sandbox.processes import ProcessFailed
from ofctl.sandbox.sandbox import Sandbox
from ofctl.sandbox.shell import HINT

TIMEOUT_S = 60


@pytest.fixture
def sandbox(netns: None, rundir: Path) -> Iterator[Sandbox]:
    with Sandbox(rundir) as running:
        yield running


def test_a_killed_agent_is_replaced_and_knows_its_ports(sandbox: Sandbox) -> None:
    with Client(sandbox.target) as client:
        client.apply_network(Network(network_id="blue", subnets=[Subnet(cidr="192.0.2.0/24")]))
        before = client.plug(PortSpec(port_id="p1", network_id="blue", vm=VmConsumer()))
    assert sandbox.agent is not None
    old = sandbox.agent.pid
    sandbox.kill_agent()
    assert sandbox.start_agent() > 0
    assert sandbox.agent is not None and sandbox.agent.pid != old
    with Client(sandbox.target) as client:
        after = client.port("p1")
        assert after.state == PortState.PORT_STATE_ACTIVE
        assert after.vif_details == before.vif_details
        client.unplug("p1")


def test_an_agent_that_does_not_start_is_told_with_its_log(netns: None, rundir: Path) -> None:
    broken = Sandbox(rundir, options={"agent": {"max_ports": "many"}})
    with pytest.raises(ProcessFailed, match=r"\[agent\] max_ports"):
        broken.start()
    assert broken.intents.child is None and broken.ovs.vswitchd is None


def test_the_shell_finds_agent_and_switch_at_the_default_places() -> None:
    script = (
        "set -e; ofctl host show -o json; ovs-vsctl --bare --columns=name list Bridge; "
        "ovs-ofctl -O OpenFlow15 dump-flows br-int | grep -c table=; test -S /run/ofctl/ofctl.sock; exit 7"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ofctl.sandbox", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 7, done.stdout + done.stderr
    assert '"ready": true' in done.stdout
    assert "br-int" in done.stdout.splitlines()


def test_what_the_shell_hints_at_works() -> None:
    commands = "\n".join(line.strip() for line in HINT.splitlines() if line.startswith("  "))
    done = subprocess.run(
        [sys.executable, "-m", "ofctl.sandbox", "sh", "-ec", commands],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "192.0.2.11/24" in done.stdout  # of the last command: the address inside of the namespace
