"""The index of members is what counting anew would give, and a change of groups is as small as it can be."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofctl.apps import CORE_APPS
from ofctl.model.ids import NetworkId, NetworkIndex
from ofctl.model.security import (
    TCP,
    AddressGroupId,
    AddressGroupIndex,
    Ports,
    RuleDirection,
    SecurityGroupId,
    SecurityGroupIndex,
    SecurityRule,
)
from ofctl.pipeline.changes import AddFlow, DeleteFlow, InsertBucket
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.diff import diff
from ofctl.pipeline.membership import MAX_CONJUNCTIONS, Membership
from ofctl.pipeline.service import address_group_conjunction, masks_of_range, security_group_conjunction
from ofctl.pipeline.shared_map import SharedMap
from ofctl.pipeline.tables import member_cookie, port_cookie, security_group_cookie
from ofctl.pipeline.world import World
from tests.unit.pipeline.worlds import (
    EXAMPLE,
    GUARDED,
    IN,
    LOCAL,
    OUT,
    PREFIXES,
    VLAN,
    address_group,
    addressed,
    guarded_worlds,
    network,
    port,
    rules,
    security_group,
)

COMPILER = Compiler(CORE_APPS)
SG_1, SG_2, SG_3 = (SecurityGroupId(f"sg-{index}") for index in (1, 2, 3))


def contents(membership: Membership) -> dict[str, object]:
    return {
        "addresses": {place: dict(there) for place, there in membership.addresses.items()},
        "ports": {group: set(ports) for group, ports in membership.ports.items()},
        "named_by": dict(membership.named_by),
        "prefixes": dict(membership.prefixes),
        "prefixes_named_by": dict(membership.prefixes_named_by),
    }


def counted_anew(world: World) -> World:
    """Return the world made again from nothing but what it says."""
    fresh = World()
    for index, there in world.networks.items():
        fresh = fresh.with_network(replace(network(1), network=there, index=index))
    for uplink in world.uplinks.values():
        fresh = fresh.with_uplink(uplink)
    for addresses in world.address_groups.values():
        fresh = fresh.with_address_group(addresses)
    for group in world.security_groups.values():
        fresh = fresh.with_security_group(replace(group, group=replace(group.group, rules=(), members=())))
    for group in world.security_groups.values():
        fresh = fresh.with_security_group(group)
    return fresh.with_ports(world.ports.values())


@given(guarded_worlds())
@settings(max_examples=40)
def test_the_index_is_what_counting_anew_gives(world: World) -> None:
    anew = counted_anew(world)
    assert contents(world.membership) == contents(anew.membership) and world.copy_lookups == anew.copy_lookups
    emptied = world.without_ports(list(world.ports))
    for group in (SG_1, SG_2, SG_3):
        emptied = emptied.with_security_group(security_group(int(group[-1])))
    for group in (SG_1, SG_2, SG_3):
        emptied = emptied.without_security_group(group)
    emptied = emptied.without_address_group(AddressGroupId("ag-1"))
    assert emptied.membership == Membership() and not emptied.copy_lookups
    assert not [claim for claim in emptied.claims if "group" in claim[0] or claim[0] == "zone"]


Draw = Callable[..., Any]
Step = Callable[[Draw, World], World]


def _regroup(draw: Draw, world: World) -> World:
    index = draw(st.sampled_from([1, 2, 3]))
    before = world.security_groups[SecurityGroupId(f"sg-{index}")]
    places = st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from(PREFIXES))
    return world.with_security_group(
        security_group(
            index,
            *draw(st.lists(rules(), max_size=3)),
            *draw(st.sampled_from([(), before.group.rules])),
            stateful=before.group.stateful,
            members=tuple(draw(st.sets(places, max_size=3))),
        )
    )


def _readdress(draw: Draw, world: World) -> World:
    return world.with_address_group(address_group(1, *draw(st.sets(st.sampled_from(PREFIXES)))))


def _replug(draw: Draw, world: World) -> World:
    if not world.ports:
        return world
    index = draw(st.sampled_from(sorted(world.ports)))
    there = world.ports[index]
    if draw(st.booleans()):
        return world.without_port(index)
    return world.with_port(addressed(there, *draw(st.sets(st.sampled_from(PREFIXES), max_size=1))))


def _without_network(draw: Draw, world: World) -> World:
    empty = [index for index in world.networks if not world.shards_by_network.get(index)]
    return world.without_network(draw(st.sampled_from(empty))) if empty else world


def _with_network(draw: Draw, world: World) -> World:
    return world.with_network(LOCAL)


@given(st.data(), guarded_worlds())
@settings(max_examples=40, deadline=None)
def test_the_changes_of_any_step_are_the_difference_of_the_whole(data: st.DataObject, before: World) -> None:
    steps: list[Step] = [_regroup, _readdress, _replug, _without_network, _with_network]
    draw = data.draw
    for _ in range(3):
        after = draw(st.sampled_from(steps))(draw, before)
        changes = COMPILER.changes(before, after)
        assert set(changes) == set(diff(COMPILER.compile_all(before), COMPILER.compile_all(after)))
        before = after


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3) | st.none())))
def test_a_shared_map_is_a_mapping(steps: list[tuple[int, int | None]]) -> None:
    shared: SharedMap[int, int] = SharedMap()
    plain: dict[int, int] = {}
    for key, value in steps:
        before = shared
        shared = shared.changed({key: value})
        assert set(shared.differing(before)) == ({key} if plain.get(key) != value else set())
        if value is None:
            plain.pop(key, None)
        else:
            plain[key] = value
        assert dict(shared) == plain and len(shared) == len(plain)


def changed_by(before: World, after: World) -> list[type]:
    return [type(change) for change in COMPILER.changes(before, after)]


def crowded(members: int) -> World:
    """Return a world whose sg-1 lets in sg-2, which has so many members."""
    remote = SecurityRule(direction=IN, protocol=TCP, ports=Ports(80, 80), remote_security_group=SG_2)
    everyone = tuple((1, f"10.1.{number // 250}.{number % 250}/32") for number in range(members))
    return EXAMPLE.with_security_group(security_group(2, members=everyone)).with_security_group(
        security_group(1, remote, SecurityRule(direction=IN, protocol=TCP, ports=Ports(22, 22)))
    )


@pytest.mark.parametrize("members", [10, 500])
def test_a_change_costs_what_it_changes(members: int) -> None:
    world = crowded(members)
    group = world.security_groups[SG_2].group
    one_more = (*((1, str(member.address)) for member in group.members), (1, "10.2.0.1/32"))
    assert changed_by(world, world.with_security_group(security_group(2, members=one_more))) == [AddFlow]
    assert changed_by(world.with_security_group(security_group(2, members=one_more)), world) == [DeleteFlow]
    rules = world.security_groups[SG_1].group.rules
    another = SecurityRule(direction=IN, protocol=TCP, ports=Ports(443, 443), ip_version=4)
    assert changed_by(world, world.with_security_group(security_group(1, *rules, another))) == [AddFlow]
    # One more service for the same remote group: its addresses know the conjunction already.
    alike = replace(another, remote_security_group=SG_2)
    assert changed_by(world, world.with_security_group(security_group(1, *rules, alike))) == [AddFlow]
    newcomer = addressed(port(4, 1), groups=(2,))
    own = len(COMPILER.compile_port(newcomer.index, world.with_port(newcomer)).flows)
    assert changed_by(world, world.with_port(newcomer)) == [InsertBucket, *[AddFlow] * (own + 2)]


@pytest.mark.parametrize("number", [1, 10, 100])
@pytest.mark.parametrize("members", [10, 100, 500])
def test_flows_are_ports_and_rules_and_members_and_not_their_product(number: int, members: int) -> None:
    remote = [
        SecurityRule(direction=IN, ip_version=4, protocol=TCP, ports=Ports(port, port), remote_security_group=SG_2)
        for port in range(1, number + 1)
    ]
    places = tuple((1, f"10.1.{each // 250}.{each % 250}/32") for each in range(members))
    world = World().with_network(LOCAL).with_security_group(security_group(2, members=places))
    world = world.with_security_group(security_group(1, *remote))
    world = world.with_ports([addressed(port(index, 1), groups=(1,)) for index in range(1, 6)])
    flows = COMPILER.compile_all(world).flows
    assert sum(flow.cookie == member_cookie(LOCAL.index) for flow in flows) == members
    # A service each, and what all of them lead to.
    assert sum(flow.cookie == security_group_cookie(SecurityGroupIndex(1)) for flow in flows) == number + 1
    ports = [len(COMPILER.compile_port(index, world).flows) for index in world.ports]
    assert sum(ports) == 5 * ports[0] == 5 * len(COMPILER.compile_port(port(1, 1).index, without_rules(world)).flows)


def without_rules(world: World) -> World:
    return world.with_security_group(security_group(1))


def test_an_egress_rule_changes_the_ports_of_its_group_and_no_other() -> None:
    world = GUARDED.with_security_group(security_group(3)).with_port(addressed(port(1, 1), groups=(3,)))
    closed = world.with_security_group(security_group(3, SecurityRule(direction=OUT, protocol=TCP)))
    cookies = {change.flow.cookie for change in COMPILER.changes(world, closed) if isinstance(change, AddFlow)}
    assert cookies == {port_cookie(port(1, 1).index), security_group_cookie(SecurityGroupIndex(3))}
    stateless = world.with_security_group(security_group(3, stateful=False))
    changes = COMPILER.changes(world, stateless)
    assert {change.flow.cookie for change in changes if isinstance(change, AddFlow)} == {port_cookie(port(1, 1).index)}


def test_members_of_a_network_wait_for_it() -> None:
    world = crowded(3)
    members = [flow for flow in COMPILER.compile_all(world).flows if flow.cookie == member_cookie(LOCAL.index)]
    assert len(members) == 3
    gone = world.without_port(port(1, 1).index).without_network(LOCAL.index)
    assert not [flow for flow in COMPILER.compile_all(gone).flows if flow.cookie == member_cookie(LOCAL.index)]
    changes = COMPILER.changes(gone, gone.with_network(LOCAL))
    assert [change.flow for change in changes if isinstance(change, AddFlow) and change.flow in members]


def test_a_port_depends_on_its_groups_and_on_the_members_that_they_name() -> None:
    three, four = (COMPILER.closure(port(index, 2).index, GUARDED) for index in (2, 3))
    web, anywhere = security_group_cookie(SecurityGroupIndex(1)), member_cookie(NetworkIndex(0))
    assert [(each.cookie, each.complete) for each in three] == [
        (web, True),
        (member_cookie(VLAN.index), False),
        (anywhere, False),
    ]
    assert [each.cookie for each in four] == [security_group_cookie(SecurityGroupIndex(2)), member_cookie(VLAN.index)]
    whole = COMPILER.compile_all(GUARDED).flows
    for each in (*three, *four):
        under = {flow for flow in whole if flow.cookie == each.cookie}
        assert set(each.flows.flows) <= under and (not each.complete or set(each.flows.flows) == under)
    assert COMPILER.closure(port(1, 1).index, GUARDED) == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda: GUARDED.with_port(addressed(port(1, 1), groups=(1, 2))), "sg-1, which is stateful, and sg-2"),
        (lambda: GUARDED.with_port(addressed(port(1, 1), groups=(7,))), "sg-7, which is not there"),
        (lambda: GUARDED.with_port(replace(port(1, 1), security_groups=(SG_1,))), "no connection zone"),
        (lambda: GUARDED.with_port(replace(port(1, 1), zone=1002)), "wants zone 1002, which port port-2 has"),
        (lambda: GUARDED.without_security_group(SG_1), "has ports: port-2"),
        (lambda: crowded(1).without_security_group(SG_2), "named by the rules of others"),
        (lambda: GUARDED.without_address_group(AddressGroupId("ag-1")), "named by rules"),
        (lambda: EXAMPLE.with_security_group(GUARDED.security_groups[SG_1]), "address group ag-1, which is not there"),
        (lambda: EXAMPLE.with_security_group(GUARDED.security_groups[SG_2]), "names security group sg-1"),
        (lambda: EXAMPLE.with_security_group(security_group(2**14)), "outside of 1 to 16383"),
        (lambda: GUARDED.with_security_group(replace(security_group(1), index=SecurityGroupIndex(9))), "number 1"),
        (
            lambda: GUARDED.with_address_group(replace(address_group(2), index=AddressGroupIndex(1))),
            "address group number 1, which address group ag-1 has",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(change: Callable[[], World], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        change()


def test_a_group_becomes_stateful_with_all_its_ports() -> None:
    mixed = GUARDED.with_security_group(security_group(3, stateful=False))
    mixed = mixed.with_port(addressed(port(3, 2, slot=1), groups=(2, 3)))
    with pytest.raises(ValueError, match="all must be of one kind"):
        mixed.with_security_group(security_group(2, *mixed.security_groups[SG_2].group.rules))


def test_an_address_is_not_asked_for_more_often_than_one_flow_can_say() -> None:
    remote = SecurityRule(direction=IN, remote_security_group=SG_1)
    both = (remote, replace(remote, direction=OUT))
    world = EXAMPLE.with_security_group(security_group(1, members=((1, "10.0.0.1/32"),)))
    for number in range(2, MAX_CONJUNCTIONS // 2 + 2):
        world = world.with_security_group(security_group(number, *both))
    with pytest.raises(ValueError, match=r"10.0.0.1/32 of network network-1 .* at most 2000"):
        world.with_security_group(security_group(5001, remote))


@pytest.mark.parametrize(("groups", "stateful", "most"), [(16, False, 200), (1, False, 800), (16, True, 2000)])
def test_a_network_has_no_more_filtered_ports_than_a_broadcast_can_reach(
    groups: int, stateful: bool, most: int
) -> None:
    world = World().with_network(LOCAL)
    for index in range(1, groups + 1):
        world = world.with_security_group(security_group(index, stateful=stateful))
    ids = tuple(SecurityGroupId(f"sg-{index}") for index in range(1, groups + 1))
    ports = [replace(port(index, 1), security_groups=ids, zone=index) for index in range(1, most + 2)]
    world = world.with_ports(ports[:most])
    with pytest.raises(ValueError, match="more than 4000 look-ups"):
        world.with_port(ports[most])
    with pytest.raises(ValueError, match="more than 4000 look-ups"):
        world.with_port(replace(ports[most], security_groups=()))
    assert world.without_port(ports[0].index).with_port(ports[most])
    if groups == 1:
        assert world.with_security_group(security_group(1, stateful=True)).with_port(ports[most])


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_masks_of_a_range_cover_it_and_nothing_else(one: int, other: int) -> None:
    first, last = sorted((one, other))
    masks = list(masks_of_range(first, last))
    assert len(masks) <= 30
    covered = sorted((value, value | ~mask & 0xFFFF) for value, mask in masks)
    assert covered[0][0] == first and covered[-1][1] == last
    assert all(end + 1 == begin for (_, end), (begin, _) in itertools.pairwise(covered))


def test_all_ports_are_one_mask_of_nothing() -> None:
    assert list(masks_of_range(0, 0xFFFF)) == [(0, 0)]
    assert list(masks_of_range(80, 80)) == [(80, 0xFFFF)]
    assert len(list(masks_of_range(1, 0xFFFE))) == 30


NUMBERS = st.integers(1, 2**14 - 1)


@given(st.sets(st.tuples(NUMBERS, st.sampled_from(RuleDirection), NUMBERS, st.booleans()), min_size=2))
def test_conjunction_ids_are_unique(wanted: set[tuple[int, RuleDirection, int, bool]]) -> None:
    ids = {
        security_group_conjunction(SecurityGroupIndex(group), direction, SecurityGroupIndex(remote))
        if of_ports
        else address_group_conjunction(SecurityGroupIndex(group), direction, AddressGroupIndex(remote))
        for group, direction, remote, of_ports in wanted
    }
    assert len(ids) == len(wanted) and all(0 < each < 2**32 for each in ids)


def test_an_address_that_two_ports_share_stays_until_both_are_gone() -> None:
    world = crowded(0).with_ports(
        [addressed(port(4, 1), "10.0.9.0/24", groups=(2,)), addressed(port(5, 1), "10.0.9.0/24", groups=(2,))]
    )
    shared = ip_network("10.0.9.0/24")
    one = world.without_port(port(4, 1).index)
    assert set(one.membership.groups_at(NetworkId("network-1"), shared)) == {SG_2}
    assert not [
        change
        for change in COMPILER.changes(world, one)
        if f"cookie={member_cookie(LOCAL.index):#x}" in str(change) and "10.0.9.0" in str(change)
    ]
    assert not set(one.without_port(port(5, 1).index).membership.groups_at(NetworkId("network-1"), shared))
