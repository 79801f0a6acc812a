"""The share of a deadline that is kept for the answer; streams that end with the server."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.api.calls import OpenStreams, reserve_s
from ofctl.errors import Unavailable


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


async def test_a_stream_that_begins_when_the_server_stops_ends_at_once() -> None:
    streams = OpenStreams()
    streams.end()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(2), streams.stream():
            await asyncio.Event().wait()


async def test_a_timeout_inside_of_a_stream_is_not_taken_for_its_end() -> None:
    with pytest.raises(TimeoutError):
        async with OpenStreams().stream():
            raise TimeoutError
