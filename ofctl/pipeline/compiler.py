"""From the world to flows: the apps' answers put together, part by part.

The parts (host, networks, shards, ports) are independent: the whole is their union, and a change of the world is a
change of few of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.pipeline.anchors import Chain
from ofctl.pipeline.changes import Change
from ofctl.pipeline.diff import diff
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Flow, FlowSet, Group
from ofctl.pipeline.probe import Probe
from ofctl.pipeline.tables import (
    PATHS,
    REGISTER_SLICES,
    TABLES,
    check_declaration,
    host_cookie,
    network_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

NOWHERE: frozenset[int] = frozenset()


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
        for port in world.ports.values():
            yield self._port(port, world)

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
