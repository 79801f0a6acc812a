"""Groups and updates through the API, the real engine and a real switch: confirmed, durable, or as before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from ofctl.api.convert_security import rule_to_proto
from ofctl.client import (
    Aborted,
    AddressGroup,
    AddressPair,
    AsyncClient,
    ConfirmationLevel,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Outcome,
    PortSpec,
    SecurityGroup,
    VmConsumer,
)
from ofctl.errors import SwitchRejected
from ofctl.model.rule_text import rule_of
from ofctl.sandbox.ovs import run
from tests.functional.api.test_real_engine import serving
from tests.functional.api.test_watch import take
from tests.functional.engine.conftest import intents, lab
from tests.functional.engine.lab import Lab

__all__ = ["intents", "lab"]
READBACK = ConfirmationLevel.CONFIRMATION_LEVEL_READBACK


def group(group_id: str, *rules: str, stateful: bool = True) -> SecurityGroup:
    return SecurityGroup(
        security_group_id=group_id, stateful=stateful, rules=[rule_to_proto(rule_of(rule, "rule")) for rule in rules]
    )


def vm(port_id: str, *groups: str) -> PortSpec:
    return PortSpec(port_id=port_id, network_id="n1", vm=VmConsumer(), security_groups=groups)


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[AsyncClient]:
    """A client of the lab's engine, with groups and a port `web-1` that has one."""
    async with serving(lab) as made:
        await made.apply_address_group(AddressGroup(address_group_id="offices", addresses=["192.0.2.0/24"]))
        await made.apply_security_group(group("db"))
        await made.apply_security_group(
            group("web", "in tcp 80-443 from address-group offices", "in icmp from group db", "in from group web")
        )
        await made.plug(vm("web-1", "web"), request_id="plug-1", level=READBACK)
        yield made


async def test_a_change_of_a_group_is_confirmed_on_every_port_that_it_concerns(lab: Lab, client: AsyncClient) -> None:
    await client.plug(vm("db-1", "db"))
    before = await client.port("web-1")
    applied = await client.apply_security_group(group("web", "in tcp 22"), level=READBACK)
    assert [(port.port_id, port.host_id) for port in applied.ports] == [("web-1", "h1")]
    (evidence,) = (port.confirmation for port in applied.ports)
    assert evidence.level >= READBACK and evidence.confirmed_at_ms >= before.confirmation.confirmed_at_ms
    assert (await client.port("web-1")).confirmation == evidence
    await client.apply_security_group(group("web", "in tcp 22 from address-group offices", "in udp 53 from group db"))
    # Who is named by a rule concerns the ports of the rule's group, too.
    applied = await client.apply_security_group(group("db", "in tcp 5432"))
    assert [port.port_id for port in applied.ports] == ["db-1", "web-1"]
    offices = AddressGroup(address_group_id="offices", addresses=["2001:db8::/64"])
    assert [port.port_id for port in (await client.apply_address_group(offices)).ports] == ["web-1"]
    assert not (await client.audit()).left_count


async def test_what_names_nothing_is_refused_and_what_is_named_stays(lab: Lab, client: AsyncClient) -> None:
    for wrong, reason, subject in (
        (group("x", "in from group nobody"), "SECURITY_GROUP_NOT_FOUND", "rules[0].remote_security_group_id"),
        (group("x", "in", "in from address-group no"), "ADDRESS_GROUP_NOT_FOUND", "rules[1].remote_address_group_id"),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await client.apply_security_group(wrong)
        assert (caught.value.reason, caught.value.subject) == (reason, f"security_group.{subject}")
    with pytest.raises(FailedPrecondition) as caught:
        await client.plug(vm("p2", "web", "nobody"))
    assert (caught.value.reason, caught.value.subject) == ("SECURITY_GROUP_NOT_FOUND", "port.security_groups[1]")
    with pytest.raises(FailedPrecondition, match="web' is used by port 'web-1'"):
        await client.delete_security_group("web")
    with pytest.raises(FailedPrecondition, match="db' is used by security group 'web'"):
        await client.delete_security_group("db")
    with pytest.raises(FailedPrecondition, match="offices' is used by security group 'web'") as caught:
        await client.delete_address_group("offices")
    assert caught.value.reason == "GROUP_IN_USE"
    await client.apply_security_group(group("loose", stateful=False))
    with pytest.raises(FailedPrecondition) as caught:
        await client.update(PortSpec(port_id="web-1", security_groups=["web", "loose"]), ["security_groups"])
    assert caught.value.reason == "SECURITY_GROUPS_MIXED" and not caught.value.outcome
    await client.update(PortSpec(port_id="web-1"), ["security_groups"])
    for name in ("web", "db", "loose"):
        await client.delete_security_group(name)
    await client.delete_address_group("offices")
    assert [one async for one in client.security_groups()] == [one async for one in client.address_groups()] == []


async def test_an_update_is_confirmed_and_outlives_the_agent(lab: Lab, client: AsyncClient) -> None:
    before = await client.port("web-1")
    wanted = PortSpec(
        port_id="web-1",
        fixed_ips=["10.1.0.7", "fd00:1::7"],
        allowed_address_pairs=[AddressPair(address="10.1.0.128/25", mac_address="52:54:00:00:00:99")],
        port_security=True,
        security_groups=["db", "web"],
        labels={"a": "b"},
        device_id="guest-1",
    )
    fields = ["fixed_ips", "allowed_address_pairs", "port_security", "security_groups", "labels", "device_id"]
    async with aclosing(client.watch()) as events:
        assert await take(events, 2) == ["present web-1", "synced snapshot"]
        port = await client.update(wanted, fields, level=READBACK, revision=before.revision, request_id="u1")
        changed = await anext(events)
        assert changed.port.spec.port_id == "web-1"
    assert list(port.spec.security_groups) == ["db", "web"] and port.spec.device_id == "guest-1"
    assert port.confirmation.level >= READBACK and port.confirmation.flow_digest != before.confirmation.flow_digest
    assert port.revision > before.revision and port.request_id == "plug-1"
    assert (port.confirmation.ifindex, port.vif_details) == (before.confirmation.ifindex, before.vif_details)
    # The same request again, and one that changes nothing: evidence of now.
    again = await client.update(wanted, fields, request_id="u1", revision=before.revision)
    assert (again.spec, again.revision) == (port.spec, port.revision)
    with pytest.raises(Aborted) as caught:
        await client.update(wanted, ["labels"], revision=before.revision)
    assert caught.value.reason == "REVISION_MISMATCH"
    await lab.stop()
    await lab.start()
    async with serving(lab, "newer.sock") as newer:
        assert (await newer.port("web-1")).spec == port.spec
        assert (await newer.request("u1")).request.outcome == Outcome.OUTCOME_CONFIRMED
        assert (await newer.verify("web-1", level=READBACK)).confirmation.flow_digest == port.confirmation.flow_digest
        assert len((await newer.security_group("web")).rules) == 3
        assert not (await newer.audit()).left_count


async def test_an_update_that_fails_leaves_the_port_as_it_was(
    lab: Lab, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await client.port("web-1")
    install = lab.engine.chassis.install_flows

    async def refuse(*arguments: object, **named: object) -> None:
        monkeypatch.setattr(lab.engine.chassis, "install_flows", install)
        raise SwitchRejected("the switch refused a flow", metadata={"of_error": "OFPBRC_EPERM"})

    monkeypatch.setattr(lab.engine.chassis, "install_flows", refuse)
    with pytest.raises(Internal) as caught:
        await client.update(PortSpec(port_id="web-1", security_groups=["db"]), ["security_groups"], request_id="u1")
    assert (caught.value.outcome, caught.value.request_id) == ("UNCHANGED", "u1")
    after = await client.port("web-1")
    assert after.spec == before.spec and after.confirmation.flow_digest == before.confirmation.flow_digest
    assert (await client.request("u1")).request.outcome == Outcome.OUTCOME_UNCHANGED
    await lab.stop()
    await lab.start()
    async with serving(lab, "newer.sock") as newer:
        found = (await newer.request("u1")).request
        assert (found.outcome, found.reason) == (Outcome.OUTCOME_UNCHANGED, "SWITCH_REJECTED")
        assert (await newer.port("web-1")).spec == before.spec
    select = {"op": "select", "table": "Request", "where": [["request_id", "==", "u1"]], "columns": ["outcome"]}
    transact = ["ovsdb-client", "transact", lab.intents.connection, json.dumps(["ofctl", select])]
    # What an older agent reads.
    assert json.loads(run(transact))[0]["rows"] == [{"outcome": "absent"}]


async def test_what_an_update_is_refused_for_before_anything_is_done(lab: Lab, client: AsyncClient) -> None:
    await client.plug(PortSpec(port_id="p2", network_id="n1", vm=VmConsumer(), fixed_ips=["10.1.0.9"]), generation=5)
    with pytest.raises(FailedPrecondition) as taken:
        await client.update(PortSpec(port_id="web-1", fixed_ips=["10.1.0.9"]), ["fixed_ips"])
    assert (taken.value.reason, taken.value.subject) == ("ADDRESS_IN_USE", "port.fixed_ips[0]")
    with pytest.raises(InvalidArgument) as wrong:
        await client.update(PortSpec(port_id="web-1", fixed_ips=["172.16.0.1"]), ["fixed_ips"])
    assert wrong.value.field == "port.fixed_ips[0]"
    with pytest.raises(FailedPrecondition) as late:
        await client.update(PortSpec(port_id="p2"), ["labels"], generation=4)
    assert late.value.reason == "STALE_GENERATION"
    assert (await client.update(PortSpec(port_id="p2"), ["labels"], generation=6)).generation == 6
    with pytest.raises(NotFound):
        await client.update(PortSpec(port_id="nobody"), ["labels"])


async def test_updates_at_once_are_one_after_the_other(lab: Lab, client: AsyncClient) -> None:
    async def set_label(value: str) -> None:
        await client.update(PortSpec(port_id="web-1", labels={"a": value}), ["labels"])

    await asyncio.gather(*(set_label(str(number)) for number in range(6)))
    port = await client.port("web-1")
    assert port.spec.labels["a"] in {str(number) for number in range(6)} and list(port.spec.security_groups) == ["web"]
