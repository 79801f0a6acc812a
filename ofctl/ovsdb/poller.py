"""The wait of the replica's thread, by poll(2).

`ovs.poller.Poller` waits by select(2), which refuses a descriptor above 1,023: an agent has more than that with some
hundred TAPs and callers.
"""

from __future__ import annotations

import select
from typing import Protocol

import ovs.timeval


class HasDescriptor(Protocol):
    """A socket."""

    def fileno(self) -> int: ...


class Poller:
    """What python-ovs' `wait` methods expect: every registration is for the next `block` alone. Times in ms."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}
        self._timeout_ms: int | None = None

    def fd_wait(self, descriptor: int | HasDescriptor, events: int) -> None:
        """Wake when one of `events` (POLLIN, POLLOUT) is there, besides those registered before."""
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        self._events[number] = self._events.get(number, 0) | events

    def timer_wait(self, duration_ms: int) -> None:
        """Wake after that time at the latest."""
        duration_ms = max(duration_ms, 0)
        self._timeout_ms = duration_ms if self._timeout_ms is None else min(self._timeout_ms, duration_ms)

    def timer_wait_until(self, instant_ms: int) -> None:
        """Wake at that instant of `ovs.timeval.msec()` at the latest."""
        self.timer_wait(instant_ms - ovs.timeval.msec())

    def immediate_wake(self) -> None:
        """Do not wait at all."""
        self.timer_wait(0)

    def block(self) -> None:
        """Block until one of the registered things happens, then forget them all."""
        poll = select.poll()
        for number, events in self._events.items():
            poll.register(number, events)
        timeout_ms = self._timeout_ms
        self._events.clear()
        self._timeout_ms = None
        poll.poll(timeout_ms)
