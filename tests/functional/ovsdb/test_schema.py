"""The database of another version: brought up to date while it is served, used, or refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ofctl.errors import OfctlError, Refused, Unavailable
from ofctl.model.ids import PortId
from ofctl.model.network import Network
from ofctl.model.port import PortState
from ofctl.model.rule_text import rule_of
from ofctl.model.security import SecurityGroup
from ofctl.ovsdb.connection import OvsdbConnection
from ofctl.ovsdb.intent_rows import BINDING_KEY, binding_columns
from ofctl.ovsdb.intents import IntentStore
from ofctl.ovsdb.operation import View
from ofctl.ovsdb.replica import Json
from ofctl.ovsdb.schema import load_schema
from ofctl.pipeline.tables import LAYOUT_VERSION
from ofctl.sandbox.ovs import OvsdbServer, run
from tests.functional.ovsdb.conftest import HOST, SCHEMA, soon
from tests.functional.ovsdb.intent_values import NETWORK, SELF
from tests.functional.ovsdb.test_intents import new

OLD = Path(__file__).parent / "ofctl-1.0.0.ovsschema"
"""As the first version of the store had it."""
NETWORK_ROW = {"network_id": NETWORK, "network_index": 7, "network_type": "local", "mtu": 1500}
CONTENT = [
    {"op": "insert", "table": "Network", "uuid-name": "n", "row": NETWORK_ROW},
    {
        "op": "insert",
        "table": "Confirmation",
        "uuid-name": "c",
        "row": {"host_id": HOST, "dpid": 16 * "0", "level": "datapath"},
    },
    {
        "op": "insert",
        "table": "Binding",
        "row": {
            "port_id": "port-1",
            "host_id": HOST,
            "network_id": NETWORK,
            "network": ["named-uuid", "n"],
            "port_index": 5,
            "slot": 3,
            "device": "tap1",
            "mac_address": "52:54:00:00:00:01",
            "mtu": 1400,
            "state": "active",
            "recovery": "roll_back",
            "activation": "active",
            "consumer": "vm",
            "confirmation": ["named-uuid", "c"],
        },
    },
    {"op": "insert", "table": "Request", "row": {"request_id": "r1", "host_id": HOST, "outcome": "confirmed"}},
]


class Servers:
    """Servers of intents of any schema."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir
        self._started: list[OvsdbServer] = []

    def of(self, schema: Path | Json) -> OvsdbServer:
        """Return a server that serves a new database of that schema."""
        if isinstance(schema, dict):
            file = self._rundir / "changed.ovsschema"
            file.write_text(json.dumps(schema))
        else:
            file = schema
        server = OvsdbServer(self._rundir, name="ofctl", schema=file)
        server.start()
        self._started.append(server)
        return server

    def stop(self) -> None:
        for server in self._started:
            server.stop()


@pytest.fixture
async def servers(rundir: Path) -> AsyncIterator[Servers]:
    made = Servers(rundir)
    yield made
    made.stop()


class OldView(View):
    """What an agent of schema 1.0.0 follows."""

    def __init__(self) -> None:
        super().__init__(json.loads(OLD.read_text()))
        self._changes: list[object] = []

    def row_changed(self, event: str, row: Any, old: Any) -> None:
        self._changes.append(event)

    def take_events(self) -> list[object]:
        changes, self._changes = self._changes, []
        return changes


def transact(server: OvsdbServer, *operations: Any) -> list[Any]:
    answer: list[Any] = json.loads(
        run(["ovsdb-client", "transact", server.connection, json.dumps(["ofctl", *operations])])
    )
    assert not any(result.get("error") for result in answer), answer
    return answer


def version(server: OvsdbServer) -> str:
    return run(["ovsdb-client", "get-schema-version", server.connection, "ofctl"]).strip()


def changed(change: Callable[[Json], object], to: str) -> Json:
    schema = load_schema()
    schema["version"] = to
    change(schema["tables"])
    return schema


async def test_an_older_database_is_converted_while_it_is_served(servers: Servers) -> None:
    server = servers.of(OLD)
    transact(server, *CONTENT)
    followed = OldView()
    older = OvsdbConnection(server.connection, followed, on_event=lambda _: None)
    await older.start(deadline=soon())
    store = IntentStore(server.connection, host_id=HOST)
    try:
        intents = await store.start(deadline=soon())
        assert version(server) == load_schema()["version"]
        (binding,) = intents.bindings
        assert (binding.numbers.index, binding.numbers.slot, binding.mtu) == (5, 3, 1400)
        assert binding.state is PortState.ACTIVE and binding.confirmation is not None
        assert intents.networks[0].index == 7 and intents.requests[0].request_id == "r1"
        # What older versions could not say is said as they meant it.
        network, spec = intents.networks[0].network, binding.spec
        assert network.port_security and network.neighbor_replies and network.flood_unknown_neighbors
        assert (spec.security_groups, spec.allowed_address_pairs, spec.port_security) == ((), (), None)
        await store.remove_bindings(
            [(PortId("port-1"), HOST)], None, generations={(PortId("port-1"), HOST): 4}, deadline=soon()
        )
        # The agent of the older version has lost its monitor, and follows again.
        await older.wait_until(lambda: older.connected and not followed.tables["Binding"].rows, deadline=soon())
    finally:
        await store.close()
        await older.close()
    again = IntentStore(server.connection, host_id=HOST)
    assert (await again.start(deadline=soon())).fences == {(PortId("port-1"), HOST): 4}
    await again.close()


async def test_a_newer_minor_is_used_as_it_is(servers: Servers) -> None:
    """An agent that was downgraded: it neither sees nor touches what it does not know."""

    def grow(tables: Json) -> None:
        tables["Quota"] = {"isRoot": True, "columns": {"name": {"type": "string"}}}
        tables["Binding"]["columns"]["colour"] = {"type": "string"}

    server = servers.of(changed(grow, "1.99.0"))
    transact(server, *CONTENT, {"op": "insert", "table": "Quota", "row": {"name": "q"}})
    transact(server, {"op": "update", "table": "Binding", "where": [], "row": {"colour": "red"}})
    store = IntentStore(server.connection, host_id=HOST)
    try:
        (binding,) = (await store.start(deadline=soon())).bindings
        await store.update_bindings([replace(binding, state_reason="X")], None, deadline=soon())
    finally:
        await store.close()
    assert version(server) == "1.99.0"
    seen = transact(
        server,
        {"op": "select", "table": "Binding", "where": [], "columns": ["colour", "state_reason"]},
        {"op": "select", "table": "Quota", "where": [], "columns": ["name"]},
    )
    assert [result["rows"] for result in seen] == [[{"colour": "red", "state_reason": "X"}], [{"name": "q"}]]


async def test_an_older_agent_leaves_groups_alone(servers: Servers) -> None:
    """Downgraded and upgraded again: what it wrote meanwhile has what it could not say as its default."""
    known = json.loads(OLD.read_text())["tables"]["Binding"]["columns"].keys()
    server = servers.of(SCHEMA)
    store = IntentStore(server.connection, host_id=HOST)
    await store.start(deadline=soon())
    await store.put_network(Network(network_id=NETWORK, port_security=False), deadline=soon())
    await store.put_security_group(
        SecurityGroup(security_group_id=SELF, rules=(rule_of("in tcp 80", "rule"),)), deadline=soon()
    )
    filtered = replace(new(1), spec=replace(new(1).spec, security_groups=(SELF,), port_security=True))
    (binding,) = await store.add_bindings([filtered], None, deadline=soon())
    await store.close()
    # What an agent of 1.0.0 writes: every column that it knows, in rows that are there and in new ones.
    columns = {name: value for name, value in binding_columns(binding).items() if name in known}
    changed_row = {name: value for name, value in columns.items() if name not in BINDING_KEY} | {"state": "degraded"}
    added = columns | {"port_id": "port-2", "port_index": 2, "slot": 1, "mac_address": "52:54:00:00:00:22"}
    (network,) = transact(server, {"op": "select", "table": "Network", "where": [], "columns": ["_uuid"]})
    transact(
        server,
        {"op": "update", "table": "Binding", "where": [], "row": changed_row},
        {"op": "update", "table": "Network", "where": [], "row": {"mtu": 1400}},
        {"op": "insert", "table": "Binding", "row": added | {"network": network["rows"][0]["_uuid"]}},
    )
    again = IntentStore(server.connection, host_id=HOST)
    try:
        intents = await again.start(deadline=soon())
        first, second = intents.bindings
        assert first.state is PortState.DEGRADED and first.spec == binding.spec
        assert (second.spec.security_groups, second.spec.port_security) == ((), None)
        assert not intents.networks[0].network.port_security and intents.networks[0].network.mtu == 1400
        with pytest.raises(Refused, match="is used by port port-1"):
            await again.delete_security_group(SELF, deadline=soon())
    finally:
        await again.close()


async def test_what_nobody_reads_may_be_missing(servers: Servers) -> None:
    def shrink(tables: Json) -> None:
        del tables["Global"], tables["Binding"]["columns"]["meter"]

    server = servers.of(changed(shrink, "1.99.0"))
    transact(server, *CONTENT)
    store = IntentStore(server.connection, host_id=HOST)
    try:
        assert len((await store.start(deadline=soon())).bindings) == 1
    finally:
        await store.close()


async def refusal(server: OvsdbServer) -> OfctlError:
    store = IntentStore(server.connection, host_id=HOST)
    before = version(server)
    with pytest.raises(Refused) as refused:
        await store.start(deadline=soon())
    await store.close()
    assert version(server) == before
    return refused.value


async def test_a_newer_major_is_refused(servers: Servers) -> None:
    error = await refusal(servers.of(changed(lambda tables: None, "2.0.0")))
    assert error.reason == "DATABASE_NEWER"
    assert "2.0.0, newer than" in error.message and "install the newer version" in error.message


async def test_a_database_that_lacks_what_is_needed_is_refused(servers: Servers) -> None:
    error = await refusal(servers.of(changed(lambda tables: tables.pop("Fence"), "1.99.0")))
    assert error.reason == "DATABASE_LACKS" and "lacks Fence" in error.message


async def test_a_server_without_the_database_is_named_at_the_deadline(rundir: Path) -> None:
    server = OvsdbServer(rundir, name="other", schema=Path("/usr/share/openvswitch/vswitch.ovsschema"))
    server.start()
    try:
        store = IntentStore(server.connection, host_id=HOST)
        with pytest.raises(Unavailable, match="it has no database ofctl"):
            await store.start(deadline=soon(0.2))
    finally:
        server.stop()


async def test_the_newest_layout_of_the_pipeline_is_noted_once(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = asyncio.Barrier(8)
    register = IntentStore._register

    async def together(store: IntentStore, deadline: float) -> None:
        await everybody.wait()
        await register(store, deadline)

    monkeypatch.setattr(IntentStore, "_register", together)
    server = servers.of(SCHEMA)
    stores = [IntentStore(server.connection, host_id=type(HOST)(f"compute-{number}")) for number in range(8)]
    try:
        await asyncio.gather(*(store.start(deadline=soon()) for store in stores))
        assert [store.generation for store in stores] == [1] * 8
    finally:
        for store in stores:
            await store.close()
    (seen,) = transact(server, {"op": "select", "table": "Global", "where": [], "columns": ["layout"]})
    assert seen["rows"] == [{"layout": LAYOUT_VERSION}]
