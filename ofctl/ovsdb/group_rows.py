"""Security groups and address groups as rows of the intents' database, and back; with what of them is in a Binding.

A rule is a line of text (`ofctl.model.rule_text`), so that a person can read it with ovsdb-client.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from ofctl.model.ids import MacAddress, NetworkId
from ofctl.model.port import PortSpec
from ofctl.model.rule_text import address_text, rule_of, rule_text
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    AddressGroupIndex,
    AddressPair,
    GroupMember,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
    SecurityGroupId,
    SecurityGroupIndex,
)
from ofctl.ovsdb.notation import in_order, optional
from ofctl.ovsdb.replica import Json, column, ordered


def security_group_columns(group: SecurityGroup) -> Json:
    """Return the columns of a SecurityGroup row but its key and the references to other groups."""
    return {
        "name": group.name,
        "stateless": not group.stateful,
        "rules": in_order(map(rule_text, group.rules)),
        "members": in_order(f"{member.network_id} {address_text(member.address)}" for member in group.members),
    }


def security_group_of(row: Any) -> NumberedSecurityGroup:
    """Return a SecurityGroup row as a value."""
    group = SecurityGroup(
        security_group_id=SecurityGroupId(column(row, "security_group_id")),
        name=column(row, "name"),
        stateful=not column(row, "stateless"),
        rules=tuple(rule_of(text, "security_group.rules") for text in ordered(row, "rules")),
        members=tuple(map(_member_of, ordered(row, "members"))),
    )
    return NumberedSecurityGroup(group=group, index=SecurityGroupIndex(column(row, "group_index")))


def address_group_columns(group: AddressGroup) -> Json:
    """Return the columns of an AddressGroup row but its key."""
    return {"name": group.name, "addresses": in_order(map(address_text, group.addresses))}


def address_group_of(row: Any) -> NumberedAddressGroup:
    """Return an AddressGroup row as a value."""
    group = AddressGroup(
        address_group_id=AddressGroupId(column(row, "address_group_id")),
        name=column(row, "name"),
        addresses=tuple(map(ipaddress.ip_network, ordered(row, "addresses"))),
    )
    return NumberedAddressGroup(group=group, index=AddressGroupIndex(column(row, "group_index")))


def security_columns(spec: PortSpec) -> Json:
    """Return the columns of a Binding row that filter the port, but the references to its groups."""
    return {
        "allowed_address_pairs": in_order(map(_pair_text, spec.allowed_address_pairs)),
        "port_security": optional(spec.port_security),
        "security_groups": in_order(spec.security_groups),
    }


def address_pairs_of(row: Any) -> tuple[AddressPair, ...]:
    """Return the address pairs in a Binding row."""
    return tuple(map(_pair_of, ordered(row, "allowed_address_pairs")))


def security_groups_of(row: Any) -> tuple[SecurityGroupId, ...]:
    """Return the ids of the groups in a Binding row."""
    return tuple(map(SecurityGroupId, ordered(row, "security_groups")))


def _pair_text(pair: AddressPair) -> str:
    address = address_text(pair.address)
    return address if pair.mac_address is None else f"{address} {pair.mac_address}"


def _pair_of(text: str) -> AddressPair:
    address, _, mac = text.partition(" ")
    return AddressPair(ipaddress.ip_network(address), MacAddress(mac) if mac else None)


def _member_of(text: str) -> GroupMember:
    network, _, address = text.partition(" ")
    return GroupMember(NetworkId(network), ipaddress.ip_network(address))
