"""A restarted agent: the same ports under the same numbers, nothing lost, nothing left."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ofctl.errors import Aborted, Refused
from ofctl.model.confirmation import Outcome
from ofctl.model.ids import DeviceName, PhysicalNetwork
from ofctl.model.port import NamespaceConsumer, PortState, Recovery
from ofctl.pipeline.tables import DELIVER, LAYOUT_VERSION
from ofctl.sandbox.ovs import run
from tests.eyes import NOTHING, intended
from tests.functional.engine.lab import BRIDGE, HOST, Lab, Namespace
from tests.functional.engine.test_faults import until


async def test_a_restart_finds_everything_right_and_loses_no_packet(lab: Lab) -> None:
    with Namespace() as one, Namespace() as two:
        (first,) = await lab.plug(lab.inside("p1", one, 5))
        (second,) = await lab.plug(lab.inside("p2", two, 6))
        flows = lab.ovs.ovs_ofctl("dump-flows", BRIDGE, "--no-stats")
        argv = ["nsenter", f"--net={one.path}", "ping", "-q", "-i", "0.005", "-c", "400", "10.1.0.6"]
        ping = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        await asyncio.sleep(0.3)
        await lab.stop()
        await lab.start()
        await lab.plug(lab.spec("p3"))
        assert ping.returncode is None, "the traffic ended before the restart was over"
        output, _ = await ping.communicate()
        assert b"400 received, 0% packet loss" in output
        await lab.unplug("p3")
        assert sorted(lab.ovs.ovs_ofctl("dump-flows", BRIDGE, "--no-stats").splitlines()) == sorted(flows.splitlines())
        for before in (first, second):
            assert lab.engine.port(before.binding.port_id, HOST).binding.numbers == before.binding.numbers
        await lab.see(first, second)


@contextmanager
def another_layout() -> Iterator[None]:
    """Make this process an agent of the next version of the pipeline: other cookies, and a table elsewhere."""
    number = DELIVER.number
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ofctl.pipeline.tables.LAYOUT_VERSION", LAYOUT_VERSION + 1)
        object.__setattr__(DELIVER, "number", number + 1)
        try:
            yield
        finally:
            object.__setattr__(DELIVER, "number", number)


async def test_another_layout_version_and_back_under_traffic(lab: Lab) -> None:
    """N -> N+1 -> N: not one packet is lost, and no flow of the other layout is left."""
    with Namespace() as one, Namespace() as two:
        await lab.plug(lab.inside("p1", one, 5))
        await lab.plug(lab.inside("p2", two, 6))
        before = sorted(lab.ovs.ovs_ofctl("dump-flows", BRIDGE, "--no-stats").splitlines())
        argv = ["nsenter", f"--net={one.path}", "ping", "-q", "-i", "0.001", "-c", "4000", "10.1.0.6"]
        ping = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        await asyncio.sleep(0.2)
        with another_layout():
            await lab.stop()
            await lab.start()
            cookies = re.findall(r"cookie=0x(fc1\d\d)", lab.ovs.ovs_ofctl("dump-flows", BRIDGE))
            assert set(cookies) == {f"fc1{LAYOUT_VERSION + 1:02x}"}
            await lab.plug(lab.spec("p3"))
            await lab.stop()
        await lab.start()
        await lab.unplug("p3")
        assert ping.returncode is None, "the traffic ended before the last restart was over"
        output, _ = await ping.communicate()
        assert b" 0% packet loss" in output, output.decode()
        assert sorted(lab.ovs.ovs_ofctl("dump-flows", BRIDGE, "--no-stats").splitlines()) == before


async def test_drift_while_the_agent_was_away_is_mended(lab: Lab) -> None:
    with Namespace() as one, Namespace() as two:
        (first,) = await lab.plug(lab.inside("p1", one, 5))
        (second,) = await lab.plug(lab.inside("p2", two, 6))
        await lab.stop()
        lab.ovs.ovs_ofctl("del-flows", BRIDGE)
        lab.ovs.ovs_ofctl("add-flow", BRIDGE, "table=0,priority=9,actions=drop")
        lab.ovs.vsctl("del-port", BRIDGE, first.binding.device)
        run(["ip", "link", "set", second.binding.device, "down"])
        await lab.start()
        await lab.see(first, second)
        assert "priority=9 " not in lab.ovs.ovs_ofctl("dump-flows", BRIDGE)
        assert one.pings("10.1.0.6")


async def test_leftovers_without_an_intent_are_removed(lab: Lab) -> None:
    await lab.plug(lab.spec("p1"))
    await lab.stop()
    lab.intents.stop()
    lab.intents.database.unlink()
    lab.intents.start()
    await lab.start()
    assert lab.seen() == NOTHING


@pytest.mark.parametrize("recovery", Recovery)
async def test_a_plug_in_flight_when_the_agent_died(lab: Lab, recovery: Recovery) -> None:
    lab.ovs.freeze_vswitchd()
    plug = asyncio.create_task(lab.plug(lab.spec("p1", recovery=recovery), request_id="r"))
    await until(lambda: any(port_id == "p1" for port_id, _, _ in intended(lab.ovs, lab.intents)))
    plug.cancel()
    await lab.stop()
    lab.ovs.thaw_vswitchd()
    await lab.start()
    expected = Outcome.CONFIRMED if recovery is Recovery.KEEP_TRYING else Outcome.ABSENT
    await until(lambda: lab.record("r").outcome is expected)
    if recovery is Recovery.KEEP_TRYING:
        await lab.see(lab.port("p1"))
    else:
        assert lab.seen() == NOTHING


async def test_a_namespace_that_is_gone_leaves_its_port_down_and_the_host_ready(lab: Lab) -> None:
    (vm,) = await lab.plug(lab.spec("p1"))
    with Namespace() as gone:
        await lab.plug(lab.inside("p2", gone, 5))
        await lab.stop()
    await lab.start()
    assert lab.port("p2").binding.state is PortState.DOWN
    assert lab.port("p1").binding.state is PortState.ACTIVE
    assert not lab.engine.host().not_ready
    await lab.unplug("p2")
    await lab.see(vm)


async def test_a_namespace_that_comes_back_is_plugged_again_by_event(lab: Lab, rundir: Path) -> None:
    path = rundir / "netns"
    with Namespace() as neighbour:
        await lab.plug(lab.inside("p0", neighbour, 4))
        with Namespace() as first:
            path.symlink_to(first.path)
            spec = replace(lab.inside("p1", first, 5), consumer=NamespaceConsumer(netns_path=str(path)))
            await lab.plug(spec)
            assert first.pings("10.1.0.4")
        await until(lambda: shown(lab, "p1") == (PortState.DOWN, "AWAITING_NAMESPACE"))
        await lab.stop()
        await lab.start()
        assert shown(lab, "p1") == (PortState.DOWN, "AWAITING_NAMESPACE")
        with Namespace() as second:
            path.unlink()
            path.symlink_to(second.path)
            await until(lambda: shown(lab, "p1")[0] is PortState.ACTIVE)
            assert second.pings("10.1.0.4")


async def test_a_port_that_cannot_be_restored_at_first_is_mended_later(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    await lab.stop()
    run(["ip", "link", "set", port.binding.device, "alias", "ofctl:h1:another"])
    await lab.start()
    assert shown(lab, "p1") == (PortState.DOWN, "DEVICE_IN_USE")
    run(["ip", "link", "delete", port.binding.device])
    await until(lambda: shown(lab, "p1")[0] is PortState.ACTIVE)
    await lab.see(port)


async def test_a_late_copy_of_a_request_does_not_plug_again(lab: Lab) -> None:
    await lab.plug(lab.spec("p1"), request_id="old")
    await lab.unplug("p1")
    for _ in range(2):
        with pytest.raises(Aborted) as caught:
            await lab.plug(lab.spec("p1"), request_id="old")
        assert caught.value.reason == "SUPERSEDED"
        await lab.stop()
        await lab.start()
    await lab.plug(lab.spec("p1"), request_id="new")


def shown(lab: Lab, name: str) -> tuple[PortState, str]:
    binding = lab.port(name).binding
    return binding.state, binding.state_reason


async def test_an_existing_bridge_of_somebody_else_survives_the_start(lab: Lab) -> None:
    await lab.stop()
    lab.ovs.vsctl("del-br", BRIDGE)
    run(["ip", "tuntap", "add", "their0", "mode", "tap"])
    lab.ovs.vsctl(
        "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "protocols=OpenFlow10,OpenFlow15"
    )
    lab.ovs.vsctl("add-port", BRIDGE, "their0")
    lab.ovs.ovs_ofctl("add-flow", BRIDGE, "priority=77,actions=NORMAL")
    with pytest.raises(Refused, match="ofctl bridge adopt"):
        await lab.start()
    assert lab.ovs.vsctl("list-ports", BRIDGE).split() == ["their0"]
    assert "priority=77 actions=NORMAL" in lab.ovs.ovs_ofctl("dump-flows", BRIDGE)


async def test_foreign_ports_on_our_bridge_are_reported_and_left(lab: Lab) -> None:
    run(["ip", "tuntap", "add", "their0", "mode", "tap"])
    lab.ovs.vsctl("add-port", BRIDGE, "their0")
    await lab.stop()
    await lab.start()
    (bridge,) = lab.engine.host().bridges
    assert bridge.foreign_ports == ("their0",)
    assert "their0" in lab.ovs.vsctl("list-ports", BRIDGE).split()


async def test_a_second_agent_does_not_get_the_host(lab: Lab) -> None:
    other = Lab(lab.ovs, lab.intents)
    other.options = lambda **changes: lab.options(**{**changes, "start_timeout_s": 1.0})  # type: ignore[method-assign]
    with pytest.raises(Exception, match="another agent"):
        await other.start()
    await other.stop()
    await lab.plug(lab.spec("p1"))


async def test_an_uplink_that_is_the_host_s_own_is_refused(lab: Lab) -> None:
    await lab.stop()
    run(["ip", "tuntap", "add", "nic0", "mode", "tap"])
    run(["ip", "tuntap", "add", "nic1", "mode", "tap"])
    run(["ip", "address", "add", "192.0.2.1/24", "dev", "nic0"])
    await lab.start(
        physical_networks={
            PhysicalNetwork("physnet0"): (DeviceName("nic0"),),
            PhysicalNetwork("physnet1"): (DeviceName("nic1"),),
        }
    )
    refused, attached = lab.engine.host().uplinks
    assert refused.ofport is None
    assert "192.0.2.1" in refused.problem
    assert attached.ofport is not None
    assert not attached.problem
    assert lab.ovs.vsctl("list-ports", BRIDGE).split() == ["nic1"]
