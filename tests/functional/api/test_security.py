"""SecurityService over the socket: groups as declared, wrong ones refused by the path of the field."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from ofctl.client import (
    AddressGroup,
    AsyncClient,
    ConfirmationLevel,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PortSpec,
    SecurityGroup,
    VmConsumer,
)
from ofctl.client.errors import api_error
from ofctl.model.rule_text import rule_text
from ofctl.model.security import SecurityGroupId
from ofctl.v1 import security_pb2, security_pb2_grpc
from tests.functional.api.memory import MemoryEngine

IN, OUT = "RULE_DIRECTION_INGRESS", "RULE_DIRECTION_EGRESS"


def group(*rules: dict[str, Any], **fields: Any) -> SecurityGroup:
    return json_format.ParseDict({"security_group_id": "web", "rules": rules, **fields}, SecurityGroup())


async def test_a_group_from_apply_to_delete(client: AsyncClient, engine: MemoryEngine) -> None:
    declared = group(
        {"direction": IN, "protocol": "TCP", "ports": {"first": 80, "last": 443}, "remote_prefix": "192.0.2.0/24"},
        {"direction": IN, "protocol": "6", "ports": {"first": 22}, "remote_prefix": "192.0.2.9"},
        {"direction": IN, "protocol": "icmp", "icmp": {"type": 8, "code": 0}, "remote_security_group_id": "web"},
        {"direction": OUT, "protocol": "47", "remote_address_group_id": "offices"},
        {"direction": OUT, "ip_version": 6},
        name="Web",
        members=[{"network_id": "blue", "address": "2001:db8::9"}],
    )
    applied = await client.apply_security_group(declared)
    assert not applied.ports and engine.group_levels[0].name == "DATAPATH"
    assert [rule_text(rule) for rule in engine.security_group(SecurityGroupId("web")).group.rules] == [
        "ingress tcp 80-443 from 192.0.2.0/24",
        "ingress tcp 22 from 192.0.2.9",
        "ingress icmp type 8 code 0 from group web",
        "egress 47 to address-group offices",
        "egress ipv6",
    ]
    found = await client.security_group("web")
    assert found == applied.security_group and found.stateful and found.HasField("stateful")
    assert [rule.protocol for rule in found.rules] == ["tcp", "tcp", "icmp", "47", ""]
    assert (found.rules[1].ports.last, found.rules[1].remote_prefix) == (22, "192.0.2.9")
    # What is returned can be applied again, and is the same.
    assert (await client.apply_security_group(found)).security_group == found
    await client.plug(PortSpec(port_id="b", network_id="blue", vm=VmConsumer(), security_groups=["web"]))
    await client.plug(PortSpec(port_id="a", network_id="blue", vm=VmConsumer(), security_groups=["web"]))
    applied = await client.apply_security_group(
        group(stateful=False), level=ConfirmationLevel.CONFIRMATION_LEVEL_BARRIER
    )
    assert not applied.security_group.stateful and engine.group_levels[-1].name == "BARRIER"
    assert [(port.port_id, port.host_id) for port in applied.ports] == [("a", "host-1"), ("b", "host-1")]
    assert all(port.confirmation.ofport for port in applied.ports)
    with pytest.raises(FailedPrecondition) as caught:
        await client.delete_security_group("web")
    assert caught.value.reason == "GROUP_IN_USE"
    for name in ("a", "b"):
        await client.unplug(name)
    await client.delete_security_group("web")
    await client.delete_security_group("web", missing_ok=True)
    with pytest.raises(NotFound):
        await client.security_group("web")
    with pytest.raises(NotFound):
        await client.delete_security_group("web")


async def test_an_address_group_from_apply_to_delete(client: AsyncClient) -> None:
    await client.apply_security_group(group({"direction": IN, "remote_address_group_id": "offices"}))
    await client.plug(PortSpec(port_id="a", network_id="blue", vm=VmConsumer(), security_groups=["web"]))
    declared = AddressGroup(address_group_id="offices", name="Offices", addresses=["192.0.2.0/24", "2001:db8::1"])
    applied = await client.apply_address_group(declared)
    assert applied.address_group == declared and [port.port_id for port in applied.ports] == ["a"]
    assert await client.address_group("offices") == declared
    await client.delete_address_group("offices")
    await client.delete_address_group("offices", missing_ok=True)
    with pytest.raises(NotFound):
        await client.address_group("offices")


async def test_lists_go_on_over_pages(client: AsyncClient) -> None:
    for name in ("c", "a", "b"):
        await client.apply_security_group(SecurityGroup(security_group_id=name))
        await client.apply_address_group(AddressGroup(address_group_id=name))
    assert [one.security_group_id async for one in client.security_groups()] == ["a", "b", "c"]
    assert [one.address_group_id async for one in client.address_groups()] == ["a", "b", "c"]
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = security_pb2_grpc.SecurityServiceStub(channel)
        page = await stub.ListSecurityGroups(security_pb2.ListSecurityGroupsRequest(page_size=2))
        assert [one.security_group_id for one in page.security_groups] == ["a", "b"]
        rest = await stub.ListSecurityGroups(
            security_pb2.ListSecurityGroupsRequest(page_size=2, page_token=page.next_page_token)
        )
        assert [one.security_group_id for one in rest.security_groups] == ["c"] and not rest.next_page_token
        first = await stub.ListAddressGroups(security_pb2.ListAddressGroupsRequest(page_size=1))
        assert [one.address_group_id for one in first.address_groups] == ["a"] and first.next_page_token


TCP, ICMP = {"direction": IN, "protocol": "tcp"}, {"direction": IN, "protocol": "icmp"}
RULES: list[tuple[dict[str, Any], str, str]] = [
    ({"protocol": "tcp"}, ".direction", "none of RULE_DIRECTION_INGRESS"),
    ({"direction": IN, "protocol": "tpc"}, ".protocol", "'tpc' is no IP protocol; give icmp, tcp"),
    ({"direction": IN, "protocol": "256"}, ".protocol", "a number, 0 to 255"),
    ({"direction": IN, "protocol": "icmp", "ip_version": 6}, ".protocol", "ICMP is of IPv4"),
    ({"direction": IN, "ip_version": 5}, ".ip_version", "must be 4 or 6"),
    ({"direction": IN, "ports": {"first": 80}}, ".ports", "needs protocol TCP, UDP or SCTP"),
    ({**TCP, "ports": {"first": 81, "last": 80}}, ".ports", "81 to 80 is no range"),
    ({**TCP, "ports": {"first": 1, "last": 65536}}, ".ports", "within 0 to 65535"),
    ({**TCP, "icmp": {"type": 8}}, ".icmp", "needs protocol ICMP"),
    ({**ICMP, "icmp": {"type": 256}}, ".icmp.type", "0 to 255"),
    ({**ICMP, "icmp": {"code": 256}}, ".icmp.code", "0 to 255"),
    ({"direction": IN, "remote_prefix": "192.0.2.1/24"}, ".remote_prefix", "the prefix is 192.0.2.0/24"),
    ({"direction": IN, "remote_prefix": "web"}, ".remote_prefix", "no IP address and no prefix"),
    ({"direction": IN, "remote_security_group_id": "a b"}, ".remote_security_group_id", "outside of letters"),
    ({"direction": IN, "remote_address_group_id": ""}, ".remote_address_group_id", "is empty"),
    (TCP, "", "is given twice"),
]
GROUPS: list[tuple[SecurityGroup, str, str]] = [
    (group(security_group_id=""), "security_group_id", "is empty"),
    (group(name="x" * 256), "name", "256 characters"),
    (group(*({**TCP, "ports": {"first": port}} for port in range(1001))), "rules", "1001 entries; at most 1000"),
    (group(members=[{"network_id": "blue", "address": "x"}]), "members[0].address", "no IP address"),
    (group(members=[{"address": "192.0.2.1"}]), "members[0].network_id", "is empty"),
    *((group(TCP, rule), f"rules[1]{path}", problem) for rule, path, problem in RULES),
]


@pytest.mark.parametrize(
    ("wrong", "path", "problem"), GROUPS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_wrong_groups(client: AsyncClient, wrong: SecurityGroup, path: str, problem: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.apply_security_group(wrong)
    assert caught.value.field == f"security_group.{path}" and problem in str(caught.value)


async def test_wrong_address_groups(client: AsyncClient) -> None:
    for wrong, field in (
        (AddressGroup(address_group_id="a b"), "address_group.address_group_id"),
        (AddressGroup(address_group_id="a", addresses=["192.0.2.1", "fe80::1%eth0"]), "address_group.addresses[1]"),
        (AddressGroup(address_group_id="a", addresses=["192.0.2.1", "192.0.2.1/32"]), "address_group.addresses[1]"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            await client.apply_address_group(wrong)
        assert caught.value.field == field


async def test_wrong_requests(client: AsyncClient) -> None:
    pb = security_pb2
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = security_pb2_grpc.SecurityServiceStub(channel)
        calls: list[tuple[Any, str]] = [
            (stub.ApplySecurityGroup(pb.ApplySecurityGroupRequest()), "security_group"),
            (stub.ApplySecurityGroup(pb.ApplySecurityGroupRequest(security_group=group(), level=17)), "level"),  # type: ignore[arg-type]
            (stub.ApplyAddressGroup(pb.ApplyAddressGroupRequest()), "address_group"),
            (stub.DeleteSecurityGroup(pb.DeleteSecurityGroupRequest()), "security_group_id"),
            (stub.DeleteAddressGroup(pb.DeleteAddressGroupRequest(address_group_id="/")), "address_group_id"),
            (stub.GetSecurityGroup(pb.GetSecurityGroupRequest()), "security_group_id"),
            (stub.GetAddressGroup(pb.GetAddressGroupRequest()), "address_group_id"),
            (stub.ListSecurityGroups(pb.ListSecurityGroupsRequest(page_size=-1)), "page_size"),
            (stub.ListAddressGroups(pb.ListAddressGroupsRequest(page_token="x")), "page_token"),
        ]
        for call, field in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert api_error(caught.value).field == field
