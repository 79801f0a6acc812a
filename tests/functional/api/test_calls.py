"""Every call, over the socket."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ofctl.api.server import SERVICES, ApiServer
from ofctl.client import (
    AsyncClient,
    ConfirmationLevel,
    InvalidArgument,
    NamespaceConsumer,
    Network,
    NetworkType,
    NotFound,
    Outcome,
    PortSpec,
    PortState,
    Subnet,
    Unimplemented,
    VifType,
    VmConsumer,
)
from ofctl.errors import InvalidField
from ofctl.model.audit import Finding, FindingKind
from ofctl.model.ids import PortId
from ofctl.v1 import host_pb2, port_pb2, port_pb2_grpc
from tests.functional.api.conftest import settings
from tests.functional.api.memory import MemoryEngine


def vm(port_id: str, *, project_id: str = "", device_id: str = "") -> PortSpec:
    return PortSpec(port_id=port_id, network_id="blue", project_id=project_id, device_id=device_id, vm=VmConsumer())


async def test_plug_returns_the_port_with_its_device_and_evidence(client: AsyncClient, engine: MemoryEngine) -> None:
    port = await client.plug(vm("web"), request_id="r1", level=ConfirmationLevel.CONFIRMATION_LEVEL_READBACK)
    assert (port.host_id, port.vif_type, port.state) == ("host-1", VifType.VIF_TYPE_TAP, PortState.PORT_STATE_ACTIVE)
    assert port.vif_details.tap.device_name == port.vif_details.device_name != ""
    assert port.vif_details.checksum_offload_must_be_off
    assert port.confirmation.level == ConfirmationLevel.CONFIRMATION_LEVEL_READBACK
    assert port.confirmation.dpid == "0000000000000abc"
    assert [timing.duration_us for timing in port.confirmation.stages] == [900, 1500]
    assert (engine.plugs[0].request_id, engine.plugs[0].level.name) == ("r1", "READBACK")


async def test_the_default_level_is_datapath_and_a_missing_request_id_is_made(
    client: AsyncClient, engine: MemoryEngine
) -> None:
    async with grpc.aio.insecure_channel(client.target) as channel:
        reply = await port_pb2_grpc.PortServiceStub(channel).PlugPort(port_pb2.PlugPortRequest(port=vm("web")))
    assert engine.plugs[0].level.name == "DATAPATH"
    assert uuid.UUID(reply.request_id) and reply.request_id == engine.plugs[0].request_id


async def test_a_namespace_port_gets_a_veth(client: AsyncClient) -> None:
    consumer = NamespaceConsumer(netns_path="/run/netns/web", interface_name="net0")
    port = await client.plug(PortSpec(port_id="ns", network_id="blue", namespace=consumer))
    assert port.vif_type == VifType.VIF_TYPE_VETH
    veth = port.vif_details.veth
    assert (veth.peer_device_name, veth.netns_path) == ("net0", "/run/netns/web")


async def test_validate_only_leaves_nothing(client: AsyncClient) -> None:
    port = await client.plug(vm("web"), validate_only=True)
    assert port.state == PortState.PORT_STATE_BUILD and not port.HasField("confirmation")
    with pytest.raises(NotFound):
        await client.port("web")


async def test_plug_all_keeps_the_order(client: AsyncClient, engine: MemoryEngine) -> None:
    ports = await client.plug_all([vm("b"), vm("a")])
    assert [port.spec.port_id for port in ports] == ["b", "a"]
    assert len(engine.plugs) == 1 and len(engine.plugs[0].specs) == 2


async def test_an_error_of_one_of_several_ports_names_it(client: AsyncClient, engine: MemoryEngine) -> None:
    async def refuse(request: object) -> None:
        error = InvalidField("port.fixed_ips[0]", "is taken")
        error.metadata["port_id"] = "b"
        raise error

    engine.before_plug = refuse
    with pytest.raises(InvalidArgument, match=r"^ports\[1\]\.fixed_ips\[0\]: is taken$") as caught:
        await client.plug_all([vm("a"), vm("b")])
    assert caught.value.field == "ports[1].fixed_ips[0]" == caught.value.subject


async def test_unplug(client: AsyncClient, engine: MemoryEngine) -> None:
    await client.plug(vm("web"))
    await client.unplug("web", force=True)
    assert engine.unplugs[0].force and engine.unplugs[0].host_id == "host-1"
    with pytest.raises(NotFound):
        await client.unplug("web")
    await client.unplug("web", missing_ok=True)


async def test_get_port_by_id_and_by_request(client: AsyncClient, engine: MemoryEngine) -> None:
    await client.plug(vm("web"), request_id="r1")
    assert (await client.port("web")).request_id == "r1"
    found = await client.request("r1")
    assert found.port.spec.port_id == "web" and found.request.outcome == Outcome.OUTCOME_CONFIRMED
    await client.unplug("web")
    found = await client.request("r1")
    assert not found.HasField("port") and found.request.port_id == "web"
    with pytest.raises(NotFound):
        await client.request("r2")


async def test_get_port_tells_the_request_that_plugged_it(client: AsyncClient, engine: MemoryEngine) -> None:
    await client.plug(vm("web"), request_id="r1")
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = port_pb2_grpc.PortServiceStub(channel)
        assert (await stub.GetPort(port_pb2.GetPortRequest(port_id="web"))).request.request_id == "r1"
        engine.records.clear()
        assert not (await stub.GetPort(port_pb2.GetPortRequest(port_id="web"))).HasField("request")


async def test_list_ports_filters(client: AsyncClient) -> None:
    await client.apply_network(Network(network_id="red"))
    await client.plug(vm("a", project_id="p1", device_id="d1"))
    await client.plug(vm("b", project_id="p2", device_id="d1"))
    await client.plug(PortSpec(port_id="c", network_id="red", project_id="p1", vm=VmConsumer()))

    for listing, expected in (
        (client.ports(), ["a", "b", "c"]),
        (client.ports(network_id="blue"), ["a", "b"]),
        (client.ports(project_id="p1"), ["a", "c"]),
        (client.ports(device_id="d1", project_id="p2"), ["b"]),
        (client.ports(host_id="host-2"), []),
        (client.ports(state=PortState.PORT_STATE_ACTIVE), ["a", "b", "c"]),
        (client.ports(state=PortState.PORT_STATE_DOWN), []),
    ):
        assert [port.spec.port_id async for port in listing] == expected


async def test_pages_are_stable_while_ports_come_and_go(client: AsyncClient) -> None:
    for name in ("b", "d", "f", "h"):
        await client.plug(vm(name))
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = port_pb2_grpc.PortServiceStub(channel)
        first = await stub.ListPorts(port_pb2.ListPortsRequest(page_size=2))
        await client.plug(vm("a"))
        await client.plug(vm("e"))
        await client.unplug("d")
        second = await stub.ListPorts(port_pb2.ListPortsRequest(page_size=3, page_token=first.next_page_token))
    assert [port.spec.port_id for port in first.ports] == ["b", "d"]
    assert [port.spec.port_id for port in second.ports] == ["e", "f", "h"]
    assert second.next_page_token == ""


async def test_a_thousand_ports_with_large_labels_pass_in_pages(client: AsyncClient) -> None:
    labels = {f"label-{number}": "x" * 200 for number in range(20)}
    for number in range(1000):
        await client.plug(PortSpec(port_id=f"p{number:04}", network_id="blue", labels=labels, vm=VmConsumer()))
    async with grpc.aio.insecure_channel(client.target) as channel:
        page = await port_pb2_grpc.PortServiceStub(channel).ListPorts(port_pb2.ListPortsRequest(page_size=1000))
    assert 100 < len(page.ports) < 1000 and page.ByteSize() < 2**21 + 2**10
    assert [port.spec.port_id async for port in client.ports()] == [f"p{number:04}" for number in range(1000)]


async def test_networks(client: AsyncClient) -> None:
    red = Network(network_id="red", type=NetworkType.NETWORK_TYPE_VLAN, segmentation_id=7, physical_network="net1")
    assert (await client.apply_network(red)).mtu == 1500
    assert [network.network_id async for network in client.networks()] == ["blue", "red"]
    assert (await client.network("red")).segmentation_id == 7
    assert (await client.network("blue")).subnets[0] == Subnet(cidr="192.0.2.0/24", gateway="192.0.2.1")
    await client.delete_network("red")
    with pytest.raises(NotFound):
        await client.delete_network("red")
    await client.delete_network("red", missing_ok=True)


async def test_host(client: AsyncClient, engine: MemoryEngine) -> None:
    host = await client.host()
    assert host.ready and host.host_id == "host-1" and host.versions["openvswitch"] == "3.1.0"
    assert [ConfirmationLevel.Name(level) for level in host.confirmation_levels][-1] == "CONFIRMATION_LEVEL_PROBE"
    assert dict(host.counters) == {}
    engine.counters = (("flows.mended", 3), ("degraded.device_gone", 2**40))
    engine.app_counts = {"app.guard.blocked": 4}
    assert dict((await client.host()).counters) == {**dict(engine.counters), **engine.app_counts}
    assert list(host.bridges[0].foreign_ports) == ["eth9"] and not host.uplinks[0].HasField("ofport")
    engine.not_ready = ("the switch is not connected",)
    host = await client.host(host_id="host-1")
    assert not host.ready and list(host.not_ready) == ["the switch is not connected"]
    with pytest.raises(NotFound, match="host-2"):
        await client.host(host_id="host-2")


async def test_the_highest_level_is_reserved(client: AsyncClient, engine: MemoryEngine) -> None:
    with pytest.raises(Unimplemented, match="FABRIC is reserved") as caught:
        await client.plug(vm("web"), level=ConfirmationLevel.CONFIRMATION_LEVEL_FABRIC)
    assert caught.value.reason == "NOT_SUPPORTED" and not engine.plugs


async def test_frames_are_in_the_evidence(client: AsyncClient, engine: MemoryEngine) -> None:
    port = await client.plug(vm("web"), level=ConfirmationLevel.CONFIRMATION_LEVEL_PIPELINE)
    assert port.confirmation.level == ConfirmationLevel.CONFIRMATION_LEVEL_PIPELINE
    (frame,) = port.confirmation.probe_frames
    assert (frame.name, frame.expected, frame.seen) == ("ARP request from the guest", "at port 7", "at port 7")
    port = await client.verify("web", level=ConfirmationLevel.CONFIRMATION_LEVEL_PROBE)
    assert port.confirmation.level == ConfirmationLevel.CONFIRMATION_LEVEL_PIPELINE
    assert port.confirmation.level_note == "a guest holds the TAP open"
    assert [plug.level.name for plug in engine.plugs] == ["PIPELINE"]


async def test_verify(client: AsyncClient, engine: MemoryEngine) -> None:
    await client.plug(vm("web"))
    assert (await client.verify("web", timeout_s=5)).confirmation.ofport == 9
    assert [level.name for level in engine.verified] == ["DATAPATH"]
    assert 4 < engine.deadlines[-1] - asyncio.get_running_loop().time() < 5
    assert (await client.port("web")).confirmation.ofport == 1
    with pytest.raises(NotFound):
        await client.verify("web", host_id="host-2")
    with pytest.raises(InvalidArgument) as caught:
        await client.verify("")
    assert caught.value.field == "port_id"


async def test_audit(client: AsyncClient, engine: MemoryEngine) -> None:
    report = await client.audit()
    assert (report.devices, report.rows, report.flows, report.groups) == (2, 3, 40, 5) and not report.findings
    engine.findings = (
        Finding(kind=FindingKind.FLOW_MISSING, subject="table=0", detail="gone", port_id=PortId("web")),
        Finding(kind=FindingKind.GROUP_LEFT_OVER, subject="group 7"),
        Finding(kind=FindingKind.ROW_FOREIGN, subject="eth9"),
    )
    report = await client.audit()
    assert (report.finding_count, report.left_count) == (3, 2)
    first = report.findings[0]
    assert host_pb2.FindingKind.Name(first.kind) == "FINDING_KIND_FLOW_MISSING"
    assert (first.subject, first.detail, first.port_id, first.repaired) == ("table=0", "gone", "web", False)
    report = await client.audit(repair=True, timeout_s=5)
    assert report.left_count == 0 and report.findings[1].repaired
    assert engine.audits == [False, False, True]
    with pytest.raises(NotFound, match="host-2"):
        await client.audit(host_id="host-2")


async def test_a_generation_arrives(client: AsyncClient, engine: MemoryEngine) -> None:
    assert (await client.plug(vm("a"), generation=2**63 - 1)).generation == 2**63 - 1
    await client.plug_all([vm("b"), vm("c")], generation=7)
    await client.plug(vm("d"))
    await client.unplug("a", generation=8)
    await client.unplug("b")
    assert [plug.generation for plug in engine.plugs] == [2**63 - 1, 7, 0]
    assert [unplug.generation for unplug in engine.unplugs] == [8, 0]
    for call in (client.plug(vm("e"), generation=2**63), client.unplug("d", generation=2**63)):
        with pytest.raises(InvalidArgument) as caught:
            await call
        assert caught.value.field == "generation"


async def test_the_ports_of_a_request(client: AsyncClient) -> None:
    await client.plug_all([vm("b"), vm("c"), vm("a")], request_id="r1")
    await client.plug(vm("d"), request_id="r2")
    found = await client.request("r1")
    assert found.port.spec.port_id == "b" == found.request.port_id
    assert list(found.request.port_ids) == ["a", "b", "c"]
    assert [port.spec.port_id for port in found.ports] == ["a", "b", "c"]
    await client.unplug("b")
    found = await client.request("r1")
    assert not found.HasField("port") and [port.spec.port_id for port in found.ports] == ["a", "c"]


async def test_reserved_calls_are_refused(client: AsyncClient) -> None:
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = port_pb2_grpc.PortServiceStub(channel)
        call = stub.ActivatePort(port_pb2.ActivatePortRequest())
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "reserved and not built yet" in await call.details()


async def test_health_follows_the_engine(server: ApiServer, client: AsyncClient) -> None:
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="ofctl.v1.PortService"), timeout=5)
        replies = watch.__aiter__()
        assert (await anext(replies)).status == health_pb2.HealthCheckResponse.SERVING
        server.set_serving(False)
        assert (await anext(replies)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
        waiting = asyncio.create_task(client.wait_until_ready(timeout_s=5))
        server.set_serving(True)
        assert (await anext(replies)).status == health_pb2.HealthCheckResponse.SERVING
        await waiting
        watch.cancel()


async def test_health_is_not_serving_until_the_engine_says_so(engine: MemoryEngine, rundir: Path) -> None:
    server = ApiServer(engine, settings(rundir / "api.sock"))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{rundir}/api.sock") as channel:
            reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
    finally:
        await server.stop(0)


async def test_reflection_lists_the_services(client: AsyncClient) -> None:
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(timeout=5)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = (await call.read()).list_services_response.service
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="ofctl.v1.PortService"))
        described = (await call.read()).file_descriptor_response.file_descriptor_proto
        await call.done_writing()
    assert {service.name for service in listed} >= {*SERVICES, "grpc.health.v1.Health"}
    assert described
