"""Generations of ports: a late older request never wins over a newer one.

A caller who numbers what it asks of a port says with the number which of two requests is the newer, in whatever order
they arrive. What is here is known at once, before anything is written; the operations write it with the intents, so
that it is durable before a reply is given. The fence of a port that is gone is a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ofctl.engine.inventory import Key
from ofctl.errors import Refused
from ofctl.model.port import Binding


class Fences:
    """The greatest generation that was seen for each port, there or gone. Belongs to one event loop."""

    def __init__(self, *, limit: int, keeps: Callable[[Key], bool]) -> None:
        """At most `limit` are kept, the last that advanced, and besides them those of which `keeps` says so."""
        self._limit = limit
        self._keeps = keeps
        self._seen: dict[Key, int] = {}

    def adopt(self, bindings: Iterable[Binding], gone: Mapping[Key, int]) -> None:
        """Take what is durable, at start."""
        for key, generation in gone.items():
            self._note(key, generation)
        for binding in bindings:
            self._note((binding.port_id, binding.spec.host_id), binding.generation)

    def seen(self, key: Key) -> int:
        """Return the greatest generation of a port, 0 if none is known."""
        return self._seen.get(key, 0)

    def check(self, keys: Iterable[Key], generation: int) -> None:
        """Refuse a request that is older than one that was seen for one of its ports. 0 is no fence."""
        for key in keys:
            seen = self.seen(key)
            if 0 < generation < seen:
                raise Refused(
                    f"a request with generation {seen} was seen for port {key[0]!r}; this one has {generation} and "
                    "came too late",
                    reason="STALE_GENERATION",
                    subject=key[0],
                    metadata={"generation": str(seen)},
                )

    def advance(self, keys: Iterable[Key], generation: int) -> None:
        """Note a request that is let in: from now on no older one is. Raises as `check`, and then notes nothing."""
        ports = tuple(keys)
        self.check(ports, generation)
        for key in ports:
            self._note(key, generation)

    def _note(self, key: Key, generation: int) -> None:
        newest = max(generation, self._seen.pop(key, 0))
        if newest:
            self._seen[key] = newest
        if len(self._seen) > self._limit:
            gone = next((old for old in self._seen if old != key and not self._keeps(old)), None)
            if gone is not None:
                del self._seen[gone]
