"""What other clients change is told by the switch, what we change is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ofctl.openflow.foreign import (
    MAX_IN_WINDOW,
    WINDOW_S,
    ChangeKind,
    ForeignChange,
    ForeignFlow,
    ForeignGroup,
    ForeignMeter,
    ManyChanges,
    PortStatus,
)
from ofctl.openflow.switch import Fragments, Switch, SwitchConfig
from ofctl.pipeline.changes import AddFlow, AddGroup, DeleteFlow, DeleteGroup
from ofctl.pipeline.flow import Cookie, Flow, Group, GroupId, Match, SetField
from ofctl.pipeline.tables import CLASSIFY, NETWORK, OUTSIDE
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.openflow.conftest import BRIDGE, within


class Watched:
    """A channel, and what it was told."""

    def __init__(self, ovs: PrivateOvs, switch: Switch) -> None:
        self.ovs = ovs
        self.switch = switch
        self.told: list[ForeignChange] = []
        self.news = asyncio.Event()
        switch.watch_foreign(self.take)

    def take(self, change: ForeignChange) -> None:
        self.told.append(change)
        self.news.set()

    async def until(self, change: ForeignChange) -> None:
        """Return when `change` was told; fail with what was told instead."""
        await self.when(lambda: change in self.told)

    async def when(self, true: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(5):
                while not true():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"told only {len(self.told)}: {self.told[-50:]}") from None

    async def still_told(self) -> None:
        """Fail unless a change is told by itself, once the flood is over."""
        await asyncio.sleep(2 * WINDOW_S)
        await self.other("add-flow", BRIDGE, "table=7,cookie=0x77,actions=drop")
        await self.until(ForeignFlow(ChangeKind.ADDED, 7, 0x77))

    async def other(self, *argv: str) -> None:
        await asyncio.to_thread(self.ovs.ovs_ofctl, *argv)


FLOOD = 20_000


@pytest.fixture
def flood(tmp_path: Path) -> Path:
    """Flows for `ovs-ofctl add-flows`."""
    path = tmp_path / "flows"
    path.write_text("".join(f"table=9,cookie={n:#x},tcp,tp_src={n},actions=drop\n" for n in range(FLOOD)))
    return path


@pytest.fixture
async def watched(bridge: PrivateOvs) -> AsyncIterator[Watched]:
    switch = Switch(BRIDGE, bridge.rundir / f"{BRIDGE}.mgmt")
    watched = Watched(bridge, switch)
    await switch.start()
    await switch.wait_connected(deadline=within(10))
    try:
        yield watched
    finally:
        await switch.close()


async def test_flows_of_others_are_told_with_table_and_cookie(watched: Watched) -> None:
    await watched.other("add-flow", BRIDGE, "table=7,cookie=0x77,in_port=3,actions=drop")
    await watched.until(ForeignFlow(ChangeKind.ADDED, 7, 0x77))
    await watched.other("mod-flows", BRIDGE, "table=7,in_port=3,actions=output:4")
    await watched.until(ForeignFlow(ChangeKind.MODIFIED, 7, 0x77))
    await watched.other("del-flows", BRIDGE)
    await watched.until(ForeignFlow(ChangeKind.REMOVED, 7, 0x77))
    assert len(watched.told) == 3


async def test_groups_and_meters_of_others_are_told(watched: Watched) -> None:
    await watched.other("add-group", BRIDGE, "group_id=5,type=all,bucket=bucket_id:1,actions=output:1")
    await watched.until(ForeignGroup(5))
    watched.told.clear()
    await watched.other("remove-buckets", BRIDGE, "group_id=5,command_bucket_id=1")
    await watched.until(ForeignGroup(5))
    await watched.other("add-meter", BRIDGE, "meter=9,kbps,band=type=drop,rate=100")
    await watched.until(ForeignMeter(9))
    await watched.other("del-groups", BRIDGE)
    await watched.until(ForeignGroup(0xFFFFFFFC))


async def test_own_changes_and_dynamic_tables_are_not_told(watched: Watched) -> None:
    flow = Flow(CLASSIFY, 5, Match(), Cookie(1), (SetField(NETWORK, 1),))
    group = Group(GroupId(1), ())
    await watched.switch.commit([AddGroup(group), AddFlow(flow)], deadline=within(5))
    await watched.switch.commit([DeleteFlow(flow), DeleteGroup(GroupId(1))], deadline=within(5))
    watched.switch.send_unconfirmed([AddFlow(flow)])
    await watched.other("add-flow", BRIDGE, f"table={OUTSIDE.number},actions=drop")
    await watched.other("add-flow", BRIDGE, "table=8,cookie=0x8,actions=drop")
    await watched.until(ForeignFlow(ChangeKind.ADDED, 8, 0x8))
    assert len(watched.told) == 1


async def test_ports_are_told(watched: Watched) -> None:
    watched.ovs.vsctl("add-port", BRIDGE, "p1", "--", "set", "interface", "p1", "type=internal", "ofport_request=11")
    await watched.when(lambda: any(_is(change, ChangeKind.ADDED) for change in watched.told))
    await watched.other("mod-port", BRIDGE, "p1", "no-forward")
    await watched.when(lambda: any(_is(change, ChangeKind.MODIFIED) for change in watched.told))
    watched.ovs.vsctl("del-port", BRIDGE, "p1")
    await watched.when(lambda: any(_is(change, ChangeKind.REMOVED) for change in watched.told))


def _is(change: ForeignChange, kind: ChangeKind) -> bool:
    return isinstance(change, PortStatus) and (change.kind, change.name, change.ofport) == (kind, "p1", 11)


async def test_no_gap_between_the_events_and_the_first_dump(watched: Watched) -> None:
    """What a dump right after the connect did not show, an event tells: over a hundred connects under fire."""
    writing = True

    async def write() -> None:
        number = 0
        while writing:
            number += 1
            await watched.other("add-flow", BRIDGE, f"table=9,cookie={number:#x},tp_src={number},tcp,actions=drop")

    writer = asyncio.create_task(write())
    for _ in range(10):
        await watched.switch.close()
        watched.told.clear()
        await watched.switch.start()
        await watched.switch.wait_connected(deadline=within(5))
        seen = {flow.cookie for flow in await watched.switch.dump_flows(table=9, deadline=within(5))}
        await asyncio.sleep(0.02)
        present = {flow.cookie for flow in await watched.switch.dump_flows(table=9, deadline=within(5))}
        told = {change.cookie for change in watched.told if isinstance(change, ForeignFlow)}
        assert present - seen <= told
    writing = False
    await writer


async def test_a_flood_is_told_as_one(watched: Watched, flood: Path) -> None:
    adding = asyncio.create_task(watched.other("add-flows", BRIDGE, str(flood)))
    loop = asyncio.get_running_loop()
    begun, late = loop.time(), 0.0
    while not adding.done():
        before = time.thread_time()  # Of this thread alone: others on the machine make nobody late here.
        await asyncio.sleep(0.001)
        late = max(late, time.thread_time() - before)
    await watched.until(ManyChanges())
    windows = (loop.time() - begun) / WINDOW_S + 2
    assert len(watched.told) < windows * (MAX_IN_WINDOW + 1), "most of the flood was not told one by one"
    assert late < 0.5, f"the loop was kept busy for {late:.3f} s"
    await watched.still_told()


async def test_the_monitor_goes_on_after_a_pause(watched: Watched, flood: Path) -> None:
    """A loop that stands still does not read, so the switch pauses the monitor."""
    watched.ovs.ovs_ofctl("add-flows", BRIDGE, str(flood))
    assert int(watched.ovs.appctl("coverage/read-counter", "ofmonitor_pause")) > 0
    await watched.until(ManyChanges())
    await watched.still_told()


async def test_the_configuration_is_read_and_put_right(watched: Watched) -> None:
    switch = watched.switch
    assert await switch.config(deadline=within(5)) == SwitchConfig(Fragments.NX_MATCH)
    await watched.other("set-frags", BRIDGE, "drop")
    assert (await switch.config(deadline=within(5))).fragments is Fragments.DROP
    await switch.set_config(SwitchConfig(), deadline=within(5))
    assert "nx-match" in watched.ovs.ovs_ofctl("get-frags", BRIDGE)
    await watched.other("add-flow", BRIDGE, "table=7,cookie=0x77,actions=drop")
    await watched.until(ForeignFlow(ChangeKind.ADDED, 7, 0x77))


async def test_the_switch_says_what_it_is(watched: Watched) -> None:
    await watched.switch.ports(deadline=within(5))
    description = watched.switch.description
    assert description is not None
    assert description.manufacturer == "Nicira, Inc."
    assert description.software in watched.ovs.appctl("version").split()
