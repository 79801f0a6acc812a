"""What a fenced guest has of the switch: its tables, and its ranges of group, meter and controller ids. Pure.

A fenced guest is a classic Ryu or os-ken application that believes to have a whole switch of its own. Its tables are
numbered from 0 for it, and are some of GUEST_TABLES for the switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ofctl.pipeline.flow import Table
from ofctl.pipeline.tables import (
    FENCE_CONTROLLER,
    FENCE_FROM_PORT,
    FENCE_TO_PORT,
    GUEST_TABLES,
    TO_PORT_FENCE,
    GroupKind,
)

MAX_GUESTS = 8
FENCES = {"from-port": FENCE_FROM_PORT, "to-port": FENCE_TO_PORT}
"""The table that leads frames through the guests at an anchor, by the anchor's name in the configuration."""
OWN_ID_BITS = 20
MAX_OWN_ID = (1 << OWN_ID_BITS) - 1
"""Of a guest's groups and meters."""


@dataclass(frozen=True, slots=True)
class FencedGuest:
    """A place in the fence. `number` is 1 to MAX_GUESTS, in the order of the configuration."""

    name: str
    fence: str
    """A key of FENCES."""
    number: int
    first_table: int
    tables: int
    """How many it has."""

    @property
    def gate(self) -> Table:
        """The table that leads frames to the guest, and on."""
        return FENCES[self.fence]

    @property
    def mark(self) -> int:
        """What FENCE is while the guest has the frame."""
        return self.number | (TO_PORT_FENCE if self.fence == "to-port" else 0)

    @property
    def own_tables(self) -> range:
        """Its tables as the switch numbers them."""
        return range(self.first_table, self.first_table + self.tables)

    @property
    def first_id(self) -> int:
        """What is added to its own ids of groups, and of meters, up to MAX_OWN_ID."""
        return GroupKind.GUEST << 24 | self.number << OWN_ID_BITS

    @property
    def controller_id(self) -> int:
        """Of its connection: packet-ins for it come there, and nowhere else."""
        return FENCE_CONTROLLER + self.number


def place_guests(wishes: Sequence[tuple[str, str]]) -> tuple[FencedGuest, ...]:
    """Return the places of guests, given as name and fence in the order in which frames meet them.

    All get the same number of tables: what there is, divided. Raises ValueError if they are too many.
    """
    if len(wishes) > MAX_GUESTS:
        raise ValueError(f"{len(wishes)} guests are in fences on the owned bridge; at most {MAX_GUESTS} can be")
    share = len(GUEST_TABLES) // max(1, len(wishes))
    return tuple(
        FencedGuest(name, fence, number, GUEST_TABLES[(number - 1) * share], share)
        for number, (name, fence) in enumerate(wishes, 1)
    )
