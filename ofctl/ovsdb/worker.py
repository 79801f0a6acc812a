"""The thread of one database: it runs the replica and puts waiting operations together into transactions.

A *wave* is one transaction. While the consumer of the database (ovs-vswitchd) has not caught up with the last wave,
new operations wait, and then all go together: its reconfiguration costs as much for a hundred ports as for one. What
fails is taken apart until only the guilty operation is left.
"""

from __future__ import annotations

import collections
import logging
import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ovs.poller
import ovs.timeval

from ofctl.errors import Cancelled, DriverError, InvalidField, OfctlError, OutcomeUnknown, Unavailable
from ofctl.ovsdb.notation import unsendable
from ofctl.ovsdb.operation import Operation, Phase, View
from ofctl.ovsdb.replica import Replica, ReplyTransaction
from ofctl.ovsdb.values import Connected, Disconnected, LockAcquired, LockLost

LOG = logging.getLogger(__name__)
RETRY_MS = 20
"""Pause before a transaction is built again that the server put off (a cluster without a leader)."""

AnyOperation = Operation[Any, Any]
Outcome = tuple[AnyOperation, Any]
Delivery = Callable[[list[object], list[Outcome]], None]


class Ended:
    """The last event of a worker."""


@dataclass(slots=True)
class Wave:
    """Operations in one transaction; `shares` are the positions in it where each operation's part ends."""

    operations: list[AnyOperation]
    shares: list[int]
    transaction: ReplyTransaction
    marker: int | None = None
    """Set once the transaction is committed; what the consumer has to reach."""

    @property
    def awaited(self) -> bool:
        return any(not operation.abandoned for operation in self.operations)


class Worker:
    """Owns the replica. Its public methods belong to the loop's thread; `deliver` is called in the worker's own."""

    def __init__(self, remote: str, view: View, *, deliver: Delivery) -> None:
        self._view = view
        # Made in the caller's thread: it calls uuid.uuid1(), and libuuid keeps a file open for each thread that does,
        # even when the thread has ended.
        self._replica = Replica(remote, view.schema, conditions=view.conditions(), on_row=view.row_changed)
        self._deliver = deliver
        self._mutex = threading.Lock()
        self._queue: collections.deque[AnyOperation] = collections.deque()
        self._split: collections.deque[list[AnyOperation]] = collections.deque()
        self._waves: list[Wave] = []
        self._stopping = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connected = False
        self._locked = False
        self._generation = -1
        self._retry_at_ms = 0
        self._events: list[object] = []
        self._outcomes: list[Outcome] = []
        self.waves_sent = 0
        """Transactions sent so far."""
        self.thread = threading.Thread(target=self._run, name=f"ovsdb-{view.schema['name']}", daemon=True)

    def submit(self, operation: AnyOperation) -> None:
        """Queue an operation for the next wave."""
        with self._mutex:
            self._queue.append(operation)
        self.wake()

    def withdraw(self, operation: AnyOperation) -> Phase:
        """Let go of an operation whose caller goes; return where it is. QUEUED: nothing of it is or will be sent.

        SENT stands also for one that waits to be sent again since its answer was lost.
        """
        with self._mutex:
            operation.abandoned = True
            phase = operation.phase
            if phase is Phase.QUEUED and operation.ever_sent:
                phase = Phase.SENT
        self.wake()
        return phase

    def wake(self) -> None:
        """Make the thread look at its queue; nothing happens after `release`."""
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """Make the thread end; operations not over are completed first."""
        self._stopping = True
        self.wake()

    def release(self) -> None:
        """Close what the thread was woken by; call when it has ended."""
        self.thread.join()
        os.close(self._wake_fd)
        self._wake_fd = -1

    def _run(self) -> None:
        problem: OfctlError = Unavailable("the connection to the database is closed", reason="OVSDB_CLOSED")
        replica = self._replica
        try:
            self._view.replica = replica
            if self._view.lock is not None:
                replica.set_lock(self._view.lock)
            poller = ovs.poller.Poller()
            while not self._stopping:
                self._step(replica)
                replica.wait(poller)
                poller.fd_wait(self._wake_fd, select.POLLIN)
                if self._retry_at_ms:
                    poller.timer_wait_until(self._retry_at_ms)
                poller.block()
                self._drain()
        except Exception as error:
            LOG.exception("the thread of database %s failed", self._view.schema["name"])
            problem = DriverError(f"the thread of database {self._view.schema['name']} failed: {error}")
        finally:
            replica.close()
            self._end(problem)

    def _drain(self) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return

    def _step(self, replica: Replica) -> None:
        replica.run()
        self._observe(replica)
        self._drop_abandoned()
        self._settle()
        self._start(replica)
        if self._events or self._outcomes:
            events, outcomes = self._events, self._outcomes
            self._events, self._outcomes = [], []
            self._deliver(events, outcomes)

    def _observe(self, replica: Replica) -> None:
        """Turn what became of connection, lock and rows into events."""
        anew = replica.generation != self._generation
        connected = replica.complete and replica.lock_answered
        locked = connected and (self._view.lock is None or replica.has_lock)
        if self._locked and (anew or not locked):
            self._locked = False
            self._events.append(LockLost())
        if self._connected and (anew or not connected):
            self._connected = False
            self._events.append(Disconnected())
        if connected and not self._connected:
            self._generation = replica.generation
            self._connected = True
            self._view.refill()
            self._events += self._view.take_events()
            self._events.append(Connected())
        elif connected:
            self._events += self._view.take_events()
        if locked and not self._locked:
            self._locked = True
            self._events.append(LockAcquired())

    def _settle(self) -> None:
        """Complete the waves that were answered, and those that the consumer has caught up with."""
        for wave in list(self._waves):
            if wave.marker is None:
                self._answered(wave)
        if not self._connected:
            return
        for wave in list(self._waves):
            if wave.marker is not None and self._view.reached(wave.marker):
                self._waves.remove(wave)
                for operation in wave.operations:
                    self._conclude(operation, wave.marker)

    def _answered(self, wave: Wave) -> None:
        transaction = wave.transaction
        status = transaction.commit()
        if status == transaction.INCOMPLETE:
            return
        if status in (transaction.SUCCESS, transaction.UNCHANGED):
            wave.marker = self._view.marker(transaction.results[wave.shares[-1] :]) if transaction.sent else 0
            with self._mutex:
                for operation in wave.operations:
                    operation.phase = Phase.COMMITTED
            return
        self._waves.remove(wave)
        if status == transaction.NOT_LOCKED:
            for operation in wave.operations:
                self._complete(operation, withdrawn(operation) if operation.ever_sent else not_locked())
        elif status == transaction.TRY_AGAIN:
            self._again(wave, sent_without_answer=transaction.sent and transaction.reply is None)
        else:
            self._take_apart(wave)

    def _again(self, wave: Wave, *, sent_without_answer: bool) -> None:
        """Queue a wave's operations again. One that may have been done already finds that out when it is built."""
        with self._mutex:
            again = [operation for operation in wave.operations if not operation.abandoned]
            for operation in again:
                operation.phase = Phase.QUEUED
                operation.ever_sent = operation.ever_sent or sent_without_answer
            self._queue.extendleft(reversed(again))
        for operation in wave.operations:
            if operation.abandoned:
                self._complete(operation, OutcomeUnknown("the connection to the database went before the answer"))
        if not sent_without_answer:
            self._retry_at_ms = ovs.timeval.msec() + RETRY_MS

    def _take_apart(self, wave: Wave) -> None:
        """Fail the guilty operation if the server named it or it is alone; else try both halves."""
        position, failure = wave.transaction.failure
        guilty = next((place for place, end in enumerate(wave.shares) if position is not None and position < end), None)
        operations = list(wave.operations)
        if len(operations) == 1:
            guilty = 0
        if guilty is not None:
            culprit = operations.pop(guilty)
            self._complete(culprit, culprit.explain(failure))
            halves = [operations]
        else:
            middle = len(operations) // 2
            halves = [operations[:middle], operations[middle:]]
        with self._mutex:
            for operation in operations:
                operation.phase = Phase.QUEUED
        self._split.extend(half for half in halves if half)

    def _conclude(self, operation: AnyOperation, marker: int) -> None:
        try:
            outcome = operation.result(self._view, marker)
        except OfctlError as error:
            outcome = error
        self._complete(operation, outcome)

    def _complete(self, operation: AnyOperation, outcome: Any) -> None:
        with self._mutex:
            operation.phase = Phase.OVER
        self._outcomes.append((operation, outcome))

    def _start(self, replica: Replica) -> None:
        """Send the next transaction if the last ones allow it."""
        if not self._connected:
            if self._queue or self._split:
                self._refuse_unsent()
            return
        while not any(wave.marker is None for wave in self._waves):
            if self._retry_at_ms > ovs.timeval.msec():
                return
            self._retry_at_ms = 0
            if self._split:
                chosen = self._split.popleft()
            elif any(wave.awaited for wave in self._waves):
                return
            else:
                chosen = self._next_from_queue()
            if not chosen:
                return
            self._send(replica, chosen)
            self._settle()

    def _drop_abandoned(self) -> None:
        with self._mutex:
            dropped = [operation for operation in self._queue if operation.abandoned]
            if dropped:
                self._queue = collections.deque(operation for operation in self._queue if not operation.abandoned)
        for operation in dropped:
            self._complete(operation, withdrawn(operation))

    def _next_from_queue(self) -> list[AnyOperation]:
        """Take from the queue, in order, what does not touch the same things."""
        with self._mutex:
            taken: list[AnyOperation] = []
            left: collections.deque[AnyOperation] = collections.deque()
            touched: set[str] = set()
            for operation in self._queue:
                (left if operation.keys & touched else taken).append(operation)
                touched |= operation.keys
            self._queue = left
        return taken

    def _refuse_unsent(self) -> None:
        """Without a connection nothing new is sent; what was sent before waits for the truth until its deadline."""
        with self._mutex:
            waiting = [*(operation for half in self._split for operation in half), *self._queue]
            self._split.clear()
            self._queue = collections.deque(operation for operation in waiting if operation.ever_sent)
        for operation in waiting:
            if not operation.ever_sent:
                self._complete(operation, disconnected())

    def _send(self, replica: Replica, chosen: list[AnyOperation]) -> None:
        operations: list[AnyOperation] = []
        shares: list[int] = []
        raw: list[Any] = []
        for operation in chosen:
            try:
                part = operation.build(self._view)
                if unsendable(part):
                    raise InvalidField("text", "has a null character or a lone surrogate, which no database can hold")
            except OfctlError as error:
                self._complete(operation, error)
                continue
            with self._mutex:
                if not operation.abandoned:
                    operation.phase = Phase.SENT
            if operation.abandoned:
                self._complete(operation, withdrawn(operation))
                continue
            raw += part
            operations.append(operation)
            shares.append(len(raw))
        if not operations:
            return
        transaction = ReplyTransaction(replica, raw + self._view.ending())
        self.waves_sent += 1
        self._waves.append(Wave(operations, shares, transaction))

    def _end(self, problem: OfctlError) -> None:
        """Complete everything: what was sent has an unknown outcome, the rest was not done."""
        sent = [operation for wave in self._waves for operation in wave.operations]
        with self._mutex:
            rest = [*(operation for half in self._split for operation in half), *self._queue]
            self._queue.clear()
        for operation in sent:
            self._complete(operation, OutcomeUnknown("the connection to the database was closed before the answer"))
        for operation in rest:
            self._complete(operation, problem)
        if self._locked:
            self._events.append(LockLost())
        if self._connected:
            self._events.append(Disconnected())
        self._deliver([*self._events, Ended()], self._outcomes)


def withdrawn(operation: AnyOperation) -> OfctlError:
    """Return what became of an operation that is not sent again."""
    if operation.ever_sent:
        return OutcomeUnknown("the connection to the database went before the answer")
    return Cancelled("the caller went before anything was sent; nothing was changed")


def not_locked() -> Unavailable:
    """Return the error for a write while another process holds the lock."""
    return Unavailable(
        "another ofctl process holds the database lock of this host; stop it, or wait for it to end",
        reason="NOT_LOCKED",
    )


def disconnected() -> Unavailable:
    """Return the error for a write without a connection."""
    return Unavailable("ovsdb-server is not connected; nothing was changed", reason="OVSDB_DISCONNECTED")
