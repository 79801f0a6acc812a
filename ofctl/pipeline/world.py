"""The world that flows are computed from: networks, ports and uplinks of one host, as an immutable value.

Every `with_...` and `without_...` returns a new world that shares what has not changed, so that two worlds are
compared in time proportional to their difference (`Compiler.changes`).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ofctl.model.ids import NetworkIndex, PhysicalNetwork, PortId, PortIndex
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.security import (
    MAX_GROUP_INDEX,
    AddressGroupId,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
    SecurityGroupId,
)
from ofctl.pipeline.flow import MAX_BUCKETS
from ofctl.pipeline.membership import NO_NAMINGS, NO_PORTS, Membership, Place, Seat
from ofctl.pipeline.tables import MAX_NETWORK_INDEX, MAX_SHARDS
from ofctl.pipeline.world_port import MAX_OFPORT, MAX_ZONE, Uplink, WorldPort, check_ofport

__all__ = ["MAX_COPY_LOOKUPS", "MAX_OFPORT", "MAX_ZONE", "Uplink", "World", "WorldPort", "check_ofport"]

MAX_COPY_LOOKUPS = MAX_SHARDS * MAX_BUCKETS
"""What the copies of a flooded frame may cost in a network. A frame has 4,096 look-ups; with one more the switch drops
it for everybody (seen on OVS 3.1: "over 4096 resubmit actions"). What is left is for its way up to the flooding."""

Shards = Mapping[int, tuple[WorldPort, ...]]
Claim = tuple[str, object, object]
"""Something that only one may have, such as an ofport. Two ports of one ofport would share a classification flow."""


@dataclass(frozen=True, slots=True)
class World:
    """Networks, ports, uplinks and groups. Start from `World()`; equality compares all of them."""

    networks: Mapping[NetworkIndex, Network] = field(default_factory=dict)
    ports: Mapping[PortIndex, WorldPort] = field(default_factory=dict)
    uplinks: Mapping[PhysicalNetwork, Uplink] = field(default_factory=dict)
    shards_by_network: Mapping[NetworkIndex, Shards] = field(default_factory=dict, compare=False)
    """Ports by network and shard, each tuple in order of index. Replaced, never changed: compare with `is`."""
    claims: Mapping[Claim, str] = field(default_factory=dict, compare=False)
    security_groups: Mapping[SecurityGroupId, NumberedSecurityGroup] = field(default_factory=dict)
    address_groups: Mapping[AddressGroupId, NumberedAddressGroup] = field(default_factory=dict)
    membership: Membership = field(default_factory=Membership, compare=False)
    """Which addresses belong to which groups, and whose rules name them."""
    copy_lookups: Mapping[NetworkIndex, int] = field(default_factory=dict, compare=False)
    """What the copies of one flooded frame cost in each network that has ports."""

    def with_network(self, network: NumberedNetwork) -> World:
        """Return this world with the network added or replaced.

        Raises ValueError if another network is on the same segment: their frames could not be told apart.
        """
        if not 0 < network.index <= MAX_NETWORK_INDEX:
            raise ValueError(f"network index {network.index} is outside of 1 to {MAX_NETWORK_INDEX}")
        claims = dict(self.claims)
        before = self.networks.get(network.index)
        if before is not None:
            if before.network_id != network.network.network_id and self.shards_by_network.get(network.index):
                raise ValueError(f"network index {network.index} is that of {before.network_id}, which has ports")
            _release(claims, _network_claims(before))
        _take(claims, _network_claims(network.network), f"network {network.network.network_id}")
        networks = {**self.networks, network.index: network.network}
        return replace(self, networks=networks, claims=claims)

    def without_network(self, index: NetworkIndex) -> World:
        """Return this world without the network; raises KeyError, or ValueError while it has ports."""
        if self.shards_by_network.get(index):
            raise ValueError(f"network {index} has ports")
        networks, claims = dict(self.networks), dict(self.claims)
        _release(claims, _network_claims(networks.pop(index)))
        return replace(self, networks=networks, claims=claims)

    def with_port(self, port: WorldPort) -> World:
        """Return this world with the port added or replaced. Raises as `with_ports` does."""
        return self.with_ports((port,))

    def with_ports(self, ports: Iterable[WorldPort]) -> World:
        """Return this world with the ports added or replaced; one copy however many they are.

        Raises ValueError if a port's network or one of its security groups is not there, if its groups are stateful
        and stateless ones, or if its ofport or zone, or its MAC address or slot within the network, is another
        port's; KeyError never.
        """
        everyone, claims = dict(self.ports), dict(self.claims)
        shards = dict(self.shards_by_network)
        ports = tuple(ports)
        replaced = [self.ports[port.index] for port in ports if port.index in everyone]
        for port in ports:
            before = everyone.pop(port.index, None)
            if before is not None:
                _release(claims, _port_claims(before))
                _leave(shards, before)
        for port in ports:
            if port.network not in self.networks:
                raise ValueError(f"port {port.port_id} is in network {port.network}, which is not there")
            if port.index in everyone:
                raise ValueError(f"port {port.port_id} has the index of {everyone[port.index].port_id}")
            self._check_groups(port)
            _take(claims, _port_claims(port), f"port {port.port_id}")
            everyone[port.index] = port
            _join(shards, port)
        joining = [self._seat(port) for port in ports]
        membership = self.membership.with_seats(map(self._seat, replaced), joining)
        membership.check(((seat.network, prefix) for seat in joining for prefix in seat.prefixes), ())
        world = replace(self, ports=everyone, shards_by_network=shards, claims=claims, membership=membership)
        return world._with_copies(self, replaced, ports)

    def without_port(self, index: PortIndex) -> World:
        """Return this world without the port; raises KeyError if it is not there."""
        return self.without_ports((index,))

    def without_ports(self, indexes: Iterable[PortIndex]) -> World:
        """Return this world without the ports; raises KeyError if one is not there."""
        everyone, claims = dict(self.ports), dict(self.claims)
        shards = dict(self.shards_by_network)
        gone = [everyone.pop(index) for index in indexes]
        for port in gone:
            _release(claims, _port_claims(port))
            _leave(shards, port)
        membership = self.membership.with_seats(map(self._seat, gone), ())
        world = replace(self, ports=everyone, shards_by_network=shards, claims=claims, membership=membership)
        return world._with_copies(self, gone, ())

    def with_uplink(self, uplink: Uplink) -> World:
        """Return this world with the uplink added or replaced; raises ValueError if its ofport is another's."""
        claims = dict(self.claims)
        before = self.uplinks.get(uplink.physical_network)
        if before is not None:
            _release(claims, _uplink_claims(before))
        _take(claims, _uplink_claims(uplink), f"uplink {uplink.physical_network}")
        uplinks = {**self.uplinks, uplink.physical_network: uplink}
        return replace(self, uplinks=uplinks, claims=claims)

    def without_uplink(self, physical_network: PhysicalNetwork) -> World:
        """Return this world without the uplink; its networks go on without an outside. Raises KeyError."""
        uplinks, claims = dict(self.uplinks), dict(self.claims)
        _release(claims, _uplink_claims(uplinks.pop(physical_network)))
        return replace(self, uplinks=uplinks, claims=claims)

    def with_security_group(self, group: NumberedSecurityGroup) -> World:
        """Return this world with the security group added or replaced; its ports and members count at once.

        Raises ValueError if its number is another's, if its rules name a group that is not there (itself it may), or
        if it becomes stateful or stateless and one of its ports has a group of the other kind, or no zone.
        """
        group_id = group.group.security_group_id
        before = self.security_groups.get(group_id)
        subject = f"security group {group_id}"
        claims = _numbered(
            self.claims, "security group number", None if before is None else before.index, group.index, subject
        )
        world = replace(self, security_groups={**self.security_groups, group_id: group}, claims=claims)
        for rule in group.group.rules:
            for what, named, there in (
                ("security group", rule.remote_security_group, world.security_groups),
                ("address group", rule.remote_address_group, world.address_groups),
            ):
                if named is not None and named not in there:
                    raise ValueError(f"a rule of {subject} names {what} {named}, which is not there")
        if before is not None and before.group.stateful != group.group.stateful:
            ports = self.ports_in(group_id)
            for port in ports:
                world._check_groups(port)
            world = world._with_copies(self, ports, ports)
        return world._with_membership(self.membership.with_group(before, group), group.group)

    def without_security_group(self, group_id: SecurityGroupId) -> World:
        """Return this world without the group; raises KeyError, or ValueError while a port or a rule names it."""
        groups, claims = dict(self.security_groups), dict(self.claims)
        before = groups.pop(group_id)
        ports = self.membership.ports.get(group_id, NO_PORTS)
        if ports:
            raise ValueError(f"security group {group_id} has ports: {self.ports[next(iter(ports))].port_id}")
        others = [each.group for each in self.membership.named_by.get(group_id, NO_NAMINGS)]
        if any(index != before.index for index in others):
            raise ValueError(f"security group {group_id} is named by the rules of others")
        _release(claims, [("security group number", before.index, None)])
        membership = self.membership.with_group(before, None)
        return replace(self, security_groups=groups, claims=claims, membership=membership)

    def with_address_group(self, group: NumberedAddressGroup) -> World:
        """Return this world with the address group added or replaced; raises ValueError if its number is another's."""
        group_id = group.group.address_group_id
        before = self.address_groups.get(group_id)
        subject = f"address group {group_id}"
        claims = _numbered(
            self.claims, "address group number", None if before is None else before.index, group.index, subject
        )
        membership = self.membership.with_address_group(None if before is None else before.group, group.group)
        membership.check((), group.group.addresses)
        groups = {**self.address_groups, group_id: group}
        return replace(self, address_groups=groups, claims=claims, membership=membership)

    def without_address_group(self, group_id: AddressGroupId) -> World:
        """Return this world without the group; raises KeyError, or ValueError while a rule names it."""
        groups, claims = dict(self.address_groups), dict(self.claims)
        before = groups.pop(group_id)
        if self.membership.prefixes_named_by.get(group_id):
            raise ValueError(f"address group {group_id} is named by rules of security groups")
        _release(claims, [("address group number", before.index, None)])
        membership = self.membership.with_address_group(before.group, None)
        return replace(self, address_groups=groups, claims=claims, membership=membership)

    def groups_of(self, port: WorldPort) -> tuple[NumberedSecurityGroup, ...]:
        """Return the security groups of a port in its order."""
        return tuple(self.security_groups[group] for group in port.security_groups)

    def ports_in(self, group_id: SecurityGroupId) -> tuple[WorldPort, ...]:
        """Return the ports of a security group, without looking at any other port."""
        return tuple(self.ports[index] for index in self.membership.ports.get(group_id, NO_PORTS))

    def addresses_in(self, group_id: SecurityGroupId) -> set[Place]:
        """Return network and prefix of all that a security group means as a remote end."""
        places = {(member.network_id, member.address) for member in self.security_groups[group_id].group.members}
        for port in self.ports_in(group_id):
            network_id = self.networks[port.network].network_id
            places.update((network_id, prefix) for prefix in port.prefixes)
        return places

    def _seat(self, port: WorldPort) -> Seat:
        network_id = self.networks[port.network].network_id
        return Seat(network_id, port.index, port.security_groups, port.prefixes if port.security_groups else ())

    def _check_groups(self, port: WorldPort) -> None:
        if not port.security_groups:
            return
        kinds: dict[bool, SecurityGroupId] = {}
        for group_id in port.security_groups:
            group = self.security_groups.get(group_id)
            if group is None:
                raise ValueError(f"port {port.port_id} has security group {group_id}, which is not there")
            kinds.setdefault(group.group.stateful, group_id)
        if len(kinds) > 1:
            raise ValueError(
                f"port {port.port_id} has security groups {kinds[True]}, which is stateful, and {kinds[False]}, which "
                "is not: all must be of one kind"
            )
        if True in kinds and not port.zone:
            raise ValueError(f"port {port.port_id} has stateful security groups and no connection zone")

    def _with_copies(self, before: World, leaving: Iterable[WorldPort], joining: Iterable[WorldPort]) -> World:
        """Return this world with what flooded frames cost now; raises ValueError if that is too much.

        `leaving` are ports of `before`, with the groups that they had there.
        """
        costs = dict(self.copy_lookups)
        for port in leaving:
            costs[port.network] -= before._copy_lookups(port.security_groups)
            if not costs[port.network]:
                del costs[port.network]
        for port in joining:
            costs[port.network] = costs.get(port.network, 0) + self._copy_lookups(port.security_groups)
            self._check_copies(port.port_id, port.network, costs[port.network])
        return replace(self, copy_lookups=costs)

    def check_room(self, port_id: PortId, network: NetworkIndex, groups: Sequence[SecurityGroupId]) -> None:
        """Raise ValueError if a broadcast would cost too much with one more port, which has these security groups."""
        self._check_copies(port_id, network, self.copy_lookups.get(network, 0) + self._copy_lookups(groups))

    def _check_copies(self, port_id: PortId, network: NetworkIndex, cost: int) -> None:
        if cost > MAX_COPY_LOOKUPS:
            raise ValueError(
                f"port {port_id}: a broadcast in network {self.networks[network].network_id} would cost "
                f"more than {MAX_COPY_LOOKUPS} look-ups, of which a port needs 1, with stateful security groups 2, "
                "with stateless ones 4 and 1 for each; spread the network's ports over more hosts"
            )

    def _copy_lookups(self, groups: Sequence[SecurityGroupId]) -> int:
        """Return the most look-ups that a flooded frame's copy to a port with these groups costs, as its flows are."""
        if not groups:
            return 1
        return 2 if self.security_groups[groups[0]].group.stateful else 4 + len(groups)

    def _with_membership(self, membership: Membership, group: SecurityGroup) -> World:
        """Return this world with the index as it is after a change of a security group; raises ValueError."""
        group_id = group.security_group_id
        world = replace(self, membership=membership)
        renamed = set(membership.named_by.differing(self.membership.named_by))
        places = {place for named in {*renamed, group_id} for place in world.addresses_in(named)}
        address_groups = membership.prefixes_named_by.differing(self.membership.prefixes_named_by)
        prefixes = {prefix for named in address_groups for prefix in self.address_groups[named].group.addresses}
        membership.check(places, prefixes)
        return world

    def uplink_of(self, network: NetworkIndex) -> Uplink | None:
        """Return the uplink of a network, None if it has none or the switch has not; raises KeyError."""
        physical_network = self.networks[network].physical_network
        return None if physical_network is None else self.uplinks.get(physical_network)

    def shards(self, network: NetworkIndex) -> tuple[int, ...]:
        """Return the shards of a network in order: those with ports, and always 0.

        An empty network keeps its first flood group, so that its first plug costs the same as any other.
        """
        return tuple(sorted({0, *self.shards_by_network.get(network, ())}))

    def ports_of(self, network: NetworkIndex, shard: int) -> tuple[WorldPort, ...]:
        """Return the ports of one shard in order of their index, without looking at any other port."""
        return self.shards_by_network.get(network, {}).get(shard, ())


def _port_claims(port: WorldPort) -> tuple[Claim, ...]:
    return (
        ("ofport", port.ofport, None),
        ("mac_address", port.network, port.mac_address),
        ("slot", port.network, port.slot),
        *((("zone", port.zone, None),) if port.zone else ()),
    )


def _uplink_claims(uplink: Uplink) -> tuple[Claim, ...]:
    return (("ofport", uplink.ofport, None),)


def _network_claims(network: Network) -> tuple[Claim, ...]:
    if network.physical_network is None:
        return ()
    return (("segment", network.physical_network, network.segmentation_id),)


def _numbered(claims: Mapping[Claim, str], what: str, before: int | None, after: int, subject: str) -> dict[Claim, str]:
    """Return the claims with the number that a group has; it keeps the first that it is given."""
    if before not in (None, after):
        raise ValueError(f"{subject} has number {before}, and cannot become {after}")
    if not 0 < after <= MAX_GROUP_INDEX:
        raise ValueError(f"{subject}: number {after} is outside of 1 to {MAX_GROUP_INDEX}")
    taken = dict(claims)
    if before is None:
        _take(taken, [(what, after, None)], subject)
    return taken


def _take(claims: dict[Claim, str], wanted: Iterable[Claim], subject: str) -> None:
    for claim in wanted:
        if claim in claims:
            number = " ".join(str(part) for part in claim if part is not None)
            raise ValueError(f"{subject} wants {number}, which {claims[claim]} has")
        claims[claim] = subject


def _release(claims: dict[Claim, str], held: Iterable[Claim]) -> None:
    for claim in held:
        del claims[claim]


def _join(shards: dict[NetworkIndex, Shards], port: WorldPort) -> None:
    of_network = dict(shards.get(port.network, {}))
    members = list(of_network.get(port.shard, ()))
    insort(members, port, key=lambda member: member.index)
    of_network[port.shard] = tuple(members)
    shards[port.network] = of_network


def _leave(shards: dict[NetworkIndex, Shards], port: WorldPort) -> None:
    of_network = dict(shards[port.network])
    members = tuple(member for member in of_network[port.shard] if member.index != port.index)
    if members:
        of_network[port.shard] = members
    else:
        del of_network[port.shard]
    if of_network:
        shards[port.network] = of_network
    else:
        del shards[port.network]
