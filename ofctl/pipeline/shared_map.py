"""An immutable mapping whose changed copies share what has not changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

BRANCHES = 128
"""A change copies one branch and the list of them: about 200 references with 8,000 entries."""


class SharedMap(Mapping[K, V]):
    """A mapping that never changes. Two of one origin are compared in time proportional to their difference.

    Begin with `SharedMap()`. Keys are hashable; no value is None.
    """

    __slots__ = ("_branches", "_length")

    def __init__(self) -> None:
        self._branches: tuple[dict[K, V] | None, ...] = (None,) * BRANCHES
        self._length = 0

    def __getitem__(self, key: K) -> V:
        branch = self._branches[hash(key) % BRANCHES]
        if branch is None:
            raise KeyError(key)
        return branch[key]

    def __iter__(self) -> Iterator[K]:
        for branch in self._branches:
            if branch is not None:
                yield from branch

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"SharedMap({dict(self)!r})"

    def changed(self, values: Mapping[K, V | None]) -> SharedMap[K, V]:
        """Return a copy with these values; None removes, whether the key is there or not."""
        if not values:
            return self
        branches, length = list(self._branches), self._length
        fresh: dict[int, dict[K, V]] = {}
        for key, value in values.items():
            place = hash(key) % BRANCHES
            branch = fresh.get(place)
            if branch is None:
                branch = fresh[place] = dict(branches[place] or {})
            length -= key in branch
            if value is None:
                branch.pop(key, None)
            else:
                branch[key] = value
                length += 1
        for place, branch in fresh.items():
            branches[place] = branch or None
        copy: SharedMap[K, V] = SharedMap()
        copy._branches, copy._length = tuple(branches), length
        return copy

    def differing(self, other: SharedMap[K, V]) -> Iterator[K]:
        """Yield the keys that only one has, or for which the two have different values."""
        if self is other:
            return
        for mine, theirs in zip(self._branches, other._branches, strict=True):
            if mine is theirs:
                continue
            left, right = mine or {}, theirs or {}
            for key in left.keys() | right.keys():
                value, counterpart = left.get(key), right.get(key)
                if value is not counterpart and value != counterpart:
                    yield key
