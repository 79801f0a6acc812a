"""The thread of one database: it runs the replica and puts waiting operations together into transactions.

A *wave* is one transaction. While the consumer of the database (ovs-vswitchd) has not caught up with the last wave,
new operations wait, and then all go together: its reconfiguration costs as much for a hundred ports as for one. What
fails is taken apart until only the guilty operation is left.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ovs.timeval

from ofctl.errors import DriverError, InvalidField, OfctlError, Unavailable
from ofctl.ovsdb.backlog import AnyOperation, Backlog, disconnected, not_locked, not_stored, withdrawn
from ofctl.ovsdb.notation import unsendable
from ofctl.ovsdb.operation import Phase, View
from ofctl.ovsdb.poller import Poller
from ofctl.ovsdb.replica import Json, Replica, ReplyTransaction
from ofctl.ovsdb.values import Connected, Disconnected, LockAcquired, LockLost

LOG = logging.getLogger(__name__)
IO_ERROR = "I/O error"
"""What ovsdb-server says when the file does not take a transaction; it is as if that had never come (ovsdb/file.c)."""
RETRY_MS = 20
"""Pause before a transaction is built again that the server put off (a cluster without a leader)."""

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
        self._backlog = Backlog()
        self._building: list[AnyOperation] = []
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
        """Queue an operation for the next wave; call `wake` after the last of those that come together."""
        self._backlog.submit(operation)

    def withdraw(self, operation: AnyOperation) -> Phase:
        """Let go of an operation whose caller goes; see `Backlog.withdraw`."""
        phase = self._backlog.withdraw(operation)
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
            poller = Poller()
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
        for operation in self._backlog.take_abandoned():
            self._complete(operation, withdrawn(operation))
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
            self._backlog.mark(wave.operations, Phase.COMMITTED)
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
        self._backlog.again(wave.operations, maybe_done=sent_without_answer)
        if not sent_without_answer:
            self._retry_at_ms = ovs.timeval.msec() + RETRY_MS

    def _take_apart(self, wave: Wave) -> None:
        """Fail the guilty operation if the server named it or it is alone; else try both halves.

        Nobody is guilty of a disk that does not take the transaction: all fail.
        """
        position, failure = wave.transaction.failure
        if position is None and failure.startswith(IO_ERROR):
            for operation in wave.operations:
                self._complete(operation, not_stored(self._view.schema["name"], failure))
            return
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
        self._backlog.split(halves)

    def _conclude(self, operation: AnyOperation, marker: int) -> None:
        try:
            outcome = operation.result(self._view, marker)
        except OfctlError as error:
            outcome = error
        except Exception as error:
            LOG.exception("an operation on the database failed inside")
            outcome = DriverError(f"internal error: {error!r}")
        self._complete(operation, outcome)

    def _complete(self, operation: AnyOperation, outcome: Any) -> None:
        self._backlog.mark([operation], Phase.OVER)
        self._outcomes.append((operation, outcome))

    def _start(self, replica: Replica) -> None:
        """Send the next transaction if the last ones allow it."""
        if not self._connected:
            for operation in self._backlog.take_unsent():
                self._complete(operation, disconnected())
            return
        while not any(wave.marker is None for wave in self._waves):
            if self._retry_at_ms > ovs.timeval.msec():
                return
            self._retry_at_ms = 0
            self._building = self._backlog.next_part()
            if not self._building and not any(wave.awaited for wave in self._waves):
                self._building = self._backlog.next_wave()
            if not self._building:
                return
            self._send(replica)
            self._settle()

    def _send(self, replica: Replica) -> None:
        """Send what every operation of `_building` adds; one that refuses, or has no caller any more, stays out."""
        operations: list[AnyOperation] = []
        shares: list[int] = []
        raw: list[Json] = []
        for operation in self._building:
            part = self._part(operation)
            if isinstance(part, OfctlError):
                self._complete(operation, part)
            elif not self._backlog.claim(operation):
                self._complete(operation, withdrawn(operation))
            else:
                raw += part
                operations.append(operation)
                shares.append(len(raw))
        self._building = []
        if operations:
            self.waves_sent += 1
            self._waves.append(Wave(operations, shares, ReplyTransaction(replica, raw + self._view.ending())))

    def _part(self, operation: AnyOperation) -> list[Json] | OfctlError:
        try:
            part = operation.build(self._view)
        except OfctlError as error:
            return error
        except Exception as error:
            LOG.exception("an operation on the database failed inside")
            return DriverError(f"internal error: {error!r}")
        if unsendable(part):
            return InvalidField("text", "has a null character or a lone surrogate, which no database can hold")
        return part

    def _end(self, problem: OfctlError) -> None:
        """Complete everything: what was sent has an unknown outcome, the rest was not done."""
        for wave in self._waves:
            for operation in wave.operations:
                operation.ever_sent = True
                self._complete(operation, withdrawn(operation))
        for operation in [*self._building, *self._backlog.take_all()]:
            self._complete(operation, withdrawn(operation) if operation.ever_sent else problem)
        if self._locked:
            self._events.append(LockLost())
        if self._connected:
            self._events.append(Disconnected())
        self._deliver([*self._events, Ended()], self._outcomes)
