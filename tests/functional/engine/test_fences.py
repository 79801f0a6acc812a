"""Requests that bear a generation: an older one that comes late never wins over a newer one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from ofctl.engine.clock import SystemClock
from ofctl.engine.contract import PlugRequest, UnplugRequest
from ofctl.engine.stages import Stage
from ofctl.errors import Aborted, AlreadyExists, NotFound, OfctlError, Refused
from ofctl.model.confirmation import Level
from ofctl.model.ids import PortId, RequestId
from ofctl.model.port import PortSpec
from ofctl.model.vif import PluggedPort
from tests.eyes import NOTHING
from tests.functional.engine.lab import CALLER, HOST, Lab, in_s
from tests.functional.engine.test_faults import until


async def plug(lab: Lab, generation: int, *names: str, level: Level = Level.DATAPATH) -> tuple[PluggedPort, ...]:
    return await plug_specs(lab, generation, *(lab.spec(name) for name in names or ("p1",)), level=level)


async def plug_specs(
    lab: Lab, generation: int, *specs: PortSpec, level: Level = Level.DATAPATH
) -> tuple[PluggedPort, ...]:
    lab._requests += 1
    request = PlugRequest(
        specs=specs,
        request_id=RequestId(f"g{generation}-{lab._requests}"),
        level=level,
        principal=CALLER,
        admin=False,
        deadline=in_s(10),
        generation=generation,
    )
    return await lab.engine.plug(request)


async def unplug(lab: Lab, generation: int, name: str = "p1") -> None:
    await lab.engine.unplug(
        UnplugRequest(
            port_id=PortId(name),
            host_id=HOST,
            principal=CALLER,
            admin=False,
            deadline=in_s(10),
            generation=generation,
        )
    )


async def refused(call: Awaitable[object]) -> None:
    """Return when `call` was refused as too late."""
    with pytest.raises(Refused) as stale:
        await call
    assert stale.value.reason == "STALE_GENERATION"


async def reached(lab: Lab, stage: Stage) -> None:
    """Return when the operation on p1 is in `stage`; it is there for a moment only."""
    async with asyncio.timeout(8):
        while True:
            operation = lab.engine.book.operation_on((PortId("p1"), HOST))
            if operation is not None and operation.stage is stage:
                return
            await asyncio.sleep(0)


async def restart(lab: Lab) -> None:
    await lab.stop()
    await lab.start()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_late_plug_does_not_win_over_an_unplug(lab: Lab, restarted: bool) -> None:
    await plug(lab, 4)
    await unplug(lab, 5)
    if restarted:
        await restart(lab)
    await refused(plug(lab, 4))
    await refused(unplug(lab, 4))
    assert lab.seen() == NOTHING
    (port,) = await plug(lab, 6)
    await lab.see(port)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_late_unplug_does_not_win_over_a_plug(lab: Lab, restarted: bool) -> None:
    (port,) = await plug(lab, 5)
    if restarted:
        await restart(lab)
    await refused(unplug(lab, 4))
    await refused(plug(lab, 4))
    await lab.see(port)
    await plug(lab, 5)
    await unplug(lab, 5)
    assert lab.seen() == NOTHING


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_unplug_that_overtook_its_plug_on_the_way(lab: Lab, restarted: bool) -> None:
    with pytest.raises(NotFound):
        await unplug(lab, 5)
    if restarted:
        await restart(lab)
    await refused(plug(lab, 4))
    assert lab.seen() == NOTHING


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_repeated_plug_raises_the_fence_of_a_port_that_is_there(lab: Lab, restarted: bool) -> None:
    await plug(lab, 0)
    (port,) = await plug(lab, 7)
    if restarted:
        await restart(lab)
    await refused(unplug(lab, 6))
    await unplug(lab, 0)
    if restarted:
        await restart(lab)
    await refused(plug(lab, 6))
    (port,) = await plug(lab, 0)
    assert port.binding.generation == 7
    if restarted:
        await restart(lab)
    await refused(plug(lab, 6))
    await lab.see(port)


async def test_a_late_plug_while_the_newer_unplug_is_in_flight(lab: Lab) -> None:
    await plug(lab, 4)
    lab.ovs.freeze_vswitchd()
    removal = asyncio.create_task(unplug(lab, 5))
    await until(lambda: lab.engine.book.operation_on((PortId("p1"), HOST)) is not None)
    await refused(plug(lab, 4))
    newer = asyncio.create_task(plug(lab, 6))
    await asyncio.sleep(0)
    lab.ovs.thaw_vswitchd()
    await removal
    await lab.see(*await newer)


async def test_a_late_unplug_while_the_newer_plug_is_in_flight(lab: Lab) -> None:
    lab.ovs.freeze_vswitchd()
    newer = asyncio.create_task(plug(lab, 5))
    await until(lambda: lab.engine.book.operation_on((PortId("p1"), HOST)) is not None)
    await refused(unplug(lab, 4))
    await refused(plug(lab, 4))
    lab.ovs.thaw_vswitchd()
    await lab.see(*await newer)


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_unplug_overtakes_the_older_plug_in_flight(lab: Lab, restarted: bool) -> None:
    lab.ovs.freeze_vswitchd()
    older = asyncio.create_task(plug(lab, 4))
    await until(lambda: lab.engine.book.operation_on((PortId("p1"), HOST)) is not None)
    removal = asyncio.create_task(unplug(lab, 5))
    await asyncio.sleep(0)
    lab.ovs.thaw_vswitchd()
    with pytest.raises((Aborted, NotFound)):
        await older
    await removal
    if restarted:
        await restart(lab)
    await refused(plug(lab, 4))
    assert lab.seen() == NOTHING


async def test_a_plug_that_waits_for_an_older_unplug_is_not_unplugged_by_it(lab: Lab) -> None:
    """Both wait for the plug that the unplug aborted; the newer plug is begun first, and stays."""
    lab.ovs.freeze_vswitchd()
    oldest = asyncio.create_task(plug(lab, 4))
    await until(lambda: lab.engine.book.operation_on((PortId("p1"), HOST)) is not None)
    removal = asyncio.create_task(unplug(lab, 5))
    await asyncio.sleep(0)
    newer = asyncio.create_task(plug(lab, 6))
    await asyncio.sleep(0)
    lab.ovs.thaw_vswitchd()
    outcome = await asyncio.gather(oldest, removal, return_exceptions=True)
    assert isinstance(outcome[0], OfctlError)
    assert outcome[1] is None or (isinstance(outcome[1], Refused) and outcome[1].reason == "STALE_GENERATION")
    await lab.see(*await newer)


@pytest.mark.parametrize("joined_in", [Stage.ATTACHMENT, Stage.RECORD])
async def test_a_newer_copy_that_joins_a_plug_in_flight_is_durable(lab: Lab, joined_in: Stage) -> None:
    first = asyncio.create_task(plug(lab, 4))
    await reached(lab, joined_in)
    (port,) = await plug(lab, 6)
    await first
    assert port.binding.generation == 6
    await restart(lab)
    await refused(unplug(lab, 5))


async def test_one_stale_port_of_several_refuses_all(lab: Lab) -> None:
    await plug(lab, 5, "p1")
    await unplug(lab, 6, "p1")
    await refused(plug(lab, 5, "p1", "p2"))
    await plug(lab, 1, "p2")


async def test_a_plug_that_was_refused_is_no_fence(lab: Lab) -> None:
    await plug(lab, 4)
    with pytest.raises(AlreadyExists):
        await plug_specs(lab, 9, replace(lab.spec("p1"), mtu=1300))
    await unplug(lab, 5)


async def test_the_oldest_fences_of_ports_that_are_gone_go(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if all went within one millisecond: which is the oldest outlives the restart."""
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _: 1_700_000_000_000)
    await lab.stop()
    options = lab.options
    lab.options = lambda **changes: options(**changes, max_requests=2)  # type: ignore[method-assign]
    await lab.start()
    (port,) = await plug(lab, 5, "p0")
    for number in range(1, 5):
        with pytest.raises(NotFound):
            await unplug(lab, 5, f"p{number}")
    await refused(plug(lab, 4, "p4"))
    await restart(lab)
    await refused(plug(lab, 4, "p4"))
    await refused(plug(lab, 4, "p0"))
    (late,) = await plug(lab, 4, "p1")
    await lab.see(port, late)
