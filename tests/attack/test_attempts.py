"""Each attempt arrives where nothing stops it, and nowhere on the guarded network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attack.attempt import FAMILIES, Attempt, Stopper
from tests.attack.attempts import ATTEMPTS
from tests.attack.host import AttackedHost


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_fails(host: AttackedHost, attempt: Attempt, record_property: Callable[[str, object], None]) -> None:
    for name, value in (
        ("attempt", attempt.name),
        ("family", FAMILIES[attempt.family]),
        ("stopper", attempt.stopper.value),
    ):
        record_property(name, value)
    unprotected = host.hub if attempt.stopper is Stopper.CORE else host.open
    assert unprotected.try_out(attempt) == unprotected.expected(attempt.sender, attempt.frames)
    record_property("without", "arrives")
    got = host.guarded.try_out(attempt)
    where = ", ".join(sorted(place for place, frames in got.items() if is_success(attempt, place, frames)))
    record_property("with", f"got through to {where}" if where else "stopped")
    assert not where, f"{attempt} got through to {where}"


def is_success(attempt: Attempt, place: str, frames: list[bytes]) -> bool:
    """Tell whether something of an attempt arrived where it must not. What the switch itself answers is none of it."""
    if any(place == member.name for member in attempt.unfiltered):
        return False
    if attempt.stopper is Stopper.ARP_ND and place == attempt.sender.name:
        return any(frame in attempt.frames for frame in frames)
    return any(frame not in attempt.harmless for frame in frames)
