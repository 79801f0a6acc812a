"""What is true when something dies or freezes in the middle of a plug."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ofctl.engine.chassis import Chassis
from ofctl.engine.port_work import PortWork
from ofctl.errors import AttachError, DeadlineExceeded, DriverError, OfctlError, SwitchRejected, Unavailable
from ofctl.model.confirmation import Level, Outcome
from ofctl.model.ids import DeviceName
from ofctl.model.port import PortState, Recovery
from ofctl.pipeline.flow import GroupId, Match, ToGroup
from ofctl.sandbox.ovs import run
from tests.eyes import NOTHING
from tests.functional.engine.lab import BRIDGE, Lab, Namespace

STAGES = ("make_device", "attach", "install_flows", "settle", "read_back")


@contextmanager
def before(chassis: Chassis, stage: str, act: Callable[[], None]) -> Iterator[None]:
    """Do `act` once, just before the chassis begins `stage`."""
    original = getattr(chassis, stage)
    done = False

    async def first_act(*arguments: object, **named: object) -> None:
        nonlocal done
        if not done:
            done = True
            act()
        await original(*arguments, **named)

    setattr(chassis, stage, first_act)
    try:
        yield
    finally:
        setattr(chassis, stage, original)


@pytest.mark.parametrize("stage", STAGES)
async def test_a_frozen_switch_is_answered_in_time_and_truthfully(lab: Lab, stage: str) -> None:
    """SIGSTOP at each stage: the reply comes by the deadline, and the outcome afterwards is what ovs-vsctl shows."""
    timeout_s = 1.5
    with before(lab.engine.chassis, stage, lab.ovs.freeze_vswitchd):
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            await lab.plug(lab.spec("p1"), level=Level.READBACK, timeout_s=timeout_s, request_id="r")
        assert time.monotonic() - begun < timeout_s + 0.1
    assert caught.value.metadata["outcome"] == "UNKNOWN"
    assert lab.record("r").outcome in (Outcome.IN_PROGRESS, Outcome.UNKNOWN)
    lab.ovs.thaw_vswitchd()
    await lab.see(timeout_s=10)
    await until(lambda: lab.record("r").outcome is Outcome.ABSENT)
    (port,) = await lab.plug(lab.spec("p1"))
    await lab.see(port)


@pytest.mark.chaos
@pytest.mark.parametrize("timeout_s", [5, 40])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_switch_that_is_frozen_for_half_a_minute(lab: Lab, stage: str, timeout_s: float) -> None:
    """A caller who has not so much time hears so in time; one who has is confirmed when the switch is back."""
    begun = time.monotonic()

    def freeze() -> None:
        lab.ovs.freeze_vswitchd()
        asyncio.get_running_loop().call_later(30, lab.ovs.thaw_vswitchd)

    with before(lab.engine.chassis, stage, freeze):
        plug = lab.plug(lab.spec("p1"), level=Level.READBACK, timeout_s=timeout_s, request_id="r")
        (answer,) = await asyncio.gather(plug, return_exceptions=True)
    assert isinstance(answer, OfctlError) is (timeout_s < 30)
    assert time.monotonic() - begun < timeout_s + 0.1
    await until(lambda: time.monotonic() > begun + 30, timeout_s=35)
    await until(lambda: lab.record("r").outcome in (Outcome.ABSENT, Outcome.CONFIRMED), timeout_s=10)
    assert (lab.record("r").outcome is Outcome.CONFIRMED) is (timeout_s > 30)
    assert lab.seen().as_intended


@pytest.mark.parametrize("stage", STAGES)
async def test_a_switch_killed_in_the_middle_of_a_plug(lab: Lab, namespace: Namespace, stage: str) -> None:
    """The plug waits for the switch to come back, and confirms what is there then."""

    def restart() -> None:
        lab.ovs.kill_vswitchd()
        lab.ovs.start_vswitchd()

    with Namespace() as neighbour:
        await lab.plug(lab.inside("p0", neighbour, 4))
        with before(lab.engine.chassis, stage, restart):
            (port,) = await lab.plug(lab.inside("p1", namespace, 5), level=Level.READBACK, timeout_s=15)
        assert port.binding.state is PortState.ACTIVE
        assert namespace.pings("10.1.0.4")
        await lab.see(port, lab.port("p0"))


async def test_a_switch_that_has_just_come_back_is_not_read_before_it_has_its_flows(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    chassis = lab.engine.chassis
    restore, read_back = chassis.zones.restore, chassis.read_back
    may_resync = asyncio.Event()

    async def late_restore(zones: set[int]) -> None:
        await may_resync.wait()
        await restore(zones)

    async def read_back_after_restart(work: PortWork, *, deadline: float) -> None:
        monkeypatch.setattr(chassis, "read_back", read_back)
        generation = lab.engine.chassis.switch.generation
        lab.ovs.kill_vswitchd()
        lab.ovs.start_vswitchd()
        await until(lambda: chassis.switch.connected and chassis.switch.generation > generation)
        try:
            await read_back(work, deadline=deadline)
        finally:
            may_resync.set()

    monkeypatch.setattr(chassis.zones, "restore", late_restore)
    monkeypatch.setattr(chassis, "read_back", read_back_after_restart)
    (port,) = await lab.plug(lab.spec("p1"), level=Level.READBACK, timeout_s=15)
    assert port.binding.state is PortState.ACTIVE
    await lab.see(port)


async def test_a_switch_that_is_away_is_said_so_at_once(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    lab.ovs.kill_vswitchd()
    await until(lambda: not lab.engine.chassis.tables.resynced)
    with pytest.raises(Unavailable) as caught:
        await lab.plug(lab.spec("p2"))
    assert caught.value.retry_after_ms
    shown = lab.port("p1").binding
    assert (shown.state, shown.state_reason) == (PortState.DOWN, "SWITCH_DISCONNECTED")
    assert lab.engine.host().not_ready
    lab.ovs.start_vswitchd()
    await until(lambda: lab.engine.chassis.tables.resynced)
    assert lab.port("p1").binding.state is PortState.ACTIVE
    assert lab.ready[-2:] == [False, True]
    await lab.see(port)


async def test_an_ofport_that_never_comes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is gone when ovs-vswitchd looks for it: the caller hears what OVS says, and nothing is left."""
    chassis = lab.engine.chassis
    original = chassis.make_device

    async def vanish(work: PortWork, *, deadline: float) -> None:
        await original(work, deadline=deadline)
        run(["ip", "link", "delete", work.device])

    monkeypatch.setattr(chassis, "make_device", vanish)
    with pytest.raises(AttachError) as caught:
        await lab.plug(lab.spec("p1"))
    assert caught.value.stage == "attachment"
    assert caught.value.metadata["outcome"] == "ABSENT"
    assert lab.seen() == NOTHING


async def test_only_the_plug_that_the_switch_rejects_fails(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty plugs in one wave, one with a flow that the switch refuses: its neighbours are confirmed."""
    compiler = lab.engine.chassis.tables._compiler
    original = compiler._port

    def corrupt(port, world):  # type: ignore[no-untyped-def]
        flows = original(port, world)
        if port.port_id != "p7":
            return flows
        bad = type(flows.flows[0])(
            table=flows.flows[0].table,
            priority=1,
            match=Match(),
            cookie=flows.flows[0].cookie,
            actions=(ToGroup(GroupId(0x01FFFF01)),),
        )
        return type(flows)((*flows.flows, bad), flows.groups)

    monkeypatch.setattr(compiler, "_port", corrupt)
    answers = await asyncio.gather(*(lab.plug(lab.spec(f"p{n}")) for n in range(20)), return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in failed] == [SwitchRejected]
    assert isinstance(failed[0], SwitchRejected)
    assert "BAD_OUT_GROUP" in failed[0].metadata["of_error"]
    assert failed[0].metadata["outcome"] == "ABSENT"
    await lab.see(*(answer[0] for answer in answers if not isinstance(answer, BaseException)))


async def test_a_readback_that_differs_is_no_confirmation(lab: Lab) -> None:
    def tamper() -> None:
        lab.ovs.ovs_ofctl("del-flows", BRIDGE, "cookie=0x0fc1000300000001/0xffff00ffffffffff")

    with before(lab.engine.chassis, "read_back", tamper), pytest.raises(DriverError) as caught:
        await lab.plug(lab.spec("p1"), level=Level.READBACK)
    assert caught.value.reason == "READBACK_DIFFERS"
    assert lab.seen() == NOTHING


async def test_a_caller_that_goes_away_leaves_nothing(lab: Lab) -> None:
    lab.ovs.freeze_vswitchd()
    plug = asyncio.create_task(lab.plug(lab.spec("p1"), timeout_s=3, request_id="r"))
    await asyncio.sleep(0.2)
    plug.cancel()
    await asyncio.gather(plug, return_exceptions=True)
    lab.ovs.thaw_vswitchd()
    await until(lambda: lab.record("r").outcome is Outcome.ABSENT)
    assert lab.seen() == NOTHING


async def test_a_caller_that_goes_away_from_a_repeated_plug_takes_nothing_with_it(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    lab.ovs.freeze_vswitchd()
    plug = asyncio.create_task(lab.plug(lab.spec("p1"), timeout_s=1))
    await asyncio.sleep(0.1)
    plug.cancel()
    await asyncio.gather(plug, return_exceptions=True)
    with pytest.raises(DeadlineExceeded):
        await lab.plug(lab.spec("p1"), timeout_s=1)
    lab.ovs.thaw_vswitchd()
    await asyncio.sleep(0.5)
    await lab.see(port)


async def test_one_of_two_callers_goes_away(lab: Lab) -> None:
    lab.ovs.freeze_vswitchd()
    first = asyncio.create_task(lab.plug(lab.spec("p1")))
    second = asyncio.create_task(lab.plug(lab.spec("p1")))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    lab.ovs.thaw_vswitchd()
    (port,) = await second
    await lab.see(port)


async def test_keep_trying_is_confirmed_when_the_obstacle_is_gone(lab: Lab) -> None:
    run(["ip", "tuntap", "add", "d0", "mode", "tap"])
    spec = lab.spec("p1", requested_device=DeviceName("d0"), recovery=Recovery.KEEP_TRYING)
    with pytest.raises(OfctlError) as caught:
        await lab.plug(spec, request_id="r")
    assert caught.value.metadata["outcome"] == "UNKNOWN"
    run(["ip", "link", "delete", "d0"])
    await until(lambda: lab.record("r").outcome is Outcome.CONFIRMED)
    await lab.see(lab.port("p1"))


async def test_keep_trying_ends_with_an_unplug(lab: Lab) -> None:
    run(["ip", "tuntap", "add", "d0", "mode", "tap"])
    with pytest.raises(OfctlError):
        await lab.plug(lab.spec("p1", requested_device=DeviceName("d0"), recovery=Recovery.KEEP_TRYING))
    await lab.unplug("p1")
    assert lab.seen() == NOTHING


async def test_the_intents_database_is_away(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    lab.intents.kill()
    with pytest.raises(OfctlError):
        await lab.plug(lab.spec("p2"), timeout_s=1)
    lab.intents.start()
    await lab.see(port, timeout_s=10)
    (second,) = await lab.plug(lab.spec("p2"))
    await lab.see(port, second)


async def test_the_switch_database_is_away(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    lab.ovs.database.kill()
    with pytest.raises(OfctlError):
        await lab.plug(lab.spec("p2"), timeout_s=1)
    lab.ovs.database.start()
    await lab.see(port, timeout_s=10)
    (second,) = await lab.plug(lab.spec("p2"))
    await lab.see(port, second)


async def test_rows_removed_behind_our_back_come_back(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    lab.ovs.vsctl("del-port", BRIDGE, port.binding.device)
    await lab.see(port)


async def test_a_hundred_plugs_and_unplugs_leak_neither_threads_nor_files(lab: Lab) -> None:
    async def once(number: int) -> None:
        await lab.plug(lab.spec(f"p{number}"))
        await lab.unplug(f"p{number}")

    await once(0)
    before_them = (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")))
    await asyncio.gather(*(once(number) for number in range(100)))
    assert (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))) == before_them
    assert lab.seen() == NOTHING


async def until(true: Callable[[], bool], timeout_s: float = 8.0) -> None:
    """Return when `true()` is; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.01)
