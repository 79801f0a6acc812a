"""A host whose intents are in a cluster of three servers, and the death of the one that leads."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from ofctl.database import schema_file
from ofctl.errors import OfctlError
from ofctl.model.confirmation import Outcome
from ofctl.model.ids import PortId
from ofctl.model.network import Network
from ofctl.ovsdb.intents import IntentStore
from ofctl.ovsdb.schema import load_schema
from ofctl.sandbox.ovs import PrivateOvs, run
from tests.functional.engine.lab import HOST, Lab, in_s
from tests.functional.engine.test_faults import until
from tests.functional.ovsdb.cluster import Cluster
from tests.functional.ovsdb.conftest import HOST as STORE_HOST
from tests.functional.ovsdb.intent_values import NETWORK
from tests.functional.ovsdb.relay import Relay
from tests.functional.ovsdb.test_intents import add
from tests.functional.ovsdb.test_schema import OLD

TIMEOUT_S = 8.0


def is_absent(lab: Lab, request_id: str) -> bool:
    return lab.record(request_id).outcome is Outcome.ABSENT


@pytest.fixture
def cluster(ovs: PrivateOvs) -> Iterator[Cluster]:
    made = Cluster(ovs.rundir / "ofctl", schema=schema_file())
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def clustered(ovs: PrivateOvs, cluster: Cluster) -> AsyncIterator[Lab]:
    """A lab whose eyes look at the cluster, too."""
    lab = Lab(ovs, cluster)  # type: ignore[arg-type]
    try:
        await lab.start()
        await lab.apply_network()
        yield lab
    finally:
        await lab.stop()


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_plug_whose_leader_dies_is_confirmed_or_fails_truthfully(
    clustered: Lab, cluster: Cluster, fault: str
) -> None:
    (first,) = await clustered.plug(clustered.spec("p0"))
    await clustered.see(first)
    leader = cluster.leader()
    assert leader.child is not None
    # It has the transactions on its socket and does not answer: nobody knows what it will do with them.
    os.kill(leader.child.pid, signal.SIGSTOP)
    plugs = [
        asyncio.create_task(clustered.plug(clustered.spec(f"p{n}"), timeout_s=TIMEOUT_S, request_id=f"r{n}x"))
        for n in range(1, 6)
    ]
    begun = asyncio.get_running_loop().time()
    await until(lambda: clustered.engine.store.transactions_sent > 3)
    if fault == "killed":
        leader.kill()
    outcomes = await asyncio.gather(*plugs, return_exceptions=True)
    assert asyncio.get_running_loop().time() - begun < TIMEOUT_S
    if fault == "frozen":
        leader.kill()  # the eyes of the test would wait for it
    there = [first]
    for number, outcome in enumerate(outcomes, 1):
        if isinstance(outcome, OfctlError):
            assert outcome.metadata["outcome"] in ("ABSENT", "UNKNOWN"), outcome
            if outcome.metadata["outcome"] == "UNKNOWN":
                await until(functools.partial(is_absent, clustered, f"r{number}x"))
        else:
            assert isinstance(outcome, tuple)
            there += outcome
    await clustered.see(*there, timeout_s=10)
    (last,) = await clustered.plug(clustered.spec("p9"), timeout_s=TIMEOUT_S)
    await clustered.see(*there, last)
    await clustered.stop()
    await clustered.start()
    await clustered.see(*there, last)


async def test_a_retry_that_meets_its_own_first_commit_is_a_success(cluster: Cluster) -> None:
    """The leader commits, and dies before its answer is out; the next leader has the row."""
    relays = [Relay(member.directory / f"relay{n}", member.socket) for n, member in enumerate(cluster.members)]
    store = IntentStore(",".join(relay.connection for relay in relays), host_id=STORE_HOST)
    try:
        for relay in relays:
            await relay.start()
        await store.start(deadline=in_s(5))
        network = await store.put_network(Network(network_id=NETWORK), deadline=in_s(5))
        leader = cluster.leader()
        killed = asyncio.Event()

        def kill() -> None:
            leader.kill()
            killed.set()

        relays[cluster.members.index(leader)].cut(b'"Binding"', kill)
        (binding,) = await add(store, 1)
        assert killed.is_set()
        (second,) = await add(store, 2)
        assert (binding.numbers.slot, second.numbers.slot) == (0, 1)
        other = IntentStore(cluster.connection, host_id=STORE_HOST)
        intents = await other.start(deadline=in_s(5))
        await other.close()
        assert intents.bindings == (binding, second) and intents.networks == (network,)
    finally:
        await store.close()
        for relay in relays:
            await relay.stop()


async def test_an_older_cluster_is_converted_while_it_is_served(ovs: PrivateOvs) -> None:
    cluster = Cluster(ovs.rundir / "ofctl", schema=OLD)
    store = IntentStore(cluster.connection, host_id=HOST)
    try:
        cluster.start()
        await store.start(deadline=in_s(5))
        await store.put_fence((PortId("p1"), HOST), 4, at_ms=1, deadline=in_s(5))
        versions = {
            run(["ovsdb-client", "get-schema-version", member.connection, "ofctl"]).strip()
            for member in cluster.members
        }
        assert versions == {load_schema()["version"]}
    finally:
        await store.close()
        cluster.stop()
