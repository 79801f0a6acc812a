"""Operations that wait for their transaction, and where each of them is. Shared by the loop and the worker's thread."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from ofctl.errors import Cancelled, OfctlError, OutcomeUnknown, ResourceExhausted, Unavailable
from ofctl.ovsdb.operation import Operation, Phase

AnyOperation = Operation[Any, Any]
DISK_RETRY_MS = 5_000
"""When a caller may try again after a disk took no writes."""


class Backlog:
    """A queue, and before it the parts of transactions that failed as a whole."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._queue: collections.deque[AnyOperation] = collections.deque()
        self._parts: collections.deque[list[AnyOperation]] = collections.deque()

    def submit(self, operation: AnyOperation) -> None:
        """Put an operation at the end."""
        with self._mutex:
            self._queue.append(operation)

    def withdraw(self, operation: AnyOperation) -> Phase:
        """Let go of an operation whose caller goes; return where it is. QUEUED: nothing of it is or will be sent.

        SENT stands also for one that waits to be sent again since its answer was lost.
        """
        with self._mutex:
            operation.abandoned = True
            waits_again = operation.phase is Phase.QUEUED and operation.ever_sent
            return Phase.SENT if waits_again else operation.phase

    def claim(self, operation: AnyOperation) -> bool:
        """Mark an operation as sent unless its caller is gone; from then on it may be done."""
        with self._mutex:
            if not operation.abandoned:
                operation.phase = Phase.SENT
            return not operation.abandoned

    def mark(self, operations: Iterable[AnyOperation], phase: Phase) -> None:
        """Note where operations are now."""
        with self._mutex:
            for operation in operations:
                operation.phase = phase

    def again(self, operations: Sequence[AnyOperation], *, maybe_done: bool) -> None:
        """Put operations back to the front. `maybe_done`: their transaction went out and no answer came."""
        with self._mutex:
            for operation in operations:
                operation.phase = Phase.QUEUED
                operation.ever_sent = operation.ever_sent or maybe_done
            self._queue.extendleft(reversed(operations))

    def split(self, parts: Iterable[list[AnyOperation]]) -> None:
        """Put back the parts of a transaction that failed; each goes alone, before the queue."""
        with self._mutex:
            for part in parts:
                for operation in part:
                    operation.phase = Phase.QUEUED
                if part:
                    self._parts.append(part)

    def next_part(self) -> list[AnyOperation]:
        """Take the next part of a failed transaction, or an empty list."""
        with self._mutex:
            return self._parts.popleft() if self._parts else []

    def next_wave(self) -> list[AnyOperation]:
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

    def take_abandoned(self) -> list[AnyOperation]:
        """Take from the queue what nobody waits for."""
        with self._mutex:
            gone = [operation for operation in self._queue if operation.abandoned]
            if gone:
                self._queue = collections.deque(operation for operation in self._queue if not operation.abandoned)
        return gone

    def take_unsent(self) -> list[AnyOperation]:
        """Take what was never sent; the rest stays and waits for the truth."""
        with self._mutex:
            waiting = self._all()
            self._parts.clear()
            self._queue = collections.deque(operation for operation in waiting if operation.ever_sent)
        return [operation for operation in waiting if not operation.ever_sent]

    def take_all(self) -> list[AnyOperation]:
        """Take everything."""
        with self._mutex:
            waiting = self._all()
            self._parts.clear()
            self._queue.clear()
        return waiting

    def _all(self) -> list[AnyOperation]:
        return [*(operation for part in self._parts for operation in part), *self._queue]


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


def not_stored(database: str, failure: str) -> ResourceExhausted:
    """Return the error for a transaction that the server could not write to its file; nothing of it is done."""
    metadata = {"ovsdb_error": failure}
    if any(text in failure for text in ("No space left on device", "Disk quota exceeded")):
        return ResourceExhausted(
            f"the disk of database {database} is full; nothing was changed: {failure}",
            reason="DATABASE_FULL",
            subject=database,
            metadata=metadata,
            retry_after_ms=DISK_RETRY_MS,
        )
    return ResourceExhausted(
        f"the disk of database {database} takes no writes; nothing was changed: {failure}",
        reason="DATABASE_NOT_WRITABLE",
        subject=database,
        metadata=metadata,
        retry_after_ms=DISK_RETRY_MS,
    )


def disconnected() -> Unavailable:
    """Return the error for a write without a connection."""
    return Unavailable("ovsdb-server is not connected; nothing was changed", reason="OVSDB_DISCONNECTED")
