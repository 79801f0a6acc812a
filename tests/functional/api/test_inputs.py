"""Wrong requests: each is refused with the path of the field, before the engine hears of it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from ofctl.client import AsyncClient, InvalidArgument, Unimplemented
from ofctl.client.errors import api_error
from ofctl.v1 import network_pb2, network_pb2_grpc, port_pb2, port_pb2_grpc
from tests.functional.api.memory import MemoryEngine

GOOD: dict[str, Any] = {"port_id": "web", "network_id": "blue", "vm": {}}
WEB = port_pb2.PortSpec(port_id="web", network_id="blue", vm=port_pb2.VmConsumer())
ELSEWHERE = port_pb2.PortSpec(port_id="b", network_id="blue", host_id="h2", vm=port_pb2.VmConsumer())
NETNS = {"netns_path": "/run/netns/web"}


def container(**fields: Any) -> dict[str, Any]:
    return {"port_id": "web", "network_id": "blue", "container": {**NETNS, **fields}}


def namespace(**fields: Any) -> dict[str, Any]:
    return {"port_id": "web", "network_id": "blue", "namespace": {**NETNS, **fields}}


PORTS: list[tuple[dict[str, Any], str, str]] = [
    ({**GOOD, "port_id": ""}, "port.port_id", "is empty"),
    ({**GOOD, "port_id": "a b"}, "port.port_id", "outside of letters"),
    ({**GOOD, "port_id": "x" * 256}, "port.port_id", "256 characters"),
    ({**GOOD, "network_id": ""}, "port.network_id", "is empty"),
    ({**GOOD, "host_id": "a/b"}, "port.host_id", "outside of letters"),
    ({"port_id": "web", "network_id": "blue"}, "port.vm", "say who uses the port"),
    ({**GOOD, "project_id": "x" * 256}, "port.project_id", "256 characters"),
    ({**GOOD, "device_owner": "x" * 256}, "port.device_owner", "256 characters"),
    ({**GOOD, "labels": {"": "x"}}, "port.labels['']", "not empty"),
    ({**GOOD, "annotations": {"dscp": "7"}}, "port.annotations['dscp']", "APP/FIELD"),
    ({**GOOD, "annotations": {"mark/dscp": "7" * 1025}}, "port.annotations['mark/dscp']", "1025 characters"),
    ({**GOOD, "labels": {str(n): "" for n in range(65)}}, "port.labels", "65 entries"),
    ({**GOOD, "mac_address": "01:00:5e:00:00:01"}, "port.mac_address", "multicast"),
    ({**GOOD, "mac_address": "52:54:00:12:34"}, "port.mac_address", "no MAC address"),
    ({**GOOD, "mac_address": "00:00:00:00:00:00"}, "port.mac_address", "all zeros"),
    ({**GOOD, "fixed_ips": ["192.0.2.7", "192.0.2.300"]}, "port.fixed_ips[1]", "no IP address"),
    ({**GOOD, "fixed_ips": ["192.0.2.7/24"]}, "port.fixed_ips[0]", "without prefix length"),
    ({**GOOD, "fixed_ips": ["192.0.2.7", "192.0.2.7"]}, "port.fixed_ips[1]", "given twice"),
    ({**GOOD, "fixed_ips": ["fe80::1%eth0"]}, "port.fixed_ips[0]", "zone"),
    ({**GOOD, "mtu": 67}, "port.mtu", "68 to 65521"),
    ({**GOOD, "mtu": 65_522}, "port.mtu", "68 to 65521"),
    ({**GOOD, "device_name": "a-name-too-long-1"}, "port.device_name", "at most 15"),
    ({**GOOD, "device_name": "tap/1"}, "port.device_name", "no device name"),
    ({**GOOD, "vif_types": [0]}, "port.vif_types[0]", "none of VIF_TYPE_TAP"),
    ({**GOOD, "vif_types": [1, 99]}, "port.vif_types[1]", "is 99"),
    ({**GOOD, "recovery": 7}, "port.recovery", "is 7"),
    ({**GOOD, "vm": {"owner_uid": 2**32 - 1}}, "port.vm.owner_uid", "0 to 4294967294"),
    ({**GOOD, "vm": {"owner_gid": 2**32 - 1}}, "port.vm.owner_gid", "0 to 4294967294"),
    (namespace(netns_path="run/netns/x"), "port.namespace.netns_path", "absolute path"),
    (container(netns_path=""), "port.container.netns_path", "absolute path"),
    (container(interface_name="lo"), "port.container.interface_name", "loopback"),
    (namespace(interface_name="a-name-too-long-1"), "port.namespace.interface_name", "at most 15"),
    (namespace(addresses=["192.0.2.7"]), "port.namespace.addresses[0]", "prefix length"),
    (namespace(addresses=["192.0.2.7/24", "x/3"]), "port.namespace.addresses[1]", "no address"),
    (namespace(addresses=["192.0.2.7/255.255.255.0"]), "port.namespace.addresses[0]", "prefix length"),
    (namespace(routes=[{"destination": "198.51.100.1/24"}]), "port.namespace.routes[0].destination", "host bits"),
    (namespace(routes=[{"destination": ""}]), "port.namespace.routes[0].destination", "no prefix"),
    (namespace(routes=[{"destination": "::/0", "via": "192.0.2.1"}]), "port.namespace.routes[0].via", "family"),
    (container(routes=[{"destination": "::/0", "via": "x"}]), "port.container.routes[0].via", "no IP address"),
]

NETWORKS: list[tuple[dict[str, Any], str, str]] = [
    ({"network_id": ""}, "network.network_id", "is empty"),
    ({"network_id": "red", "name": "x" * 256}, "network.name", "256 characters"),
    ({"network_id": "red", "type": 42}, "network.type", "is 42"),
    ({"network_id": "red", "type": 2}, "network.physical_network", "required"),
    ({"network_id": "red", "physical_network": "net1"}, "network.physical_network", "must be empty"),
    ({"network_id": "red", "type": 3, "physical_network": "n"}, "network.segmentation_id", "VLAN id"),
    (
        {"network_id": "red", "type": 3, "physical_network": "n", "segmentation_id": 0},
        "network.segmentation_id",
        "1 to 4094",
    ),
    ({"network_id": "red", "segmentation_id": 5}, "network.segmentation_id", "absent"),
    ({"network_id": "red", "mtu": 67}, "network.mtu", "68 to"),
    ({"network_id": "red", "mtu": 1279, "subnets": [{"cidr": "2001:db8::/64"}]}, "network.mtu", "1280 to"),
    ({"network_id": "red", "subnets": [{"cidr": "192.0.2.0"}]}, "network.subnets[0].cidr", "no prefix"),
    ({"network_id": "red", "subnets": [{"cidr": "192.0.2.1/24"}]}, "network.subnets[0].cidr", "host bits"),
    (
        {"network_id": "red", "subnets": [{"cidr": "192.0.2.0/24", "gateway": "192.0.3.1"}]},
        "network.subnets[0].gateway",
        "no host address",
    ),
    (
        {"network_id": "red", "subnets": [{"cidr": "192.0.2.0/24"}, {"cidr": "192.0.2.128/25"}]},
        "network.subnets[1].cidr",
        "overlaps",
    ),
]


@pytest.mark.parametrize(
    ("fields", "path", "problem"), PORTS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_wrong_ports(
    client: AsyncClient, engine: MemoryEngine, fields: dict[str, Any], path: str, problem: str
) -> None:
    spec = json_format.ParseDict(fields, port_pb2.PortSpec())
    with pytest.raises(InvalidArgument) as caught:
        await client.plug(spec)
    assert caught.value.field == path and problem in str(caught.value)
    with pytest.raises(InvalidArgument) as caught:
        await client.plug_all([json_format.ParseDict({**GOOD, "port_id": "other"}, port_pb2.PortSpec()), spec])
    assert caught.value.field == path.replace("port.", "ports[1].", 1)
    assert str(caught.value).startswith(caught.value.field)
    assert not engine.plugs


@pytest.mark.parametrize(
    ("fields", "path", "problem"), NETWORKS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_wrong_networks(client: AsyncClient, fields: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.apply_network(json_format.ParseDict(fields, network_pb2.Network()))
    assert caught.value.field == path and problem in str(caught.value)


@pytest.mark.parametrize("kind", ["VXLAN", "GENEVE"])
async def test_overlays_are_refused(client: AsyncClient, kind: str) -> None:
    network = network_pb2.Network(network_id="red", type=network_pb2.NetworkType.Value(f"NETWORK_TYPE_{kind}"))
    with pytest.raises(Unimplemented, match=f"{kind} is reserved"):
        await client.apply_network(network)


REQUESTS: list[tuple[str, Any, str]] = [
    ("PlugPort", port_pb2.PlugPortRequest(), "port"),
    ("PlugPort", port_pb2.PlugPortRequest(port=WEB, request_id="a b"), "request_id"),
    ("PlugPort", port_pb2.PlugPortRequest(port=WEB, level=17), "level"),  # type: ignore[arg-type]
    ("PlugPorts", port_pb2.PlugPortsRequest(), "ports"),
    ("PlugPorts", port_pb2.PlugPortsRequest(ports=[WEB] * 65), "ports"),
    ("PlugPorts", port_pb2.PlugPortsRequest(ports=[WEB, WEB]), "ports[1].port_id"),
    ("PlugPorts", port_pb2.PlugPortsRequest(ports=[WEB, ELSEWHERE]), "ports[1].host_id"),
    ("UnplugPort", port_pb2.UnplugPortRequest(), "port_id"),
    ("UnplugPort", port_pb2.UnplugPortRequest(port_id="web", host_id="a b"), "host_id"),
    ("GetPort", port_pb2.GetPortRequest(), "port_id"),
    ("GetPort", port_pb2.GetPortRequest(port_id=""), "port_id"),
    ("GetPort", port_pb2.GetPortRequest(request_id=""), "request_id"),
    ("ListPorts", port_pb2.ListPortsRequest(page_size=-1), "page_size"),
    ("ListPorts", port_pb2.ListPortsRequest(page_token="nonsense"), "page_token"),
    ("ListPorts", port_pb2.ListPortsRequest(page_token="WzFd"), "page_token"),
    ("ListPorts", port_pb2.ListPortsRequest(page_token="e30="), "page_token"),
    ("ListPorts", port_pb2.ListPortsRequest(state=99), "state"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize(("method", "request_", "path"), REQUESTS)
async def test_wrong_requests(client: AsyncClient, method: str, request_: Any, path: str) -> None:
    async with grpc.aio.insecure_channel(client.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(port_pb2_grpc.PortServiceStub(channel), method)(request_)
    error = api_error(caught.value)
    assert isinstance(error, InvalidArgument) and error.field == path


async def test_wrong_network_requests(client: AsyncClient) -> None:
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = network_pb2_grpc.NetworkServiceStub(channel)
        for call, path in (
            (stub.ApplyNetwork(network_pb2.ApplyNetworkRequest()), "network"),
            (stub.DeleteNetwork(network_pb2.DeleteNetworkRequest()), "network_id"),
            (stub.GetNetwork(network_pb2.GetNetworkRequest()), "network_id"),
            (stub.ListNetworks(network_pb2.ListNetworksRequest(page_size=-5)), "page_size"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert api_error(caught.value).field == path


async def test_a_page_token_of_another_listing_is_refused(client: AsyncClient) -> None:
    for name in ("a", "b"):
        await client.plug(port_pb2.PortSpec(port_id=name, network_id="blue", vm=port_pb2.VmConsumer()))
    async with grpc.aio.insecure_channel(client.target) as channel:
        stub = port_pb2_grpc.PortServiceStub(channel)
        page = await stub.ListPorts(port_pb2.ListPortsRequest(page_size=1))
        with pytest.raises(grpc.aio.AioRpcError, match="other filters"):
            await stub.ListPorts(port_pb2.ListPortsRequest(page_token=page.next_page_token, network_id="blue"))
