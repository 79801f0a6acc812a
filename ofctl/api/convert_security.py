"""Security groups, address groups and changes of ports: messages of the contract to values of the model, and back.

What cannot be read raises InvalidField with its path in the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ofctl.api.addresses import read_address, read_address_or_prefix
from ofctl.api.enums import RULE_DIRECTIONS
from ofctl.errors import InvalidField
from ofctl.model.changes import PortChanges, PortField
from ofctl.model.ids import NetworkId, mac_address
from ofctl.model.rule_text import address_text, protocol_of, protocol_text
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    AddressPair,
    GroupMember,
    IcmpMessage,
    Ports,
    SecurityGroup,
    SecurityGroupId,
    SecurityRule,
)
from ofctl.v1 import port_pb2, security_pb2

T = TypeVar("T")
R = TypeVar("R")


def each(read: Callable[[T, str], R], values: Iterable[T], field: str) -> list[R]:
    """Return what `read` makes of every value; it is given the path of each."""
    return [read(value, f"{field}[{number}]") for number, value in enumerate(values)]


def security_group_from_proto(message: security_pb2.SecurityGroup) -> SecurityGroup:
    """Return the group that `message` declares. Raises InvalidField."""
    return SecurityGroup(
        security_group_id=SecurityGroupId(message.security_group_id),
        name=message.name,
        stateful=message.stateful if message.HasField("stateful") else True,
        rules=tuple(each(rule_from_proto, message.rules, "security_group.rules")),
        members=tuple(each(_member, message.members, "security_group.members")),
    )


def security_group_to_proto(group: SecurityGroup) -> security_pb2.SecurityGroup:
    """Return the message that declares `group`."""
    return security_pb2.SecurityGroup(
        security_group_id=group.security_group_id,
        name=group.name,
        stateful=group.stateful,
        rules=map(rule_to_proto, group.rules),
        members=[
            security_pb2.GroupMember(network_id=member.network_id, address=address_text(member.address))
            for member in group.members
        ],
    )


def address_group_from_proto(message: security_pb2.AddressGroup) -> AddressGroup:
    """Return the group that `message` declares. Raises InvalidField."""
    return AddressGroup(
        address_group_id=AddressGroupId(message.address_group_id),
        name=message.name,
        addresses=tuple(each(read_address_or_prefix, message.addresses, "address_group.addresses")),
    )


def address_group_to_proto(group: AddressGroup) -> security_pb2.AddressGroup:
    """Return the message that declares `group`."""
    return security_pb2.AddressGroup(
        address_group_id=group.address_group_id, name=group.name, addresses=map(address_text, group.addresses)
    )


def _member(message: security_pb2.GroupMember, field: str) -> GroupMember:
    return GroupMember(NetworkId(message.network_id), read_address_or_prefix(message.address, f"{field}.address"))


def rule_from_proto(message: security_pb2.SecurityRule, field: str) -> SecurityRule:
    """Return the rule in `message`, at the path `field`. Raises InvalidField for what cannot be read."""
    remote = message.WhichOneof("remote")
    prefix, group = message.remote_prefix, message.remote_security_group_id
    address_group = message.remote_address_group_id
    return SecurityRule(
        direction=RULE_DIRECTIONS.model(message.direction, f"{field}.direction"),
        ip_version=message.ip_version or None,
        protocol=protocol_of(message.protocol, f"{field}.protocol"),
        ports=_ports(message.ports) if message.HasField("ports") else None,
        icmp=_icmp(message.icmp) if message.HasField("icmp") else None,
        remote_prefix=read_address_or_prefix(prefix, f"{field}.remote_prefix") if remote == "remote_prefix" else None,
        remote_security_group=SecurityGroupId(group) if remote == "remote_security_group_id" else None,
        remote_address_group=AddressGroupId(address_group) if remote == "remote_address_group_id" else None,
    )


def _ports(message: security_pb2.PortRange) -> Ports:
    return Ports(message.first, message.last if message.HasField("last") else message.first)


def _icmp(message: security_pb2.IcmpMessage) -> IcmpMessage:
    return IcmpMessage(message.type, message.code if message.HasField("code") else None)


def rule_to_proto(rule: SecurityRule) -> security_pb2.SecurityRule:
    """Return the message for a rule."""
    ports, icmp = rule.ports, rule.icmp
    message = security_pb2.SecurityRule(
        direction=RULE_DIRECTIONS[rule.direction],
        ip_version=rule.ip_version or 0,
        protocol=protocol_text(rule.protocol),
        ports=security_pb2.PortRange(first=ports.first, last=ports.last) if ports else None,
        icmp=security_pb2.IcmpMessage(type=icmp.type, code=icmp.code) if icmp else None,
    )
    if rule.remote_prefix is not None:
        message.remote_prefix = address_text(rule.remote_prefix)
    elif rule.remote_security_group is not None:
        message.remote_security_group_id = rule.remote_security_group
    elif rule.remote_address_group is not None:
        message.remote_address_group_id = rule.remote_address_group
    return message


def address_pair(message: port_pb2.AddressPair, field: str) -> AddressPair:
    """Return an allowed address pair. Raises InvalidField."""
    mac = mac_address(message.mac_address, f"{field}.mac_address") if message.mac_address else None
    return AddressPair(read_address_or_prefix(message.address, f"{field}.address"), mac)


def address_pair_to_proto(pair: AddressPair) -> port_pb2.AddressPair:
    """Return the message for an allowed address pair."""
    return port_pb2.AddressPair(address=address_text(pair.address), mac_address=pair.mac_address or "")


def security_of(message: port_pb2.PortSpec) -> dict[str, Any]:
    """Return what a port's description says of its security, as arguments of PortSpec. Raises InvalidField."""
    fields = (PortField.ALLOWED_ADDRESS_PAIRS, PortField.PORT_SECURITY, PortField.SECURITY_GROUPS)
    return {field.value: _READERS[field](message) for field in fields}


_READERS: dict[PortField, Callable[[port_pb2.PortSpec], Any]] = {
    PortField.PROJECT_ID: lambda message: message.project_id,
    PortField.DEVICE_ID: lambda message: message.device_id,
    PortField.DEVICE_OWNER: lambda message: message.device_owner,
    PortField.LABELS: lambda message: tuple(sorted(message.labels.items())),
    PortField.ANNOTATIONS: lambda message: tuple(sorted(message.annotations.items())),
    PortField.FIXED_IPS: lambda message: tuple(each(read_address, message.fixed_ips, "port.fixed_ips")),
    PortField.ALLOWED_ADDRESS_PAIRS: lambda message: tuple(
        each(address_pair, message.allowed_address_pairs, "port.allowed_address_pairs")
    ),
    PortField.PORT_SECURITY: lambda message: message.port_security if message.HasField("port_security") else None,
    PortField.SECURITY_GROUPS: lambda message: tuple(map(SecurityGroupId, message.security_groups)),
}
_CHANGEABLE = ", ".join(field.value for field in PortField)
_KEY = ("port_id", "host_id")


def changes_from_proto(message: port_pb2.PortSpec, paths: Iterable[str]) -> PortChanges:
    """Return what an UpdatePort with these paths of its mask sets; other fields are not read. Raises InvalidField."""
    mask = frozenset(each(_path, paths, "update_mask.paths"))
    if not mask:
        raise InvalidField("update_mask", f"is empty; name the fields of the port to change, of {_CHANGEABLE}")
    values = {field.value: _READERS[field](message) for field in mask}
    return PortChanges(mask=mask, **values)


def _path(path: str, field: str) -> PortField:
    """Return the field that a path of the mask names; whatever it may not name is refused with the cure."""
    try:
        return PortField(path)
    except ValueError:
        name = path.removeprefix("port.")
    if path == "*":
        raise InvalidField(field, f"is '*'; name the fields to change, of {_CHANGEABLE}")
    first, _, rest = name.partition(".")
    known = first in port_pb2.PortSpec.DESCRIPTOR.fields_by_name
    if not known:
        raise InvalidField(field, f"{path!r} is no field of a port; these may change: {_CHANGEABLE}")
    if first in _KEY:
        raise InvalidField(field, f"{first} says which port is meant, and does not change; leave it out of the mask")
    if first not in (each.value for each in PortField):
        raise InvalidField(
            field, f"{first} does not change while the port is plugged; unplug the port and plug it as it should be"
        )
    if rest:
        raise InvalidField(field, f"{path!r} is a part of {first}, which is replaced as a whole; write {first!r}")
    raise InvalidField(field, f"{path!r} begins with the port; paths are relative to it, write {first!r}")
