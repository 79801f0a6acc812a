"""One caller's share of a transaction, and what a database must tell about itself for shares to be put together."""

from __future__ import annotations

import asyncio
import enum
from typing import Any, Generic, TypeVar

from ofctl.errors import DriverError, OfctlError
from ofctl.ovsdb.replica import Json, Replica

T = TypeVar("T")
V = TypeVar("V", bound="View")


class View:
    """The rows of one database in the terms of its user. Lives in the thread of the replica, except `schema`."""

    lock: str | None = None
    """Name of the OVSDB lock without which nothing is written."""

    def __init__(self, schema: Json) -> None:
        self.schema = schema
        self.replica: Replica | None = None

    @property
    def tables(self) -> Any:
        """The replica's tables by name."""
        assert self.replica is not None
        return self.replica.tables

    def conditions(self) -> dict[str, list[Any]]:
        """Return the rows to fetch, by table (ovsdb-server(7), section 4.1.12)."""
        return {}

    def row_changed(self, event: str, row: Any, old: Any) -> None:
        """Take note of a change; `old` has the former values of an update."""

    def refill(self) -> None:
        """Take all rows anew: the replica was filled again, and what vanished meanwhile was not told."""

    def take_events(self) -> list[object]:
        """Return what has changed since the last call, as events for the loop."""
        return []

    def ending(self) -> list[Json]:
        """Return the operations that end every transaction."""
        return []

    def marker(self, results: list[Any]) -> int:  # noqa: ARG002
        """Return what `reached` compares with, from the results of `ending`."""
        return 0

    def reached(self, marker: int) -> bool:  # noqa: ARG002
        """Tell whether the consumer of the database has caught up with a transaction."""
        return True


class Phase(enum.Enum):
    """Where an operation is. What is QUEUED and was not `ever_sent` has changed nothing."""

    QUEUED = enum.auto()
    SENT = enum.auto()
    COMMITTED = enum.auto()
    OVER = enum.auto()


class Operation(Generic[V, T]):
    """One caller's share. `build` may run again, against newer rows, so it depends on the rows alone."""

    def __init__(self, *keys: str) -> None:
        self.keys = frozenset(keys)
        """Names of what it touches: operations with a key in common never share a transaction, and keep their order."""
        self.phase = Phase.QUEUED
        self.ever_sent = False
        self.abandoned = False
        """Nobody waits any more; a transaction that was sent goes on."""
        self.future: asyncio.Future[T]

    def build(self, view: V) -> list[Json]:
        """Return the raw operations (RFC 7047, section 5.2). Runs in the thread. Raises OfctlError to refuse."""
        raise NotImplementedError

    def result(self, view: V, marker: int) -> T:
        """Return what the caller gets, from the rows after the consumer has caught up. Runs in the thread."""
        raise NotImplementedError

    def explain(self, failure: str) -> OfctlError:
        """Return the error for a transaction of this operation alone that the server refused."""
        return DriverError(f"the database refused the change: {failure}", metadata={"ovsdb_error": failure})

    def settled(self, outcome: T | BaseException) -> None:
        """Take note in the loop of what became of it, even when nobody waits any more."""
