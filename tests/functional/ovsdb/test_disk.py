"""A disk that is full or refuses writes: a clear error, nothing by halves, and all is well afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ofctl.errors import ResourceExhausted
from ofctl.model.confirmation import Outcome
from ofctl.model.network import Network
from ofctl.model.port import Binding
from ofctl.ovsdb.intents import IntentStore
from ofctl.sandbox.ovs import OvsdbServer
from tests.functional.ovsdb.conftest import HOST, SCHEMA, soon
from tests.functional.ovsdb.disk import SmallDiskServer
from tests.functional.ovsdb.intent_values import NETWORK
from tests.functional.ovsdb.test_intents import add, record, remove


@pytest.fixture
def intent_server(rundir: Path) -> Iterator[OvsdbServer]:
    server = SmallDiskServer(rundir, name="ofctl", schema=SCHEMA)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def store(intent_server: SmallDiskServer) -> AsyncIterator[IntentStore]:
    intents = IntentStore(intent_server.connection, host_id=HOST)
    await intents.start(deadline=soon())
    await intents.put_network(Network(network_id=NETWORK), deadline=soon())
    try:
        yield intents
    finally:
        await intents.close()


async def bindings(server: SmallDiskServer) -> tuple[Binding, ...]:
    other = IntentStore(server.connection, host_id=HOST)
    try:
        return (await other.start(deadline=soon())).bindings
    finally:
        await other.close()


async def fill(server: SmallDiskServer, store: IntentStore) -> None:
    """Fill the disk, and the last page of the database's file."""
    server.fill()
    with contextlib.suppress(ResourceExhausted):
        for number in range(100, 200):
            await store.put_request(record(number), deadline=soon())
        pytest.fail("a page holds no hundred records")


async def test_a_full_disk_refuses_and_writes_nothing_by_halves(
    intent_server: SmallDiskServer, store: IntentStore
) -> None:
    (kept,) = await add(store, 1)
    await fill(intent_server, store)
    for _ in range(3):
        with pytest.raises(ResourceExhausted) as full:
            await add(store, 2, 3)
        assert full.value.reason == "DATABASE_FULL" and "nothing was changed" in full.value.message
    assert await bindings(intent_server) == (kept,)
    intent_server.free()
    (second,) = await add(store, 2)
    assert second.numbers.slot == 1, "the numbers of what was refused are free"
    assert await bindings(intent_server) == (kept, second)


async def test_all_that_wait_hear_of_a_full_disk_from_one_transaction(
    intent_server: SmallDiskServer, store: IntentStore
) -> None:
    await fill(intent_server, store)
    before = store.transactions_sent
    outcomes = await asyncio.gather(*(add(store, number) for number in range(20)), return_exceptions=True)
    assert all(isinstance(outcome, ResourceExhausted) for outcome in outcomes)
    assert store.transactions_sent - before <= 2


async def test_another_error_of_the_disk_is_told_as_what_it_is(
    intent_server: SmallDiskServer, store: IntentStore
) -> None:
    (kept,) = await add(store, 0)
    intent_server.refuse_writes()
    with pytest.raises(ResourceExhausted):
        await remove(store, 0)
    with pytest.raises(ResourceExhausted) as refused:
        await add(store, 1)
    assert refused.value.reason == "DATABASE_NOT_WRITABLE" and "File too large" in refused.value.message
    intent_server.take_writes()
    (first,) = await add(store, 1)
    assert await bindings(intent_server) == (kept, first)


async def test_what_is_there_is_served_from_a_full_disk(intent_server: SmallDiskServer, store: IntentStore) -> None:
    (kept,) = await add(store, 1)
    await store.put_request(record(1, Outcome.CONFIRMED), deadline=soon())
    await fill(intent_server, store)
    await store.close()
    for _ in range(40):  # What a start writes is less than a record: the last page may take it a few times.
        again = IntentStore(intent_server.connection, host_id=HOST)
        intents = await again.start(deadline=soon())
        await again.close()
        if not again.generation:
            break
    assert intents.bindings == (kept,) and again.generation == 0
