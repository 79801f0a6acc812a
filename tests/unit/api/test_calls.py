"""The share of a deadline that is kept for the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.api.calls import reserve_s


@pytest.mark.parametrize(
    ("remaining_s", "reserve"), [(30, 0.2 + 0.1), (2, 0.2 + 0.01), (1, 0.1 + 0.01), (0.2, 0.02 + 0.001), (0.03, 0.0151)]
)
def test_the_reserve_is_the_configured_one_unless_the_call_is_short(remaining_s: float, reserve: float) -> None:
    assert reserve_s(remaining_s, 0.2) == pytest.approx(reserve)


@given(st.floats(0.001, 1e6), st.floats(0, 10))
def test_a_call_is_never_all_reserve(remaining_s: float, configured_s: float) -> None:
    reserve = reserve_s(remaining_s, configured_s)
    assert 0 < reserve < remaining_s * 0.61
    assert reserve <= configured_s + remaining_s * 0.011
