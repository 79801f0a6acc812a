"""What is true when something fails, dies or freezes in the middle of an update."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ofctl.engine.chassis import Chassis
from ofctl.engine.port_work import PortWork
from ofctl.engine.stages import Stage
from ofctl.errors import DeadlineExceeded, DriverError, OfctlError, SwitchRejected
from ofctl.model.confirmation import Level, Outcome
from ofctl.model.port import PortState
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.flow import Flow, FlowSet, GroupId, Match, ToGroup
from ofctl.pipeline.world import World, WorldPort
from tests.functional.engine.lab import BRIDGE, Lab, Namespace, in_s, some
from tests.functional.engine.test_faults import before, until
from tests.functional.engine.test_fences import reached
from tests.functional.engine.test_update import G1, PING, addresses, inside

STAGES = ("make_device", "attach", "install_flows", "settle", "read_back", "bind")


def flows(lab: Lab) -> list[str]:
    """Return what the switch has, without what counts and cookies of time."""
    dump = lab.ovs.ovs_ofctl("dump-flows", BRIDGE, "--no-stats", "--no-names")
    return sorted(line.strip() for line in dump.splitlines() if "cookie" in line)


async def unchanged(lab: Lab, before_it: list[str]) -> None:
    """Return when the port p1 and the switch are as before, in the store too."""
    await until(lambda: flows(lab) == before_it)
    report = await lab.engine.audit(repair=False, deadline=in_s(10))
    assert report.findings == ()
    await lab.stop()
    await lab.start()
    assert flows(lab) == before_it
    assert lab.port("p1").binding.spec.security_groups == ()
    assert lab.port("p1").binding.state is PortState.ACTIVE


class Broken(DriverError):
    """What the tests break a stage with."""

    default_reason = "BROKEN"


def breaks(chassis: Chassis, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail one call of a stage, once."""
    original = getattr(chassis, stage)
    broken = False

    async def fails(*arguments: Any, **named: Any) -> None:
        nonlocal broken
        if not broken:
            broken = True
            raise Broken(f"{stage} broke")
        await original(*arguments, **named)

    monkeypatch.setattr(chassis, stage, fails)


@pytest.mark.parametrize("stage", some(STAGES, "install_flows", "bind"))
async def test_a_failure_at_any_stage_leaves_the_port_as_before(
    lab: Lab, namespace: Namespace, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    await lab.apply_group("g1", *PING)
    (port,) = await lab.plug(lab.inside("p1", namespace, 5))
    there = flows(lab)
    revision = lab.engine.book.log.revision
    breaks(lab.engine.chassis, stage, monkeypatch)
    with pytest.raises(Broken) as caught:
        await lab.update(
            "p1", security_groups=(G1,), fixed_ips=addresses("10.1.0.9"), level=Level.READBACK, request_id="u"
        )
    assert caught.value.metadata["outcome"] == "UNCHANGED"
    record = lab.record("u")
    assert (record.outcome, record.reason) == (Outcome.UNCHANGED, "BROKEN")
    assert flows(lab) == there
    assert inside(namespace) == {"10.1.0.5", "fd00:1::5"}
    shown = lab.port("p1").binding
    assert shown == port.binding and shown.state is PortState.ACTIVE
    assert lab.engine.book.log.revision <= revision + 1
    assert lab.engine.book.counters["operations.ended_unchanged"] == 1
    updated = await lab.update("p1", security_groups=(G1,), revision=port.binding.revision)
    assert updated.binding.spec.security_groups == (G1,)
    await lab.update("p1", security_groups=())
    await unchanged(lab, there)


async def test_flows_that_the_switch_refuses_leave_the_old_ones(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty updates in one wave, one of which the switch refuses: that one is as before, its neighbours are new."""
    await lab.apply_group("g1", *PING)
    await asyncio.gather(*(lab.plug(lab.spec(f"p{number}")) for number in range(20)))
    there = flows(lab)
    original = Compiler._port

    def corrupt(compiler: Compiler, port: WorldPort, world: World) -> FlowSet:
        made = original(compiler, port, world)
        if port.port_id != "p7" or not port.security_groups:
            return made
        first = made.flows[0]
        bad = Flow(
            table=first.table,
            priority=1,
            match=Match(),
            cookie=first.cookie,
            actions=(ToGroup(GroupId(0x01FFFF01)),),
        )
        return FlowSet((*made.flows, bad), made.groups)

    monkeypatch.setattr(Compiler, "_port", corrupt)
    answers = await asyncio.gather(
        *(lab.update(f"p{number}", security_groups=(G1,), request_id=f"u{number}") for number in range(20)),
        return_exceptions=True,
    )
    (failed,) = [answer for answer in answers if isinstance(answer, BaseException)]
    assert isinstance(failed, SwitchRejected) and failed.metadata["outcome"] == "UNCHANGED"
    assert failed.metadata["port_id"] == "p7"
    assert lab.port("p7").binding.spec.security_groups == ()
    await asyncio.gather(*(lab.update(f"p{n}", security_groups=()) for n in range(20) if n != 7))
    assert flows(lab) == there


@pytest.mark.parametrize("stage", some(["install_flows", "settle", "read_back"], "settle"))
async def test_a_frozen_switch_is_answered_in_time_and_the_port_is_as_before(lab: Lab, stage: str) -> None:
    await lab.apply_group("g1", *PING)
    await lab.plug(lab.spec("p1"))
    there = flows(lab)
    timeout_s = 1.5
    with before(lab.engine.chassis, stage, lab.ovs.freeze_vswitchd):
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            await lab.update("p1", security_groups=(G1,), level=Level.READBACK, timeout_s=timeout_s, request_id="u")
        assert time.monotonic() - begun < timeout_s + 0.1
    assert caught.value.metadata["outcome"] == "UNKNOWN"
    assert lab.record("u").outcome in (Outcome.IN_PROGRESS, Outcome.UNKNOWN)
    lab.ovs.thaw_vswitchd()
    await until(lambda: lab.record("u").outcome is Outcome.UNCHANGED, timeout_s=15)
    await unchanged(lab, there)


@pytest.mark.parametrize("stage", some(STAGES[:-1], "install_flows"))
async def test_a_switch_killed_in_the_middle_of_an_update(lab: Lab, namespace: Namespace, stage: str) -> None:
    """The update waits for the switch to come back, and confirms what is there then."""
    await lab.apply_group("g1", *PING)

    def restart() -> None:
        lab.ovs.kill_vswitchd()
        lab.ovs.start_vswitchd()

    with Namespace() as neighbour:
        await lab.plug(lab.inside("p0", neighbour, 4))
        await lab.plug(lab.inside("p1", namespace, 5))
        with before(lab.engine.chassis, stage, restart):
            port = await lab.update("p1", security_groups=(G1,), level=Level.READBACK, timeout_s=15)
        assert (port.binding.state, port.binding.spec.security_groups) == (PortState.ACTIVE, (G1,))
        assert neighbour.pings("10.1.0.5")
        await lab.see(port, lab.port("p0"), timeout_s=10)


async def test_the_intents_database_is_away(lab: Lab) -> None:
    await lab.plug(lab.spec("p1"))
    there = flows(lab)
    lab.intents.kill()
    with pytest.raises(OfctlError):
        await lab.update("p1", project_id="blue", timeout_s=1)
    assert flows(lab) == there
    lab.intents.start()
    updated = await lab.update("p1", project_id="green", timeout_s=10)
    assert updated.binding.spec.project_id == "green"


async def test_a_caller_that_goes_away_leaves_the_port_as_before(lab: Lab) -> None:
    await lab.apply_group("g1", *PING)
    await lab.plug(lab.spec("p1"))
    there = flows(lab)
    update = asyncio.create_task(lab.update("p1", security_groups=(G1,), request_id="u"))
    await reached(lab, Stage.DATAPATH)
    update.cancel()
    await asyncio.gather(update, return_exceptions=True)
    await until(lambda: lab.record("u").outcome is Outcome.UNCHANGED)
    await unchanged(lab, there)


async def test_what_cannot_be_put_back_is_mended(
    lab: Lab, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device cannot be brought back at once: intent and flows are the old ones, and the port is mended."""
    await lab.plug(lab.inside("p1", namespace, 5))
    there = flows(lab)
    chassis = lab.engine.chassis
    original, calls = chassis.make_device, 0

    async def fails_twice(work: PortWork, *, deadline: float) -> None:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise Broken("the device cannot be made")
        await original(work, deadline=deadline)

    monkeypatch.setattr(chassis, "make_device", fails_twice)
    with pytest.raises(Broken) as caught:
        await lab.update("p1", fixed_ips=addresses("10.1.0.9"))
    assert caught.value.metadata["outcome"] == "UNCHANGED"
    await until(lambda: lab.port("p1").binding.state is PortState.ACTIVE)
    assert calls == 3
    assert lab.engine.book.counters["degraded.update_undone"] == 1
    assert flows(lab) == there and inside(namespace) == {"10.1.0.5", "fd00:1::5"}


@pytest.mark.parametrize(
    "stage",
    some(
        [Stage.INTENT, Stage.DEVICE, Stage.FLOWS, Stage.DATAPATH, Stage.RECORD, Stage.REVERSION, Stage.REINSTATEMENT],
        Stage.DATAPATH,
        Stage.REINSTATEMENT,
    ),
)
async def test_whatever_the_agent_dies_in_the_switch_has_the_durable_spec_afterwards(
    lab: Lab, namespace: Namespace, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    await lab.apply_group("g1", *PING)
    await lab.plug(lab.inside("p1", namespace, 5))
    if stage in (Stage.REVERSION, Stage.REINSTATEMENT):
        breaks(lab.engine.chassis, "bind", monkeypatch)
    update = asyncio.create_task(
        lab.update("p1", security_groups=(G1,), fixed_ips=addresses("10.1.0.9"), request_id="u")
    )
    await reached(lab, stage)
    await lab.stop()  # Every operation is cancelled where it stands, and nothing more is written.
    await asyncio.gather(update, return_exceptions=True)
    await lab.start()
    spec = lab.port("p1").binding.spec
    new = spec.security_groups == (G1,)
    if new or stage is not Stage.INTENT:
        await until(lambda: lab.record("u").outcome is not Outcome.IN_PROGRESS)
        assert lab.record("u").outcome is (Outcome.CONFIRMED if new else Outcome.UNCHANGED)
    assert spec.fixed_ips == (addresses("10.1.0.9") if new else addresses("10.1.0.5", "fd00:1::5"))
    assert inside(namespace) == {str(address) for address in spec.fixed_ips}
    await until(lambda: lab.port("p1").binding.state is PortState.ACTIVE)
    report = await lab.engine.audit(repair=False, deadline=in_s(10))
    assert report.findings == ()
    await until(lambda: lab.port("p1").binding.former_ips == ())
    assert lab.port("p1").binding.confirmation is not None
