"""PortService."""

# ruff: noqa: N802 - the methods have the names of the contract

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from ofctl.api.calls import Call, Door, answers, streams
from ofctl.api.convert import port_to_proto, record_to_proto, spec_from_proto
from ofctl.api.convert_security import changes_from_proto
from ofctl.api.enums import PORT_STATES
from ofctl.api.paging import Page, page_of
from ofctl.api.requests import generation_of, level_of, request_id_of
from ofctl.api.status import in_ports
from ofctl.api.watch import matches, port_events
from ofctl.engine.contract import PlugEngine, PlugRequest, UnplugRequest, UpdateRequest
from ofctl.errors import InvalidField, NotFound, NotSupported, OfctlError
from ofctl.log import bound
from ofctl.model.confirmation import Level, RequestRecord
from ofctl.model.ids import HostId, PortId, RequestId, identifier
from ofctl.model.port import PortSpec
from ofctl.model.vif import PluggedPort
from ofctl.v1 import port_pb2, port_pb2_grpc

MAX_PORTS_OF_A_GUEST = 64


class PortServicer(port_pb2_grpc.PortServiceServicer):
    """Plug, unplug and ask. Decorated methods answer gRPC calls; see `answers`."""

    def __init__(self, engine: PlugEngine, door: Door) -> None:
        self.engine = engine
        self.door = door

    @answers
    async def PlugPort(self, request: port_pb2.PlugPortRequest, call: Call) -> port_pb2.PlugPortResponse:
        if not request.HasField("port"):
            raise InvalidField("port", "is missing; describe the port")
        call.request_id = request_id_of(request.request_id)
        level = level_of(request.level)
        spec = spec_from_proto(request.port, host_id=self.engine.host_id)
        ports = await self._plug((spec,), level, request, call)
        return port_pb2.PlugPortResponse(port=port_to_proto(ports[0]), request_id=call.request_id)

    @answers
    async def PlugPorts(self, request: port_pb2.PlugPortsRequest, call: Call) -> port_pb2.PlugPortsResponse:
        call.request_id = request_id_of(request.request_id)
        level = level_of(request.level)
        specs = self._specs(request.ports)
        try:
            ports = await self._plug(specs, level, request, call)
        except OfctlError as error:
            raise in_ports(error, _guilty(specs, error)) from error
        return port_pb2.PlugPortsResponse(ports=[port_to_proto(port) for port in ports], request_id=call.request_id)

    async def _plug(
        self,
        specs: tuple[PortSpec, ...],
        level: Level,
        request: port_pb2.PlugPortRequest | port_pb2.PlugPortsRequest,
        call: Call,
    ) -> tuple[PluggedPort, ...]:
        with bound(request=call.request_id, port=",".join(spec.port_id for spec in specs)):
            return await self.engine.plug(
                PlugRequest(
                    specs=specs,
                    request_id=call.request_id,
                    level=level,
                    principal=call.caller.principal,
                    admin=call.caller.admin,
                    deadline=call.deadline,
                    validate_only=request.validate_only,
                    generation=generation_of(request.generation),
                )
            )

    def _specs(self, messages: Sequence[port_pb2.PortSpec]) -> tuple[PortSpec, ...]:
        if not 1 <= len(messages) <= MAX_PORTS_OF_A_GUEST:
            raise InvalidField("ports", f"has {len(messages)} entries; 1 to {MAX_PORTS_OF_A_GUEST} are allowed")
        specs: list[PortSpec] = []
        for number, message in enumerate(messages):
            try:
                spec = spec_from_proto(message, host_id=self.engine.host_id)
            except OfctlError as error:
                raise in_ports(error, number) from error
            if any(spec.port_id == other.port_id for other in specs):
                raise InvalidField(f"ports[{number}].port_id", f"{spec.port_id!r} is given twice")
            if specs and spec.host_id != specs[0].host_id:
                raise InvalidField(f"ports[{number}].host_id", "is another host than that of ports[0]")
            specs.append(spec)
        return tuple(specs)

    @answers
    async def UnplugPort(self, request: port_pb2.UnplugPortRequest, call: Call) -> port_pb2.UnplugPortResponse:
        identifier(request.port_id, "port_id")
        with bound(port=request.port_id):
            await self.engine.unplug(
                UnplugRequest(
                    port_id=PortId(request.port_id),
                    host_id=self._host(request.host_id),
                    principal=call.caller.principal,
                    admin=call.caller.admin,
                    deadline=call.deadline,
                    force=request.force,
                    generation=generation_of(request.generation),
                )
            )
        return port_pb2.UnplugPortResponse()

    @answers
    async def GetPort(self, request: port_pb2.GetPortRequest, call: Call) -> port_pb2.GetPortResponse:
        del call
        record: RequestRecord | None
        port: PluggedPort | None
        plugged: list[PluggedPort] = []
        match request.WhichOneof("key"):
            case "port_id":
                identifier(request.port_id, "port_id")
                port = self.engine.port(PortId(request.port_id), self._host(request.host_id))
                record = self._record(port.binding.request_id)
            case "request_id":
                identifier(request.request_id, "request_id")
                record = self.engine.request(RequestId(request.request_id))
                port = self._port(record.port_id, record.host_id)
                port_ids = sorted({record.port_id, *record.port_ids})
                plugged = [one for each in port_ids if (one := self._port(each, record.host_id)) is not None]
            case None:
                raise InvalidField("port_id", "is missing, and so is request_id; give one of them")
        return port_pb2.GetPortResponse(
            port=port_to_proto(port) if port else None,
            request=record_to_proto(record) if record else None,
            ports=map(port_to_proto, plugged),
        )

    @answers
    async def ListPorts(self, request: port_pb2.ListPortsRequest, call: Call) -> port_pb2.ListPortsResponse:
        del call
        filters = (request.network_id, request.project_id, request.device_id, request.host_id)
        state = PORT_STATES.model(request.state, "state") if request.state else None
        rows = [
            port
            for port in self.engine.ports()
            if matches(port.binding.spec, filters) and (state is None or port.binding.state is state)
        ]
        ports, next_token = page_of(
            rows,
            lambda port: (port.binding.port_id, port.binding.spec.host_id),
            port_to_proto,
            Page(request.page_size, request.page_token, (*filters, str(request.state))),
        )
        return port_pb2.ListPortsResponse(ports=ports, next_page_token=next_token)

    @answers
    async def UpdatePort(self, request: port_pb2.UpdatePortRequest, call: Call) -> port_pb2.UpdatePortResponse:
        if not request.HasField("port"):
            raise InvalidField("port", "is missing; name the port, and give the fields that change")
        call.request_id = request_id_of(request.request_id)
        port_id = PortId(identifier(request.port.port_id, "port.port_id"))
        host_id = request.port.host_id
        update = UpdateRequest(
            port_id=port_id,
            host_id=HostId(identifier(host_id, "port.host_id")) if host_id else self.engine.host_id,
            changes=changes_from_proto(request.port, request.update_mask.paths),
            request_id=call.request_id,
            level=level_of(request.level),
            principal=call.caller.principal,
            admin=call.caller.admin,
            deadline=call.deadline,
            revision=request.revision,
            generation=generation_of(request.generation),
        )
        with bound(request=call.request_id, port=port_id):
            port = await self.engine.update(update)
        return port_pb2.UpdatePortResponse(port=port_to_proto(port), request_id=call.request_id)

    @answers
    async def ActivatePort(self, request: port_pb2.ActivatePortRequest, call: Call) -> port_pb2.ActivatePortResponse:
        del request, call
        raise _not_built("ActivatePort", "every binding is ACTIVE")

    @answers
    async def VerifyPort(self, request: port_pb2.VerifyPortRequest, call: Call) -> port_pb2.VerifyPortResponse:
        port_id = PortId(identifier(request.port_id, "port_id"))
        level = level_of(request.level)
        with bound(port=port_id):
            port = await self.engine.verify(port_id, self._host(request.host_id), level, deadline=call.deadline)
        return port_pb2.VerifyPortResponse(port=port_to_proto(port))

    @streams
    def WatchPorts(  # type: ignore[override]  # the stubs know generators only; grpc.aio lets a coroutine write, too
        self, request: port_pb2.WatchPortsRequest, call: Call
    ) -> AsyncGenerator[port_pb2.WatchPortsResponse, None]:
        del call
        return port_events(self.engine, request)

    def _host(self, host_id: str) -> HostId:
        return HostId(identifier(host_id, "host_id")) if host_id else self.engine.host_id

    def _port(self, port_id: PortId, host_id: HostId) -> PluggedPort | None:
        try:
            return self.engine.port(port_id, host_id)
        except NotFound:
            return None

    def _record(self, request_id: RequestId) -> RequestRecord | None:
        try:
            return self.engine.request(request_id)
        except NotFound:
            return None


def _not_built(call: str, instead: str) -> NotSupported:
    return NotSupported(f"{call} is reserved and not built yet; {instead}", subject=call)


def _guilty(specs: tuple[PortSpec, ...], error: OfctlError) -> int | None:
    """Return the number of the port that the error is about, which its metadata names; None if nobody can tell."""
    if len(specs) == 1:
        return 0
    named = error.metadata.get("port_id")
    return next((number for number, spec in enumerate(specs) if spec.port_id == named), None)
