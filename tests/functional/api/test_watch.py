"""The stream of port events, over the socket, out of the log that the real engine has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from ofctl.api.server import ApiServer
from ofctl.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidArgument,
    PortEvent,
    PortSpec,
    ResourceExhausted,
    Unavailable,
    VmConsumer,
)
from ofctl.client.errors import api_error
from ofctl.model.ids import PortId
from ofctl.model.port import PortState
from ofctl.v1 import port_pb2, port_pb2_grpc
from tests.functional.api.conftest import settings
from tests.functional.api.memory import HOST, MemoryEngine

Stub: TypeAlias = "port_pb2_grpc.PortServiceAsyncStub"


def vm(port_id: str, **fields: str) -> PortSpec:
    return PortSpec(port_id=port_id, network_id="blue", vm=VmConsumer(), **fields)  # type: ignore[arg-type]


def told(event: PortEvent) -> str:
    """Return an event as short text: `added web`."""
    kind = PortEvent.EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower()
    return f"{kind} {event.port.spec.port_id}".strip() + (" snapshot" if event.snapshot else "")


async def take(events: AsyncIterator[PortEvent], count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [told(await anext(events)) for _ in range(count)]


async def extend(read: list[PortEvent], events: AsyncIterator[PortEvent]) -> None:
    async for event in events:
        read.append(event)


def degrade(engine: MemoryEngine, port_id: str) -> None:
    port = engine.port(PortId(port_id), HOST)
    engine.put(replace(port, binding=port.binding.in_state(PortState.DEGRADED, "DEVICE_GONE", at_ms=5)))


async def until(true: Callable[[], bool]) -> None:
    """Return when `true()` is; the server tells nobody."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
async def stub(client: AsyncClient) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(client.target) as channel:
        yield port_pb2_grpc.PortServiceStub(channel)


async def test_a_snapshot_and_then_every_change(client: AsyncClient, engine: MemoryEngine) -> None:
    await client.plug(vm("b"))
    await client.plug(vm("a"))
    async with aclosing(client.watch()) as events:
        assert await take(events, 3) == ["present a", "present b", "synced snapshot"]
        await client.plug(vm("c"))
        assert await take(events, 1) == ["added c"]
        degrade(engine, "a")
        event = await anext(events)
        assert told(event) == "changed a" and (event.epoch, event.revision) == (engine.log.epoch, 4)
        assert (event.port.state, event.port.state_reason) == (port_pb2.PORT_STATE_DEGRADED, "DEVICE_GONE")
        await client.unplug("a")
        assert await take(events, 1) == ["removed a"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"project_id": "p1"}, ["present a", "synced snapshot", "added c", "removed a"]),
        ({"project_id": "p2"}, ["present b", "synced snapshot", "removed b"]),
        ({"device_id": "d1", "project_id": "p1"}, ["synced snapshot", "added c"]),
        ({"network_id": "red"}, ["synced snapshot"]),
        ({"host_id": "host-1", "network_id": "blue", "device_id": "d1"}, ["synced snapshot", "added c"]),
    ],
)
async def test_filters(client: AsyncClient, filters: dict[str, str], expected: list[str]) -> None:
    await client.plug(vm("a", project_id="p1"))
    await client.plug(vm("b", project_id="p2"))
    async with aclosing(client.watch(**filters)) as events:  # type: ignore[arg-type]
        first = expected.index("synced snapshot") + 1
        assert await take(events, first) == expected[:first]
        await client.plug(vm("c", project_id="p1", device_id="d1"))
        await client.unplug("a")
        await client.unplug("b")
        assert await take(events, len(expected) - first) == expected[first:]


async def test_an_update_makes_a_port_come_and_go(client: AsyncClient, engine: MemoryEngine, stub: Stub) -> None:
    await client.plug(vm("a", project_id="p1"))
    begun = engine.log.revision
    async with aclosing(client.watch(project_id="p1")) as old, aclosing(client.watch(project_id="p2")) as new:
        assert await take(old, 2) == ["present a", "synced snapshot"] and await take(new, 1) == ["synced snapshot"]
        await client.update(PortSpec(port_id="a", labels={"x": "y"}), ["labels"])
        await client.update(PortSpec(port_id="a", project_id="p2"), ["project_id"])
        await client.update(PortSpec(port_id="a"), ["labels"])
        assert await take(old, 1) == ["changed a"] and await take(new, 1) == ["added a"]
        gone = await anext(old)
        assert told(gone) == "removed a" and gone.port.spec.project_id == "p1"
        assert await take(new, 1) == ["changed a"]
    # A stream that is resumed tells the same.
    request = port_pb2.WatchPortsRequest(resume_epoch=engine.log.epoch, resume_revision=begun, project_id="p2")
    call = stub.WatchPorts(request, timeout=5)
    assert await take(call.__aiter__(), 3) == ["added a", "changed a", "synced"]
    call.cancel()


async def test_a_stream_is_resumed_where_it_was_cut(client: AsyncClient, engine: MemoryEngine, stub: Stub) -> None:
    await client.plug(vm("a"))
    await client.plug(vm("b"))
    degrade(engine, "a")
    epoch = engine.log.epoch

    async def begin(epoch: str, revision: int, count: int) -> list[str]:
        call = stub.WatchPorts(port_pb2.WatchPortsRequest(resume_epoch=epoch, resume_revision=revision), timeout=5)
        try:
            return await take(call.__aiter__(), count)
        finally:
            call.cancel()

    assert await begin(epoch, 1, 3) == ["added b", "changed a", "synced"]
    assert await begin(epoch, 3, 1) == ["synced"]
    assert await begin(epoch, 0, 4) == ["added a", "added b", "changed a", "synced"]
    snapshot = ["present a", "present b", "synced snapshot"]
    assert await begin("another life", 3, 3) == snapshot
    assert await begin(epoch, 4, 3) == snapshot
    await client.unplug("a")
    await client.unplug("b")
    assert await begin("another life", 5, 1) == ["synced snapshot"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await begin("", 3, 1)
    error = api_error(caught.value)
    assert isinstance(error, InvalidArgument) and error.field == "resume_epoch"


async def test_a_slow_reader_is_cut_off_and_can_resume(open_rundir: Path) -> None:
    engine = MemoryEngine(log_capacity=200)
    server = ApiServer(engine, settings(open_rundir / "api.sock"))
    await server.start()
    try:
        await engine.apply_network_for_tests("blue")
        async with AsyncClient(f"unix:{open_rundir}/api.sock", timeout_s=5) as client:
            labels = {f"label-{number}": "x" * 250 for number in range(64)}
            await client.plug(PortSpec(port_id="web", network_id="blue", vm=VmConsumer(), labels=labels))
            async with grpc.aio.insecure_channel(client.target) as channel:
                stub = port_pb2_grpc.PortServiceStub(channel)
                call = stub.WatchPorts(port_pb2.WatchPortsRequest(), timeout=5)
                events = call.__aiter__()
                assert await take(events, 1) == ["present web"]
                for _ in range(400):
                    degrade(engine, "web")
                    await asyncio.sleep(0)
                read: list[PortEvent] = []
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await extend(read, events)
                error = api_error(caught.value)
                assert isinstance(error, ResourceExhausted) and error.reason == "WATCH_TOO_SLOW"
                assert 1 <= len(read) < 400
                for _ in range(200):
                    degrade(engine, "web")
                last = read[-1]
                again = port_pb2.WatchPortsRequest(resume_epoch=last.epoch, resume_revision=last.revision)
                call = stub.WatchPorts(again, timeout=5)
                assert await take(call.__aiter__(), 2) == ["present web", "synced snapshot"]
                call.cancel()
                await until(lambda: not engine.log._waiters)
    finally:
        await server.stop(0)


async def test_a_reader_that_went_away_is_forgotten(client: AsyncClient, engine: MemoryEngine) -> None:
    async with aclosing(client.watch()) as events:
        await take(events, 1)
        await until(lambda: len(engine.log._waiters) == 1)
    await until(lambda: not engine.log._waiters)


async def test_a_server_that_stops_does_not_wait_for_its_readers(
    server: ApiServer, client: AsyncClient, engine: MemoryEngine, stub: Stub
) -> None:
    call = stub.WatchPorts(port_pb2.WatchPortsRequest(), timeout=20)
    events = call.__aiter__()
    assert await take(events, 1) == ["synced snapshot"]
    begun = time.monotonic()
    stopping = asyncio.create_task(server.stop(10))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(events)
    error = api_error(caught.value)
    assert isinstance(error, Unavailable) and error.reason == "AGENT_STOPPING" and error.retry_after_s
    await stopping
    assert time.monotonic() - begun < 5
    assert not engine.log._waiters


async def test_an_engine_that_ends_ends_the_stream(engine: MemoryEngine, stub: Stub) -> None:
    call = stub.WatchPorts(port_pb2.WatchPortsRequest(), timeout=5)
    events = call.__aiter__()
    assert await take(events, 1) == ["synced snapshot"]
    engine.log.close()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(events)
    assert api_error(caught.value).reason == "AGENT_STOPPING"


async def restarted(server: ApiServer, engine: MemoryEngine, path: Path) -> ApiServer:
    await server.stop(0)
    again = ApiServer(engine, settings(path))
    await again.start()
    return again


async def change_what_is_watched(
    server: ApiServer, engine: MemoryEngine, path: Path, see: Callable[[int], Awaitable[list[str]]]
) -> None:
    """Cut the reader off in each way, and let `see` read what it is told."""
    async with AsyncClient(f"unix:{path}", timeout_s=5) as client:
        await engine.apply_network_for_tests("blue")
        for name in ("a", "b", "c"):
            await client.plug(vm(name))
        assert await see(4) == ["present a", "present b", "present c", "synced snapshot"]
        second = await restarted(server, engine, path)
        assert await see(1) == ["synced"]
        await client.unplug("b")
        assert await see(1) == ["removed b"]
        other = MemoryEngine()
        await other.apply_network_for_tests("blue")
        for one in engine.ports():
            other.put(one)
        degrade(other, "a")
        third = await restarted(second, other, path)
        await client.plug(vm("d"))
        seen = await see(3)
        assert sorted(seen) == ["added d", "changed a", "synced snapshot"] and seen[0] == "changed a"
        last = MemoryEngine()
        last.put(other.port(PortId("d"), HOST))
        fourth = await restarted(third, last, path)
        assert await see(3) == ["removed a", "removed c", "synced snapshot"]
        await fourth.stop(0)


async def test_the_client_resumes_by_itself(engine: MemoryEngine, rundir: Path) -> None:
    path = rundir / "api.sock"
    server = ApiServer(engine, settings(path))
    await server.start()
    async with AsyncClient(f"unix:{path}") as client, aclosing(client.watch()) as events:
        await change_what_is_watched(server, engine, path, lambda count: take(events, count))


async def test_the_blocking_client_resumes_by_itself(engine: MemoryEngine, rundir: Path) -> None:
    path = rundir / "api.sock"
    server = ApiServer(engine, settings(path))
    await server.start()
    with Client(f"unix:{path}") as client, closing(client.watch(timeout_s=20)) as events:

        async def see(count: int) -> list[str]:
            return await asyncio.to_thread(lambda: [told(next(events)) for _ in range(count)])

        await change_what_is_watched(server, engine, path, see)


async def test_a_client_that_is_too_slow_goes_on(rundir: Path) -> None:
    engine = MemoryEngine(log_capacity=50)
    server = ApiServer(engine, settings(rundir / "api.sock"))
    await server.start()
    await engine.apply_network_for_tests("blue")
    labels = {f"label-{number}": "x" * 250 for number in range(64)}
    try:
        async with AsyncClient(f"unix:{rundir}/api.sock", timeout_s=5) as client, aclosing(client.watch()) as events:
            assert await take(events, 1) == ["synced snapshot"]
            await client.plug(PortSpec(port_id="web", network_id="blue", vm=VmConsumer(), labels=labels))
            assert await take(events, 1) == ["added web"]
            for _ in range(400):
                degrade(engine, "web")
                await asyncio.sleep(0)
            await client.unplug("web")
            seen = [""]
            async with asyncio.timeout(5):
                while seen[-1] != "synced snapshot":
                    seen.append(told(await anext(events)))
            assert seen[-2:] == ["removed web", "synced snapshot"] and len(seen) < 400
    finally:
        await server.stop(0)


async def test_what_is_not_resumed_is_raised(client: AsyncClient, rundir: Path) -> None:
    async with AsyncClient(f"unix:{rundir}/nobody.sock") as nobody:
        with pytest.raises(Unavailable):
            await anext(nobody.watch())
    async with aclosing(client.watch(timeout_s=0.1)) as events:
        await take(events, 1)
        with pytest.raises(DeadlineExceeded):
            await anext(events)
