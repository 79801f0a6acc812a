"""The table of stages: complete, without dead ends, and undoing in reverse order."""

from __future__ import annotations

import pytest

from ofctl.engine.stages import DOWN, TERMINAL, TRANSITIONS, UP, Event, Stage, deeper, diagram, next_stage

WORKING = [stage for stage in Stage if stage not in TERMINAL]


@pytest.mark.parametrize("stage", WORKING)
@pytest.mark.parametrize("event", Event)
def test_every_event_has_a_consequence_in_every_stage(stage: Stage, event: Event) -> None:
    assert next_stage(stage, event) in Stage


@pytest.mark.parametrize("stage", [Stage.CONFIRMED, Stage.ABSENT])
def test_nothing_leaves_a_terminal_stage(stage: Stage) -> None:
    assert not [source for source, _ in TRANSITIONS if source is stage]


@pytest.mark.parametrize("stage", WORKING)
def test_a_terminal_stage_can_be_reached_from_everywhere_by_success_alone(stage: Stage) -> None:
    for _ in Stage:
        if stage in TERMINAL:
            return
        stage = next_stage(stage, Event.DONE)
    pytest.fail("the walk goes in a circle")


UNDONE_BY = {
    Stage.INTENT: Stage.OBLIVION,
    Stage.DEVICE: Stage.DEVICE_REMOVAL,
    Stage.ATTACHMENT: Stage.DETACHMENT,
    Stage.FLOWS: Stage.WITHDRAWAL,
    Stage.BINDING: Stage.UNBINDING,
}


@pytest.mark.parametrize("failed", DOWN[1:-1])
def test_a_failure_is_undone_from_the_failed_stage_back_to_the_first(failed: Stage) -> None:
    passed = DOWN[: DOWN.index(failed) + 1]
    walk, stage = [], next_stage(failed, Event.FAILED)
    while stage not in TERMINAL:
        walk.append(stage)
        stage = next_stage(stage, Event.DONE)
    assert stage is Stage.ABSENT
    assert walk == [UNDONE_BY[stage] for stage in reversed(passed) if stage in UNDONE_BY]


@pytest.mark.parametrize("failed", [Stage.DEVICE, Stage.ATTACHMENT])
@pytest.mark.parametrize("deepest", [Stage.FLOWS, Stage.BINDING, Stage.RECORD])
def test_a_walk_that_began_again_undoes_from_the_deepest_stage_that_it_was_in(failed: Stage, deepest: Stage) -> None:
    assert next_stage(failed, Event.FAILED, deepest) is TRANSITIONS[deepest, Event.FAILED]
    assert deeper(deepest, failed) is deepest is deeper(failed, deepest)
    assert deeper(deepest, Stage.WITHDRAWAL) is deepest


@pytest.mark.parametrize("stage", UP[:-1])
@pytest.mark.parametrize("event", [Event.FAILED, Event.SWITCH_LOST])
def test_the_walk_back_waits_instead_of_leaving_something_behind(stage: Stage, event: Event) -> None:
    assert next_stage(stage, event) is stage


def test_flows_go_before_the_ofport_is_released() -> None:
    assert UP.index(Stage.WITHDRAWAL) < UP.index(Stage.DETACHMENT) < UP.index(Stage.DEVICE_REMOVAL)


@pytest.mark.parametrize("stage", [Stage.FLOWS, Stage.DATAPATH, Stage.READBACK])
def test_a_lost_switch_means_that_the_ofport_is_asked_for_again(stage: Stage) -> None:
    assert next_stage(stage, Event.SWITCH_LOST) is Stage.ATTACHMENT


def test_the_diagram_has_every_transition() -> None:
    assert diagram().count("-->") == len(TRANSITIONS) + len(TERMINAL) + 1
