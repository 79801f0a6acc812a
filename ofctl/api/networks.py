"""NetworkService and HostService."""

# ruff: noqa: N802 - the methods have the names of the contract

from __future__ import annotations

from dataclasses import replace

from ofctl.api.calls import Call, Door, answers
from ofctl.api.convert import network_from_proto, network_to_proto
from ofctl.api.convert_host import audit_to_proto, host_to_proto
from ofctl.api.paging import Page, page_of
from ofctl.engine.contract import PlugEngine
from ofctl.errors import InvalidField, NotFound
from ofctl.log import bound
from ofctl.model.ids import NetworkId, identifier
from ofctl.v1 import host_pb2, host_pb2_grpc, network_pb2, network_pb2_grpc


class NetworkServicer(network_pb2_grpc.NetworkServiceServicer):
    """Declare and ask for networks."""

    def __init__(self, engine: PlugEngine, door: Door) -> None:
        self.engine = engine
        self.door = door

    @answers
    async def ApplyNetwork(
        self, request: network_pb2.ApplyNetworkRequest, call: Call
    ) -> network_pb2.ApplyNetworkResponse:
        if not request.HasField("network"):
            raise InvalidField("network", "is missing; describe the network")
        network = network_from_proto(request.network)
        with bound(network=network.network_id):
            applied = await self.engine.apply_network(network, deadline=call.deadline)
        return network_pb2.ApplyNetworkResponse(network=network_to_proto(applied.network))

    @answers
    async def DeleteNetwork(
        self, request: network_pb2.DeleteNetworkRequest, call: Call
    ) -> network_pb2.DeleteNetworkResponse:
        network_id = NetworkId(identifier(request.network_id, "network_id"))
        with bound(network=network_id):
            await self.engine.delete_network(network_id, deadline=call.deadline)
        return network_pb2.DeleteNetworkResponse()

    @answers
    async def GetNetwork(self, request: network_pb2.GetNetworkRequest, call: Call) -> network_pb2.GetNetworkResponse:
        del call
        found = self.engine.network(NetworkId(identifier(request.network_id, "network_id")))
        return network_pb2.GetNetworkResponse(network=network_to_proto(found.network))

    @answers
    async def ListNetworks(
        self, request: network_pb2.ListNetworksRequest, call: Call
    ) -> network_pb2.ListNetworksResponse:
        del call
        networks, next_token = page_of(
            self.engine.networks(),
            lambda numbered: (numbered.network.network_id,),
            lambda numbered: network_to_proto(numbered.network),
            Page(request.page_size, request.page_token),
        )
        return network_pb2.ListNetworksResponse(networks=networks, next_page_token=next_token)


class HostServicer(host_pb2_grpc.HostServiceServicer):
    """Tell what this host is, and whether all of it is as it is meant to be."""

    def __init__(self, engine: PlugEngine, door: Door) -> None:
        self.engine = engine
        self.door = door

    @answers
    async def GetHost(self, request: host_pb2.GetHostRequest, call: Call) -> host_pb2.GetHostResponse:
        self._check(request.host_id)
        counted = await self.engine.app_counters(deadline=call.deadline)
        view = self.engine.host()
        apps = tuple(replace(app, flows=counted.get(f"app.{app.name}.flows", app.flows)) for app in view.apps)
        view = replace(view, apps=apps, counters=(*view.counters, *sorted(counted.items())))
        return host_pb2.GetHostResponse(host=host_to_proto(view))

    @answers
    async def Audit(self, request: host_pb2.AuditRequest, call: Call) -> host_pb2.AuditResponse:
        self._check(request.host_id)
        return audit_to_proto(await self.engine.audit(repair=request.repair, deadline=call.deadline))

    def _check(self, host_id: str) -> None:
        own = self.engine.host_id
        if host_id and identifier(host_id, "host_id") != own:
            raise NotFound(f"host_id: this agent serves host {own!r}, not {host_id!r}", subject="host_id")
