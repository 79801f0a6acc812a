"""The API in front of the real engine and a real switch: what is promised of requests that come again, or too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from ofctl.api.server import ApiServer
from ofctl.client import (
    Aborted,
    AsyncClient,
    ConfirmationLevel,
    DeadlineExceeded,
    FailedPrecondition,
    FindingKind,
    Internal,
    NotFound,
    Outcome,
    PortSpec,
    Unavailable,
    VmConsumer,
)
from tests.eyes import NOTHING
from tests.functional.api.conftest import settings
from tests.functional.api.test_watch import take
from tests.functional.engine.conftest import intents, lab
from tests.functional.engine.lab import BRIDGE, Lab
from tests.functional.engine.test_faults import before

__all__ = ["intents", "lab"]


def vm(port_id: str) -> PortSpec:
    return PortSpec(port_id=port_id, network_id="n1", vm=VmConsumer())


@asynccontextmanager
async def serving(lab: Lab, name: str = "api.sock") -> AsyncIterator[AsyncClient]:
    """Serve the engine that the lab has now; yield a client."""
    socket = lab.ovs.rundir / name
    server = ApiServer(lab.engine, settings(socket))
    await server.start()
    try:
        async with AsyncClient(f"unix:{socket}", timeout_s=10) as client:
            yield client
    finally:
        await server.stop(0)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not true():  # noqa: ASYNC110 - what the client sees is asked for
            await asyncio.sleep(0.01)


async def test_a_request_that_is_over_never_plugs_again(lab: Lab) -> None:
    async with serving(lab) as client:
        await client.plug(vm("p1"), request_id="r1")
        await client.plug(vm("p1"), request_id="r1")
        await client.unplug("p1")
        with pytest.raises(NotFound):
            await client.unplug("p1")
        with pytest.raises(Aborted) as caught:
            await client.plug(vm("p1"), request_id="r1")
        assert (caught.value.reason, caught.value.request_id) == ("SUPERSEDED", "r1")
        assert lab.seen() == NOTHING

        await client.plug_all([vm("p1"), vm("p2")], request_id="r2")
        await client.unplug("p1")
        assert [port.spec.port_id for port in (await client.request("r2")).ports] == ["p2"]
        with pytest.raises(Aborted) as caught:
            await client.plug_all([vm("p1"), vm("p2")], request_id="r2")
        assert caught.value.reason == "SUPERSEDED"
        await lab.see(lab.port("p2"))

        await client.plug(vm("p1"), request_id="r3")
        both = await asyncio.gather(client.unplug("p1"), client.unplug("p1"), return_exceptions=True)
        assert all(answer is None or isinstance(answer, NotFound) for answer in both) and None in both
        await lab.see(lab.port("p2"))


async def test_a_plug_that_an_unplug_aborted_never_plugs_again(lab: Lab) -> None:
    async with serving(lab) as client:
        lab.ovs.freeze_vswitchd()
        plug = asyncio.create_task(client.plug(vm("p1"), request_id="r1"))
        await until(lambda: any(port.binding.port_id == "p1" for port in lab.engine.ports()))
        unplug = asyncio.create_task(client.unplug("p1"))
        await asyncio.sleep(0)
        lab.ovs.thaw_vswitchd()
        with pytest.raises(Aborted):
            await plug
        await unplug
        with pytest.raises(Aborted) as caught:
            await client.plug(vm("p1"), request_id="r1")
        assert caught.value.reason == "SUPERSEDED" and lab.seen() == NOTHING


async def test_a_plug_that_failed_for_want_of_the_switch_is_tried_anew_under_its_id(lab: Lab) -> None:
    async with serving(lab) as client:
        with before(lab.engine.chassis, "attach", lab.ovs.kill_vswitchd):
            with pytest.raises((Unavailable, DeadlineExceeded)) as caught:
                await client.plug(vm("p1"), request_id="r1", timeout_s=1)
            assert caught.value.outcome == "UNKNOWN"
        lab.ovs.start_vswitchd()
        await until(lambda: lab.record("r1").outcome.name == "ABSENT")
        assert (await client.request("r1")).request.outcome == Outcome.OUTCOME_ABSENT
        assert (await client.plug(vm("p1"), request_id="r1")).confirmation.ofport
        assert (await client.request("r1")).request.outcome == Outcome.OUTCOME_CONFIRMED
        await lab.see(lab.port("p1"))


async def test_an_older_generation_never_wins(lab: Lab) -> None:
    async def stale(client: AsyncClient) -> None:
        for late in (
            client.plug(vm("p1"), generation=6),
            client.plug_all([vm("p1"), vm("p2")], generation=6),
            client.plug(vm("p1"), generation=6, validate_only=True),
        ):
            with pytest.raises(FailedPrecondition) as caught:
                await late
            assert caught.value.reason == "STALE_GENERATION"

    async with serving(lab) as client:
        assert (await client.plug(vm("p1"), generation=5)).generation == 5
        with pytest.raises(FailedPrecondition):
            await client.unplug("p1", generation=4)
        await client.unplug("p1", generation=7)
        await stale(client)
    await lab.stop()
    await lab.start()
    async with serving(lab) as client:
        await stale(client)
        assert lab.seen() == NOTHING
        assert (await client.plug(vm("p1"), generation=7)).generation == 7
        await client.unplug("p1")


async def test_a_port_is_verified_and_the_host_audited(lab: Lab) -> None:
    def tamper() -> None:
        lab.ovs.ovs_ofctl("del-flows", BRIDGE, "cookie=0x0fc1000300000001/0xffff00ffffffffff")

    async with serving(lab) as client:
        port = await client.plug(vm("p1"))
        again = await client.verify("p1", level=ConfirmationLevel.CONFIRMATION_LEVEL_READBACK)
        assert again.confirmation.level == ConfirmationLevel.CONFIRMATION_LEVEL_READBACK
        assert again.confirmation.flow_digest == port.confirmation.flow_digest
        assert again.confirmation.confirmed_at_ms > port.confirmation.confirmed_at_ms
        with before(lab.engine.chassis, "read_back", tamper), pytest.raises(Internal) as caught:
            await client.verify("p1", level=ConfirmationLevel.CONFIRMATION_LEVEL_READBACK)
        assert (caught.value.reason, caught.value.stage) == ("READBACK_DIFFERS", "readback")
        lab.ovs.vsctl("add-port", BRIDGE, "dummy0", "--", "set", "interface", "dummy0", "type=internal")
        report = await client.audit(repair=True)
        assert [(finding.kind, finding.subject) for finding in report.findings] == [
            (FindingKind.FINDING_KIND_ROW_FOREIGN, "dummy0")
        ]
        assert (report.ports, report.devices, report.left_count) == (1, 1, 0)
        assert report.flows == lab.ovs.ovs_ofctl("dump-flows", BRIDGE).count("cookie=") > 0


async def test_what_is_watched_goes_on_after_a_restart_of_the_agent(lab: Lab) -> None:
    async with AsyncClient(f"unix:{lab.ovs.rundir}/api.sock") as watcher:
        async with serving(lab) as client:
            await client.plug(vm("p1"))
            events = watcher.watch(timeout_s=20)
            assert await take(events, 2) == ["present p1", "synced snapshot"]
            await client.plug(vm("p2"))
            port = (await anext(events)).port
            while not port.HasField("confirmation"):
                port = (await anext(events)).port
            assert port.spec.port_id == "p2"
        await lab.stop()
        await lab.start()
        async with serving(lab) as client, aclosing(events):
            await client.unplug("p2")
            seen = ""
            while seen != "removed p2":
                (seen,) = await take(events, 1)
