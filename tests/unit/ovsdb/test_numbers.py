"""The allocator: the lowest free number, never one twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.errors import ResourceExhausted
from ofctl.ovsdb.numbers import NumberPool

STEPS = st.lists(st.tuples(st.sampled_from(["take", "release", "reserve"]), st.integers(1, 30)), max_size=60)


@given(taken=st.sets(st.integers(1, 30)), steps=STEPS)
def test_it_agrees_with_the_plain_definition(taken: set[int], steps: list[tuple[str, int]]) -> None:
    pool = NumberPool("numbers", (1, 30), taken)
    model = set(taken)
    for step, number in steps:
        if step == "release":
            pool.release(number)
            model.discard(number)
        elif step == "reserve":
            pool.reserve(number)
            model.add(number)
        elif len(model) == 30:
            with pytest.raises(ResourceExhausted):
                pool.take()
        else:
            lowest = min(set(range(1, 31)) - model)
            assert pool.take() == lowest
            model.add(lowest)
        assert len(pool) == len(model)
        assert all((number in pool) == (number in model) for number in range(1, 31))
