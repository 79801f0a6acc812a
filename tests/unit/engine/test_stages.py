"""The table of stages: complete, without dead ends, and undoing in reverse order."""

from __future__ import annotations

import pytest

from ofctl.engine.stages import (
    BACK,
    DOWN,
    LOOKING,
    TERMINAL,
    TRANSITIONS,
    UP,
    Event,
    Stage,
    Walk,
    deeper,
    diagram,
    next_stage,
)

WORKING = [
    (walk, stage)
    for walk, stages in ((Walk.PLUG, (*DOWN, *UP)), (Walk.UPDATE, (*DOWN, *BACK)), (Walk.CHECK, LOOKING))
    for stage in stages
    if stage not in TERMINAL
]
PLUG = TRANSITIONS[Walk.PLUG]


@pytest.mark.parametrize(("walk", "stage"), WORKING)
@pytest.mark.parametrize("event", Event)
def test_every_event_has_a_consequence_in_every_stage(walk: Walk, stage: Stage, event: Event) -> None:
    assert next_stage(stage, event, walk=walk) in Stage


@pytest.mark.parametrize("walk", Walk)
@pytest.mark.parametrize("stage", [stage for stage in Stage if stage in TERMINAL])
def test_nothing_leaves_a_terminal_stage(walk: Walk, stage: Stage) -> None:
    assert not [source for source, _ in TRANSITIONS[walk] if source is stage]


@pytest.mark.parametrize(("walk", "stage"), WORKING)
def test_a_terminal_stage_can_be_reached_from_everywhere_by_success_alone(walk: Walk, stage: Stage) -> None:
    for _ in Stage:
        if stage in TERMINAL:
            return
        stage = next_stage(stage, Event.DONE, walk=walk)
    pytest.fail("the walk goes in a circle")


@pytest.mark.parametrize("stage", LOOKING[:-1])
def test_a_check_that_fails_has_changed_nothing(stage: Stage) -> None:
    assert next_stage(stage, Event.FAILED, Stage.RECORD, Walk.CHECK) is Stage.UNCHANGED


def test_only_an_update_ends_unchanged_and_only_a_plug_absent() -> None:
    assert set(PLUG.values()) & TERMINAL == {Stage.CONFIRMED, Stage.ABSENT}
    assert set(TRANSITIONS[Walk.UPDATE].values()) & TERMINAL == {Stage.CONFIRMED, Stage.UNCHANGED}


@pytest.mark.parametrize("failed", DOWN[1:-1])
def test_an_update_that_fails_is_first_undone_durably_then_in_the_switch(failed: Stage) -> None:
    assert next_stage(failed, Event.FAILED, Stage.RECORD, Walk.UPDATE) is Stage.REVERSION
    assert next_stage(Stage.REVERSION, Event.DONE, walk=Walk.UPDATE) is Stage.REINSTATEMENT


@pytest.mark.parametrize("event", [Event.FAILED, Event.SWITCH_LOST])
@pytest.mark.parametrize("stage", [Stage.REVERSION, Stage.REINSTATEMENT, Stage.CLOSURE])
def test_intent_and_flows_of_an_update_are_put_back_however_long_it_takes(stage: Stage, event: Event) -> None:
    assert next_stage(stage, event, walk=Walk.UPDATE) is stage


@pytest.mark.parametrize("stage", [Stage.REFITTING, Stage.REATTACHMENT, Stage.REBINDING])
def test_what_else_cannot_be_put_back_is_left_to_be_mended(stage: Stage) -> None:
    assert next_stage(stage, Event.FAILED, walk=Walk.UPDATE) is Stage.CLOSURE


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
    assert next_stage(failed, Event.FAILED, deepest) is PLUG[deepest, Event.FAILED]
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


@pytest.mark.parametrize("walk", Walk)
def test_the_diagram_has_every_transition(walk: Walk) -> None:
    assert diagram(walk).count("-->") == len(TRANSITIONS[walk]) + 2 + 1
