"""From the world to flows: the apps' answers put together, part by part.

The parts (host, networks, shards, ports, security groups, addresses) are independent: the whole is their union, and a
change of the world is a change of few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.model.network import IpNetwork
from ofctl.model.security import NumberedSecurityGroup, SecurityGroupId
from ofctl.pipeline.affected import changed_groups, changed_places, changed_ports, changed_prefixes
from ofctl.pipeline.anchors import Chain
from ofctl.pipeline.changes import Change
from ofctl.pipeline.diff import diff
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Cookie, Flow, FlowSet, Group
from ofctl.pipeline.membership import NO_ADDRESSES
from ofctl.pipeline.probe import Probe
from ofctl.pipeline.tables import (
    PATHS,
    REGISTER_SLICES,
    TABLES,
    check_declaration,
    host_cookie,
    member_cookie,
    network_cookie,
    port_cookie,
    security_group_cookie,
)
from ofctl.pipeline.world import World, WorldPort

NOWHERE: frozenset[int] = frozenset()
ANY_NETWORK = NetworkIndex(0)
"""Of the cookie of address groups' prefixes."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """Flows that a port needs and that are not its own, all of one cookie."""

    cookie: Cookie
    flows: FlowSet
    complete: bool
    """Whether these are all flows of the cookie; if not, there are others that the port does not need."""


class Compiler:
    """Compiles worlds with a fixed list of apps (`ofctl.apps.CORE_APPS`, and third parties' after them).

    The apps are given, not imported: apps are built on the pipeline, not the other way round. No method blocks.
    """

    def __init__(self, apps: Iterable[FeatureApp]) -> None:
        self.apps = tuple(apps)
        names = [app.name for app in self.apps]
        if len(set(names)) != len(names):
            raise ValueError(f"an app is given twice: {names}")
        owned = tuple(table for app in self.apps for table in app.tables)
        extra = tuple(table for table in owned if table not in TABLES)
        self.tables = (*TABLES, *extra)
        """All that is declared, third parties' tables too."""
        self._chain = Chain(self.apps)
        self.handlers = self._chain.handlers
        """The number of each app that handles packets, by name (`ofctl.pipeline.packets`)."""
        slices = [field for app in self.apps if app.place is not None for field in app.place.registers.values()]
        check_declaration(self.tables, (*REGISTER_SLICES, *slices), (*PATHS, *self._chain.paths))
        for app in self.apps:
            for table in app.tables:
                if table.owner != app.name:
                    raise ValueError(f"app {app.name} claims table {table.name}, which {table.owner} owns")

    def compile_host(self, world: World) -> FlowSet:
        """Return the flows that are there whatever is plugged."""
        flows = self._chain.flows(lambda app: app.host_flows(world), host_cookie(), "the host")
        return FlowSet((*flows, *self._chain.misses()))

    def compile_network(self, network: NetworkIndex, world: World) -> FlowSet:
        """Return the flows of a network that are no port's; raises KeyError if it is not there."""
        subject = f"network {world.networks[network].network_id}"
        cookie = network_cookie(network)
        return FlowSet(self._chain.flows(lambda app: app.network_flows(network, world), cookie, subject))

    def compile_shard(self, network: NetworkIndex, shard: int, world: World) -> FlowSet:
        """Return the groups of one shard of a network."""
        groups = (group for app in self._chain.core for group in app.shard_groups(network, shard, world))
        return FlowSet(groups=self._chain.groups(groups))

    def compile_port(self, port: PortIndex, world: World) -> FlowSet:
        """Return the flows of a port, all under `port_cookie(port)`; raises KeyError if it is not there."""
        return self._port(world.ports[port], world)

    def _port(self, port: WorldPort, world: World) -> FlowSet:
        subject, cookie = f"port {port.port_id}", port_cookie(port.index)
        return FlowSet(self._chain.flows(lambda app: app.port_flows(port, world), cookie, subject))

    def compile_security_group(self, group_id: SecurityGroupId, world: World) -> FlowSet:
        """Return the flows of a security group's rules, all under its cookie; raises KeyError if it is not there."""
        return self._group(world.security_groups[group_id], world)

    def _group(self, group: NumberedSecurityGroup, world: World) -> FlowSet:
        return self._of_core(lambda app: app.security_group_flows(group, world))

    def compile_address(self, network: NetworkIndex, prefix: IpNetwork, world: World) -> FlowSet:
        """Return the flows of an address as a member of security groups, under `member_cookie(network)`."""
        return self._of_core(lambda app: app.address_flows(network, prefix, world))

    def compile_prefix(self, prefix: IpNetwork, world: World) -> FlowSet:
        """Return the flows of a prefix as a member of address groups, under `member_cookie(0)`."""
        return self._of_core(lambda app: app.prefix_flows(prefix, world))

    def _of_core(self, ask: Callable[[FeatureApp], Iterable[Flow]]) -> FlowSet:
        return FlowSet(self._chain.core_flows(ask))

    def closure(self, port: PortIndex, world: World) -> tuple[Dependency, ...]:
        """Return what a port's own flows are not enough without: its groups' rules, and the members that they name.

        One entry for each cookie, so that a few dumps by exact cookie show all of it. Raises KeyError.
        """
        there = world.ports[port]
        groups = world.groups_of(there)
        rules = [rule for group in groups for rule in group.group.rules]
        remotes = {rule.remote_security_group for rule in rules if rule.remote_security_group is not None}
        lists = {rule.remote_address_group for rule in rules if rule.remote_address_group is not None}
        addresses = world.membership.addresses.get(world.networks[there.network].network_id, NO_ADDRESSES)
        places = [prefix for prefix, of_groups in addresses.items() if not remotes.isdisjoint(of_groups)]
        prefixes = {prefix for each in lists for prefix in world.address_groups[each].group.addresses}
        found = [
            Dependency(security_group_cookie(group.index), self._group(group, world), complete=True) for group in groups
        ]
        if places:
            flows = FlowSet.union(self.compile_address(there.network, prefix, world) for prefix in places)
            found.append(Dependency(member_cookie(there.network), flows, complete=False))
        if prefixes:
            flows = FlowSet.union(self.compile_prefix(prefix, world) for prefix in prefixes)
            found.append(Dependency(member_cookie(ANY_NETWORK), flows, complete=False))
        return tuple(found)

    def probes(self, port: PortIndex, world: World) -> tuple[Probe, ...]:
        """Return the probes of a port; what some feature's policy blocks is expected nowhere. Raises KeyError."""
        there = world.ports[port]
        return tuple(
            probe
            if all(each.lets_pass(probe, there, world) for each in self.apps)
            else replace(probe, expected=NOWHERE)
            for app in self.apps
            for probe in app.probes(there, world)
        )

    def compile_all(self, world: World) -> FlowSet:
        """Return everything that must be on the switch. Raises ValueError if two flows share an identity."""
        whole = FlowSet.union(self._parts(world))
        seen: dict[object, Flow | Group] = {}
        parts: tuple[Flow | Group, ...] = (*whole.flows, *whole.groups)
        for part in parts:
            identity: object = part.identity if isinstance(part, Flow) else part.group_id
            if identity in seen:
                raise ValueError(f"two of one identity: {seen[identity]} and {part}")
            seen[identity] = part
        return whole

    def _parts(self, world: World) -> Iterator[FlowSet]:
        yield self.compile_host(world)
        for network in world.networks:
            yield self.compile_network(network, world)
            for shard in world.shards(network):
                yield self.compile_shard(network, shard, world)
            for prefix in world.membership.addresses.get(world.networks[network].network_id, NO_ADDRESSES):
                yield self.compile_address(network, prefix, world)
        for port in world.ports.values():
            yield self._port(port, world)
        for group in world.security_groups.values():
            yield self._group(group, world)
        for prefix in world.membership.prefixes:
            yield self.compile_prefix(prefix, world)

    def changes(self, before: World, after: World) -> tuple[Change, ...]:
        """Return what takes a switch from `before` to `after`, in time proportional to their difference.

        `apply(changes(a, b), compile_all(a)) == compile_all(b)`. The switch must have the host's flows already: the
        first sync goes through `diff_images`.
        """
        old: list[FlowSet] = []
        new: list[FlowSet] = []
        if before.uplinks is not after.uplinks and before.uplinks != after.uplinks:
            old.append(self.compile_host(before))
            new.append(self.compile_host(after))
        for network in before.networks.keys() | after.networks.keys():
            same = before.networks.get(network) == after.networks.get(network)
            if same and before.shards_by_network.get(network) is after.shards_by_network.get(network):
                if before.uplink_of(network) != after.uplink_of(network):
                    old.append(self.compile_network(network, before))
                    new.append(self.compile_network(network, after))
                continue
            old += self._changed(network, before, after, everything=not same)
            new += self._changed(network, after, before, everything=not same)
        old += self._changed_groups(before, after)
        new += self._changed_groups(after, before)
        return diff(FlowSet.union(old), FlowSet.union(new))

    def _changed(self, network: NetworkIndex, world: World, other: World, *, everything: bool) -> Iterator[FlowSet]:
        """Yield the parts of a network in `world` that may differ from those in `other`."""
        if network not in world.networks:
            return
        whole = everything or world.shards(network) != other.shards(network)
        if whole or world.uplink_of(network) != other.uplink_of(network):
            yield self.compile_network(network, world)
        for shard in world.shards(network):
            ports = world.ports_of(network, shard)
            others = () if everything else other.ports_of(network, shard)
            if not everything and ports is others and shard in other.shards(network):
                continue
            yield self.compile_shard(network, shard, world)
            known = {port.index: port for port in others}
            for port in ports:
                there = known.get(port.index)
                if there is not port and there != port:  # most are the same objects, which is cheaper to see
                    yield self._port(port, world)

    def _changed_groups(self, world: World, other: World) -> Iterator[FlowSet]:
        """Yield the parts of `world` that groups and their members make differ from those in `other`."""
        for index in changed_ports(world, other):
            yield self.compile_port(index, world)
        for group in changed_groups(world, other):
            yield self._group(group, world)
        for network, prefix in changed_places(world, other):
            yield self.compile_address(network, prefix, world)
        for prefix in changed_prefixes(world, other):
            yield self.compile_prefix(prefix, world)
