"""The store of intents on a real ovsdb-server: durable, complete, its numbers never given twice."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ofctl.errors import AlreadyExists, InvalidField, NotFound, OfctlError, OutcomeUnknown, Refused, Unavailable
from ofctl.model.confirmation import Outcome, RequestRecord
from ofctl.model.ids import DeviceName, HostId, MacAddress, NetworkId, PortId, RequestId
from ofctl.model.network import Network, NumberedNetwork, Subnet
from ofctl.model.port import Binding, PortSpec, PortState, VmConsumer
from ofctl.model.security import AddressGroup, SecurityGroup
from ofctl.ovsdb.intents import Intents, IntentStore, NewBinding
from ofctl.ovsdb.values import Connected, ConnectionEvent
from ofctl.sandbox.ovs import OvsdbServer, run
from tests.functional.ovsdb.conftest import HOST, soon
from tests.functional.ovsdb.intent_values import (
    ADDRESSES_OF,
    NETWORK,
    OTHER,
    SELF,
    address_groups,
    bindings,
    networks,
    records,
    security_groups,
)


def new(number: int, *, network: str = NETWORK, host: HostId = HOST, mac: int | None = None) -> NewBinding:
    octets = (number if mac is None else mac).to_bytes(4)
    return NewBinding(
        spec=PortSpec(
            port_id=PortId(f"port-{number}"),
            network_id=NetworkId(network),
            host_id=host,
            consumer=VmConsumer(),
            mac_address=MacAddress("52:54:" + ":".join(f"{octet:02x}" for octet in octets)),
            mtu=1500,
        ),
        device=DeviceName(f"tap{number}"),
        request_id=RequestId(f"request-{number}"),
        principal="uid:0",
        state_since_ms=1,
    )


def record(number: int, outcome: Outcome = Outcome.IN_PROGRESS) -> RequestRecord:
    return RequestRecord(
        request_id=RequestId(f"request-{number}"),
        port_id=PortId(f"port-{number}"),
        host_id=HOST,
        outcome=outcome,
        at_ms=number,
    )


async def add(store: IntentStore, *numbers: int) -> tuple[Binding, ...]:
    return await store.add_bindings([new(number) for number in numbers], record(numbers[0]), deadline=soon())


async def remove(store: IntentStore, *numbers: int) -> None:
    keys = [(PortId(f"port-{number}"), HOST) for number in numbers]
    await store.remove_bindings(keys, None, deadline=soon())


@pytest.fixture
async def network(store: IntentStore) -> NumberedNetwork:
    return await store.put_network(Network(network_id=NETWORK), deadline=soon())


@pytest.fixture
async def others_store(intent_server: OvsdbServer) -> AsyncIterator[IntentStore]:
    """The store as another host opens it: one database for many."""
    store = IntentStore(intent_server.connection, host_id=HostId("compute-2"))
    await store.start(deadline=soon())
    try:
        yield store
    finally:
        await store.close()


async def reopened(server: OvsdbServer, store: IntentStore) -> tuple[IntentStore, Intents]:
    await store.close()
    again = IntentStore(server.connection, host_id=HOST)
    return again, await again.start(deadline=soon())


async def test_everything_is_there_after_a_restart(
    intent_server: OvsdbServer, store: IntentStore, network: NumberedNetwork
) -> None:
    assert store.generation == 1
    (first, second) = await add(store, 1, 2)
    active = replace(first, state=PortState.ACTIVE, revision=2)
    await store.update_bindings([active], record(1, Outcome.CONFIRMED), deadline=soon())
    intent_server.kill()
    intent_server.start()
    again = IntentStore(intent_server.connection, host_id=HOST)
    await store.close()
    intents = await again.start(deadline=soon())
    await again.close()
    assert again.generation == 2
    assert intents.networks == (network,)
    assert intents.bindings == (active, second)
    assert intents.requests == (record(1, Outcome.CONFIRMED),)


async def test_numbers_are_the_lowest_free_and_free_only_after_the_removal(
    intent_server: OvsdbServer, store: IntentStore, network: NumberedNetwork
) -> None:
    added = await add(store, 1, 2, 3)
    assert [(one.numbers.index, one.numbers.slot) for one in added] == [(1, 0), (2, 1), (3, 2)]
    await remove(store, 2)
    (fourth,) = await add(store, 4)
    assert fourth.numbers == added[1].numbers
    other = await store.put_network(Network(network_id=NetworkId("net-2")), deadline=soon())
    assert other.index == network.index + 1
    (fifth,) = await store.add_bindings([new(5, network="net-2")], None, deadline=soon())
    assert (fifth.numbers.index, fifth.numbers.slot) == (4, 0)
    again, _ = await reopened(intent_server, store)
    (sixth,) = await add(again, 6)
    await again.close()
    assert (sixth.numbers.index, sixth.numbers.slot) == (5, 3)


async def test_every_binding_has_a_zone_of_its_own_also_one_that_was_written_without(
    intent_server: OvsdbServer, store: IntentStore, network: NumberedNetwork
) -> None:
    first, second, third, _ = await add(store, 1, 2, 3, 4)
    assert [one.numbers.zone for one in (first, second, third)] == [1, 2, 3]
    await remove(store, 2)
    (fifth,) = await add(store, 5)
    assert fifth.numbers.zone == 2
    await store.update_bindings([replace(third, state=PortState.ACTIVE)], None, deadline=soon())
    older = [
        {
            "op": "update",
            "table": "Binding",
            "where": [["port_id", "==", f"port-{number}"]],
            "row": {"zone": ["set", []]},
        }
        for number in (1, 4)
    ]
    run(["ovsdb-client", "transact", intent_server.connection, json.dumps(["ofctl", *older])])
    again, intents = await reopened(intent_server, store)
    zones = {binding.port_id: binding.numbers.zone for binding in intents.bindings}
    assert zones == {"port-1": 1, "port-3": 3, "port-4": 4, "port-5": 2}
    stored = {"op": "select", "table": "Binding", "where": [], "columns": ["port_id", "zone"]}
    (rows,) = json.loads(run(["ovsdb-client", "transact", intent_server.connection, json.dumps(["ofctl", stored])]))
    assert {row["port_id"]: row["zone"] for row in rows["rows"]} == zones
    (sixth,) = await add(again, 6)
    assert sixth.numbers.zone == 5
    await again.close()


async def test_all_or_nothing_and_a_failure_gives_its_numbers_back(
    store: IntentStore, network: NumberedNetwork
) -> None:
    await add(store, 1)
    with pytest.raises(AlreadyExists) as clash:
        await store.add_bindings([new(2), new(3, mac=1)], record(2), deadline=soon())
    assert clash.value.reason == "MAC_IN_USE"
    with pytest.raises(NotFound):
        await store.add_bindings([new(2), new(3, network="none")], record(2), deadline=soon())
    (fourth,) = await add(store, 4)
    assert (fourth.numbers.index, fourth.numbers.slot) == (2, 1)


async def test_the_same_request_finds_its_own_work(store: IntentStore, network: NumberedNetwork) -> None:
    first = await add(store, 1)
    assert await add(store, 1) == first
    with pytest.raises(AlreadyExists) as clash:
        await store.add_bindings([replace(new(1), device=DeviceName("other"))], None, deadline=soon())
    assert clash.value.reason == "PORT_EXISTS"
    (second,) = await add(store, 2)
    assert second.numbers.index == 2


async def test_one_clash_among_fifty_at_once_fails_alone(store: IntentStore, network: NumberedNetwork) -> None:
    await add(store, 0)
    wanted = [new(number, mac=0 if number == 23 else None) for number in range(1, 51)]
    results = await asyncio.gather(
        *(store.add_bindings([one], None, deadline=soon()) for one in wanted), return_exceptions=True
    )
    assert [one for one in results if isinstance(one, OfctlError)] == [results[22]]
    assert isinstance(results[22], AlreadyExists)
    indexes = {one[0].numbers.index for one in results if isinstance(one, tuple)}
    assert len(indexes) == 49


async def test_a_wave_larger_than_a_socket_holds_arrives(store: IntentStore, network: NumberedNetwork) -> None:
    labels = tuple((f"label-{number:02d}", "x" * 200) for number in range(60))
    wanted = [replace(one, spec=replace(one.spec, labels=labels)) for one in map(new, range(150))]
    sent = store.transactions_sent
    added = await asyncio.gather(*(store.add_bindings([one], None, deadline=soon(8)) for one in wanted))
    assert len({binding.numbers.index for (binding,) in added}) == 150
    assert store.transactions_sent - sent <= 8


async def test_a_network_in_use_stays(store: IntentStore, others_store: IntentStore, network: NumberedNetwork) -> None:
    await add(store, 1)
    for user, words in ((store, "port-1"), (others_store, "another host")):
        with pytest.raises(Refused, match=words) as refusal:
            await user.delete_network(NETWORK, deadline=soon())
        assert refusal.value.reason == "NETWORK_IN_USE"
    await remove(store, 1)
    await store.delete_network(NETWORK, deadline=soon())
    await store.delete_network(NETWORK, deadline=soon())
    again = await store.put_network(Network(network_id=NetworkId("net-2")), deadline=soon())
    assert again.index == network.index


async def test_a_network_keeps_its_index_when_its_content_changes(store: IntentStore, network: NumberedNetwork) -> None:
    subnet = Subnet(cidr=ipaddress.ip_network("10.0.0.0/24"), gateway=ipaddress.ip_address("10.0.0.1"))
    changed = Network(network_id=NETWORK, name="blue", mtu=1400, subnets=(subnet,))
    assert await store.put_network(changed, deadline=soon()) == NumberedNetwork(network=changed, index=network.index)


async def test_two_hosts_never_give_out_the_same_network_index(store: IntentStore, others_store: IntentStore) -> None:
    made = await asyncio.gather(
        *(
            one.put_network(Network(network_id=NetworkId(f"{name}-{number}")), deadline=soon())
            for number in range(10)
            for name, one in (("mine", store), ("theirs", others_store))
        )
    )
    assert sorted(numbered.index for numbered in made) == list(range(1, 21))


async def test_a_host_sees_only_what_is_its_own(
    intent_server: OvsdbServer, store: IntentStore, others_store: IntentStore, network: NumberedNetwork
) -> None:
    await add(store, 1)
    other = HostId("compute-2")
    await others_store.add_bindings([new(1, host=other)], None, deadline=soon())
    await others_store.close()
    again = IntentStore(intent_server.connection, host_id=other)
    intents = await again.start(deadline=soon())
    await again.close()
    assert [binding.spec.host_id for binding in intents.bindings] == [other]
    assert intents.bindings[0].numbers.index == 1
    assert intents.requests == ()
    with pytest.raises(InvalidField):
        await store.add_bindings([new(2, host=other)], None, deadline=soon())


async def test_the_oldest_records_beyond_the_limit_go(intent_server: OvsdbServer, store: IntentStore) -> None:
    await store.close()
    small = IntentStore(intent_server.connection, host_id=HOST, request_limit=5)
    await small.start(deadline=soon())
    for number in range(8):
        await small.put_request(record(number), deadline=soon())
    await small.put_request(record(7, Outcome.CONFIRMED), deadline=soon())
    again, intents = await reopened(intent_server, small)
    await again.close()
    assert [one.request_id for one in intents.requests] == [f"request-{number}" for number in range(3, 8)]
    assert intents.requests[-1].outcome is Outcome.CONFIRMED


async def test_what_is_not_there_cannot_be_updated(store: IntentStore, network: NumberedNetwork) -> None:
    (binding,) = await add(store, 1)
    await remove(store, 1)
    await remove(store, 1)
    with pytest.raises(NotFound):
        await store.update_bindings([binding], None, deadline=soon())


async def test_a_second_agent_of_the_host_cannot_write(intent_server: OvsdbServer, store: IntentStore) -> None:
    second = IntentStore(intent_server.connection, host_id=HOST)
    await second.start(deadline=soon())
    try:
        with pytest.raises(Unavailable) as refused:
            await second.put_network(Network(network_id=NETWORK), deadline=soon())
        assert refused.value.reason == "NOT_LOCKED"
    finally:
        await second.close()


async def test_a_server_that_does_not_answer_leaves_the_outcome_unknown_and_the_numbers_taken(
    intent_server: OvsdbServer, store: IntentStore, network: NumberedNetwork
) -> None:
    assert intent_server.child is not None
    os.kill(intent_server.child.pid, signal.SIGSTOP)
    deadline = soon(0.2)
    with pytest.raises(OutcomeUnknown):
        await store.add_bindings([new(1)], record(1), deadline=deadline)
    assert asyncio.get_running_loop().time() - deadline < 0.1
    os.kill(intent_server.child.pid, signal.SIGCONT)
    (second,) = await add(store, 2)
    assert second.numbers.index == 2
    (first,) = await add(store, 1)
    assert first.numbers.index == 1


async def test_a_server_killed_under_a_write_is_written_once(
    intent_server: OvsdbServer, store: IntentStore, network: NumberedNetwork
) -> None:
    """The write waits for the server to be back, and finds out then whether it was done."""
    assert intent_server.child is not None
    os.kill(intent_server.child.pid, signal.SIGSTOP)
    pending = asyncio.ensure_future(add(store, 1))
    await asyncio.sleep(0)
    back = asyncio.Event()

    def look(event: ConnectionEvent) -> None:
        if isinstance(event, Connected):
            back.set()

    store.subscribe(look)
    intent_server.kill()
    intent_server.start()
    async with asyncio.timeout(10):
        await back.wait()
    try:
        (first,) = await pending
    except Unavailable:  # It had not been sent.
        (first,) = await add(store, 1)
    assert (first.numbers.index, first.numbers.slot) == (1, 0)
    (second,) = await add(store, 2)
    assert (second.numbers.index, second.numbers.slot) == (2, 1)


async def test_every_transaction_asks_for_the_disk(
    intent_server: OvsdbServer, store: IntentStore, network: NumberedNetwork
) -> None:
    """As the server logs it from the wire."""
    run(["ovs-appctl", f"--target={intent_server.control}", "vlog/set", "jsonrpc:console:dbg"])
    await add(store, 1)
    await remove(store, 1)
    assert intent_server.child is not None
    sent = [line for line in intent_server.child.log.read_text().splitlines() if 'method="transact"' in line]
    assert len(sent) == 2
    for line in sent:
        assert '{"durable":true,"op":"commit"}' in line


@dataclass(frozen=True)
class Everything:
    """One value of each kind that the store holds."""

    request: RequestRecord
    binding: Binding
    network: Network
    group: SecurityGroup
    addresses: AddressGroup


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.builds(Everything, records(), bindings(), networks(), security_groups(), address_groups()))
def test_every_value_comes_back_as_it_was(intent_server: OvsdbServer, values: Everything) -> None:
    asyncio.run(round_trip(intent_server, values))


async def round_trip(server: OvsdbServer, values: Everything) -> None:
    request, wanted, other = values.request, values.binding, values.network
    store = IntentStore(server.connection, host_id=HOST)
    await store.start(deadline=soon())
    await store.put_network(Network(network_id=NETWORK), deadline=soon())
    await store.put_security_group(SecurityGroup(security_group_id=OTHER), deadline=soon())
    addresses = await store.put_address_group(values.addresses, deadline=soon())
    group = await store.put_security_group(values.group, deadline=soon())
    assert (addresses.group, group.group) == (values.addresses, values.group)
    expected_network = await store.put_network(other, deadline=soon())
    (added,) = await store.add_bindings(
        [
            NewBinding(
                spec=wanted.spec,
                device=wanted.device,
                request_id=wanted.request_id,
                principal=wanted.principal,
                state_since_ms=wanted.state_since_ms,
                activation=wanted.activation,
            )
        ],
        None,
        deadline=soon(),
    )
    expected = replace(wanted, numbers=added.numbers)
    await store.update_bindings([expected], request, deadline=soon())
    await store.close()
    again = IntentStore(server.connection, host_id=HOST)
    intents = await again.start(deadline=soon())
    try:
        (found,) = intents.bindings
        assert found == expected
        assert found.confirmation == expected.confirmation
        assert expected_network in intents.networks
        assert request in intents.requests
        assert group in intents.security_groups and addresses in intents.address_groups
        await again.remove_bindings([(found.port_id, HOST)], None, deadline=soon())
        await again.delete_network(other.network_id, deadline=soon())
        await again.delete_security_group(SELF, deadline=soon())
        await again.delete_address_group(ADDRESSES_OF, deadline=soon())
    finally:
        await again.close()
