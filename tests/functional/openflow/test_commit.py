"""All or nothing, the guilty one named, and no outcome claimed that was not seen."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from ofctl.errors import OfctlError, OutcomeUnknown, SwitchRejected, SwitchUnavailable
from ofctl.openflow.exchanges import BundleExchange
from ofctl.openflow.switch import Disconnected, Switch
from ofctl.pipeline import fields as f
from ofctl.pipeline.changes import AddFlow, AddGroup, Change, DeleteFlow, InsertBucket, ModifyGroup, RemoveBucket
from ofctl.pipeline.flow import Bucket, Cookie, Flow, Group, GroupId, Match, Output, SetField, Table, Term, ToGroup
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.openflow.conftest import BRIDGE, footprint, within

FIRST = Table(1, "first", "test", "where the flows are")
BACK = Table(0, "back", "test", "a table before it")


def flow(number: int, *actions: Output | ToGroup | SetField, terms: tuple[Term, ...] = ()) -> Flow:
    return Flow(FIRST, number, Match.of(*terms), Cookie(number), actions)


GOOD: list[Change] = [AddFlow(flow(number, Output(number))) for number in range(1, 41)]


def bad_goto() -> Flow:
    """A goto back; the value refuses to be made, so it is bent afterwards."""
    bad = flow(100)
    object.__setattr__(bad, "goto", BACK)
    return bad


BAD: dict[str, tuple[Change, str]] = {
    "prerequisite": (AddFlow(flow(100, terms=(Term(f.TCP_DST, 80),))), "OFPBMC_BAD_PREREQ"),
    "goto": (AddFlow(bad_goto()), "OFPBIC_BAD_TABLE_ID"),
    "group": (AddFlow(flow(100, ToGroup(GroupId(4711)))), "OFPBAC_BAD_OUT_GROUP"),
    "set_field": (AddFlow(flow(100, SetField(f.IPV4_SRC, 1))), "OFPBAC_MATCH_INCONSISTENT"),
    "group that is there": (AddGroup(Group(GroupId(1), ())), "OFPGMFC_GROUP_EXISTS"),
    "group that is not": (ModifyGroup(Group(GroupId(9), ())), "OFPGMFC_UNKNOWN_GROUP"),
    "bucket of no group": (InsertBucket(GroupId(9), Bucket(1, ())), "OFPGMFC_UNKNOWN_GROUP"),
    "bucket that is not": (RemoveBucket(GroupId(1), 77), "OFPGMFC_UNKNOWN_BUCKET"),
}


async def test_a_commit_returns_a_receipt(switch: Switch) -> None:
    receipt = await switch.commit(GOOD, deadline=within(5))
    assert receipt.generation == switch.generation == 1
    assert receipt.changes == 40
    again = await switch.commit([], deadline=within(5))
    assert again.bundle_id == receipt.bundle_id + 1
    assert again.barrier_xid > receipt.barrier_xid
    assert again.durations_us.add > 0
    assert len(await switch.dump_flows(deadline=within(5))) == 40


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_change_leaves_nothing_and_is_named(switch: Switch, what: str) -> None:
    bad, name = BAD[what]
    await switch.commit([AddGroup(Group(GroupId(1), ()))], deadline=within(5))
    with pytest.raises(SwitchRejected) as caught:
        await switch.commit([*GOOD[:20], bad, *GOOD[20:]], deadline=within(5))
    assert caught.value.change == 20
    assert caught.value.metadata == {"of_error": name, "change": str(bad)}
    assert await switch.dump_flows(deadline=within(5)) == []
    assert len(await switch.dump_groups(deadline=within(5))) == 1
    await switch.commit(GOOD, deadline=within(5))
    assert len(await switch.dump_flows(deadline=within(5))) == 40


async def test_of_many_commits_at_once_only_the_guilty_fail(switch: Switch) -> None:
    wanted = [[AddFlow(flow(number * 10 + n, Output(1))) for n in range(5)] for number in range(1, 51)]
    for number in range(0, 50, 5):
        wanted[number].insert(3, AddFlow(flow(7, terms=(Term(f.TCP_DST, 80),))))
    results = await asyncio.gather(
        *(switch.commit(changes, deadline=within(5)) for changes in wanted), return_exceptions=True
    )
    rejected = [result for result in results if isinstance(result, SwitchRejected)]
    assert [error.change for error in rejected] == [3] * 10
    assert len(await switch.dump_flows(deadline=within(5))) == 40 * 5


async def test_commits_are_applied_in_the_order_in_which_they_were_called(switch: Switch) -> None:
    one = flow(1)
    await asyncio.gather(
        *(switch.commit([AddFlow(one) if number % 2 else DeleteFlow(one)], deadline=within(5)) for number in range(100))
    )
    assert len(await switch.dump_flows(deadline=within(5))) == 1


async def test_errors_and_messages_of_others_hurt_nobody(switch: Switch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "ofctl.openflow")
    bad, _ = BAD["prerequisite"]
    switch.send_unconfirmed([bad, *GOOD[:1]])
    await switch.commit(GOOD[1:], deadline=within(5))
    assert len(await switch.dump_flows(deadline=within(5))) == 40
    assert "OFPBMC_BAD_PREREQ" in caplog.text


async def test_what_does_not_fit_in_a_message_is_refused_before_anything_is_sent(switch: Switch) -> None:
    huge = flow(1, *(Output(1) for _ in range(5000)))
    with pytest.raises(ValueError, match="does not fit"):
        await switch.commit([GOOD[0], AddFlow(huge)], deadline=within(5))
    assert await switch.dump_flows(deadline=within(5)) == []
    await switch.commit(GOOD, deadline=within(5))


async def test_a_frozen_switch_is_unavailable_at_the_deadline(bridge: PrivateOvs, switch: Switch) -> None:
    bridge.freeze_vswitchd()
    try:
        for call in (
            lambda: switch.commit(GOOD, deadline=within(0.3)),
            lambda: switch.dump_flows(deadline=within(0.3)),
            lambda: switch.ports(deadline=within(0.3)),
        ):
            begun = time.monotonic()
            with pytest.raises(SwitchUnavailable):
                await call()
            assert 0.29 <= time.monotonic() - begun < 0.4
    finally:
        bridge.thaw_vswitchd()
    assert await switch.dump_flows(deadline=within(5)) == []


async def test_a_switch_frozen_after_the_commit_request_leaves_the_outcome_unknown(
    bridge: PrivateOvs, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = BundleExchange.closing

    def frozen(exchange: BundleExchange) -> bytes:
        bridge.freeze_vswitchd()
        return closing(exchange)

    monkeypatch.setattr(BundleExchange, "closing", frozen)
    begun = time.monotonic()
    try:
        with pytest.raises(OutcomeUnknown):
            await switch.commit(GOOD, deadline=within(0.3))
        assert 0.29 <= time.monotonic() - begun < 0.4
    finally:
        bridge.thaw_vswitchd()
    # A dump on the same connection is answered after the commit: it tells which.
    assert len(await switch.dump_flows(deadline=within(5))) == 40


async def test_a_silent_switch_is_disconnected_and_found_again(bridge: PrivateOvs) -> None:
    switch = Switch(BRIDGE, bridge.rundir / f"{BRIDGE}.mgmt", echo_interval_s=0.1, echo_timeout_s=0.4)
    lost: asyncio.Future[Disconnected] = asyncio.get_running_loop().create_future()
    switch.subscribe(lambda event: lost.set_result(event) if isinstance(event, Disconnected) else None)
    await switch.start()
    try:
        await switch.wait_connected(deadline=within(5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.8):  # Silent on both sides: the echoes keep it alive.
                await asyncio.shield(lost)
        bridge.freeze_vswitchd()
        begun = time.monotonic()
        async with asyncio.timeout(5):
            assert "silent" in (await lost).cause
        assert 0.2 < time.monotonic() - begun < 0.7
        bridge.thaw_vswitchd()
        assert await switch.wait_connected(deadline=within(5)) == 2
    finally:
        bridge.thaw_vswitchd()
        await switch.close()


async def dump_until_lost(switch: Switch) -> None:
    """Dump again and again until that fails."""
    try:
        while True:
            await switch.dump_flows(deadline=within(5))
    except SwitchUnavailable:
        return


async def commit_until_lost(switch: Switch) -> tuple[int, OfctlError]:
    """Commit flow after flow; return how many were confirmed, and what ended it."""
    for number in range(1, 65_000):
        try:
            await switch.commit([AddFlow(flow(number))], deadline=within(5))
        except OfctlError as error:
            return number - 1, error
    raise AssertionError("the switch was not killed")


@pytest.mark.parametrize("rounds", [pytest.param(5, id="short"), pytest.param(200, id="long", marks=pytest.mark.chaos)])
async def test_kill_in_mid_commit_and_dump_is_seen_at_once_and_leaves_nothing_behind(
    bridge: PrivateOvs, switch: Switch, rounds: int
) -> None:
    loop = asyncio.get_running_loop()
    events: list[object] = []
    switch.subscribe(events.append)
    gc.collect()
    before = footprint()
    for generation in range(1, rounds + 1):
        commits = asyncio.gather(*(commit_until_lost(switch) for _ in range(3)))
        dumps = asyncio.gather(*(dump_until_lost(switch) for _ in range(2)))
        loop.call_later(0.05, bridge.kill_vswitchd)
        async with asyncio.timeout(3):
            ended = await commits
            await dumps
        for confirmed, error in ended:
            assert confirmed > 0
            assert isinstance(error, SwitchUnavailable | OutcomeUnknown)
        assert not switch.connected
        assert isinstance(events[-1], Disconnected)
        with pytest.raises(SwitchUnavailable):
            await switch.commit(GOOD, deadline=within(0.1))
        bridge.start_vswitchd()
        assert await switch.wait_connected(deadline=within(2)) == generation + 1
        assert footprint() == before
