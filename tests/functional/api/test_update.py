"""UpdatePort over the socket: what the mask may say, and what arrives at the engine."""

from __future__ import annotations

import ipaddress

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from ofctl.client import (
    Aborted,
    AddressPair,
    AsyncClient,
    ConfirmationLevel,
    InvalidArgument,
    NotFound,
    Outcome,
    PortSpec,
    VmConsumer,
)
from ofctl.client.errors import api_error
from ofctl.model.changes import PortField
from ofctl.model.ids import MacAddress
from ofctl.model.security import AddressPair as Pair
from ofctl.v1 import port_pb2, port_pb2_grpc
from tests.functional.api.memory import MemoryEngine


@pytest.fixture
async def web(client: AsyncClient) -> PortSpec:
    spec = PortSpec(
        port_id="web", network_id="blue", vm=VmConsumer(), fixed_ips=["192.0.2.7"], labels={"a": "b"}, project_id="p"
    )
    await client.plug(spec)
    return spec


async def test_only_what_the_mask_names_changes(client: AsyncClient, engine: MemoryEngine, web: PortSpec) -> None:
    wanted = PortSpec(
        port_id="web",
        security_groups=["b", "a"],
        allowed_address_pairs=[
            AddressPair(address="192.0.2.9"),
            AddressPair(address="2001:db8::/96", mac_address="52-54-00-00-00-09"),
        ],
        port_security=False,
        project_id="not looked at",
        mac_address="nonsense that is not looked at",
        fixed_ips=["nor", "is this"],
    )
    fields = ["security_groups", "allowed_address_pairs", "port_security", "labels"]
    port = await client.update(
        wanted, fields, level=ConfirmationLevel.CONFIRMATION_LEVEL_READBACK, request_id="u1", generation=3, revision=1
    )
    (request,) = engine.updates
    assert request.changes.mask == {PortField(name) for name in fields}
    assert request.changes.allowed_address_pairs == (
        Pair(ipaddress.ip_network("192.0.2.9")),
        Pair(ipaddress.ip_network("2001:db8::/96"), MacAddress("52:54:00:00:00:09")),
    )
    assert (request.level.name, request.request_id, request.generation, request.revision) == ("READBACK", "u1", 3, 1)
    assert (request.principal, request.admin, request.host_id) == ("uid:0", True, "host-1")
    assert list(port.spec.security_groups) == ["b", "a"] and not port.spec.port_security
    assert [(pair.address, pair.mac_address) for pair in port.spec.allowed_address_pairs] == [
        ("192.0.2.9", ""),
        ("2001:db8::/96", "52:54:00:00:00:09"),
    ]
    # A map is replaced and not merged; what the mask does not name stays.
    assert not port.spec.labels and port.spec.project_id == "p" and list(port.spec.fixed_ips) == ["192.0.2.7"]
    assert port.confirmation.level == ConfirmationLevel.CONFIRMATION_LEVEL_READBACK
    assert (await client.request("u1")).request.outcome == Outcome.OUTCOME_CONFIRMED


async def test_what_is_absent_becomes_absent(client: AsyncClient, web: PortSpec) -> None:
    await client.update(PortSpec(port_id="web", port_security=True), ["port_security"])
    port = await client.update(PortSpec(port_id="web"), ["port_security", "fixed_ips", "project_id"])
    assert not port.spec.HasField("port_security") and not port.spec.fixed_ips and not port.spec.project_id


async def test_a_request_id_is_made_and_told(client: AsyncClient, engine: MemoryEngine, web: PortSpec) -> None:
    async with grpc.aio.insecure_channel(client.target) as channel:
        request = port_pb2.UpdatePortRequest(port=PortSpec(port_id="web"), update_mask=FieldMask(paths=["labels"]))
        reply = await port_pb2_grpc.PortServiceStub(channel).UpdatePort(request)
    assert reply.request_id == engine.updates[0].request_id != ""
    assert engine.updates[0].level.name == "DATAPATH"


MASKS = [
    ([], "update_mask", "is empty; name the fields of the port to change, of project_id, device_id"),
    (["labels", "*"], "update_mask.paths[1]", "name the fields to change"),
    (["mac_address"], "update_mask.paths[0]", "mac_address does not change while the port is plugged; unplug"),
    (["vm"], "update_mask.paths[0]", "vm does not change while the port is plugged"),
    (["vm.owner_uid"], "update_mask.paths[0]", "vm does not change while the port is plugged"),
    (["port_id"], "update_mask.paths[0]", "says which port is meant"),
    (["host_id"], "update_mask.paths[0]", "says which port is meant"),
    (["colour"], "update_mask.paths[0]", "'colour' is no field of a port; these may change: project_id"),
    (["labels.a"], "update_mask.paths[0]", "a part of labels, which is replaced as a whole; write 'labels'"),
    (["port.labels"], "update_mask.paths[0]", "paths are relative to it, write 'labels'"),
    (["port"], "update_mask.paths[0]", "no field of a port"),
]


@pytest.mark.parametrize("wrong", MASKS)
async def test_wrong_masks(
    client: AsyncClient, engine: MemoryEngine, web: PortSpec, wrong: tuple[list[str], str, str]
) -> None:
    paths, field, problem = wrong
    with pytest.raises(InvalidArgument) as caught:
        await client.update(PortSpec(port_id="web"), paths)
    assert caught.value.field == field and problem in str(caught.value)
    assert not engine.updates


FIELDS = [
    (PortSpec(port_id="web", fixed_ips=["x"]), "fixed_ips", "port.fixed_ips[0]"),
    (PortSpec(port_id="web", fixed_ips=["192.0.2.7", "192.0.2.7"]), "fixed_ips", "port.fixed_ips[1]"),
    (
        PortSpec(port_id="web", allowed_address_pairs=[AddressPair(address="192.0.2.1/24")]),
        "allowed_address_pairs",
        "port.allowed_address_pairs[0].address",
    ),
    (PortSpec(port_id="web", security_groups=["a b"]), "security_groups", "port.security_groups[0]"),
    (PortSpec(port_id="web", device_id="x" * 256), "device_id", "port.device_id"),
    (PortSpec(), "labels", "port.port_id"),
    (PortSpec(port_id="web", host_id="a b"), "labels", "port.host_id"),
]


@pytest.mark.parametrize(("spec", "path", "field"), FIELDS)
async def test_wrong_values(client: AsyncClient, web: PortSpec, spec: PortSpec, path: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.update(spec, [path])
    assert caught.value.field == field


async def test_wrong_requests(client: AsyncClient, web: PortSpec) -> None:
    mask = FieldMask(paths=["labels"])
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = port_pb2_grpc.PortServiceStub(channel)
        for request, field in (
            (port_pb2.UpdatePortRequest(update_mask=mask), "port"),
            (port_pb2.UpdatePortRequest(port=web, update_mask=mask, request_id="a b"), "request_id"),
            (port_pb2.UpdatePortRequest(port=web, update_mask=mask, generation=2**63), "generation"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.UpdatePort(request)
            assert api_error(caught.value).field == field


async def test_another_revision_and_no_port(client: AsyncClient, web: PortSpec) -> None:
    with pytest.raises(Aborted) as caught:
        await client.update(web, ["labels"], revision=7, request_id="u1")
    error = caught.value
    assert (error.reason, error.outcome, error.request_id) == ("REVISION_MISMATCH", "UNCHANGED", "u1")
    with pytest.raises(NotFound):
        await client.update(PortSpec(port_id="elsewhere"), ["labels"])
