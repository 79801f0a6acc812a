"""What an app is to the compiler: one feature, the tables it owns, and the flows it puts there."""

# ruff: noqa: ARG002  (the empty answers look at nothing)
from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ofctl.model.ids import NetworkIndex
from ofctl.pipeline.flow import Flow, Group, Table
from ofctl.pipeline.world import World, WorldPort


class FeatureApp(Protocol):
    """One feature. Stateless and pure: the same world gives the same flows. It never talks to the switch.

    Flows lie only in tables that the app owns, and bear the cookie of what they are for (`ofctl.pipeline.tables`).
    What each method may look at is part of the contract, because `Compiler.changes` skips what cannot have changed.
    Subclass this to inherit the empty answers.
    """

    name: str
    """The owner in the table's declaration."""
    tables: tuple[Table, ...]

    def host_flows(self, world: World) -> Iterable[Flow]:
        """Return the flows that are there whatever is plugged. May look at `world.uplinks` only."""
        return ()

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        """Return the flows of a network. May look at the network, its uplink and `world.shards(network)`."""
        return ()

    def shard_groups(self, network: NetworkIndex, shard: int, world: World) -> Iterable[Group]:
        """Return the groups of one shard of a network. May look at the network and `world.ports_of(network, shard)`."""
        return ()

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        """Return the flows of a port, a number that does not depend on other ports. May look at port and network."""
        return ()
