"""Each attempt arrives where nothing stops it, and nowhere on the guarded network."""

from __future__ import annotations

import pytest

from tests.attack import filtering, fragments, layers, neighbors, questions, senders
from tests.attack.attempt import Attempt, Stopper
from tests.attack.host import AttackedHost

ATTEMPTS = (
    *senders.ATTEMPTS,
    *neighbors.ATTEMPTS,
    *questions.ATTEMPTS,
    *layers.ATTEMPTS,
    *filtering.ATTEMPTS,
    *fragments.ATTEMPTS,
)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_fails(host: AttackedHost, attempt: Attempt) -> None:
    unprotected = host.hub if attempt.stopper is Stopper.CORE else host.open
    assert unprotected.try_out(attempt) == unprotected.expected(attempt.sender, attempt.frames)
    got = host.guarded.try_out(attempt)
    got = {place: frames for place, frames in got.items() if is_success(attempt, place, frames)}
    assert not got, f"{attempt} got through to {', '.join(sorted(got))}"


def is_success(attempt: Attempt, place: str, frames: list[bytes]) -> bool:
    """Tell whether something of an attempt arrived where it must not. What the switch itself answers is none of it."""
    if any(place == member.name for member in attempt.unfiltered):
        return False
    if attempt.stopper is Stopper.ARP_ND and place == attempt.sender.name:
        return any(frame in attempt.frames for frame in frames)
    return any(frame not in attempt.harmless for frame in frames)
