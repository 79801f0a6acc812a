"""Which addresses belong to which groups, and whose rules ask for them: the index beside the world's ports and groups.

Immutable, and kept as ports and groups change, in time proportional to the change. An address that two ports of a
group share (RFC 5798 routers) belongs to it until both are gone, so everything is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from ofctl.model.ids import NetworkId, PortIndex
from ofctl.model.network import IpNetwork
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    NumberedSecurityGroup,
    RuleDirection,
    SecurityGroupId,
    SecurityGroupIndex,
)
from ofctl.pipeline.shared_map import SharedMap

G = TypeVar("G", SecurityGroupId, AddressGroupId)

MAX_CONJUNCTIONS = 2_000
"""Rules' questions about one address in one direction. 16 bytes each; a message has at most 65,535 (OpenFlow 1.5.1,
7.1.1), and OVS's description of the flow must fit in one, too."""


class Naming(NamedTuple):
    """A security group whose rules of one direction name another group as the remote end."""

    group: SecurityGroupIndex
    direction: RuleDirection
    tracked: bool
    """Whether the naming group is stateful."""


class Seat(NamedTuple):
    """What a port is to the index."""

    network: NetworkId
    port: PortIndex
    groups: tuple[SecurityGroupId, ...]
    prefixes: tuple[IpNetwork, ...]


Namings = frozenset[Naming]
Addresses = SharedMap[IpNetwork, Mapping[SecurityGroupId, int]]
Place = tuple[NetworkId, IpNetwork]
NO_NAMINGS: Namings = frozenset()
NO_ADDRESSES: Addresses = SharedMap()
NO_PORTS: SharedMap[PortIndex, bool] = SharedMap()


@dataclass(frozen=True, slots=True)
class Membership:
    """The index. Every method returns a new one, or an answer in time proportional to what it says."""

    addresses: Mapping[NetworkId, Addresses] = field(default_factory=dict)
    """By network and prefix the security groups that it belongs to, and how many ports and members say so."""
    ports: SharedMap[SecurityGroupId, SharedMap[PortIndex, bool]] = field(default_factory=SharedMap)
    """The ports of each security group that has any."""
    named_by: SharedMap[SecurityGroupId, Namings] = field(default_factory=SharedMap)
    """Whose rules name the security group."""
    prefixes: SharedMap[IpNetwork, frozenset[AddressGroupId]] = field(default_factory=SharedMap)
    """The address groups that have the prefix."""
    prefixes_named_by: SharedMap[AddressGroupId, Namings] = field(default_factory=SharedMap)
    """Whose rules name the address group."""

    def with_seats(self, leaving: Iterable[Seat], joining: Iterable[Seat]) -> Membership:
        """Return the index with ports gone and come."""
        counts: dict[Place, dict[SecurityGroupId, int]] = {}
        ports: dict[SecurityGroupId, dict[PortIndex, bool | None]] = {}
        for seats, step in ((leaving, -1), (joining, 1)):
            for seat in seats:
                for group in seat.groups:
                    ports.setdefault(group, {})[seat.port] = True if step > 0 else None
                    for prefix in seat.prefixes:
                        _count(counts, seat.network, prefix, group, step)
        if not ports:
            return self
        groups = {group: self.ports.get(group, NO_PORTS).changed(change) for group, change in ports.items()}
        index = replace(self, ports=self.ports.changed({group: there or None for group, there in groups.items()}))
        return index._counted(counts)

    def with_group(self, before: NumberedSecurityGroup | None, after: NumberedSecurityGroup | None) -> Membership:
        """Return the index with a security group come, changed or gone; ports are not looked at."""
        counts: dict[Place, dict[SecurityGroupId, int]] = {}
        old = frozenset(() if before is None else before.group.members)
        new = frozenset(() if after is None else after.group.members)
        for members, group, step in ((old - new, before, -1), (new - old, after, 1)):
            for member in members:
                assert group is not None
                _count(counts, member.network_id, member.address, group.group.security_group_id, step)
        index = replace(
            self,
            named_by=_renamed(self.named_by, _remote_groups(before), _remote_groups(after)),
            prefixes_named_by=_renamed(
                self.prefixes_named_by, _remote_address_groups(before), _remote_address_groups(after)
            ),
        )
        return index._counted(counts)

    def with_address_group(self, before: AddressGroup | None, after: AddressGroup | None) -> Membership:
        """Return the index with an address group come, changed or gone."""
        old = frozenset(() if before is None else before.addresses)
        new = frozenset(() if after is None else after.addresses)
        changes: dict[IpNetwork, frozenset[AddressGroupId] | None] = {}
        for prefix in old ^ new:
            there = self.prefixes.get(prefix, frozenset())
            if prefix in new:
                assert after is not None
                changes[prefix] = there | {after.address_group_id}
            else:
                assert before is not None
                changes[prefix] = (there - {before.address_group_id}) or None
        return replace(self, prefixes=self.prefixes.changed(changes))

    def groups_at(self, network: NetworkId, prefix: IpNetwork) -> Iterable[SecurityGroupId]:
        """Return the security groups that the prefix belongs to in a network."""
        return self.addresses.get(network, NO_ADDRESSES).get(prefix, {})

    def check(self, places: Iterable[Place], prefixes: Iterable[IpNetwork]) -> None:
        """Raise ValueError if an address, or a prefix of address groups, is named more often than one flow can say."""
        for network, prefix in places:
            asked = sum(len(self.named_by.get(group, NO_NAMINGS)) for group in self.groups_at(network, prefix))
            _check_asked(asked, f"address {prefix} of network {network}")
        for prefix in prefixes:
            groups = self.prefixes.get(prefix, frozenset())
            asked = sum(len(self.prefixes_named_by.get(group, NO_NAMINGS)) for group in groups)
            _check_asked(asked, f"prefix {prefix} of address groups")

    def differing_addresses(self, other: Membership, network: NetworkId) -> Iterator[IpNetwork]:
        """Yield the prefixes of a network that do not belong to the same groups in both."""
        mine, theirs = (each.addresses.get(network, NO_ADDRESSES) for each in (self, other))
        for prefix in mine.differing(theirs):
            if mine.get(prefix, {}).keys() != theirs.get(prefix, {}).keys():
                yield prefix

    def _counted(self, counts: Mapping[Place, Mapping[SecurityGroupId, int]]) -> Membership:
        changes: dict[NetworkId, dict[IpNetwork, Mapping[SecurityGroupId, int] | None]] = {}
        for (network, prefix), steps in counts.items():
            groups = dict(self.addresses.get(network, NO_ADDRESSES).get(prefix, {}))
            for group, step in steps.items():
                groups[group] = groups.get(group, 0) + step
                if not groups[group]:
                    del groups[group]
            changes.setdefault(network, {})[prefix] = groups or None
        if not changes:
            return self
        addresses = dict(self.addresses)
        for network, values in changes.items():
            addresses[network] = addresses.get(network, NO_ADDRESSES).changed(values)
            if not addresses[network]:
                del addresses[network]
        return replace(self, addresses=addresses)


def _check_asked(asked: int, subject: str) -> None:
    if asked > MAX_CONJUNCTIONS:
        raise ValueError(
            f"{subject} is in groups that {asked} security groups' rules name; at most {MAX_CONJUNCTIONS} are possible"
        )


def _remote_groups(group: NumberedSecurityGroup | None) -> dict[SecurityGroupId, Namings]:
    """Return what the group says about security groups, by the one that it names."""
    named: dict[SecurityGroupId, set[Naming]] = {}
    for rule in () if group is None else group.group.rules:
        if group is not None and rule.remote_security_group is not None:
            naming = Naming(group.index, rule.direction, group.group.stateful)
            named.setdefault(rule.remote_security_group, set()).add(naming)
    return {each: frozenset(namings) for each, namings in named.items()}


def _remote_address_groups(group: NumberedSecurityGroup | None) -> dict[AddressGroupId, Namings]:
    named: dict[AddressGroupId, set[Naming]] = {}
    for rule in () if group is None else group.group.rules:
        if group is not None and rule.remote_address_group is not None:
            naming = Naming(group.index, rule.direction, group.group.stateful)
            named.setdefault(rule.remote_address_group, set()).add(naming)
    return {each: frozenset(namings) for each, namings in named.items()}


def _renamed(
    named_by: SharedMap[G, Namings], before: Mapping[G, Namings], after: Mapping[G, Namings]
) -> SharedMap[G, Namings]:
    changes: dict[G, Namings | None] = {}
    for group in before.keys() | after.keys():
        old, new = before.get(group, NO_NAMINGS), after.get(group, NO_NAMINGS)
        if old != new:
            changes[group] = (named_by.get(group, NO_NAMINGS) - old | new) or None
    return named_by.changed(changes)


def _count(
    counts: dict[Place, dict[SecurityGroupId, int]],
    network: NetworkId,
    prefix: IpNetwork,
    group: SecurityGroupId,
    step: int,
) -> None:
    steps = counts.setdefault((network, prefix), {})
    steps[group] = steps.get(group, 0) + step
