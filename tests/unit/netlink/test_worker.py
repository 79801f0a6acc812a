"""Deadlines and cancellation of the blocking work, and that nothing it made is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from ofctl.errors import DeadlineExceeded
from ofctl.netlink.worker import Worker


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("test-netlink")
    yield worker
    await worker.close(lambda: None)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-netlink")]


class Blocked:
    """Work that lasts until it is let go, and remembers what was undone."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.undone: list[str] = []

    def __call__(self, deadline: float) -> str:
        self.begun.set()
        assert self.go.wait(5)
        return "device"


async def in_thread(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 5)


async def test_the_result_and_the_deadline_on_the_thread_s_clock(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    until = await worker.run(lambda until: until, doing="test", deadline=loop.time() + 3)
    assert 2.5 < until - time.monotonic() <= 3


async def test_an_error_comes_out_as_it_is(worker: Worker) -> None:
    def fail(deadline: float) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await worker.run(fail, doing="test", deadline=asyncio.get_running_loop().time() + 3)


async def test_work_that_passes_its_deadline_is_undone(worker: Worker) -> None:
    work = Blocked()
    deadline = asyncio.get_running_loop().time() + 0.3
    task = asyncio.create_task(worker.run(work, doing="make it", deadline=deadline, undo=work.undone.append))
    await in_thread(work.begun)
    with pytest.raises(DeadlineExceeded, match="make it"):
        await task
    assert work.undone == []
    work.go.set()
    await worker.run(lambda _: None, doing="test", deadline=asyncio.get_running_loop().time() + 3)
    assert work.undone == ["device"]


async def test_work_whose_caller_is_cancelled_is_undone(worker: Worker) -> None:
    work = Blocked()
    deadline = asyncio.get_running_loop().time() + 3
    task = asyncio.create_task(worker.run(work, doing="make it", deadline=deadline, undo=work.undone.append))
    await in_thread(work.begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    work.go.set()
    await worker.run(lambda _: None, doing="test", deadline=deadline)
    assert work.undone == ["device"]


async def test_a_result_that_nobody_can_take_any_more_is_undone(worker: Worker) -> None:
    """Cancelled in the very turn of the loop in which the result has come."""
    work = Blocked()
    deadline = asyncio.get_running_loop().time() + 3
    task = asyncio.create_task(worker.run(work, doing="make it", deadline=deadline, undo=work.undone.append))
    await in_thread(work.begun)
    work.go.set()
    finished = threading.Event()
    worker._executor.submit(finished.set)
    assert finished.wait(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await worker.run(lambda _: None, doing="test", deadline=deadline)
    assert work.undone == ["device"]


async def test_work_that_has_not_begun_never_begins(worker: Worker) -> None:
    first, second = Blocked(), Blocked()
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(worker.run(first, doing="one", deadline=loop.time() + 3))
    await in_thread(first.begun)
    with pytest.raises(DeadlineExceeded):
        await worker.run(second, doing="two", deadline=loop.time() + 0.02, undo=second.undone.append)
    first.go.set()
    assert await running == "device"
    await worker.run(lambda _: None, doing="test", deadline=loop.time() + 3)
    assert not second.begun.is_set() and second.undone == []
