"""Security groups and address groups in the store: numbered for good, never gone while something names them."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ofctl.errors import Refused, Unavailable
from ofctl.model.ids import HostId, MacAddress, NetworkId
from ofctl.model.network import Network
from ofctl.model.rule_text import rule_of
from ofctl.model.security import AddressGroup, AddressGroupId, AddressPair, GroupMember, SecurityGroup, SecurityGroupId
from ofctl.ovsdb.intents import IntentStore
from ofctl.sandbox.ovs import OvsdbServer, run
from tests.functional.ovsdb.conftest import HOST, soon
from tests.functional.ovsdb.intent_values import NETWORK
from tests.functional.ovsdb.test_intents import new

WEB, DB = SecurityGroupId("web"), SecurityGroupId("db")
OFFICES = AddressGroupId("offices")


def group(group_id: str, *rules: str) -> SecurityGroup:
    return SecurityGroup(
        security_group_id=SecurityGroupId(group_id), rules=tuple(rule_of(text, "rule") for text in rules)
    )


def offices(*addresses: str) -> AddressGroup:
    return AddressGroup(address_group_id=OFFICES, addresses=tuple(map(ipaddress.ip_network, addresses)))


async def heard(store: IntentStore, group_id: SecurityGroupId) -> None:
    """Return when the store has heard of a group, and of all that was written before it."""
    await store._connection.wait_until(lambda: group_id in store.security_groups(), deadline=soon())


@pytest.fixture
async def others_store(intent_server: OvsdbServer) -> AsyncIterator[IntentStore]:
    store = IntentStore(intent_server.connection, host_id=HostId("compute-2"))
    await store.start(deadline=soon())
    yield store
    await store.close()


async def test_a_group_keeps_its_number_and_a_free_one_is_given_again(
    intent_server: OvsdbServer, store: IntentStore
) -> None:
    for number, name in enumerate(("a", "b", "c"), 1):
        assert (await store.put_security_group(group(name), deadline=soon())).index == number
    assert (await store.put_address_group(offices("192.0.2.0/24"), deadline=soon())).index == 1
    changed = group("b", "in tcp 22")
    assert (await store.put_security_group(changed, deadline=soon())).index == 2
    await store.delete_security_group(SecurityGroupId("a"), deadline=soon())
    await store.delete_security_group(SecurityGroupId("a"), deadline=soon())
    assert (await store.put_security_group(group("d"), deadline=soon())).index == 1
    await store.close()
    again = IntentStore(intent_server.connection, host_id=HOST)
    intents = await again.start(deadline=soon())
    try:
        assert [(one.group.security_group_id, one.index) for one in intents.security_groups] == [
            ("b", 2),
            ("c", 3),
            ("d", 1),
        ]
        assert again.security_groups()[SecurityGroupId("b")].group == changed
        assert again.address_groups()[OFFICES].group == offices("192.0.2.0/24")
        sent = again.transactions_sent
        assert (await again.put_security_group(group("e"), deadline=soon())).index == 4
        # It knew what is taken, and did not have to be told by the database.
        assert again.transactions_sent == sent + 1
    finally:
        await again.close()


async def test_hosts_of_one_database_never_give_a_number_twice(store: IntentStore, others_store: IntentStore) -> None:
    made = await asyncio.gather(
        *(
            each.put_security_group(group(f"{each.host_id}-{number}"), deadline=soon())
            for number in range(8)
            for each in (store, others_store)
        )
    )
    assert sorted(one.index for one in made) == list(range(1, 17))


async def test_a_rule_names_what_is_there_or_its_own_group(store: IntentStore) -> None:
    with pytest.raises(Refused, match="there is no security group db; apply it first") as refused:
        await store.put_security_group(group("web", "in tcp 80 from group db"), deadline=soon())
    assert refused.value.reason == "SECURITY_GROUP_NOT_FOUND"
    with pytest.raises(Refused) as refused:
        await store.put_security_group(group("web", "in tcp 80 from address-group offices"), deadline=soon())
    assert refused.value.reason == "ADDRESS_GROUP_NOT_FOUND"
    assert not store.security_groups()
    await store.put_security_group(group("web", "in tcp 80 from group web"), deadline=soon())
    await store.put_security_group(group("db", "in tcp 3306 from group web"), deadline=soon())
    await store.put_security_group(group("web", "out tcp 3306 to group db"), deadline=soon())
    with pytest.raises(Refused, match="security group db is used by security group web") as refused:
        await store.delete_security_group(DB, deadline=soon())
    assert refused.value.reason == "GROUP_IN_USE"
    await store.put_security_group(group("web"), deadline=soon())
    await store.put_security_group(group("db", "in from group db"), deadline=soon())
    await store.delete_security_group(DB, deadline=soon())


async def test_an_address_group_stays_while_a_rule_names_it(store: IntentStore) -> None:
    await store.put_address_group(offices("192.0.2.0/24"), deadline=soon())
    await store.put_security_group(group("web", "in tcp 80 from address-group offices"), deadline=soon())
    assert (await store.put_address_group(offices("2001:db8::/64"), deadline=soon())).index == 1
    with pytest.raises(Refused, match="address group offices is used by security group web"):
        await store.delete_address_group(OFFICES, deadline=soon())
    await store.delete_security_group(WEB, deadline=soon())
    await store.delete_address_group(OFFICES, deadline=soon())
    assert not store.address_groups()


async def test_a_port_gets_and_loses_groups_in_place(store: IntentStore) -> None:
    await store.put_network(Network(network_id=NETWORK), deadline=soon())
    await store.put_security_group(group("web"), deadline=soon())
    filtered = replace(new(1), spec=replace(new(1).spec, security_groups=(WEB, DB)))
    with pytest.raises(Refused, match="there is no security group db"):
        await store.add_bindings([filtered], None, deadline=soon())
    await store.put_security_group(group("db"), deadline=soon())
    (binding,) = await store.add_bindings([filtered], None, deadline=soon())
    more = [replace(new(number), spec=replace(new(number).spec, security_groups=(WEB,))) for number in range(2, 9)]
    await store.add_bindings(more, None, deadline=soon())
    with pytest.raises(Refused) as refused:
        await store.delete_security_group(WEB, deadline=soon())
    assert "web is used by port port-1, port port-2, port port-3, port port-4, port port-5 and 3 more" in str(
        refused.value
    )
    spec = replace(
        binding.spec,
        security_groups=(WEB,),
        port_security=False,
        allowed_address_pairs=(AddressPair(ipaddress.ip_network("192.0.2.9"), MacAddress("52:54:00:00:00:09")),),
    )
    await store.update_bindings([replace(binding, spec=spec)], None, deadline=soon())
    await store.delete_security_group(DB, deadline=soon())
    with pytest.raises(Refused, match="there is no security group db"):
        await store.update_bindings([binding], None, deadline=soon())


async def test_a_group_is_kept_for_a_port_of_another_host(store: IntentStore, others_store: IntentStore) -> None:
    await store.put_network(Network(network_id=NETWORK), deadline=soon())
    await store.put_security_group(group("web"), deadline=soon())
    await heard(others_store, WEB)
    theirs = new(1, host=HostId("compute-2"))
    await others_store.add_bindings(
        [replace(theirs, spec=replace(theirs.spec, security_groups=(WEB,)))], None, deadline=soon()
    )
    with pytest.raises(Refused, match="web is used by a port of another host"):
        await store.delete_security_group(WEB, deadline=soon())
    assert WEB in store.security_groups()


async def test_a_group_that_somebody_wrote_by_hand_is_as_it_was_until_it_can_be_read(
    intent_server: OvsdbServer, store: IntentStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.put_security_group(group("web", "in tcp 80"), deadline=soon())

    def write(rule: str) -> None:
        change = {"op": "update", "table": "SecurityGroup", "where": [], "row": {"rules": ["map", [[0, rule]]]}}
        run(["ovsdb-client", "transact", intent_server.connection, json.dumps(["ofctl", change])])

    write("ingress tpc 22")
    # What is asked after it is answered after it was heard of.
    await store.put_security_group(group("db"), deadline=soon())
    assert store.security_groups()[WEB].group == group("web", "in tcp 80")
    assert "row web of table SecurityGroup cannot be read and is taken as it was" in caplog.text
    write("ingress tcp 22")
    await store.put_security_group(group("db"), deadline=soon())
    assert store.security_groups()[WEB].group == group("web", "in tcp 22")


async def test_a_group_that_another_host_deletes_meanwhile_is_named(
    store: IntentStore, others_store: IntentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put_network(Network(network_id=NETWORK), deadline=soon())
    await store.put_security_group(group("web"), deadline=soon())
    row = store._view.security_groups[WEB]
    await heard(others_store, WEB)
    await others_store.delete_security_group(WEB, deadline=soon())
    # As if the news had not come yet.
    monkeypatch.setattr(store._view, "security_group", lambda _: row)
    filtered = replace(new(1), spec=replace(new(1).spec, security_groups=(WEB,)))
    for refused in (
        store.add_bindings([filtered], None, deadline=soon()),
        store.put_security_group(group("db", "in from group web"), deadline=soon()),
    ):
        with pytest.raises(Unavailable, match="another host has just deleted a security group") as caught:
            await refused
        assert caught.value.reason == "DELETED_MEANWHILE"


async def test_a_person_can_read_a_group(intent_server: OvsdbServer, store: IntentStore) -> None:
    wanted = replace(
        group("web", "in tcp 80-443 from 192.0.2.0/24", "in icmp type 8 code 0", "out ipv6 udp 53"),
        stateful=False,
        members=(GroupMember(NetworkId("blue"), ipaddress.ip_network("2001:db8::9")),),
    )
    await store.put_security_group(wanted, deadline=soon())
    select = {"op": "select", "table": "SecurityGroup", "where": [], "columns": ["rules", "members", "stateless"]}
    (answer,) = json.loads(run(["ovsdb-client", "transact", intent_server.connection, json.dumps(["ofctl", select])]))
    (row,) = answer["rows"]
    assert row["rules"][1] == [
        [0, "ingress tcp 80-443 from 192.0.2.0/24"],
        [1, "ingress icmp type 8 code 0"],
        [2, "egress ipv6 udp 53"],
    ]
    assert row["members"][1] == [[0, "blue 2001:db8::9"]] and row["stateless"] is True
