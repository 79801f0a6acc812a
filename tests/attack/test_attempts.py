"""Each attempt arrives where nothing stops it, and nowhere on the guarded network."""

from __future__ import annotations

import pytest

from tests.attack import neighbors, senders
from tests.attack.attempt import Attempt, Stopper
from tests.attack.host import AttackedHost

ATTEMPTS = (*senders.ATTEMPTS, *neighbors.ATTEMPTS)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_fails(host: AttackedHost, attempt: Attempt) -> None:
    unprotected = host.hub if attempt.stopper is Stopper.CORE else host.open
    assert unprotected.try_out(attempt) == unprotected.expected(attempt.sender, attempt.frames)
    assert host.guarded.try_out(attempt) == {}
