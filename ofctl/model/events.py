"""What happens to ports, in the order in which it happens."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ofctl.model.vif import PluggedPort


class PortEventType(enum.Enum):
    """What a line of the stream says."""

    PRESENT = "present"
    """Part of the snapshot that a stream begins with."""
    SYNCED = "synced"
    """The snapshot is complete, or there was none to send because the stream was resumed."""
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortEvent:
    """One event. `revision` grows with every change of any port of this host while the agent runs.

    To resume after a cut, give `epoch` and `revision` of the last event that was read.
    """

    event_type: PortEventType
    epoch: str
    """Names one life of the agent: revisions of two lives do not compare."""
    revision: int
    port: PluggedPort | None = None
    """As it was after the change; for REMOVED as it was before; None for SYNCED."""
    before: PluggedPort | None = None
    """With CHANGED: as it was before."""
