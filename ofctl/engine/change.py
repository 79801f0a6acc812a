"""A change of what ports share: done, or undone again; a task of its own that outlives the caller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock
from ofctl.engine.operation import ATTEMPT_S, BACKOFF_FIRST_S, BACKOFF_MAX_S, forward_deadline
from ofctl.errors import DeadlineExceeded, OfctlError, OutcomeUnknown, Unavailable
from ofctl.log import fields
from ofctl.model.confirmation import Outcome

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Change(Generic[T]):
    """Await `run()` in a task, and `wait()` for it. Both ways may be told by subclasses of what they change."""

    def __init__(self, chassis: Chassis, clock: Clock, *, deadline: float) -> None:
        """`deadline`: of the reply; a part of the time is kept for the way back."""
        self.chassis = chassis
        self.clock = clock
        self.forward_deadline = forward_deadline(deadline, clock.monotonic())
        self._begun = False
        self._result: T | None = None
        self._failure: OfctlError | None = None
        self._over = asyncio.Event()

    def begin(self) -> None:
        """From here on something may have been changed, and a failure leads back."""
        self._begun = True

    async def forward(self) -> T:
        """Do it, by `forward_deadline`; call `begin` before anything is changed."""
        raise NotImplementedError

    async def back(self, deadline: float) -> None:
        """Undo what may have been done. Called again until it raises nothing."""
        raise NotImplementedError

    async def run(self) -> None:
        """Do it or undo it. Never gives up undoing: it is cancelled only when the agent stops."""
        try:
            self._result = await self.forward()
        except OfctlError as error:
            self._failure = error
            if self._begun:
                logger.warning("a change is undone: %s", error, extra=fields(reason=error.reason))
                await self._undo()
        finally:
            self.release()
            self._over.set()

    def end(self) -> None:
        """Let those who wait go on: nothing is done or undone any more."""
        self._over.set()

    def refuse(self, error: OfctlError) -> None:
        """Fail before anything was begun."""
        self._failure = error
        self._over.set()

    def release(self) -> None:
        """Let go of what was held until the change was done or undone."""

    async def _undo(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                await self.back(self.clock.monotonic() + ATTEMPT_S)
            except OfctlError as error:
                logger.warning("it cannot be undone yet: %s", error, extra=fields(reason=error.reason))
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            else:
                return

    async def persist(self, act: Callable[[], Awaitable[R]]) -> R:
        """Return what `act` does, tried again while switch or database are away, until `forward_deadline`."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                return await act()
            except (Unavailable, OutcomeUnknown) as error:
                lost = error
            try:
                await self.chassis.wait_ready(deadline=self.forward_deadline)
            except OfctlError:
                raise lost from None
            if self.clock.monotonic() + backoff_s >= self.forward_deadline:
                raise lost
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def wait(self, deadline: float) -> T:
        """Return what came of it; raise why it was not done, with the outcome in the metadata if it was begun."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._over.wait()
        except TimeoutError:
            late = self._failure or DeadlineExceeded("the change was not over in time; look what is there later")
            late.metadata["outcome"] = Outcome.UNKNOWN.name
            raise late from None
        if self._failure is not None:
            if self._begun:
                self._failure.metadata["outcome"] = Outcome.UNCHANGED.name
            raise self._failure
        if self._result is None:
            raise Unavailable("the agent stopped in the middle of the call", reason="AGENT_STOPPED")
        return self._result


class Turns:
    """Changes of one kind, one after the other, each from its admission to its end."""

    def __init__(
        self,
        chassis: Chassis,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        name: str,
        busy: Callable[[], Unavailable],
    ) -> None:
        """`name`: of the tasks. `busy` makes what a change is refused with whose turn does not come in time."""
        self._chassis = chassis
        self._spawn = spawn
        self._name = name
        self._busy = busy
        self._turn = asyncio.Lock()

    async def take(self, change: Change[R], deadline: float) -> R:
        """Return what came of a change, which goes on if the caller goes away. Raises as `Change.wait` does."""
        self._chassis.check_ready()
        task = self._spawn(self._run(change), self._name)
        # Also if it is cancelled before its first step.
        task.add_done_callback(lambda _: change.end())
        return await change.wait(deadline)

    async def _run(self, change: Change[R]) -> None:
        try:
            async with asyncio.timeout_at(change.forward_deadline):
                await self._turn.acquire()
        except TimeoutError:
            change.refuse(self._busy())
            return
        try:
            await change.run()
        finally:
            self._turn.release()
