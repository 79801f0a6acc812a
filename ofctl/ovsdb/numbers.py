"""Which durable numbers are taken. Pure: what makes them durable is the transaction that writes them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from ofctl.errors import ResourceExhausted

PORT_INDEXES = (1, 2**24 - 1)
NETWORK_INDEXES = (1, 2**16 - 1)
SLOTS = (0, 3_999)
ZONES = (1, 2**16 - 1)


class NumberPool:
    """The numbers `first` to `last`, each taken or free; the lowest free one goes first."""

    def __init__(self, what: str, limits: tuple[int, int], taken: Iterable[int] = ()) -> None:
        self._what = what
        self._first, self._last = limits
        self._taken = set(taken)
        self._next = max(self._taken, default=self._first - 1) + 1
        self._gaps = [number for number in range(self._first, self._next) if number not in self._taken]

    def __contains__(self, number: int) -> bool:
        return number in self._taken

    def __len__(self) -> int:
        return len(self._taken)

    def take(self) -> int:
        """Return the lowest free number, now taken. Raises ResourceExhausted."""
        while self._gaps:
            number = heapq.heappop(self._gaps)
            if number not in self._taken:
                self._taken.add(number)
                return number
        if self._next > self._last:
            raise ResourceExhausted(
                f"all {self._last - self._first + 1} {self._what} are taken", reason="NUMBERS_EXHAUSTED"
            )
        number = self._next
        self._taken.add(number)
        self._next += 1
        return number

    def reserve(self, number: int) -> None:
        """Take a number that another writer has given out; no harm if it is taken."""
        if number not in self._taken:
            self._taken.add(number)
            for gap in range(self._next, number):
                heapq.heappush(self._gaps, gap)
            self._next = max(self._next, number + 1)

    def release(self, number: int) -> None:
        """Make a number free; no harm if it is."""
        if number in self._taken:
            self._taken.remove(number)
            heapq.heappush(self._gaps, number)
