"""What several requests have in common: their id, the level to confirm at, the generation that fences them."""

from __future__ import annotations

import uuid

from ofctl.api.enums import LEVELS
from ofctl.errors import InvalidField, NotSupported
from ofctl.model.confirmation import Level
from ofctl.model.ids import RequestId, identifier

MAX_STORED = 2**63 - 1
"""What an integer of the database holds (RFC 7047, section 3.1)."""


def request_id_of(text: str) -> RequestId:
    """Return the id of a request, a new one if it has none. Raises InvalidField."""
    return RequestId(identifier(text, "request_id") if text else str(uuid.uuid4()))


def level_of(number: int) -> Level:
    """Return the level; whether this host reaches it is for the engine to say. Raises InvalidField, NotSupported."""
    level = LEVELS.model(number, "level", default=Level.DATAPATH)
    if level is Level.FABRIC:
        raise NotSupported("level: FABRIC is reserved and not built yet; use one below it", subject="level")
    return level


def generation_of(number: int) -> int:
    """Return a generation that can be stored. Raises InvalidField."""
    if number > MAX_STORED:
        raise InvalidField("generation", f"is {number}; it must be 0 (no fence) to {MAX_STORED}")
    return number
