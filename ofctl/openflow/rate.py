"""How much of something may pass in a second."""

from __future__ import annotations

import asyncio


class Rate:
    """A bucket of tokens: `burst` at once, and `per_s` in a second. Belongs to one event loop."""

    __slots__ = ("_at", "_burst", "_left", "_loop", "_per_s")

    def __init__(self, per_s: float, *, burst: float | None = None) -> None:
        """Without `burst` it is what passes in a second; at least one."""
        self._loop = asyncio.get_running_loop()
        self._per_s = per_s
        self._burst = max(1.0, per_s if burst is None else burst)
        self._left = self._burst
        self._at = self._loop.time()

    def take(self) -> bool:
        """Take one, if there is one."""
        self._fill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    @property
    def full(self) -> bool:
        """Whether nothing was taken for so long that it is as if new."""
        self._fill()
        return self._left >= self._burst

    def _fill(self) -> None:
        now = self._loop.time()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
