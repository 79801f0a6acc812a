"""One thread that does the blocking calls to the kernel, one after the other.

The kernel serialises changes of devices anyway (the RTNL lock), and a call may wait for that lock behind others: the
event loop must not. One hop to a thread and back costs about 0.1 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from ofctl.errors import DeadlineExceeded, OfctlError

T = TypeVar("T")

Work = Callable[[float], T]
"""Gets the deadline as an instant of `time.monotonic()`."""


class _Job(Generic[T]):
    """A call in the thread, and whether somebody still waits for its result."""

    def __init__(self, work: Work[T], undo: Callable[[T], None] | None, deadline: float) -> None:
        self._work = work
        self._undo = undo
        self._deadline = deadline
        self._lock = threading.Lock()
        self._abandoned = False
        self._finished = False

    def __call__(self) -> T:
        if time.monotonic() >= self._deadline:
            raise DeadlineExceeded("the deadline passed before the work on the device could begin")
        result = self._work(self._deadline)
        with self._lock:
            self._finished = True
            abandoned = self._abandoned
        if abandoned:
            self.undo(result)
        return result

    def abandon(self) -> bool:
        """Give the result up; return False if it is there already, so that it is the caller's to undo."""
        with self._lock:
            self._abandoned = True
            return not self._finished

    def undo(self, result: T) -> None:
        """Undo, as far as possible: the next call on the device, or the sweep of leftovers, meets what remains."""
        if self._undo is not None:
            with contextlib.suppress(OfctlError):
                self._undo(result)


class Worker:
    """The thread. It starts with the first call, in the network namespace of the thread that makes that call."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Work[T], *, doing: str, deadline: float, undo: Callable[[T], None] | None = None) -> T:
        """Run `work` in the thread and return its result; its errors come out as they are.

        `deadline` is an instant of `loop.time()`. When it passes, or the caller is cancelled, a call that has not
        begun never begins, and one that runs is undone with `undo` in the thread, before any later call.
        Raises DeadlineExceeded; `doing` completes its sentence.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, undo, time.monotonic() + deadline - loop.time())
        future = self._executor.submit(job)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._give_up(job, future)
            raise
        except TimeoutError as error:
            self._give_up(job, future)
            raise DeadlineExceeded(f"the deadline passed while waiting for the kernel to {doing}") from error

    def _give_up(self, job: _Job[T], future: Future[T]) -> None:
        if future.cancel() or job.abandon():
            return
        if future.exception() is None:
            self._executor.submit(job.undo, future.result())

    async def close(self, last: Callable[[], None]) -> None:
        """Do what is queued, then `last`, and end the thread."""
        await asyncio.wrap_future(self._executor.submit(last))
        self._executor.shutdown()
