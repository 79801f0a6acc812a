"""SecurityService."""

# ruff: noqa: N802 - the methods have the names of the contract

from __future__ import annotations

from collections.abc import Iterable

from ofctl.api.calls import Call, Door, answers
from ofctl.api.convert import confirmation_to_proto
from ofctl.api.convert_security import (
    address_group_from_proto,
    address_group_to_proto,
    security_group_from_proto,
    security_group_to_proto,
)
from ofctl.api.paging import MAX_PAGE_BYTES, Page, page_of
from ofctl.api.requests import level_of
from ofctl.engine.contract import PlugEngine
from ofctl.errors import InvalidField
from ofctl.log import bound
from ofctl.model.ids import identifier
from ofctl.model.security import AddressGroupId, SecurityGroupId
from ofctl.model.vif import PluggedPort
from ofctl.v1 import security_pb2, security_pb2_grpc


class SecurityServicer(security_pb2_grpc.SecurityServiceServicer):
    """Declare and ask for security groups and address groups."""

    def __init__(self, engine: PlugEngine, door: Door) -> None:
        self.engine = engine
        self.door = door

    @answers
    async def ApplySecurityGroup(
        self, request: security_pb2.ApplySecurityGroupRequest, call: Call
    ) -> security_pb2.ApplySecurityGroupResponse:
        if not request.HasField("security_group"):
            raise InvalidField("security_group", "is missing; describe the group")
        level = level_of(request.level)
        group = security_group_from_proto(request.security_group)
        with bound(security_group=group.security_group_id):
            applied = await self.engine.apply_security_group(group, level=level, deadline=call.deadline)
        return security_pb2.ApplySecurityGroupResponse(
            security_group=security_group_to_proto(applied.group.group), ports=confirmed(applied.ports)
        )

    @answers
    async def DeleteSecurityGroup(
        self, request: security_pb2.DeleteSecurityGroupRequest, call: Call
    ) -> security_pb2.DeleteSecurityGroupResponse:
        group_id = _security_group_id(request.security_group_id)
        with bound(security_group=group_id):
            await self.engine.delete_security_group(group_id, deadline=call.deadline)
        return security_pb2.DeleteSecurityGroupResponse()

    @answers
    async def GetSecurityGroup(
        self, request: security_pb2.GetSecurityGroupRequest, call: Call
    ) -> security_pb2.GetSecurityGroupResponse:
        del call
        found = self.engine.security_group(_security_group_id(request.security_group_id))
        return security_pb2.GetSecurityGroupResponse(security_group=security_group_to_proto(found.group))

    @answers
    async def ListSecurityGroups(
        self, request: security_pb2.ListSecurityGroupsRequest, call: Call
    ) -> security_pb2.ListSecurityGroupsResponse:
        del call
        groups, next_token = page_of(
            self.engine.security_groups(),
            lambda numbered: (numbered.group.security_group_id,),
            lambda numbered: security_group_to_proto(numbered.group),
            Page(request.page_size, request.page_token),
        )
        return security_pb2.ListSecurityGroupsResponse(security_groups=groups, next_page_token=next_token)

    @answers
    async def ApplyAddressGroup(
        self, request: security_pb2.ApplyAddressGroupRequest, call: Call
    ) -> security_pb2.ApplyAddressGroupResponse:
        if not request.HasField("address_group"):
            raise InvalidField("address_group", "is missing; describe the group")
        level = level_of(request.level)
        group = address_group_from_proto(request.address_group)
        with bound(address_group=group.address_group_id):
            applied = await self.engine.apply_address_group(group, level=level, deadline=call.deadline)
        return security_pb2.ApplyAddressGroupResponse(
            address_group=address_group_to_proto(applied.group.group), ports=confirmed(applied.ports)
        )

    @answers
    async def DeleteAddressGroup(
        self, request: security_pb2.DeleteAddressGroupRequest, call: Call
    ) -> security_pb2.DeleteAddressGroupResponse:
        group_id = _address_group_id(request.address_group_id)
        with bound(address_group=group_id):
            await self.engine.delete_address_group(group_id, deadline=call.deadline)
        return security_pb2.DeleteAddressGroupResponse()

    @answers
    async def GetAddressGroup(
        self, request: security_pb2.GetAddressGroupRequest, call: Call
    ) -> security_pb2.GetAddressGroupResponse:
        del call
        found = self.engine.address_group(_address_group_id(request.address_group_id))
        return security_pb2.GetAddressGroupResponse(address_group=address_group_to_proto(found.group))

    @answers
    async def ListAddressGroups(
        self, request: security_pb2.ListAddressGroupsRequest, call: Call
    ) -> security_pb2.ListAddressGroupsResponse:
        del call
        groups, next_token = page_of(
            self.engine.address_groups(),
            lambda numbered: (numbered.group.address_group_id,),
            lambda numbered: address_group_to_proto(numbered.group),
            Page(request.page_size, request.page_token),
        )
        return security_pb2.ListAddressGroupsResponse(address_groups=groups, next_page_token=next_token)


def confirmed(ports: Iterable[PluggedPort]) -> list[security_pb2.ConfirmedPort]:
    """Return ports with their evidence, less of it where all would not fit into a message."""
    messages = [
        security_pb2.ConfirmedPort(
            port_id=port.binding.port_id,
            host_id=port.binding.spec.host_id,
            confirmation=confirmation_to_proto(port.binding.confirmation) if port.binding.confirmation else None,
        )
        for port in ports
    ]
    if sum(message.ByteSize() for message in messages) > MAX_PAGE_BYTES:
        for message in messages:
            message.confirmation.ClearField("probe_frames")
            message.confirmation.ClearField("stages")
    return messages


def _security_group_id(text: str) -> SecurityGroupId:
    return SecurityGroupId(identifier(text, "security_group_id"))


def _address_group_id(text: str) -> AddressGroupId:
    return AddressGroupId(identifier(text, "address_group_id"))
