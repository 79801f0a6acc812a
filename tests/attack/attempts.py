"""All attempts that can be told as frames."""

from __future__ import annotations

from tests.attack import filtering, fragments, layers, neighbors, questions, senders

ATTEMPTS = (
    *senders.ATTEMPTS,
    *neighbors.ATTEMPTS,
    *questions.ATTEMPTS,
    *layers.ATTEMPTS,
    *filtering.ATTEMPTS,
    *fragments.ATTEMPTS,
)
