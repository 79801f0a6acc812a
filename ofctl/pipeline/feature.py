"""What an app is to the compiler: one feature, the tables it owns, and the flows it puts there."""

# ruff: noqa: ARG002  (the empty answers look at nothing)
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from ofctl.model.ids import NetworkIndex
from ofctl.model.network import IpNetwork
from ofctl.model.security import NumberedSecurityGroup
from ofctl.pipeline.app import AnchoredTable, App, Counter, Place, RegisterBits
from ofctl.pipeline.fields import RegisterSlice
from ofctl.pipeline.flow import Flow, Group, Table
from ofctl.pipeline.packets import PacketIn, PacketOut
from ofctl.pipeline.probe import Probe
from ofctl.pipeline.world import World, WorldPort


class FeatureApp(App):
    """One feature. Stateless and pure: the same world gives the same flows. It never talks to the switch.

    Flows lie only in tables that the app owns, and bear the cookie of what they are for (`ofctl.pipeline.tables`).
    What each method may look at is part of the contract, because `Compiler.changes` skips what cannot have changed.

    A third party's app declares what it wants and is given it (docs/plugins.md). Its flows may match everything, set
    header fields and its own registers, push and pop tags, drop, look up its own tables and go ONWARD; only the core
    sends frames out.
    """

    tables: tuple[Table, ...] = ()
    """Those it owns: the core's apps name them, a third party's are those of its `place`."""
    doors: Mapping[Table, Table] = MappingProxyType({})
    """By table of somebody else, the own table that frames meet before that one. The core's apps alone have any."""
    anchored: ClassVar[Sequence[AnchoredTable]] = ()
    registers: ClassVar[Sequence[RegisterBits]] = ()
    counters: ClassVar[Sequence[Counter]] = ()

    def __init__(self, place: Place | None = None) -> None:
        super().__init__(place)
        if place is not None:
            self.tables = tuple(place.tables.values())

    def table(self, name: str) -> Table:
        """Return the table that the app declared under this name."""
        assert self.place is not None
        return self.place.tables[name]

    def register(self, name: str) -> RegisterSlice:
        """Return the register bits that the app declared under this name."""
        assert self.place is not None
        return self.place.registers[name]

    def host_flows(self, world: World) -> Iterable[Flow]:
        """Return the flows that are there whatever is plugged. May look at `world.uplinks` only."""
        return ()

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        """Return the flows of a network. May look at the network, its uplink and `world.shards(network)`."""
        return ()

    def shard_groups(self, network: NetworkIndex, shard: int, world: World) -> Iterable[Group]:
        """Return the groups of one shard of a network. May look at the network and `world.ports_of(network, shard)`."""
        return ()

    def probes(self, port: WorldPort, world: World) -> Iterable[Probe]:
        """Return frames that show what this feature does for a port, few of them. May look at the whole world."""
        return ()

    def lets_pass(self, probe: Probe, port: WorldPort, world: World) -> bool:
        """Tell whether this feature's policy lets the frame of a probe pass, whichever feature it is of.

        Who makes a policy knows it: a port whose policy blocks a frame is not dead because the frame is dropped.
        """
        return True

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        """Return the flows of a port, a number that does not depend on other ports.

        May look at port and network; of its security groups at their numbers, whether they are stateful, and whether
        they have egress rules.
        """
        return ()

    def security_group_flows(self, group: NumberedSecurityGroup, world: World) -> Iterable[Flow]:
        """Return the flows of a security group's rules, whoever is in it. Only the core's apps are asked.

        May look at the group, and at the numbers of the groups that its rules name.
        """
        return ()

    def address_flows(self, network: NetworkIndex, prefix: IpNetwork, world: World) -> Iterable[Flow]:
        """Return the flows of an address that belongs to security groups. Only the core's apps are asked.

        May look at which groups it belongs to in its network, and which rules name those (`world.membership`).
        """
        return ()

    def prefix_flows(self, prefix: IpNetwork, world: World) -> Iterable[Flow]:
        """Return the flows of a prefix that belongs to address groups. Only the core's apps are asked.

        May look at which groups it belongs to, and which rules name those (`world.membership`).
        """
        return ()

    def packet_in(self, packet: PacketIn, world: World) -> Iterable[PacketOut]:
        """Return what is sent in answer to a frame that a flow of this app has handed over with `ToApp`.

        Pure, and quick: it runs in a thread of the app's own, one frame after the other, and what comes meanwhile
        waits, or is dropped. `world` is the host as it is now; the frame may be of a port that is gone.
        """
        return ()

    @property
    def handles_packets(self) -> bool:
        """Whether this app has a `packet_in` of its own."""
        return type(self).packet_in is not FeatureApp.packet_in
