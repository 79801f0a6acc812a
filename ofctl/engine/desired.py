"""What one switch shall forward for, and the places of all ports: also of those that the switch does not have now."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ofctl.engine.world_edits import ChangePlace, DropPort, Edit, PortPlace, PutPort
from ofctl.log import fields
from ofctl.model.ids import DeviceName, OfPort, PhysicalNetwork, PortIndex
from ofctl.model.network import NumberedNetwork
from ofctl.model.security import NumberedAddressGroup, NumberedSecurityGroup
from ofctl.pipeline.world import Uplink, World, WorldPort

logger = logging.getLogger(__name__)


class Desired:
    """Belongs to `FlowTables`."""

    def __init__(self, uplinks: Mapping[PhysicalNetwork, DeviceName]) -> None:
        """`uplinks`: the device on the bridge by physical network."""
        self.world = World()
        self.underway: World | None = None
        """What the wave under way makes of the world."""
        self._uplinks = uplinks
        self._places: dict[PortIndex, PortPlace] = {}
        self.left_out: frozenset[PortIndex] = frozenset()
        """Ports that the switch has and cannot forward for, since the others leave no room for them."""

    @property
    def possible(self) -> tuple[World, ...]:
        """What the switch may forward for at this moment."""
        return (self.world,) if self.underway is None else (self.world, self.underway)

    @property
    def zones(self) -> set[int]:
        """The connection tracking zones of all ports."""
        return {place.zone for place in self._places.values() if place.zone}

    def preload(
        self,
        networks: Iterable[NumberedNetwork],
        places: Iterable[PortPlace],
        security_groups: Iterable[NumberedSecurityGroup] = (),
        address_groups: Iterable[NumberedAddressGroup] = (),
    ) -> None:
        """Take what is intended at start, all of it."""
        for network in networks:
            self.world = self.world.with_network(network)
        self.world = with_groups(self.world, tuple(security_groups), address_groups)
        self._places.update((place.index, place) for place in places)

    def rehearsal(self) -> World:
        """Return a world with every port, as if the switch had all of them."""
        ports = (place.at(OfPort(number)) for number, place in enumerate(self._placeable(), 1))
        world, _ = _with_room(self.world, ports)
        return world

    def accept(self, edits: Iterable[Edit], world: World) -> None:
        """Make the edits part of what shall be; `world` is what they make of the present one."""
        self.world = world
        for edit in edits:
            match edit:
                case PutPort(place=place) | ChangePlace(place=place):
                    self._places[place.index] = place
                case DropPort(index):
                    self._places.pop(index, None)

    def with_ofports(self, ofports: Mapping[DeviceName, OfPort]) -> World:
        """Return what shall be, with the ofports of a new connection; a port that has none is left out."""
        world = World()
        for index, network in self.world.networks.items():
            world = world.with_network(NumberedNetwork(network=network, index=index))
        world = with_groups(world, tuple(self.world.security_groups.values()), self.world.address_groups.values())
        for physical_network, device in self._uplinks.items():
            if device in ofports:
                world = world.with_uplink(Uplink(physical_network=physical_network, ofport=ofports[device]))
            else:
                logger.warning("uplink is not in the switch", extra=fields(uplink=device))
        world, self.left_out = _with_room(
            world, (place.at(ofports[place.device]) for place in self._placeable() if place.device in ofports)
        )
        return world

    def _placeable(self) -> list[PortPlace]:
        return [place for place in self._places.values() if place.network in self.world.networks]


def _with_room(world: World, ports: Iterable[WorldPort]) -> tuple[World, frozenset[PortIndex]]:
    """Return a world with the ports, and those that do not fit: they must not keep the others from coming back."""
    ports = tuple(ports)
    try:
        return world.with_ports(ports), frozenset()
    except ValueError:
        left_out = set()
    for port in ports:
        try:
            world = world.with_port(port)
        except ValueError as error:
            logger.error("a port is left out: %s", error, extra=fields(port=port.port_id))
            left_out.add(port.index)
    return world, frozenset(left_out)


def with_groups(
    world: World,
    security_groups: tuple[NumberedSecurityGroup, ...],
    address_groups: Iterable[NumberedAddressGroup],
) -> World:
    """Return a world with the groups, which may name each other in any order."""
    for address_group in address_groups:
        world = world.with_address_group(address_group)
    for each in security_groups:
        world = world.with_security_group(replace(each, group=replace(each.group, rules=())))
    for each in security_groups:
        world = world.with_security_group(each)
    return world
