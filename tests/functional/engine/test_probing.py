"""PIPELINE and PROBE: frames that show that a port works, that reach nobody, and that leave nothing."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from io import FileIO

import pytest

from ofctl.engine.port_work import PortWork
from ofctl.engine.probing_door import DoorProbe
from ofctl.errors import DriverError
from ofctl.model.confirmation import Confirmation, Level, ProbeFrame
from ofctl.model.ids import DeviceName, NetworkId, PhysicalNetwork, PortId
from ofctl.model.network import Network, NetworkType
from ofctl.model.vif import PluggedPort
from ofctl.sandbox.ovs import run
from tests.eyes import open_tap
from tests.functional.engine.lab import BRIDGE, HOST, Lab, Namespace, in_s

ETHERTYPE = bytes.fromhex("88b5")
PHYSNET = PhysicalNetwork("physnet1")
OUTSIDE = Network(
    network_id=NetworkId("outside"),
    network_type=NetworkType.VLAN,
    physical_network=PHYSNET,
    segmentation_id=100,
    mtu=1450,
)
AT_ONCE = 50

INJECTED = {
    "broadcast with a VLAN tag, from the port",
    "broadcast from a group address, from the port",
    "broadcast from another address, from the port",
    "unicast to a neighbour, from the port",
    "unicast to the port, from a neighbour",
    "reserved multicast, from the port",
    "broadcast, from the port",
    "unicast to an unknown address, from the port",
}
THROUGH_THE_DEVICE = {
    "broadcast with a VLAN tag, into the device",
    "broadcast from a group address, into the device",
    "broadcast from another address, into the device",
    "unicast to a neighbour, into the device",
    "reserved multicast, into the device",
    "broadcast, into the device",
    "unicast to an unknown address, into the device",
    "unicast to the port, out of the device",
}


def confirmation(port: PluggedPort) -> Confirmation:
    assert port.binding.confirmation is not None
    return port.binding.confirmation


def frames(port: PluggedPort) -> dict[str, str]:
    """What became of the frames, by name; fails unless each did what it should."""
    assert all(frame.seen == frame.expected for frame in confirmation(port).frames)
    return {frame.name: frame.seen for frame in confirmation(port).frames}


def state_of_the_switch(lab: Lab) -> list[str]:
    """Flows of all tables, groups, tracked connections; and what is cached for the probes' ethertype."""
    flows = lab.ovs.ovs_ofctl("dump-flows", BRIDGE, "--no-stats").splitlines()
    groups = lab.ovs.ovs_ofctl("dump-groups", BRIDGE).splitlines()
    tracked = lab.ovs.appctl("dpctl/dump-conntrack").splitlines()
    cached = [line for line in lab.ovs.appctl("dpctl/dump-flows").splitlines() if "0x88b5" in line]
    return sorted([*flows, *groups, *tracked, *cached])


def probes_read(tap: FileIO) -> list[bytes]:
    """Return the probes among the frames that wait in a TAP."""
    found = []
    while (frame := tap.read(2048)) is not None:
        if ETHERTYPE in (frame[12:14], frame[16:18]):
            found.append(frame)
    return found


Mischief = Callable[[PortWork], None]


def after_readback(lab: Lab, monkeypatch: pytest.MonkeyPatch, mischief: Mischief) -> None:
    """Do something to a port when all has been shown but that it works, and let nobody mend it meanwhile."""
    chassis = lab.engine.chassis
    read_back: Callable[..., Awaitable[None]] = chassis.read_back

    async def and_then(work: PortWork, *, deadline: float) -> None:
        await read_back(work, deadline=deadline)
        chassis.tables._mending._from = float("inf")
        await asyncio.to_thread(mischief, work)

    monkeypatch.setattr(chassis, "read_back", and_then)


async def test_pipeline_runs_the_tables(lab: Lab, namespace: Namespace) -> None:
    await lab.plug(lab.inside("p0", namespace, 4))
    before = state_of_the_switch(lab)
    (port,) = await lab.plug(lab.spec("p1"), level=Level.PIPELINE)
    seen = frames(port)
    assert seen.keys() == INJECTED
    assert confirmation(port).level is Level.PIPELINE and not confirmation(port).note
    assert seen["unicast to the port, from a neighbour"] == f"ofport {confirmation(port).ofport}"
    assert seen["broadcast, from the port"].startswith("ofports ")
    assert {name for name, what in seen.items() if what == "dropped"} == {
        "broadcast with a VLAN tag, from the port",
        "broadcast from a group address, from the port",
        "broadcast from another address, from the port",
        "reserved multicast, from the port",
        "unicast to an unknown address, from the port",
    }
    await lab.unplug("p1")
    assert state_of_the_switch(lab) == before


@pytest.mark.parametrize("level", [Level.PIPELINE, Level.PROBE])
async def test_a_network_with_an_outside(lab: Lab, level: Level) -> None:
    """Both ways over the uplink; and nothing is learned from a probe that comes from there."""
    run(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"])
    for device in ("up0", "up1"):
        run(["ip", "link", "set", device, "up"])
    await lab.stop()
    await lab.start(physical_networks={PHYSNET: (DeviceName("up0"),)})
    await lab.apply_network(OUTSIDE)
    (port,) = await lab.plug(replace(lab.spec("p1"), network_id=OUTSIDE.network_id), level=level)
    seen = frames(port)
    assert seen["unicast to an unknown address, from the port"] == "the uplink"
    assert seen["broadcast, from the port"] == f"ofport {confirmation(port).ofport} and the uplink"
    assert seen["unicast from outside, from outside"] == f"ofport {confirmation(port).ofport}"
    assert seen["its own address from outside, from outside"] == "dropped"
    assert "0e:0f:c1" not in lab.ovs.ovs_ofctl("dump-flows", BRIDGE, "table=230")


async def test_probe_goes_through_a_tap(lab: Lab, namespace: Namespace) -> None:
    await lab.plug(lab.inside("p0", namespace, 4))
    before = state_of_the_switch(lab)
    (port,) = await lab.plug(lab.spec("p1"), level=Level.PROBE)
    seen = frames(port)
    assert seen.keys() == INJECTED | THROUGH_THE_DEVICE
    assert confirmation(port).level is Level.PROBE and not confirmation(port).note
    assert seen["unicast to the port, out of the device"] == f"read from {port.binding.device}"
    with open_tap(port.binding.device) as tap:
        os.set_blocking(tap.fileno(), False)
        assert not probes_read(tap), "nothing waits for the guest"
    await lab.unplug("p1")
    assert state_of_the_switch(lab) == before


async def test_probe_goes_through_the_far_end_of_a_veth_also_in_use(lab: Lab, namespace: Namespace) -> None:
    with Namespace() as neighbour:
        await lab.plug(lab.inside("p0", neighbour, 4))
        (port,) = await lab.plug(lab.inside("p1", namespace, 5), level=Level.PROBE)
        assert frames(port).keys() == INJECTED | THROUGH_THE_DEVICE
        before = state_of_the_switch(lab)
        pings = asyncio.create_task(asyncio.to_thread(namespace.pings, "10.1.0.4", count=10))
        while not pings.done():
            again = await lab.engine.verify(PortId("p1"), HOST, Level.PROBE, deadline=in_s(5))
            assert frames(again).keys() == INJECTED | THROUGH_THE_DEVICE
            assert confirmation(again).level is Level.PROBE
        assert await pings, "the guest's own frames went on"
        assert state_of_the_switch(lab) == before


async def test_a_tap_that_is_held_is_probed_through_the_tables_and_the_reply_says_so(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"), level=Level.PROBE)
    with open_tap(port.binding.device):
        (again,) = await lab.plug(lab.spec("p1"), level=Level.PROBE)
        assert confirmation(again).level is Level.PIPELINE
        assert f"somebody has {port.binding.device} open" in confirmation(again).note
        assert frames(again).keys() & THROUGH_THE_DEVICE == set()
    (again,) = await lab.plug(lab.spec("p1"), level=Level.PROBE)
    assert confirmation(again).level is Level.PROBE


async def test_probes_reach_nobody(lab: Lab) -> None:
    """Every way a frame could take ends at a neighbour who listens; a broadcast among 20 probes would be seen."""
    (neighbour,) = await lab.plug(lab.spec("p0"))
    with open_tap(neighbour.binding.device) as tap:
        os.set_blocking(tap.fileno(), False)
        for number in range(10):
            (port,) = await lab.plug(lab.spec("p1"), level=Level.PROBE)
            assert frames(port)["broadcast, into the device"].startswith("ofports")
            await lab.engine.verify(PortId("p1"), HOST, Level.PIPELINE, deadline=in_s(5))
            await lab.unplug("p1")
            assert not probes_read(tap), f"round {number}"
        (port,) = await lab.plug(lab.spec("p1", port_security=False))
        with open_tap(port.binding.device) as sender:
            sender.write(bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(46))
            await asyncio.sleep(0.2)
            assert len(probes_read(tap)) == 1, "a guest's own frame of that ethertype does"


def flow_deleted(lab: Lab) -> Mischief:
    def delete(work: PortWork) -> None:
        lab.ovs.ovs_ofctl("del-flows", BRIDGE, f"table=50,dl_dst={work.present.mac_address}")

    return delete


def tag_let_in(lab: Lab) -> Mischief:
    def add(work: PortWork) -> None:
        marks = f"set_field:{work.network.index}->reg0,set_field:{work.present.numbers.index}->reg1"
        flow = f"table=0,priority=600,in_port={work.ofport},dl_vlan=1,actions=pop_vlan,{marks},goto_table:50"
        lab.ovs.ovs_ofctl("add-flow", BRIDGE, flow)

    return add


def bucket_removed(lab: Lab) -> Mischief:
    def remove(work: PortWork) -> None:
        group = f"group_id={1 << 24 | work.network.index << 8},command_bucket_id={work.present.numbers.index}"
        lab.ovs.ovs_ofctl("remove-buckets", BRIDGE, group)

    return remove


def all_dropped(lab: Lab) -> Mischief:
    def drop(work: PortWork) -> None:
        lab.ovs.ovs_ofctl("add-flow", BRIDGE, f"table=0,priority=450,in_port={work.ofport},actions=drop")

    return drop


@pytest.mark.parametrize("level", [Level.PIPELINE, Level.PROBE])
@pytest.mark.parametrize(
    ("mischief", "found"),
    [
        (flow_deleted, ("unicast to the port, from a neighbour", "dropped")),
        (tag_let_in, ("broadcast with a VLAN tag, from the port", "ofport")),
        (bucket_removed, ("broadcast, from the port", "ofport 1")),
        (all_dropped, ("unicast to a neighbour, from the port", "dropped")),
    ],
    ids=["a flow missing", "a tag let in", "a bucket missing", "everything dropped"],
)
async def test_tables_that_do_not_do_it_fail_the_plug(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    level: Level,
    mischief: Callable[[Lab], Mischief],
    found: tuple[str, str],
) -> None:
    (neighbour,) = await lab.plug(lab.spec("p0"))
    after_readback(lab, monkeypatch, mischief(lab))
    with pytest.raises(DriverError) as caught:
        await lab.plug(lab.spec("p1"), level=level)
    assert caught.value.reason == "PROBE_FAILED" and caught.value.stage == "probe"
    assert caught.value.metadata["probe"] == found[0]
    assert caught.value.metadata["seen"].startswith(found[1])
    assert caught.value.metadata["outcome"] == "ABSENT"
    await lab.see(neighbour)


def make_anew(work: PortWork) -> None:
    run(["ip", "link", "delete", work.device])
    run(["ip", "tuntap", "add", work.device, "mode", "tap"])
    run(["ip", "link", "set", work.device, "up"])


async def test_green_and_dead_is_caught(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TAP deleted and made again under the same name: the switch shows no fault, and the port carries nothing."""
    (neighbour,) = await lab.plug(lab.spec("p0"))

    def unnoticed(work: PortWork) -> None:
        make_anew(work)
        row = lab.ovs.vsctl("--columns=ofport,error", "--bare", "list", "interface", work.device)
        assert row.split() == [str(work.ofport)], "the switch stays green"

    after_readback(lab, monkeypatch, unnoticed)
    begun = time.monotonic()
    with pytest.raises(DriverError, match=r"does not work: .*received by the switch at ofport.*lost") as caught:
        await lab.plug(lab.spec("p1"), level=Level.PROBE)
    assert time.monotonic() - begun < 3
    assert caught.value.reason == "PROBE_FAILED"
    await lab.see(neighbour)


async def test_a_pipeline_alone_does_not_see_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What PROBE is for: the marked frames arrive; it takes the kernel's events, looked at afterwards, to refuse."""
    after_readback(lab, monkeypatch, make_anew)
    with pytest.raises(DriverError) as caught:
        await lab.plug(lab.spec("p1"), level=Level.PIPELINE)
    assert (caught.value.stage, caught.value.reason) == ("record", "DEVICE_REPLACED")


async def test_a_far_end_that_is_down_fails_the_plug(
    lab: Lab, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_down(_: PortWork) -> None:
        namespace.run("ip", "link", "set", "eth0", "down")

    after_readback(lab, monkeypatch, set_down)
    with pytest.raises(DriverError, match="does not work") as caught:
        await lab.plug(lab.inside("p1", namespace, 5), level=Level.PROBE)
    assert caught.value.reason == "PROBE_FAILED"
    await lab.see()


async def test_what_is_there_for_a_moment_is_not_mended_away(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    tables = lab.engine.chassis.tables
    both_ways: Callable[..., Awaitable[tuple[ProbeFrame, ...]]] = DoorProbe._both_ways

    async def after_a_repair(*arguments: object) -> tuple[ProbeFrame, ...]:
        await tables.repair(deadline=in_s(5))
        assert not (await tables.inspect(deadline=in_s(5))).difference.changes
        return await both_ways(*arguments)

    monkeypatch.setattr(DoorProbe, "_both_ways", after_a_repair)
    port = await lab.engine.verify(PortId("p1"), HOST, Level.PROBE, deadline=in_s(5))
    assert frames(port).keys() >= {"broadcast, into the device"}


async def test_many_at_once(lab: Lab) -> None:
    before = state_of_the_switch(lab)
    durations: dict[Level, list[int]] = {Level.PIPELINE: [], Level.PROBE: []}
    for level, spent in durations.items():
        begun = time.monotonic()
        plugged = await asyncio.gather(
            *(lab.plug(lab.spec(f"p{n}"), level=level, timeout_s=20) for n in range(AT_ONCE))
        )
        whole = time.monotonic() - begun
        for (port,) in plugged:
            assert confirmation(port).level is level
            # To whom a broadcast goes changes while others are plugged and unplugged.
            assert all(
                each.seen == each.expected for each in confirmation(port).frames if "broadcast," not in each.name
            )
            spent += [each.duration_us for each in confirmation(port).stages if each.stage == "probe"]
        print(f"{level.name}: {AT_ONCE} in {whole * 1e3:.0f} ms, stage p50 {statistics.median(spent)} us")  # noqa: T201
        await asyncio.gather(*(lab.unplug(f"p{n}") for n in range(AT_ONCE)))
    assert state_of_the_switch(lab) == before


async def test_how_long_it_takes(lab: Lab) -> None:
    await lab.plug(lab.spec("p0"))
    for level in (Level.PIPELINE, Level.PROBE):
        spent = []
        for _ in range(20):
            (port,) = await lab.plug(lab.spec("p1"), level=level)
            spent += [each.duration_us for each in confirmation(port).stages if each.stage == "probe"]
            await lab.unplug("p1")
        print(f"{level.name}: p50 {statistics.median(spent)} us, max {max(spent)} us")  # noqa: T201
        assert statistics.median(spent) < 50_000
