"""The resources of one kind that all hosts share, as last heard, and which of their numbers are taken."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Generic, cast

from ofctl.errors import OutcomeUnknown
from ofctl.ovsdb.connection import OvsdbConnection
from ofctl.ovsdb.intent_view import IntentView
from ofctl.ovsdb.numbers import NumberPool
from ofctl.ovsdb.resources import DeleteResource, N, NumberTaken, PutResource, Resource, V


class Catalogue(Generic[V, N]):
    """Writes resources of one kind, with numbers that no other one has. Belongs to one event loop."""

    def __init__(self, kind: Resource[V, N], connection: OvsdbConnection[IntentView]) -> None:
        self.kind = kind
        self._connection = connection
        self._known: dict[str, N] = {}
        self._promised: set[int] = set()
        self._numbers = self._pool(())

    def _pool(self, taken: Iterable[int]) -> NumberPool:
        return NumberPool(f"numbers of a {self.kind.noun}", self.kind.numbers, taken)

    @property
    def known(self) -> Mapping[str, N]:
        """The resources as last heard: a live read-only view."""
        return MappingProxyType(self._known)

    async def put(self, value: V, *, deadline: float) -> N:
        """Create the resource, with the lowest free number, or bring it to this content with the number it has."""
        while True:
            known = self._known.get(self.kind.key(value))
            number = self.kind.place(known)[1] if known is not None else self._numbers.take()
            if known is None:
                self._promised.add(number)
            settled = functools.partial(self._settled, number if known is None else None)
            try:
                return await self._connection.run(PutResource(self.kind, value, number, settled), deadline=deadline)
            except NumberTaken:
                # The row of the other host came before the refusal, so its number is reserved by now.
                await asyncio.sleep(0)

    def _settled(self, promised: int | None, outcome: object) -> None:
        if promised is None:
            return
        self._promised.discard(promised)
        if isinstance(outcome, OutcomeUnknown):
            return
        used = {self.kind.place(numbered)[1] for numbered in self._known.values()}
        if not isinstance(outcome, BaseException):
            used.add(self.kind.place(cast(N, outcome))[1])
        if promised not in used:
            self._numbers.release(promised)

    async def delete(self, key: str, *, deadline: float) -> None:
        """Delete a resource; idempotent. Raises Refused while something of any host uses it."""
        await self._connection.run(DeleteResource(self.kind, key), deadline=deadline)

    def refill(self, resources: Iterable[N]) -> None:
        """Take all of them anew. Promised numbers stay taken."""
        self._known.clear()
        self._known.update((self.kind.place(numbered)[0], numbered) for numbered in resources)
        taken = {self.kind.place(numbered)[1] for numbered in self._known.values()}
        self._numbers = self._pool(taken | self._promised)

    def note(self, key: str, stored: N | None) -> None:
        """Take note of one that came, changed or (None) went, by whatever host."""
        if stored is None:
            if (gone := self._known.pop(key, None)) is not None:
                self._numbers.release(self.kind.place(gone)[1])
        else:
            self._known[key] = stored
            self._numbers.reserve(self.kind.place(stored)[1])
