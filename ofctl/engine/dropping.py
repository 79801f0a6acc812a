"""How many frames an app is handed: in all, and of one sender; and who is to be muted."""

from __future__ import annotations

from dataclasses import dataclass

from ofctl.openflow.rate import Rate
from ofctl.pipeline.packets import Sender

MAX_SENDERS = 4096
"""That are remembered; those that were quiet longest go first."""
PATIENCE = 0.5
"""A sender is muted when so much of what passes in a second was dropped, over the time in which it did not keep to
its rate."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Frames in a second that one app is handed."""

    per_sender: float = 100
    per_app: float = 1000


class SenderLimits:
    """The account of one app. Belongs to one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all = Rate(limits.per_app)
        self._senders: dict[Sender, Rate] = {}
        self._excess: dict[Sender, int] = {}

    def take(self, sender: Sender) -> bool:
        """Tell whether a frame of this sender may be handed on."""
        rate = self._senders.pop(sender, None) or Rate(self._limits.per_sender)
        self._senders[sender] = rate
        if len(self._senders) > MAX_SENDERS:
            gone = next(iter(self._senders))
            del self._senders[gone]
            self._excess.pop(gone, None)
        if rate.full:
            self._excess.pop(sender, None)
        if not rate.take():
            self._excess[sender] = self._excess.get(sender, 0) + 1
            return False
        return self._all.take()

    def is_flood(self, sender: Sender) -> bool:
        """Tell whether a sender keeps exceeding its rate; asked once, it starts again from nothing."""
        if self._excess.get(sender, 0) < self._limits.per_sender * PATIENCE:
            return False
        del self._excess[sender]
        return True
