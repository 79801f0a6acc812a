"""What a port's rules say of one connection, read without a switch: which entries new rules no longer allow."""

from __future__ import annotations

from dataclasses import dataclass

from ofctl.model.network import IpAddress
from ofctl.model.security import ICMPV6, UDP, RuleDirection, SecurityRule
from ofctl.pipeline.world import World, WorldPort

NEIGHBOR_MESSAGES = range(133, 138)
"""Router and neighbor solicitation and advertisement, redirect (RFC 4861, 4)."""
LISTENER_MESSAGES = (130, 131, 132, 143)
"""MLD queries, reports, done; MLDv2 reports (RFC 2710, 3; RFC 3810, 5.2)."""
EXEMPT_ICMPV6 = (*LISTENER_MESSAGES, *NEIGHBOR_MESSAGES)
"""A port without them has no IPv6 at all. Connection tracking calls them invalid (seen on OVS 3.1)."""
DHCP = {4: (68, 67), 6: (546, 547)}
"""UDP ports of client and server by IP version (RFC 2131, 4.1; RFC 8415, 7.2)."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The first frame of a connection, as its sender sent it."""

    source: IpAddress
    destination: IpAddress
    protocol: int
    source_port: int = 0
    """Of ICMP the type."""
    destination_port: int = 0
    """Of ICMP the code."""


def allows(port: WorldPort, world: World, connection: Connection, direction: RuleDirection | None = None) -> bool:
    """Tell whether the port's groups let a connection be: INGRESS, opened to its guest, or EGRESS, by its guest.

    None: in either direction. For stateless groups it speaks of the one frame. Pure, in time proportional to the
    rules and to the members that they name.
    """
    if direction is None:
        return any(allows(port, world, connection, each) for each in RuleDirection)
    if not port.security_groups or is_exempt(connection, direction):
        return True
    groups = world.groups_of(port)
    rules = [rule for group in groups for rule in group.group.rules_of(direction)]
    if direction is RuleDirection.EGRESS and not rules:
        return True
    return any(_matches(rule, port, world, connection) for rule in rules)


def is_exempt(connection: Connection, direction: RuleDirection) -> bool:
    """Tell whether a frame passes whatever the rules say: neighbor and listener discovery, a DHCP client's traffic."""
    if connection.protocol == ICMPV6 and connection.source.version == 6:
        return connection.source_port in EXEMPT_ICMPV6
    ports = connection.source_port, connection.destination_port
    client = DHCP[connection.source.version]
    return connection.protocol == UDP and ports == (client if direction is RuleDirection.EGRESS else client[::-1])


def _matches(rule: SecurityRule, port: WorldPort, world: World, connection: Connection) -> bool:
    return (
        connection.source.version in rule.ip_versions
        and rule.protocol in (None, connection.protocol)
        and _is_service(rule, connection)
        and _is_remote(rule, port, world, connection)
    )


def _is_service(rule: SecurityRule, connection: Connection) -> bool:
    """Ports and ICMP message; that the protocol is the rule's is known."""
    if rule.ports is not None:
        return rule.ports.first <= connection.destination_port <= rule.ports.last
    if rule.icmp is not None:
        return rule.icmp.type == connection.source_port and rule.icmp.code in (None, connection.destination_port)
    return True


def _is_remote(rule: SecurityRule, port: WorldPort, world: World, connection: Connection) -> bool:
    remote = connection.source if rule.direction is RuleDirection.INGRESS else connection.destination
    if rule.remote_prefix is not None:
        return remote in rule.remote_prefix
    if rule.remote_security_group is not None:
        here = world.networks[port.network].network_id
        members = world.addresses_in(rule.remote_security_group)
        return any(network == here and remote in prefix for network, prefix in members)
    if rule.remote_address_group is not None:
        return any(remote in prefix for prefix in world.address_groups[rule.remote_address_group].group.addresses)
    return True
