"""What holds for the flows of every world."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given

from ofctl.apps import CORE_APPS
from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.model.network import NumberedNetwork
from ofctl.model.security import SecurityGroupId
from ofctl.pipeline.changes import AddFlow, InsertBucket
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import (
    Action,
    Conjunction,
    Conntrack,
    Flow,
    FlowSet,
    Learn,
    Match,
    Output,
    OutputRegister,
    Resubmit,
    Table,
)
from ofctl.pipeline.tables import (
    DELIVER,
    FLOOD,
    FORWARD,
    PATHS,
    TABLES,
    TO_APP,
    CookieKind,
    Priority,
    cookie_owner,
    host_cookie,
    is_ours,
    member_cookie,
    network_cookie,
    port_cookie,
    security_group_cookie,
)
from ofctl.pipeline.world import World
from tests.unit.pipeline.worlds import (
    EXAMPLE,
    FLAT,
    GUARDED,
    LOCAL,
    VLAN,
    guarded_worlds,
    port,
    security_group,
    uplink,
    worlds,
)

COMPILER = Compiler(CORE_APPS)


def leads_to(flow: Flow) -> Iterator[Table]:
    """Yield the tables that a flow sends frames or learned flows to."""
    if flow.goto is not None:
        yield flow.goto
    for action in flow.actions:
        if isinstance(action, Resubmit | Learn | Conntrack) and action.table is not None:
            yield action.table


@given(worlds() | guarded_worlds())
def test_every_flow_keeps_to_the_declaration(world: World) -> None:
    whole = COMPILER.compile_all(world)
    cookies = {host_cookie(), *map(network_cookie, world.networks), *map(port_cookie, world.ports)}
    cookies |= {security_group_cookie(group.index) for group in world.security_groups.values()}
    cookies |= {member_cookie(NetworkIndex(0)), *map(member_cookie, world.networks)}
    for flow in whole.flows:
        assert not flow.table.dynamic and flow.cookie in cookies and is_ours(flow.cookie)
        assert flow.priority in set(Priority)
        assert all((flow.table, end) in PATHS for end in leads_to(flow)), flow
        assert flow.table is DELIVER or not _outputs(flow.actions), flow
    for group in whole.groups:
        for bucket in group.buckets:
            assert not _outputs(bucket.actions)
            assert bucket.bucket_id in world.ports
    group_ids = {group.group_id for group in whole.groups}
    assert all(flow.group_ids <= group_ids for flow in whole.flows)
    assert {group_id for flow in whole.flows for group_id in flow.group_ids} == group_ids


def _outputs(actions: Iterable[Action]) -> bool:
    return any(isinstance(action, Output | OutputRegister) for action in actions)


def test_every_declared_path_is_taken() -> None:
    whole = COMPILER.compile_all(GUARDED)
    flows = whole.flows
    taken = {(flow.table, end) for flow in flows for end in leads_to(flow)}
    buckets = [bucket for group in whole.groups for bucket in group.buckets]
    taken |= {(FLOOD, action.table) for each in buckets for action in each.actions if isinstance(action, Resubmit)}
    assert taken == set(PATHS)
    elsewhere = {TO_APP, *(table for table in TABLES if table.owner == "fencing")}
    assert {flow.table for flow in flows} == {table for table in TABLES if not table.dynamic} - elsewhere


def disjoint(one: Match, other: Match) -> bool:
    """Tell whether no frame matches both."""
    values = {term.field: term for term in one.terms}
    for term in other.terms:
        mine = values.get(term.field)
        if mine is not None:
            common = (-1 if term.mask is None else term.mask) & (-1 if mine.mask is None else mine.mask)
            if term.value & common != mine.value & common:
                return True
    return False


@given(worlds() | guarded_worlds())
def test_no_frame_has_a_choice_between_two_flows(world: World) -> None:
    """Which of two overlapping flows of one priority the switch takes is undefined (OpenFlow 1.5.1, 5.3).

    Two that do the same are no choice, and of conjunctive flows it looks at all (ovs-fields(7), conj_id).
    """
    flows = [
        flow
        for flow in COMPILER.compile_all(world).flows
        if not any(isinstance(action, Conjunction) for action in flow.actions)
    ]
    for position, flow in enumerate(flows):
        for other in flows[:position]:
            if (flow.table, flow.priority) == (other.table, other.priority):
                same = (flow.actions, flow.goto) == (other.actions, other.goto)
                assert same or disjoint(flow.match, other.match), f"{flow} and {other}"


@given(worlds())
def test_apps_keep_to_their_own_tables(world: World) -> None:
    for app in CORE_APPS:
        assert {flow.table for flow in Compiler([app]).compile_all(world).flows} <= set(app.tables)
        assert all(table.owner == app.name for table in app.tables)


@given(worlds() | guarded_worlds())
def test_a_port_has_one_cookie_and_flows_that_no_other_port_changes(world: World) -> None:
    for index, member in world.ports.items():
        flows = COMPILER.compile_port(index, world)
        alone = world.without_ports([other for other in world.ports if other != index])
        assert flows == COMPILER.compile_port(index, alone) and not flows.groups
        assert {flow.cookie for flow in flows.flows} == {port_cookie(member.index)}
    whole = COMPILER.compile_all(world).flows
    ports = [flow for flow in whole if cookie_owner(flow.cookie)[0] is CookieKind.PORT]
    assert len(ports) == sum(len(COMPILER.compile_port(index, world).flows) for index in world.ports)


@pytest.mark.parametrize(("network", "neighbours"), [(LOCAL, 300), (VLAN, 1), (FLAT, 498)])
def test_a_plug_changes_as_much_with_many_ports_as_with_none(network: NumberedNetwork, neighbours: int) -> None:
    base = World().with_network(network).with_uplink(uplink()).with_security_group(security_group(1))
    members = [port(number, network.index, slot=number, ofport=100 + number) for number in range(1, neighbours + 2)]
    newcomer = replace(members[0], security_groups=(SecurityGroupId("sg-1"),), zone=1)
    alone = COMPILER.changes(base, base.with_port(newcomer))
    before = base.with_ports(members[1:])
    changes = COMPILER.changes(before, before.with_port(newcomer))
    assert [type(change) for change in changes] == [type(change) for change in alone]
    assert {type(change) for change in changes} == {InsertBucket, AddFlow}
    assert len([change for change in changes if isinstance(change, InsertBucket)]) == 1


@given(worlds() | guarded_worlds())
def test_the_whole_is_the_sum_of_its_parts(world: World) -> None:
    parts = [COMPILER.compile_host(world)]
    for network in world.networks:
        parts.append(COMPILER.compile_network(network, world))
        parts += [COMPILER.compile_shard(network, shard, world) for shard in world.shards(network)]
    parts += [COMPILER.compile_port(index, world) for index in world.ports]
    parts += [COMPILER.compile_security_group(group, world) for group in world.security_groups]
    for network in world.networks:
        there = world.membership.addresses.get(world.networks[network].network_id, ())
        parts += [COMPILER.compile_address(network, prefix, world) for prefix in there]
    parts += [COMPILER.compile_prefix(prefix, world) for prefix in world.membership.prefixes]
    assert FlowSet.union(parts).canonical() == COMPILER.compile_all(world).canonical()


def test_what_is_not_there_has_no_flows() -> None:
    with pytest.raises(KeyError):
        COMPILER.compile_port(PortIndex(77), EXAMPLE)
    with pytest.raises(KeyError):
        COMPILER.compile_network(NetworkIndex(77), EXAMPLE)


class Intruder(FeatureApp):
    """Wants a table that is forwarding's."""

    name = "intruder"
    tables = (FORWARD,)


class Addition(FeatureApp):
    """A third party's app, with a table of its own."""

    name = "addition"
    tables = (Table(25, "addition", "addition", "Nothing yet."),)


class Rival(FeatureApp):
    """Another third party's app, with a table of the same number."""

    name = "rival"
    tables = (Table(25, "rival", "rival", "Nothing yet."),)


def test_an_app_gets_tables_of_its_own_only() -> None:
    assert Compiler([*CORE_APPS, Addition()]).compile_all(EXAMPLE) == COMPILER.compile_all(EXAMPLE)
    with pytest.raises(ValueError, match="intruder claims table forward"):
        Compiler([Addition(), Intruder()])
    with pytest.raises(ValueError, match="two tables have the number 25"):
        Compiler([Addition(), Rival()])
    with pytest.raises(ValueError, match="given twice"):
        Compiler([*CORE_APPS, *CORE_APPS])


def test_two_flows_of_one_identity_are_refused() -> None:
    class Echo(Addition):
        def host_flows(self, world: World) -> Iterable[Flow]:
            flow = Flow(self.tables[0], 1, COMPILER.compile_host(world).flows[0].match, host_cookie())
            return (flow, flow)

    with pytest.raises(ValueError, match="two of one identity"):
        Compiler([Echo()]).compile_all(World())
