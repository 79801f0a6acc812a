"""The difference of two states of a switch as an ordered list of changes. Pure.

`diff` compares what is known to be there with what must be there (the incremental way); `diff_images` compares what
the switch dumped with what must be there (the full resync, on every connect).

The order is one in which each change is valid when it is its turn, and in which no frame meets half a pipeline even
if the changes are not applied as one: groups before the flows that use them, later tables before those that lead
there, everything new before anything old goes, and old groups last, because deleting a group deletes its flows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

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
from ofctl.pipeline.flow import Cookie, Flow, FlowSet, Group, GroupId, Learn
from ofctl.pipeline.tables import GUEST_TABLES, TABLES, is_guest_group, is_learned, is_ours

V = TypeVar("V")

FEW_BUCKETS = 8
"""So many buckets are always changed one by one; more, if they are under an eighth of the group."""

DYNAMIC_TABLES = frozenset((*(table.number for table in TABLES if table.dynamic), *GUEST_TABLES))
"""Those in which others than ofctl write flows: the switch, and fenced guests."""


def diff(actual: FlowSet, desired: FlowSet) -> tuple[Change, ...]:
    """Return the changes that make `desired` of `actual`, none if they are equal.

    When a flow that learns goes, what it has learned goes with it. Flows of dynamic tables are in neither set.
    """
    old_flows = {flow.identity: flow for flow in actual.flows}
    new_flows = {flow.identity: flow for flow in desired.flows}
    old_groups = {group.group_id: group for group in actual.groups}
    new_groups = {group.group_id: group for group in desired.groups}
    added = [flow for identity, flow in new_flows.items() if old_flows.get(identity) != flow]
    gone = [flow for identity, flow in old_flows.items() if identity not in new_flows]
    replaced = [old_flows[flow.identity] for flow in added if flow.identity in old_flows]
    forgotten = _learned_by([*gone, *replaced]) - _learned_by(new_flows.values())
    return _ordered(
        _group_changes(old_groups, new_groups),
        added,
        [*(DeleteFlow(flow) for flow in gone)],
        forgotten,
        [group_id for group_id in old_groups if group_id not in new_groups],
    )


def _ordered(
    groups: Iterable[Change],
    added: Iterable[Flow],
    deleted: Iterable[DeleteFlow],
    forgotten: Iterable[tuple[int, Cookie]],
    dead_groups: Iterable[GroupId],
) -> tuple[Change, ...]:
    return (
        *groups,
        *(AddFlow(flow) for flow in sorted(added, key=lambda flow: -flow.table.number)),
        *sorted(deleted, key=lambda change: _table_number(change.flow)),
        *(DeleteFlowsByCookie(cookie, table) for table, cookie in sorted(forgotten)),
        *(DeleteGroup(group_id) for group_id in sorted(dead_groups)),
    )


def _table_number(flow: Flow | FlowKey) -> int:
    return flow.table.number if isinstance(flow, Flow) else flow.table_number


def _learned_by(flows: Iterable[Flow]) -> set[tuple[int, Cookie]]:
    """Return table and cookie of everything that the flows may have learned."""
    return {
        (action.table.number, action.cookie) for flow in flows for action in flow.actions if isinstance(action, Learn)
    }


def _group_changes(old: Mapping[GroupId, Group], new: Mapping[GroupId, Group]) -> Iterator[Change]:
    for group_id in sorted(new):
        before, after = old.get(group_id), new[group_id]
        if before is None:
            yield AddGroup(after)
        elif before.group_type is not after.group_type:
            yield ModifyGroup(after)
        elif before.buckets != after.buckets:
            yield from _bucket_changes(before, after)


def _bucket_changes(before: Group, after: Group) -> Iterator[Change]:
    old = {bucket.bucket_id: bucket for bucket in before.buckets}
    new = {bucket.bucket_id: bucket for bucket in after.buckets}
    # Nearly all buckets are the same objects (`flood_bucket`), which is seen without comparing what is in them.
    changed = {
        bucket_id
        for bucket_id in old.keys() | new.keys()
        if (mine := old.get(bucket_id)) is not (other := new.get(bucket_id)) and mine != other
    }
    removed = sorted(changed & old.keys())
    inserted = [new[bucket_id] for bucket_id in sorted(changed & new.keys())]
    if len(removed) + len(inserted) > max(FEW_BUCKETS, len(new) // 8):
        yield ModifyGroup(after)
        return
    for bucket_id in removed:
        yield RemoveBucket(after.group_id, bucket_id)
    for bucket in inserted:
        yield InsertBucket(after.group_id, bucket)


def apply(changes: Iterable[Change], state: FlowSet) -> FlowSet:
    """Return the state after the changes, in canonical order, as the switch would have it.

    Raises ValueError for a change that the switch would refuse: a group added twice or changed without being there,
    a bucket twice or not there, a flow to a group that is not there, a flow named by a `FlowKey`.
    """
    flows = {flow.identity: flow for flow in state.flows}
    groups = {group.group_id: group for group in state.groups}
    for change in changes:
        match change:
            case AddFlow(flow):
                if not flow.group_ids <= groups.keys():
                    raise ValueError(f"no such group: {change}")
                flows[flow.identity] = flow
            case DeleteFlow(Flow() as flow):
                flows.pop(flow.identity, None)
            case DeleteFlowsByCookie(cookie, table):
                flows = {
                    identity: flow
                    for identity, flow in flows.items()
                    if flow.cookie != cookie or table not in (None, flow.table.number)
                }
            case AddGroup(group):
                if group.group_id in groups:
                    raise ValueError(f"the group is there: {change}")
                groups[group.group_id] = group
            case DeleteGroup(group_id):
                groups.pop(group_id, None)
                flows = {identity: flow for identity, flow in flows.items() if group_id not in flow.group_ids}
            case ModifyGroup(group):
                _existing(groups, group.group_id, change)
                groups[group.group_id] = group
            case InsertBucket() | RemoveBucket():
                groups[change.group_id] = _with_bucket(_existing(groups, change.group_id, change), change)
            case _:
                raise ValueError(f"cannot be applied to values: {change}")
    return FlowSet(tuple(flows.values()), tuple(groups.values())).canonical()


def _existing(groups: Mapping[GroupId, Group], group_id: GroupId, change: Change) -> Group:
    if group_id not in groups:
        raise ValueError(f"no such group: {change}")
    return groups[group_id]


def _with_bucket(group: Group, change: InsertBucket | RemoveBucket) -> Group:
    buckets = {bucket.bucket_id: bucket for bucket in group.buckets}
    if isinstance(change, InsertBucket):
        if change.bucket.bucket_id in buckets:
            raise ValueError(f"the bucket is there: {change}")
        buckets[change.bucket.bucket_id] = change.bucket
    elif buckets.pop(change.bucket_id, None) is None:
        raise ValueError(f"no such bucket: {change}")
    return replace(group, buckets=tuple(buckets[bucket_id] for bucket_id in sorted(buckets)))


@dataclass(frozen=True, slots=True)
class Observed(Generic[V]):
    """A flow as the switch has it: its cookie, and the rest of its content in a form that compares."""

    cookie: Cookie
    content: V


@dataclass(frozen=True, slots=True)
class Resync:
    """What a full resync sends, and the part of it that removes or overwrites what others have put there."""

    changes: tuple[Change, ...]
    foreign_flows: tuple[FlowKey, ...] = ()
    foreign_groups: tuple[GroupId, ...] = ()
    """Groups bear no cookie: any that is not desired is reported."""


def diff_images(
    actual_flows: Mapping[FlowKey, Observed[V]],
    desired_flows: Mapping[FlowKey, tuple[Flow, V]],
    actual_groups: Mapping[GroupId, V],
    desired_groups: Mapping[GroupId, tuple[Group, V]],
    *,
    ignored_tables: Iterable[int] = DYNAMIC_TABLES,
) -> Resync:
    """Return the difference between a complete dump of the switch and what must be there.

    Contents are opaque: all that counts is whether they compare equal, so that no dumped flow needs parsing. What is
    not desired is deleted, except fenced guests' groups. In `ignored_tables`, the dynamic ones, only what was learned
    for networks that are gone is deleted. `desired_flows` and `desired_groups` must be complete: nothing is
    swept on a part of the intents.
    """
    ignored = frozenset(ignored_tables)
    added: list[Flow] = []
    foreign: list[FlowKey] = []
    for key, (flow, content) in desired_flows.items():
        there = actual_flows.get(key)
        if there is None or there.cookie != flow.cookie or there.content != content:
            added.append(flow)
            if there is not None and not is_ours(there.cookie):
                foreign.append(key)
    learners = _learned_by(flow for flow, _ in desired_flows.values())
    deleted: list[DeleteFlow] = []
    forgotten: set[tuple[int, Cookie]] = set()
    for key, observed in actual_flows.items():
        if key in desired_flows:
            continue
        if key.table_number in ignored:
            learned = (key.table_number, observed.cookie)
            if is_learned(observed.cookie) and learned not in learners:
                forgotten.add(learned)
            continue
        deleted.append(DeleteFlow(key))
        if not is_ours(observed.cookie):
            foreign.append(key)
    dead = [group_id for group_id in actual_groups if group_id not in desired_groups and not is_guest_group(group_id)]
    groups: list[Change] = []
    for group_id, (group, image) in sorted(desired_groups.items()):
        if group_id not in actual_groups:
            groups.append(AddGroup(group))
        elif actual_groups[group_id] != image:
            groups.append(ModifyGroup(group))
    return Resync(_ordered(groups, added, deleted, forgotten, dead), tuple(foreign), tuple(sorted(dead)))
