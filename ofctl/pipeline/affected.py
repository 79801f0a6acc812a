"""Which groups, addresses and ports of a world may have other flows than in another world, without looking at the rest.

Each function is asked twice, once from either side: what is gone is in the answer for the world that still has it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ofctl.model.ids import NetworkId, NetworkIndex, PortIndex
from ofctl.model.network import IpNetwork
from ofctl.model.security import NumberedSecurityGroup, RuleDirection
from ofctl.pipeline.membership import NO_ADDRESSES
from ofctl.pipeline.world import World


def changed_groups(world: World, other: World) -> Iterator[NumberedSecurityGroup]:
    """Yield the security groups of `world` that are others, or none, in `other`."""
    if world.security_groups is other.security_groups:
        return
    for group_id, group in world.security_groups.items():
        there = other.security_groups.get(group_id)
        if there is not group and there != group:
            yield group


def changed_ports(world: World, other: World) -> set[PortIndex]:
    """Return the ports of `world` whose groups are such in `other` that the ports' own flows differ."""
    return {
        port.index
        for group in changed_groups(world, other)
        if (there := other.security_groups.get(group.group.security_group_id)) is None or _shape(there) != _shape(group)
        for port in world.ports_in(group.group.security_group_id)
    }


def _shape(group: NumberedSecurityGroup) -> tuple[bool, bool]:
    """Return all of a group that the flows of its ports depend on, besides its number, which never changes."""
    return group.group.stateful, bool(group.group.rules_of(RuleDirection.EGRESS))


def changed_places(world: World, other: World) -> Iterator[tuple[NetworkIndex, IpNetwork]]:
    """Yield the addresses of `world` that belong to other groups in `other`, or that others' rules ask for there."""
    mine, theirs = world.membership, other.membership
    if mine is theirs and world.networks is other.networks:
        return
    asked: dict[NetworkId, set[IpNetwork]] = {}
    for group_id in mine.named_by.differing(theirs.named_by):
        if group_id in world.security_groups:
            for network_id, prefix in world.addresses_in(group_id):
                asked.setdefault(network_id, set()).add(prefix)
    for index, network in world.networks.items():
        network_id = network.network_id
        addresses = mine.addresses.get(network_id, NO_ADDRESSES)
        there = other.networks.get(index)
        prefixes = asked.get(network_id, set())
        if there is None or there.network_id != network_id:
            prefixes = set(addresses)
        elif addresses is not theirs.addresses.get(network_id, NO_ADDRESSES):
            prefixes = prefixes.union(mine.differing_addresses(theirs, network_id))
        for prefix in prefixes:
            if prefix in addresses:
                yield index, prefix


def changed_prefixes(world: World, other: World) -> set[IpNetwork]:
    """Return the prefixes of address groups of `world` that are in others in `other`, or that others' rules ask for."""
    mine, theirs = world.membership, other.membership
    if mine is theirs:
        return set()
    prefixes = set(mine.prefixes.differing(theirs.prefixes))
    for group_id in mine.prefixes_named_by.differing(theirs.prefixes_named_by):
        if group_id in world.address_groups:
            prefixes.update(world.address_groups[group_id].group.addresses)
    return {prefix for prefix in prefixes if prefix in mine.prefixes}
