"""The state machines of a plug, of an unplug and of an update: one table, and the diagrams generated from it.

A plug walks down from ADMISSION to CONFIRMED. Whatever fails on the way down, the walk back up undoes in reverse
order what may have been done: flows leave the switch before the ofport is released (the next port may get the same
number), the row leaves OVSDB before the device goes, and the intent is forgotten last. An unplug enters the walk back
at REVOCATION, which makes durable that the port is not wanted any more. A switch that goes away sends the walk down
back to ATTACHMENT, since the ofport may be another one afterwards; the walk back up never fails, it only waits and
tries again.

An update walks the same way down, from INTENT, with the new spec. What fails sends it on the walk back, to a port as it
was before: first durably, so that whoever dies meanwhile wakes up with the old spec, then in the switch. Device, row
and binders come last: what cannot be put back there leaves a port that is mended, with the old spec.

A check changes nothing: it looks at device and row, has the switch answer, and goes on as a plug does, for evidence.
"""

from __future__ import annotations

import enum
import itertools


class Walk(enum.Enum):
    """What is done to the ports, and so which table is walked."""

    PLUG = "plug"
    """Also an unplug, which is its way back up."""
    UPDATE = "update"
    CHECK = "check"


class Stage(enum.Enum):
    """Where an operation stands. The value is the name in logs, timings and errors."""

    ADMISSION = "admission"
    INTENT = "intent"
    DEVICE = "device"
    ATTACHMENT = "attachment"
    FLOWS = "flows"
    DATAPATH = "datapath"
    READBACK = "readback"
    PROBE = "probe"
    BINDING = "binding"
    RECORD = "record"
    CONFIRMED = "confirmed"
    REVOCATION = "revocation"
    UNBINDING = "unbinding"
    WITHDRAWAL = "withdrawal"
    DETACHMENT = "detachment"
    DEVICE_REMOVAL = "device_removal"
    OBLIVION = "oblivion"
    ABSENT = "absent"
    REVERSION = "reversion"
    REINSTATEMENT = "reinstatement"
    REFITTING = "refitting"
    REATTACHMENT = "reattachment"
    REBINDING = "rebinding"
    CLOSURE = "closure"
    UNCHANGED = "unchanged"
    INSPECTION = "inspection"


class Event(enum.Enum):
    """What can happen to a stage."""

    DONE = "done"
    FAILED = "failed"
    """Refused, broken, out of time, cancelled or overtaken by an unplug."""
    SWITCH_LOST = "switch_lost"
    """The switch, its database or that of the intents went away; what was in flight may or may not be done."""
    RETRY = "retry"
    """Failed, and the request said KEEP_TRYING."""


DOWN = (
    Stage.ADMISSION,
    Stage.INTENT,
    Stage.DEVICE,
    Stage.ATTACHMENT,
    Stage.FLOWS,
    Stage.DATAPATH,
    Stage.READBACK,
    Stage.PROBE,
    Stage.BINDING,
    Stage.RECORD,
    Stage.CONFIRMED,
)
UP = (
    Stage.REVOCATION,
    Stage.UNBINDING,
    Stage.WITHDRAWAL,
    Stage.DETACHMENT,
    Stage.DEVICE_REMOVAL,
    Stage.OBLIVION,
    Stage.ABSENT,
)
BACK = (
    Stage.REVERSION,
    Stage.REINSTATEMENT,
    Stage.REFITTING,
    Stage.REATTACHMENT,
    Stage.REBINDING,
    Stage.CLOSURE,
    Stage.UNCHANGED,
)
LOOKING = (Stage.INSPECTION, Stage.DATAPATH, Stage.READBACK, Stage.PROBE, Stage.RECORD, Stage.CONFIRMED)
FORWARD = frozenset({*DOWN, Stage.INSPECTION})
"""Stages that a caller waits for, and that an abort or the deadline ends."""
TERMINAL = frozenset({Stage.CONFIRMED, Stage.ABSENT, Stage.UNCHANGED})

Transitions = dict[tuple[Stage, Event], Stage]

_DOWN: Transitions = {
    **{(stage, Event.DONE): following for stage, following in itertools.pairwise(DOWN)},
    # What is durable is written again: the store takes the same twice for once.
    (Stage.INTENT, Event.SWITCH_LOST): Stage.INTENT,
    (Stage.RECORD, Event.SWITCH_LOST): Stage.RECORD,
    (Stage.ATTACHMENT, Event.SWITCH_LOST): Stage.ATTACHMENT,
    (Stage.FLOWS, Event.SWITCH_LOST): Stage.ATTACHMENT,
    (Stage.DATAPATH, Event.SWITCH_LOST): Stage.ATTACHMENT,
    (Stage.READBACK, Event.SWITCH_LOST): Stage.ATTACHMENT,
    (Stage.PROBE, Event.SWITCH_LOST): Stage.ATTACHMENT,
}

TRANSITIONS: dict[Walk, Transitions] = {
    Walk.PLUG: {
        **_DOWN,
        **{(stage, Event.DONE): following for stage, following in itertools.pairwise(UP)},
        (Stage.ADMISSION, Event.FAILED): Stage.ABSENT,
        # A durable transaction that failed, or whose answer was lost, may have left the intent: forget it all the same.
        (Stage.INTENT, Event.FAILED): Stage.OBLIVION,
        (Stage.DEVICE, Event.FAILED): Stage.DEVICE_REMOVAL,
        (Stage.ATTACHMENT, Event.FAILED): Stage.DETACHMENT,
        (Stage.FLOWS, Event.FAILED): Stage.WITHDRAWAL,
        (Stage.DATAPATH, Event.FAILED): Stage.WITHDRAWAL,
        (Stage.READBACK, Event.FAILED): Stage.WITHDRAWAL,
        (Stage.PROBE, Event.FAILED): Stage.WITHDRAWAL,
        (Stage.BINDING, Event.FAILED): Stage.UNBINDING,
        (Stage.RECORD, Event.FAILED): Stage.UNBINDING,
        **{(stage, Event.RETRY): Stage.DEVICE for stage in DOWN[2:-1]},
        **{(stage, event): stage for stage in UP[:-1] for event in (Event.FAILED, Event.SWITCH_LOST)},
    },
    Walk.UPDATE: {
        **_DOWN,
        **{(stage, Event.DONE): following for stage, following in itertools.pairwise(BACK)},
        (Stage.ADMISSION, Event.FAILED): Stage.UNCHANGED,
        **{(stage, Event.FAILED): Stage.REVERSION for stage in DOWN[1:-1]},
        **{(stage, event): stage for stage in BACK[:-1] for event in (Event.FAILED, Event.SWITCH_LOST)},
        # The durable spec and the flows are the old ones: the rest is mended, which an unplug may overtake.
        (Stage.REFITTING, Event.FAILED): Stage.CLOSURE,
        (Stage.REATTACHMENT, Event.FAILED): Stage.CLOSURE,
        (Stage.REBINDING, Event.FAILED): Stage.CLOSURE,
    },
    Walk.CHECK: {
        **{(stage, Event.DONE): following for stage, following in itertools.pairwise(LOOKING)},
        **{(stage, Event.FAILED): Stage.UNCHANGED for stage in LOOKING[:-1]},
        **{(stage, Event.SWITCH_LOST): Stage.INSPECTION for stage in LOOKING[:-2]},
        (Stage.RECORD, Event.SWITCH_LOST): Stage.RECORD,
    },
}


def next_stage(stage: Stage, event: Event, deepest: Stage | None = None, walk: Walk = Walk.PLUG) -> Stage:
    """Return the stage after `event`. An event for which the table has no row in this stage is a failure.

    `deepest` is the stage farthest down that the walk has been in: a failure undoes from there, since a walk that was
    sent back to DEVICE or ATTACHMENT has left behind what the stages below had done.
    """
    target = TRANSITIONS[walk].get((stage, event))
    if target is not None and (event is not Event.FAILED or stage not in DOWN):
        return target
    return TRANSITIONS[walk][deepest or stage, Event.FAILED]


def deeper(stage: Stage, other: Stage) -> Stage:
    """Return the stage that is farther down; `stage` if `other` is not on the walk down."""
    return other if other in DOWN and (stage not in DOWN or DOWN.index(other) > DOWN.index(stage)) else stage


def diagram(walk: Walk) -> str:
    """Return the machine of a walk as a Mermaid state diagram, for docs/architecture.md."""
    first = Stage.INSPECTION if walk is Walk.CHECK else Stage.ADMISSION
    lines = ["stateDiagram-v2", f"    [*] --> {first.value}"]
    transitions = TRANSITIONS[walk]
    for (source, event), target in transitions.items():
        lines.append(f"    {source.value} --> {target.value}: {event.value}")
    lines += [f"    {stage.value} --> [*]" for stage in Stage if stage in TERMINAL & set(transitions.values())]
    return "\n".join(lines)
