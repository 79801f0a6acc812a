"""A Mininet topology whose switch is owned by the agent: pingall and TCP, in both families."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mininet.net import Mininet
from mininet.topo import Topo

from ofctl.client import Client
from ofctl.client.errors import NotFound
from ofctl.mininet import AgentHost, AgentLink, AgentSwitch, TopologyError, agent_switch, ping6_all
from ofctl.sandbox.sandbox import Sandbox
from tests.conftest import enter_new_netns
from tests.functional.netlink.conftest import Namespace

IPERF_PORT = 5201
LEAST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One agent for all: each test builds its networks and must leave nothing of them."""
    before = Namespace.here()
    enter_new_netns()
    with tempfile.TemporaryDirectory(prefix="oft-", dir="/tmp") as directory:
        try:
            with Sandbox(Path(directory)) as made:
                yield made
        finally:
            before.enter()
            before.close()


class TwoNetworks(Topo):  # type: ignore[misc]
    """Three hosts on s1 and two on s2."""

    def build(self) -> None:
        for switch, hosts in (("s1", ("h1", "h2", "h3")), ("s2", ("h4", "h5"))):
            self.addSwitch(switch)
            for host in hosts:
                self.addLink(self.addHost(host), switch)


@pytest.fixture
def net(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mininet]:
    # Mininet's initialisation raises sysctls of the whole machine; five hosts do not need it.
    monkeypatch.setattr(Mininet, "inited", True)
    made = start(sandbox)
    yield made
    made.stop()


def start(sandbox: Sandbox) -> Mininet:
    """Return a running network."""
    made = Mininet(
        topo=TwoNetworks(),
        host=AgentHost,
        switch=agent_switch(target=sandbox.target),
        link=AgentLink,
        controller=None,
    )
    made.start()
    return made


def transfer(net: Mininet, client: str, server: str, address: str) -> int:
    """Send over TCP for a second; return the bytes that the server received."""
    listening = net[server].popen(["iperf3", "--server", "--one-off", "--port", str(IPERF_PORT), "--forceflush"])
    try:
        while "listening" not in listening.stdout.readline().decode():
            assert listening.poll() is None
        printed = net[client].cmd(f"iperf3 --json --client {address} --port {IPERF_PORT} --time 1")
        result = json.loads(re.sub(r"\r", "", printed))
        listening.communicate(timeout=10)
        return int(result["end"]["sum_received"]["bytes"])
    finally:
        listening.kill()


def test_a_topology_of_two_networks(net: Mininet, sandbox: Sandbox) -> None:
    first, second = net.hosts[:3], net.hosts[3:]
    assert net.ping(first, timeout=2) == 0
    assert net.ping(second, timeout=2) == 0
    assert [host.IP() for host in net.hosts] == [f"10.0.0.{number}" for number in range(1, 6)]
    assert [host.IP6() for host in net.hosts] == [f"fd00::{number}" for number in range(1, 6)]
    assert ping6_all(first, timeout_s=2) == [] == ping6_all(second, timeout_s=2)
    apart = [net["h1"], net["h4"]]
    assert net.ping(apart, timeout=1) == 100
    assert ping6_all(apart) == [("h1", "h4"), ("h4", "h1")]


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
def test_tcp(net: Mininet, address: str) -> None:
    assert transfer(net, "h1", "h2", address) >= LEAST_BYTES


def test_the_ports_are_the_agent_s(net: Mininet, sandbox: Sandbox) -> None:
    with Client(sandbox.target) as client:
        ports = {port.spec.port_id: port for port in client.ports()}
        assert sorted(ports) == ["s1.h1-eth0", "s1.h2-eth0", "s1.h3-eth0", "s2.h4-eth0", "s2.h5-eth0"]
        (link,) = net.linksBetween(net["h1"], net["s1"])
        assert link.port.confirmation.ofport == ports["s1.h1-eth0"].confirmation.ofport > 0
        assert link.intf2.name in sandbox.ovs.vsctl("list-ports", "br-int").split()
        assert net["h1"].MAC() == ports["s1.h1-eth0"].spec.mac_address
        assert all(switch.connected() for switch in net.switches)
        net.delLink(link)
        with pytest.raises(NotFound):
            client.port("s1.h1-eth0")
        assert net["h1"].intfList() == [] and link.intf1 is None


def test_nothing_is_left_after_stop(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mininet, "inited", True)
    start(sandbox).stop()
    with Client(sandbox.target) as client:
        assert list(client.ports()) == [] and list(client.networks()) == []
    assert sandbox.ovs.vsctl("list-ports", "br-int").split() == []


def test_a_host_with_an_address_of_its_own(net: Mininet) -> None:
    net.addHost("h6", ip="10.0.7.7/8", ip6="fd00::77", mac="02:00:00:00:07:07")
    net.addLink("s1", "h6")
    host = net["h6"]
    host.configDefault()
    assert (host.IP(), host.IP6(), host.MAC()) == ("10.0.7.7", "fd00::77", "02:00:00:00:07:07")
    seen = host.cmd("ip addr show h6-eth0")
    assert all(word in seen for word in ("10.0.7.7/8", "fd00::77/64", "02:00:00:00:07:07"))
    assert ping6_all([net["h1"], host], timeout_s=2) == []


def test_what_a_network_is_not(net: Mininet) -> None:
    with pytest.raises(TopologyError, match="two networks"):
        net.addLink("s1", "s2")
    with pytest.raises(TopologyError, match="two networks"):
        net.addLink("h1", "h2")
    outside = net.addHost("h9", inNamespace=False)
    with pytest.raises(TopologyError, match="namespace"):
        net.addLink(outside, "s1")
    with pytest.raises(TopologyError, match="does not change"):
        net["h1"].setIP("10.0.0.77", 8)
    with pytest.raises(TopologyError, match="does not change"):
        net["h1"].setMAC("02:00:00:00:00:77")
    with pytest.raises(TopologyError, match="controller=None"):
        net["s1"].start([object()])
    assert isinstance(net["s1"], AgentSwitch)


def test_a_host_on_two_networks(net: Mininet) -> None:
    """The second interface has its address from the link, and is a port of the other network."""
    link = net.addLink("h1", "s2", params1={"ip": "10.0.0.50/8", "ip6": "fd00::50"})
    assert link.port.spec.fixed_ips == ["10.0.0.50", "fd00::50"]
    assert [intf.name for intf in net["h1"].intfList()] == ["h1-eth0", "h1-eth1"]
    assert " 1 received" in net["h1"].cmd("ping -c1 -W2 -I h1-eth1 fd00::4")
    bare = net.addLink("h2", "s2")
    assert list(bare.port.spec.fixed_ips) == [] and net["h2"].intf("h2-eth1").IP() is None
