"""The boot contract, with a real agent and the test as its service manager."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ofctl.client import AsyncClient, Client, NamespaceConsumer, Network, NetworkType, PortSpec, Subnet, VmConsumer
from ofctl.sandbox.ovs import run
from ofctl.sandbox.processes import ProcessFailed, listens
from ofctl.sandbox.sandbox import Options
from tests.functional.boot.conftest import Machine
from tests.functional.boot.manager import Manager
from tests.functional.netlink.conftest import Namespace

PORTS = 200
NETWORK = Network(network_id="n1", subnets=[Subnet(cidr="10.1.0.0/16")])


def vm(name: str) -> PortSpec:
    return PortSpec(port_id=name, network_id="n1", vm=VmConsumer())


def inside(name: str, path: Path, number: int) -> PortSpec:
    consumer = NamespaceConsumer(netns_path=str(path))
    return PortSpec(port_id=name, network_id="n1", namespace=consumer, fixed_ips=[f"10.1.1.{number}"])


def plug(machine: Machine, specs: Iterable[PortSpec]) -> None:
    """Plug all at the same time."""

    async def all_at_once() -> None:
        async with AsyncClient(machine.sandbox.target, timeout_s=30) as client:
            await client.apply_network(NETWORK)
            await asyncio.gather(*(client.plug(spec) for spec in specs))

    asyncio.run(all_at_once())


class Place:
    """A file on which a namespace may be mounted, as `ip netns add` does in /run/netns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._namespace: Namespace | None = None

    def come(self) -> None:
        self._namespace = Namespace()
        self.path.symlink_to(self._namespace.path)

    def go(self) -> None:
        if self._namespace is not None:
            self.path.unlink()
            self._namespace.close()
            self._namespace = None


def exists(machine: Machine) -> tuple[int, int, int]:
    """Return how many devices, ports with an ofport, and ports with flows there are, as the system's tools show it."""
    links = json.loads(run(["ip", "-j", "link", "show"]))
    devices = sum(str(link.get("ifalias", "")).startswith("ofctl:") for link in links)
    ofports = machine.sandbox.ovs.vsctl(
        "--bare", "--columns=ofport", "find", "Interface", "external_ids:iface-status=active"
    )
    dump = machine.sandbox.ovs.ovs_ofctl("dump-flows", "br-int")
    cookies = {int(text, 16) for text in re.findall(r"cookie=(0x[0-9a-f]+)", dump)}
    ports = {cookie & 0xFFFFFFFF for cookie in cookies if cookie >> 48 == 0x0FC1 and cookie >> 32 & 0xFF == 3}
    return devices, sum(number.isdigit() for number in ofports.split()), len(ports)


@pytest.fixture
def manager(rundir: Path, machine: Machine) -> Iterator[Manager]:
    """The manager of all agents that start after this."""
    with Manager(rundir / "notify") as made:
        machine.managed_by(made)
        yield made


def test_200_ports_are_back_before_ready_and_those_that_are_not_are_named(
    machine: Machine, rundir: Path, record_property: Callable[[str, object], None]
) -> None:
    """Nobody but the agent does anything: compute does not run yet."""
    places = [Place(rundir / name) for name in ("red", "green", "blue")]
    for place in places:
        place.come()
    machine.sandbox.start_agent()
    namespaces = [inside(place.path.name, place.path, number) for number, place in enumerate(places)]
    plug(machine, [*(vm(f"vm-{number}") for number in range(PORTS - len(places))), *namespaces])
    assert exists(machine) == (PORTS, PORTS, PORTS)

    machine.lose_power()
    for place in places:
        place.go()
    places[0].come()
    machine.sandbox.start_switch()
    seen: list[tuple[int, int, int]] = []
    listening: list[bool] = []

    def look() -> None:
        machine.freeze_agent()
        seen.append(exists(machine))
        listening.append(listens(machine.sandbox.socket))
        machine.thaw_agent()

    with Manager(rundir / "notify", on_ready=look) as manager:
        machine.managed_by(manager)
        before, began = next_cfg(machine), time.monotonic()
        machine.sandbox.start_agent()
        assert f"removed leftovers rows={PORTS} devices=0" in machine.sandbox.agent_log.read_text()
        ready = manager.ready()
        took_s, transactions = ready.at - began, next_cfg(machine) - before
        record_property("restored", f"{PORTS} ports in {took_s:.2f} s with {transactions} transactions")
        assert seen == [(PORTS - 2, PORTS - 2, PORTS - 2)]
        assert ready.status == (
            "200 ports; 2 not as plugged: blue DOWN (AWAITING_NAMESPACE), green DOWN (AWAITING_NAMESPACE)"
        )
        assert transactions <= 8
        assert listening == [True]
        places[1].come()
        manager.wait(lambda said: said.status == "200 ports; 1 not as plugged: blue DOWN (AWAITING_NAMESPACE)")
        places[2].come()
        manager.wait(lambda said: said.status == "200 ports")
        assert exists(machine) == (PORTS, PORTS, PORTS)
        machine.sandbox.stop_agent()
        manager.wait(lambda said: said.text == "STOPPING=1")
    for place in places:
        place.go()


def next_cfg(machine: Machine) -> int:
    """Return how many changes ovs-vswitchd has been given to wait for."""
    return int(machine.sandbox.ovs.vsctl("get", "Open_vSwitch", ".", "next_cfg"))


FREEZES_THE_SWITCH = """
import os, signal, sys
from ofctl.agent import main
from ofctl.engine.flow_tables import FlowTables

start = FlowTables.start

async def start_frozen(tables):
    os.kill(int(os.environ["VSWITCHD"]), signal.SIGSTOP)
    await start(tables)

FlowTables.start = start_frozen
sys.exit(main())
"""


def test_ready_waits_for_the_confirmation_of_the_switch(
    machine: Machine, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices, rows and ofports are there; then the switch stands still before it can confirm the flows."""
    machine.sandbox.start_agent()
    manager.ready()
    plug(machine, [vm("vm-1"), vm("vm-2")])
    machine.lose_power()
    machine.sandbox.start_switch()
    switch = machine.sandbox.ovs
    assert switch.vswitchd is not None
    monkeypatch.setenv("VSWITCHD", str(switch.vswitchd.pid))
    machine.agent_runs(FREEZES_THE_SWITCH)

    def meanwhile() -> tuple[int, int]:
        deadline = time.monotonic() + 10
        while Path(f"/proc/{vswitchd}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert time.monotonic() < deadline, "the switch was not frozen"
            time.sleep(0.005)
        manager.silent_for(0.7, "READY")
        switch.thaw_vswitchd()
        manager.ready()
        return exists(machine)[1:]

    vswitchd = switch.vswitchd.pid
    with ThreadPoolExecutor(1) as executor:
        seen = executor.submit(meanwhile)
        machine.sandbox.start_agent()
        assert seen.result(10) == (2, 2)


DELETES_A_DEVICE = """
import subprocess, sys
from ofctl.agent import main
from ofctl.engine.flow_tables import FlowTables

start = FlowTables.start

async def start_later(tables):
    subprocess.run(["ip", "link", "delete", "tap-vm-1"], check=True)
    await start(tables)

FlowTables.start = start_later
sys.exit(main())
"""


def test_what_is_changed_while_the_host_starts_is_mended(machine: Machine, manager: Manager) -> None:
    """The device was restored already, and the switch has not confirmed the flows yet."""
    machine.sandbox.start_agent()
    manager.ready()
    plug(machine, [PortSpec(port_id="vm-1", network_id="n1", device_name="tap-vm-1", vm=VmConsumer())])
    machine.sandbox.stop_agent()
    machine.agent_runs(DELETES_A_DEVICE)
    manager.wait(lambda said: said.text == "STOPPING=1")
    machine.sandbox.start_agent()
    status = manager.ready().status
    if status != "1 ports":
        assert status == "1 ports; 1 not as plugged: vm-1 DEGRADED (DEVICE_GONE)"
        manager.wait(lambda said: said.status == "1 ports")
    assert exists(machine) == (1, 1, 1)


class TestUplink:
    """The way out of the host did not come back with it."""

    @pytest.fixture
    def options(self) -> Options:
        return {"agent": {"physical_networks": "public:up0"}}

    def test_ready_names_the_missing_uplink(self, machine: Machine, manager: Manager) -> None:
        run(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"])
        machine.sandbox.start_agent()
        assert manager.ready().status == "0 ports"
        with Client(machine.sandbox.target) as client:
            client.apply_network(
                Network(network_id="n2", type=NetworkType.NETWORK_TYPE_FLAT, physical_network="public")
            )
            client.plug(PortSpec(port_id="vm-1", network_id="n2", vm=VmConsumer()))
        machine.lose_power()
        machine.sandbox.start_switch()
        machine.sandbox.start_agent()
        status = manager.wait(lambda said: said.text.startswith("READY=1")).status
        assert status.startswith("1 ports"), status
        assert "no uplink for public: " in status and "up0" in status


def test_the_status_follows_the_switch(machine: Machine, manager: Manager) -> None:
    machine.sandbox.start_agent()
    assert manager.ready().status == "0 ports"
    plug(machine, [vm("vm-1")])
    manager.wait(lambda said: said.status == "1 ports")
    machine.sandbox.ovs.kill_vswitchd()
    manager.wait(lambda said: "vm-1 DOWN (SWITCH_DISCONNECTED)" in said.status and "not ready: " in said.status)
    machine.sandbox.ovs.start_vswitchd()
    manager.wait(lambda said: said.status == "1 ports")
    with Client(machine.sandbox.target) as client:
        client.unplug("vm-1")
    manager.wait(lambda said: said.status == "0 ports")
    machine.sandbox.ovs.kill_vswitchd()
    manager.wait(lambda said: said.status.startswith("0 ports; not ready: "))


HANGS_WHEN_TOLD = """
import signal, sys, time
from ofctl.agent import main

# Python runs the handler in the main thread: the event loop stands, the other threads go on.
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(1.2))
sys.exit(main())
"""


def test_a_loop_that_hangs_gives_no_sign_of_life(machine: Machine, manager: Manager) -> None:
    machine.managed_by(manager, watchdog_s=0.4)
    machine.agent_runs(HANGS_WHEN_TOLD)
    machine.sandbox.start_agent()
    manager.ready()

    def lives_after(at: float) -> float:
        return manager.wait(lambda said: said.text == "WATCHDOG=1" and said.at > at, timeout_s=5).at

    times = [time.monotonic()]
    for _ in range(4):
        times.append(lives_after(times[-1]))
    assert max(after - before for before, after in itertools.pairwise(times)) < 0.4
    assert machine.sandbox.agent is not None
    machine.sandbox.agent.signal(signal.SIGUSR1)
    told = time.monotonic()
    assert lives_after(told + 0.1) - told > 1.0


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler of its own for a signal (proc(5), SigCgt)."""
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert caught is not None
    return bool(int(caught[1], 16) >> (number - 1) & 1)


def test_it_can_be_stopped_while_it_waits_for_the_database(machine: Machine, manager: Manager) -> None:
    machine.sandbox.intents.stop()
    with pytest.raises(ProcessFailed):
        machine.sandbox.start_agent(timeout_s=1.5)
    agent = machine.sandbox.agent
    assert agent is not None and agent.running
    while not catches(agent.pid, signal.SIGTERM):
        assert agent.running, agent.log_tail()
        time.sleep(0.01)
    began = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - began < 2
    manager.wait(lambda said: said.text == "STOPPING=1")
    assert not any("READY" in said.text for said in manager.said)
