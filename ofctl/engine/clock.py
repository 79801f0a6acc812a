"""The two clocks, injected so that a test can move them."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where the engine reads the time."""

    def monotonic(self) -> float:
        """Return the instant on the event loop's clock, in seconds: deadlines and durations."""

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch: what people read."""


class SystemClock:
    """The real clocks; `monotonic` only inside of a running event loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
