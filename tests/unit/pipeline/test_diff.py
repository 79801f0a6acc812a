"""Differences: what is applied leads where it should, in an order that works."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.apps import CORE_APPS
from ofctl.pipeline.changes import (
    AddFlow,
    AddGroup,
    Change,
    DeleteFlow,
    DeleteFlowsByCookie,
    DeleteGroup,
    FlowKey,
    InsertBucket,
    ModifyGroup,
    RemoveBucket,
)
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.diff import FEW_BUCKETS, Observed, Resync, apply, diff, diff_images
from ofctl.pipeline.flow import Bucket, Cookie, Flow, FlowSet, Group, GroupId, Learn, Match, Table
from ofctl.pipeline.tables import (
    CLASSIFY,
    FORWARD,
    GUEST_TABLES,
    OUTSIDE,
    SCRATCH,
    GroupKind,
    learned_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World
from tests.unit.pipeline.worlds import EXAMPLE, VLAN, port, worlds

COMPILER = Compiler(CORE_APPS)


def whole(world: World) -> FlowSet:
    return COMPILER.compile_all(world)


@given(worlds(), worlds())
def test_diff_leads_from_one_to_the_other(before: World, after: World) -> None:
    changes = diff(whole(before), whole(after))
    assert apply(changes, whole(before)) == whole(after).canonical()
    assert diff(whole(after), whole(after)) == ()


@given(worlds(), worlds())
def test_the_compilers_changes_are_the_difference_of_the_whole(before: World, after: World) -> None:
    changes = COMPILER.changes(before, after)
    assert set(changes) == set(diff(whole(before), whole(after)))
    assert apply(changes, whole(before)) == whole(after).canonical()


@given(worlds(), st.data())
def test_changes_see_what_is_shared_between_worlds(world: World, data: st.DataObject) -> None:
    """Worlds that come from one another, as the engine's do, are compared by what they share."""
    after = world
    if world.ports:
        gone = data.draw(st.sets(st.sampled_from(sorted(world.ports))))
        after = after.without_ports(gone)
    joins, uplink_goes = data.draw(st.booleans()), data.draw(st.booleans())
    if world.networks and joins:
        after = after.with_port(port(99, data.draw(st.sampled_from(sorted(world.networks)))))
    for physical_network in world.uplinks if uplink_goes else ():
        after = after.without_uplink(physical_network)
    for a, b in ((world, after), (after, world)):
        assert apply(COMPILER.changes(a, b), whole(a)) == whole(b).canonical()


RANK: dict[type[Change], int] = {
    AddGroup: 0,
    ModifyGroup: 0,
    InsertBucket: 0,
    RemoveBucket: 0,
    AddFlow: 1,
    DeleteFlow: 2,
    DeleteFlowsByCookie: 3,
    DeleteGroup: 4,
}


@given(worlds(), worlds())
def test_new_comes_before_old_goes_and_later_tables_before_earlier(before: World, after: World) -> None:
    changes = diff(whole(before), whole(after))
    ranks = [RANK[type(change)] for change in changes]
    assert ranks == sorted(ranks)
    added = [change.flow.table.number for change in changes if isinstance(change, AddFlow)]
    assert added == sorted(added, reverse=True)
    deleted = [
        change.flow.table.number
        for change in changes
        if isinstance(change, DeleteFlow) and isinstance(change.flow, Flow)
    ]
    assert deleted == sorted(deleted)


def group(*bucket_ids: int) -> Group:
    return Group(GroupId(1), tuple(Bucket(bucket_id, ()) for bucket_id in bucket_ids))


def test_few_buckets_change_one_by_one_and_many_at_once() -> None:
    many = range(1, FEW_BUCKETS + 2)
    assert diff(FlowSet(groups=(group(1),)), FlowSet(groups=(group(*many),))) == tuple(
        InsertBucket(GroupId(1), Bucket(number, ())) for number in many[1:]
    )
    assert diff(FlowSet(groups=(group(),)), FlowSet(groups=(group(*many),))) == (ModifyGroup(group(*many)),)
    eighth = group(*range(50, 450))
    assert len(diff(FlowSet(groups=(eighth,)), FlowSet(groups=(group(*range(100, 450)),)))) == 1
    assert len(diff(FlowSet(groups=(eighth,)), FlowSet(groups=(group(*range(80, 450)),)))) == 30


def test_a_bucket_with_another_content_is_replaced() -> None:
    before, after = (
        group(1, 2),
        Group(GroupId(1), (Bucket(1, ()), *whole(EXAMPLE).groups[0].buckets[:0], Bucket(2, ()))),
    )
    assert diff(FlowSet(groups=(before,)), FlowSet(groups=(after,))) == ()
    other = replace(after, buckets=(Bucket(1, ()), replace(whole(EXAMPLE).groups[0].buckets[0], bucket_id=2)))
    changes = diff(FlowSet(groups=(before,)), FlowSet(groups=(other,)))
    assert [type(change) for change in changes] == [RemoveBucket, InsertBucket]
    assert apply(changes, FlowSet(groups=(before,))) == FlowSet(groups=(other,))


def test_what_was_learned_goes_with_the_network() -> None:
    after = EXAMPLE.without_ports([port(2, 2).index, port(3, 2).index]).without_network(VLAN.index)
    forget = DeleteFlowsByCookie(learned_cookie(VLAN.index), OUTSIDE.number)
    assert forget in COMPILER.changes(EXAMPLE, after)
    assert forget not in COMPILER.changes(EXAMPLE, EXAMPLE.without_port(port(2, 2).index))


FLOW = Flow(FORWARD, 1, Match(), Cookie(1))


@pytest.mark.parametrize(
    "change",
    [
        AddGroup(whole(EXAMPLE).groups[0]),
        ModifyGroup(group()),
        InsertBucket(GroupId(1), Bucket(1, ())),
        RemoveBucket(GroupId(1), 1),
        InsertBucket(whole(EXAMPLE).groups[0].group_id, Bucket(1, ())),
        RemoveBucket(whole(EXAMPLE).groups[0].group_id, 9),
        DeleteFlow(FlowKey(0, 1, b"")),
    ],
)
def test_apply_refuses_what_the_switch_would_refuse(change: Change) -> None:
    with pytest.raises(ValueError, match=r"no such|is there|cannot be applied"):
        apply([change], whole(EXAMPLE))


def test_apply_knows_that_a_flow_needs_its_group_and_goes_with_it() -> None:
    flood = next(flow for flow in whole(EXAMPLE).flows if flow.group_ids)
    with pytest.raises(ValueError, match="no such group"):
        apply([AddFlow(flood)], FlowSet())
    (group_id,) = flood.group_ids
    assert flood not in apply([DeleteGroup(group_id)], whole(EXAMPLE)).flows


# Full resync


def key(flow: Flow) -> FlowKey:
    return FlowKey(flow.table.number, flow.priority, str(flow.match).encode())


def image(flow: Flow) -> str:
    return str(flow).partition(" actions=")[2]


def resync(actual: FlowSet, desired: FlowSet) -> Resync:
    return diff_images(
        {key(flow): Observed(flow.cookie, image(flow)) for flow in actual.flows},
        {key(flow): (flow, image(flow)) for flow in desired.flows},
        {group.group_id: str(group) for group in actual.groups},
        {group.group_id: (group, str(group)) for group in desired.groups},
    )


def named(changes: tuple[Change, ...], actual: FlowSet) -> list[Change]:
    """Return the changes with flows for keys, as the switch would resolve them."""
    flows = {key(flow): flow for flow in actual.flows}
    return [
        DeleteFlow(flows[change.flow])
        if isinstance(change, DeleteFlow) and isinstance(change.flow, FlowKey)
        else change
        for change in changes
    ]


FOREIGN = Flow(CLASSIFY, 7, Match(), Cookie(0xBAD))
GUEST = Flow(Table(GUEST_TABLES[0], "x", "y", "z"), 8, Match(), Cookie(5))
STALE = Flow(FORWARD, 9, Match(), port_cookie(port(9, 1).index))
LEARNED = Flow(OUTSIDE, 1, Match(), learned_cookie(VLAN.index))
ORPHAN = Flow(OUTSIDE, 2, Match(), learned_cookie(port(1, 9).network))
SCRATCHED = Flow(SCRATCH, 1, Match(), Cookie(0))
GUEST_GROUP = Group(GroupId(GroupKind.GUEST << 24 | 1), ())


@given(worlds(), worlds())
def test_a_resync_ends_at_the_desired_state(before: World, after: World) -> None:
    actual = whole(before)
    found = FlowSet(
        (*actual.flows, FOREIGN, GUEST, STALE, SCRATCHED), (*actual.groups, Group(GroupId(4), ()), GUEST_GROUP)
    )
    result = resync(found, whole(after))
    desired = whole(after)
    expected = FlowSet((*desired.flows, GUEST, SCRATCHED), (*desired.groups, GUEST_GROUP))
    assert apply(named(result.changes, found), found) == expected.canonical()
    assert result.foreign_flows == (key(FOREIGN),)
    assert GroupId(4) in result.foreign_groups and GUEST_GROUP.group_id not in result.foreign_groups


def test_a_resync_of_what_is_right_sends_nothing() -> None:
    assert resync(whole(EXAMPLE), whole(EXAMPLE)) == Resync(())


def test_a_resync_puts_right_what_was_tampered_with() -> None:
    flows = list(whole(EXAMPLE).flows)
    victim = next(position for position, flow in enumerate(flows) if flow.actions)
    right = flows[victim]
    for wrong, foreign in ((replace(right, actions=()), False), (replace(right, cookie=Cookie(0)), True)):
        result = resync(FlowSet((*flows[:victim], wrong, *flows[victim + 1 :]), whole(EXAMPLE).groups), whole(EXAMPLE))
        assert result.changes == (AddFlow(right),)
        assert result.foreign_flows == ((key(right),) if foreign else ())


def test_a_resync_keeps_what_is_learned_and_forgets_what_nobody_learns() -> None:
    found = FlowSet((*whole(EXAMPLE).flows, LEARNED, ORPHAN), whole(EXAMPLE).groups)
    assert resync(found, whole(EXAMPLE)).changes == (DeleteFlowsByCookie(ORPHAN.cookie, OUTSIDE.number),)


def test_what_was_learned_stays_when_the_way_of_learning_changes() -> None:
    flow = next(flow for flow in whole(EXAMPLE).flows if any(isinstance(action, Learn) for action in flow.actions))
    (learn,) = flow.actions
    assert isinstance(learn, Learn)
    longer = replace(flow, actions=(replace(learn, idle_timeout_s=600),))
    assert diff(FlowSet((flow,)), FlowSet((longer,))) == (AddFlow(longer),)
    other = replace(flow, actions=(replace(learn, cookie=learned_cookie(port(1, 9).network)),))
    forget = DeleteFlowsByCookie(learn.cookie, OUTSIDE.number)
    assert diff(FlowSet((flow,)), FlowSet((other,))) == (AddFlow(other), forget)
