"""The stream of port states: snapshot first, nothing missed, resumable, and slow readers cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from ofctl.engine.port_log import PortLog
from ofctl.errors import ResourceExhausted
from ofctl.model.events import PortEvent, PortEventType
from ofctl.model.vif import PluggedPort

ADDED, CHANGED, PRESENT, SYNCED = (
    PortEventType.ADDED,
    PortEventType.CHANGED,
    PortEventType.PRESENT,
    PortEventType.SYNCED,
)


def port(name: str) -> PluggedPort:
    """The log does not look into ports: a name stands for one."""
    return cast(PluggedPort, name)


async def read(stream: AsyncIterator[PortEvent], count: int) -> list[tuple[PortEventType, Any]]:
    async with asyncio.timeout(1):
        events = [await anext(stream) for _ in range(count)]
    return [(event.event_type, event.port) for event in events]


async def test_a_snapshot_and_then_every_change_in_order() -> None:
    log = PortLog(lambda: [port("a"), port("b")])
    stream = log.follow()
    assert await read(stream, 3) == [(PRESENT, "a"), (PRESENT, "b"), (SYNCED, None)]
    log.write(ADDED, port("c"))
    log.write(CHANGED, port("c"))
    assert await read(stream, 2) == [(ADDED, "c"), (CHANGED, "c")]


async def test_a_change_during_the_snapshot_is_not_missed() -> None:
    log = PortLog(lambda: [port("a"), port("b")])
    stream = log.follow()
    await read(stream, 1)
    log.write(CHANGED, port("a"))
    assert await read(stream, 3) == [(PRESENT, "b"), (SYNCED, None), (CHANGED, "a")]


async def test_a_waiting_reader_is_woken() -> None:
    log = PortLog(list)
    stream = log.follow()
    await read(stream, 1)
    waiting = asyncio.create_task(read(stream, 1))
    await asyncio.sleep(0)
    log.write(ADDED, port("a"))
    assert await waiting == [(ADDED, "a")]


async def test_resuming_sends_what_was_missed_and_no_snapshot() -> None:
    log = PortLog(lambda: [port("x")])
    for name in "abc":
        log.write(ADDED, port(name))
    stream = log.follow(epoch=log.epoch, after=1)
    assert await read(stream, 3) == [(ADDED, "b"), (ADDED, "c"), (SYNCED, None)]


@pytest.mark.parametrize(("epoch", "after"), [("another life", 1), ("", 1), (None, 0), (None, 99)])
async def test_what_cannot_be_resumed_begins_with_a_snapshot(epoch: str | None, after: int) -> None:
    log = PortLog(lambda: [port("x")], capacity=2)
    for name in "abc":
        log.write(ADDED, port(name))
    stream = log.follow(epoch=log.epoch if epoch is None else epoch, after=after)
    assert await read(stream, 2) == [(PRESENT, "x"), (SYNCED, None)]


async def test_a_slow_reader_is_cut_off_and_can_come_back() -> None:
    log = PortLog(list, capacity=3)
    stream = log.follow()
    await read(stream, 1)
    for name in "abcd":
        log.write(ADDED, port(name))
    with pytest.raises(ResourceExhausted, match="behind"):
        await read(stream, 1)
    again = log.follow(epoch=log.epoch, after=1)
    assert [name for _, name in await read(again, 3)] == ["b", "c", "d"]


async def test_the_end_of_the_agent_ends_the_stream() -> None:
    log = PortLog(list)
    stream = log.follow()
    await read(stream, 1)
    log.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
