"""One OVSDB database as seen from the event loop: operations with deadlines in, results and events out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from ofctl.errors import DeadlineExceeded, OfctlError, OutcomeUnknown, Unavailable
from ofctl.ovsdb.backlog import disconnected, not_locked
from ofctl.ovsdb.operation import Operation, Phase, View
from ofctl.ovsdb.values import Connected, Disconnected, LockAcquired, LockLost
from ofctl.ovsdb.worker import Ended, Outcome, Worker

T = TypeVar("T")
V = TypeVar("V", bound=View)


class OvsdbConnection(Generic[V]):
    """Runs operations on a database in a thread of its own, all that wait at a moment in one transaction.

    `on_event` is called in the loop for every event of the view and of the connection, before the subscribers and
    before the results of operations that saw it. Everything here belongs to the loop in which `start` ran.
    """

    def __init__(self, remote: str, view: V, *, on_event: Callable[[object], None]) -> None:
        self._remote = remote
        self._view = view
        self._on_event = on_event
        self._subscribers: list[Callable[[Any], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self._worker: Worker | None = None
        self._waking = False
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Future[None]
        self.connected = False
        self.locked = False

    async def start(self, *, deadline: float) -> None:
        """Start the thread and return when the replica is complete and the lock was answered for.

        Raises Unavailable at the deadline; nothing is left running then.
        """
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._worker = Worker(self._remote, self._view, deliver=self._deliver)
        self._worker.thread.start()
        try:
            await self.wait_until(lambda: self.connected, deadline=deadline)
        except TimeoutError:
            await self.close()
            raise Unavailable(
                f"database {self._view.schema['name']} did not come up on {self._remote}; is its ovsdb-server running?",
                reason="OVSDB_DISCONNECTED",
            ) from None
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """End the thread and the connection; operations that wait get Unavailable or OutcomeUnknown."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
            await asyncio.shield(self._ended)
            worker.release()

    @property
    def waves_sent(self) -> int:
        """Transactions sent since `start`."""
        return self._worker.waves_sent if self._worker is not None else 0

    def subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call `callback` in the loop for each event from now on; return what ends that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback) if callback in self._subscribers else None

    async def wait_until(self, condition: Callable[[], bool], *, deadline: float) -> None:
        """Return when `condition`, looked at after every batch of events, holds. Raises TimeoutError."""
        while not condition():
            changed = self._loop.create_future()
            with self._waiting(changed):
                async with asyncio.timeout_at(deadline):
                    await changed

    @contextlib.contextmanager
    def _waiting(self, changed: asyncio.Future[None]) -> Iterator[None]:
        self._waiters.add(changed)
        try:
            yield
        finally:
            self._waiters.discard(changed)

    async def run(self, operation: Operation[V, T], *, deadline: float) -> T:
        """Run one operation and return its result.

        Raises what the operation raises, Unavailable (nothing done), DeadlineExceeded (nothing sent) or
        OutcomeUnknown (sent). A caller that is cancelled before its operation was sent takes it back.
        """
        worker = self._worker
        if worker is None or not self.connected or not self.locked:
            problem = not_locked() if self.connected else disconnected()
            operation.settled(problem)
            raise problem
        operation.future = self._loop.create_future()
        timer = self._loop.call_at(deadline, self._expire, worker, operation)
        worker.submit(operation)
        if not self._waking:
            # When everybody who is about to submit in this turn of the loop has done so: they share a transaction.
            self._waking = True
            self._loop.call_soon(self._wake, worker)
        try:
            return await operation.future
        except asyncio.CancelledError:
            worker.withdraw(operation)
            raise
        finally:
            timer.cancel()

    def _wake(self, worker: Worker) -> None:
        self._waking = False
        worker.wake()

    def _expire(self, worker: Worker, operation: Operation[V, Any]) -> None:
        if operation.future.done():
            return
        phase = worker.withdraw(operation)
        if phase is Phase.OVER:
            return
        operation.future.set_exception(_too_late(phase, self._view.schema["name"]))

    def _deliver(self, events: list[object], outcomes: list[Outcome]) -> None:
        """Called in the thread: hand a batch to the loop. A loop that is closed has nobody waiting."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._receive, events, outcomes)

    def _receive(self, events: list[object], outcomes: list[Outcome]) -> None:
        for event in events:
            self._note(event)
            if not isinstance(event, Ended):
                for callback in self._subscribers:
                    self._loop.call_soon(self._tell, callback, event)
        for operation, outcome in outcomes:
            operation.settled(outcome)
            if operation.future.done():
                continue
            if isinstance(outcome, OfctlError):
                operation.future.set_exception(outcome)
            else:
                operation.future.set_result(outcome)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        if events and isinstance(events[-1], Ended):
            self._ended.set_result(None)

    def _note(self, event: object) -> None:
        match event:
            case Connected():
                self.connected = True
            case Disconnected():
                self.connected = False
            case LockAcquired():
                self.locked = True
            case LockLost():
                self.locked = False
        self._on_event(event)

    def _tell(self, callback: Callable[[Any], None], event: object) -> None:
        if callback in self._subscribers:
            callback(event)


def _too_late(phase: Phase, database: str) -> OfctlError:
    if phase is Phase.QUEUED:
        return DeadlineExceeded(
            f"the deadline passed before the change was sent to database {database}; nothing was changed",
            metadata={"outcome": "absent"},
        )
    if phase is Phase.SENT:
        return OutcomeUnknown(f"the deadline passed before database {database} answered; the change may be done")
    return OutcomeUnknown(
        f"database {database} has the change, but its consumer had not taken it when the deadline passed",
        reason="SWITCH_BEHIND",
    )
