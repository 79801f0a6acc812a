"""The stream of port states: a bounded log of changes, and readers who follow it at their own pace.

The log does not wait for readers. One who falls behind by more than the log holds is cut off, with an error that says
so, and can come back with the revision that it read last.
"""

from __future__ import annotations

import asyncio
import collections
import uuid
from collections.abc import AsyncIterator, Callable, Iterable

from ofctl.errors import ResourceExhausted
from ofctl.model.events import PortEvent, PortEventType
from ofctl.model.vif import PluggedPort

CAPACITY = 4096


class PortLog:
    """The last changes of all ports of a host. Belongs to one event loop."""

    def __init__(self, snapshot: Callable[[], Iterable[PluggedPort]], *, capacity: int = CAPACITY) -> None:
        """`snapshot` returns the ports as they are now."""
        self.epoch = uuid.uuid4().hex
        self.revision = 0
        self._snapshot = snapshot
        self._events: collections.deque[PortEvent] = collections.deque(maxlen=capacity)
        self._closed = False
        self._waiters: set[asyncio.Future[None]] = set()

    def write(self, event_type: PortEventType, port: PluggedPort, *, before: PluggedPort | None = None) -> None:
        """Append a change; `before` is the port as it was, where it was and still is."""
        self.revision += 1
        self._events.append(
            PortEvent(event_type=event_type, epoch=self.epoch, revision=self.revision, port=port, before=before)
        )
        self._wake()

    def close(self) -> None:
        """End every reader's stream."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def follow(self, *, epoch: str = "", after: int = 0) -> AsyncIterator[PortEvent]:
        """See `PlugEngine.watch`."""
        position = self.revision
        if epoch == self.epoch and self._reaches_back_to(after):
            position = after
        else:
            for port in self._snapshot():
                yield self._mark(PortEventType.PRESENT, position, port)
            yield self._mark(PortEventType.SYNCED, position)
            epoch = ""
        while not self._closed:
            while position < self.revision:
                if not self._reaches_back_to(position):
                    raise ResourceExhausted(
                        f"the reader is more than {self._events.maxlen} changes behind; watch again from the last "
                        "revision read",
                        reason="WATCH_TOO_SLOW",
                    )
                event = self._events[position - self.revision]
                position = event.revision
                yield event
            if epoch:
                yield self._mark(PortEventType.SYNCED, position)
                epoch = ""
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def _reaches_back_to(self, revision: int) -> bool:
        return self.revision - len(self._events) <= revision <= self.revision

    def _mark(self, event_type: PortEventType, revision: int, port: PluggedPort | None = None) -> PortEvent:
        return PortEvent(event_type=event_type, epoch=self.epoch, revision=revision, port=port)
