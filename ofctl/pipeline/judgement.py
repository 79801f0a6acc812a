"""What a port's rules say of one connection, read without a switch: which entries new rules no longer allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ofctl.model.network import IpAddress, IpNetwork
from ofctl.model.security import ICMPV6, UDP, RuleDirection, SecurityRule
from ofctl.pipeline.membership import NO_ADDRESSES
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


Prefixes = tuple[frozenset[IpAddress], tuple[IpNetwork, ...]]
"""Single addresses, and prefixes of more."""


class Judge:
    """A port's rules, made ready for many connections: one costs the time of the rules, not of their members."""

    def __init__(self, port: WorldPort, world: World) -> None:
        groups = world.groups_of(port)
        self._filtered = bool(groups)
        self._rules = {
            direction: tuple(rule for group in groups for rule in group.group.rules_of(direction))
            for direction in RuleDirection
        }
        self._world = world
        self._network = world.networks[port.network].network_id
        self._remotes: dict[tuple[bool, str], Prefixes] = {}

    def allows(self, connection: Connection, direction: RuleDirection | None = None) -> bool:
        """Tell whether the groups let a connection be: INGRESS, opened to the guest, or EGRESS, by the guest.

        None: in either direction. For stateless groups it speaks of the one frame.
        """
        if direction is None:
            return any(self.allows(connection, each) for each in RuleDirection)
        if not self._filtered or is_exempt(connection, direction):
            return True
        rules = self._rules[direction]
        if direction is RuleDirection.EGRESS and not rules:
            return True
        return any(self._matches(rule, connection) for rule in rules)

    def _matches(self, rule: SecurityRule, connection: Connection) -> bool:
        return (
            connection.source.version in rule.ip_versions
            and rule.protocol in (None, connection.protocol)
            and _is_service(rule, connection)
            and self._is_remote(rule, connection)
        )

    def _is_remote(self, rule: SecurityRule, connection: Connection) -> bool:
        remote = connection.source if rule.direction is RuleDirection.INGRESS else connection.destination
        if rule.remote_prefix is not None:
            return remote in rule.remote_prefix
        if rule.remote_security_group is None and rule.remote_address_group is None:
            return True
        addresses, prefixes = self._remote(rule)
        return remote in addresses or any(remote in prefix for prefix in prefixes)

    def _remote(self, rule: SecurityRule) -> Prefixes:
        of_ports = rule.remote_security_group is not None
        key = (of_ports, str(rule.remote_security_group or rule.remote_address_group))
        known = self._remotes.get(key)
        if known is None:
            known = self._remotes[key] = _sorted_out(tuple(self._members(rule)))
        return known

    def _members(self, rule: SecurityRule) -> Iterator[IpNetwork]:
        if rule.remote_security_group is not None:
            for prefix, groups in self._world.membership.addresses.get(self._network, NO_ADDRESSES).items():
                if rule.remote_security_group in groups:
                    yield prefix
        elif rule.remote_address_group is not None:
            yield from self._world.address_groups[rule.remote_address_group].group.addresses


def _sorted_out(prefixes: tuple[IpNetwork, ...]) -> Prefixes:
    single = frozenset(each.network_address for each in prefixes if each.prefixlen == each.max_prefixlen)
    return single, tuple(each for each in prefixes if each.prefixlen < each.max_prefixlen)


def allows(port: WorldPort, world: World, connection: Connection, direction: RuleDirection | None = None) -> bool:
    """Tell whether a port's groups let one connection be, as `Judge.allows` does for many."""
    return Judge(port, world).allows(connection, direction)


def is_exempt(connection: Connection, direction: RuleDirection) -> bool:
    """Tell whether a frame passes whatever the rules say: neighbor and listener discovery, a DHCP client's traffic."""
    if connection.protocol == ICMPV6 and connection.source.version == 6:
        return connection.source_port in EXEMPT_ICMPV6
    ports = connection.source_port, connection.destination_port
    client = DHCP[connection.source.version]
    return connection.protocol == UDP and ports == (client if direction is RuleDirection.EGRESS else client[::-1])


def _is_service(rule: SecurityRule, connection: Connection) -> bool:
    """Ports and ICMP message; that the protocol is the rule's is known."""
    if rule.ports is not None:
        return rule.ports.first <= connection.destination_port <= rule.ports.last
    if rule.icmp is not None:
        return rule.icmp.type == connection.source_port and rule.icmp.code in (None, connection.destination_port)
    return True
