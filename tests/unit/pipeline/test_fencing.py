"""The flows that lead frames through fenced guests, and on."""

from __future__ import annotations

import itertools

import pytest

from ofctl.apps import CORE_APPS
from ofctl.apps.fencing import Fencing
from ofctl.apps.loading import rehearsal_world
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.fence import MAX_GUESTS, place_guests
from ofctl.pipeline.flow import Flow, Resubmit
from ofctl.pipeline.tables import (
    DELIVER,
    FENCE_CHOICE,
    FENCE_FROM_PORT,
    FENCE_PATHS,
    FENCE_TO_PORT,
    FORWARD,
    GUEST_TABLES,
    IS_PROBE,
    NO_PROBE,
    SOURCE_KNOWN,
    Priority,
    is_guest_group,
)

BOTH = [("a", "from-port"), ("b", "to-port"), ("c", "from-port")]


def compiled(wishes: list[tuple[str, str]]) -> tuple[Flow, ...]:
    return Compiler((*CORE_APPS, Fencing(place_guests(wishes)))).compile_all(rehearsal_world()).flows


def leads(flow: Flow) -> set[int]:
    ways = {action.table.number for action in flow.actions if isinstance(action, Resubmit)}
    return ways | ({flow.goto.number} if flow.goto is not None else set())


@pytest.mark.parametrize("count", range(1, MAX_GUESTS + 1))
def test_guests_share_nothing(count: int) -> None:
    guests = place_guests([(f"g{number}", "from-port") for number in range(count)])
    tables = [number for guest in guests for number in guest.own_tables]
    assert len(set(tables)) == len(tables) and set(tables) <= set(GUEST_TABLES)
    assert len({len(guest.own_tables) for guest in guests}) == 1 and len(tables) > len(GUEST_TABLES) - count
    for one, other in itertools.combinations(guests, 2):
        assert abs(one.first_id - other.first_id) >= 1 << 20
        assert one.controller_id != other.controller_id and one.mark != other.mark
    assert all(is_guest_group(guest.first_id) and guest.controller_id < 1 << 16 for guest in guests)


def test_more_guests_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match="9 guests are in fences on the owned bridge; at most 8 can be"):
        place_guests([(str(number), "to-port") for number in range(9)])


def test_all_that_led_past_an_anchor_leads_to_its_guests_and_they_lead_on() -> None:
    a, b, c = place_guests(BOTH)
    flows = compiled(BOTH)
    for gate, behind in ((FENCE_FROM_PORT, SOURCE_KNOWN), (FENCE_TO_PORT, DELIVER), (FENCE_CHOICE, FORWARD)):
        assert {flow.table for flow in flows if behind.number in leads(flow)} == {gate}
    into = {number for flow in flows for number in leads(flow) if number in GUEST_TABLES}
    assert into == {a.first_table, b.first_table, c.first_table}
    assert not any(flow.table.number in GUEST_TABLES for flow in flows)


def test_probes_meet_no_guest_and_no_frame_has_a_choice() -> None:
    flows = [flow for flow in compiled(BOTH) if flow.table in (FENCE_FROM_PORT, FENCE_TO_PORT)]
    visits = [flow for flow in flows if any(number in GUEST_TABLES for number in leads(flow))]
    assert len(visits) == len(BOTH) and all(NO_PROBE in flow.match.terms for flow in visits)
    for gate in (FENCE_FROM_PORT, FENCE_TO_PORT):
        broad = [flow for flow in flows if flow.table is gate and flow.priority == Priority.BROAD]
        turns = [flow for flow in broad if IS_PROBE not in flow.match.terms]
        assert len(broad) == len(turns) + 1 and all(NO_PROBE in flow.match.terms for flow in turns)
        assert len({flow.match for flow in turns}) == len(turns)


def test_where_nobody_is_there_is_no_detour() -> None:
    assert FENCE_TO_PORT.number not in set().union(*map(leads, compiled([("a", "from-port")])))
    assert {flow.table for flow in compiled([("a", "to-port")]) if SOURCE_KNOWN.number in leads(flow)} != {
        FENCE_FROM_PORT
    }


def test_every_way_through_the_fence_is_declared() -> None:
    declared = {(start.number, end.number) for start, end in FENCE_PATHS}
    inside = {table.number for table in Fencing(()).tables}
    used = {(flow.table.number, end) for flow in compiled(BOTH) for end in leads(flow) if flow.table.number in inside}
    assert {(start, end) for start, end in used if start != end and end not in GUEST_TABLES} == declared


def test_a_port_costs_two_flows_more_whoever_else_is_there() -> None:
    world = rehearsal_world()
    for index in world.ports:
        with_guests = Compiler((*CORE_APPS, Fencing(place_guests(BOTH)))).compile_port(index, world).flows
        assert len(with_guests) == len(Compiler(CORE_APPS).compile_port(index, world).flows) + 2
