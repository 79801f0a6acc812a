"""The changes of the world that a caller can ask for, one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ofctl.model.ids import DeviceName, MacAddress, NetworkIndex, OfPort, PortId, PortIndex
from ofctl.model.network import IpAddress, NumberedNetwork
from ofctl.model.port import Binding
from ofctl.model.security import (
    AddressGroupId,
    AddressPair,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroupId,
)
from ofctl.pipeline.world import World, WorldPort


class Edit(Protocol):
    """A change of the world that one caller waits for."""

    def applied_to(self, world: World) -> World:
        """Return the changed world; raises ValueError if the edit contradicts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPlace:
    """All that the pipeline needs of a port, but its ofport: that one is the switch's to give, and to change."""

    port_id: PortId
    index: PortIndex
    slot: int
    network: NetworkIndex
    mac_address: MacAddress
    device: DeviceName
    annotations: tuple[tuple[str, str], ...] = ()
    addresses: tuple[IpAddress, ...] = ()
    address_pairs: tuple[AddressPair, ...] = ()
    port_security: bool | None = None
    security_groups: tuple[SecurityGroupId, ...] = ()
    zone: int = 0

    @classmethod
    def of(cls, binding: Binding, network: NetworkIndex) -> PortPlace:
        """Return the place of a binding."""
        spec = binding.spec
        return cls(
            port_id=binding.port_id,
            index=binding.numbers.index,
            slot=binding.numbers.slot,
            network=network,
            mac_address=binding.mac_address,
            device=binding.device,
            annotations=binding.spec.annotations,
            addresses=spec.fixed_ips,
            address_pairs=spec.allowed_address_pairs,
            port_security=spec.port_security,
            security_groups=spec.security_groups,
            zone=binding.numbers.zone,
        )

    def at(self, ofport: OfPort) -> WorldPort:
        """Return the port as it is when the switch has it under `ofport`."""
        return WorldPort(
            port_id=self.port_id,
            index=self.index,
            slot=self.slot,
            network=self.network,
            mac_address=self.mac_address,
            ofport=ofport,
            annotations=self.annotations,
            addresses=self.addresses,
            address_pairs=self.address_pairs,
            port_security=self.port_security,
            security_groups=self.security_groups,
            zone=self.zone,
        )


@dataclass(frozen=True, slots=True)
class PutPort:
    """Let the switch forward for a port."""

    place: PortPlace
    ofport: OfPort

    def applied_to(self, world: World) -> World:
        return world.with_port(self.place.at(self.ofport))


@dataclass(frozen=True, slots=True)
class ChangePlace:
    """Let the switch forward for a port otherwise than it did, under the ofport that it has, if it has one."""

    place: PortPlace

    def applied_to(self, world: World) -> World:
        present = world.ports.get(self.place.index)
        return world if present is None else world.with_port(self.place.at(present.ofport))


@dataclass(frozen=True, slots=True)
class DropPort:
    """Let the switch forget a port."""

    index: PortIndex

    def applied_to(self, world: World) -> World:
        return world.without_port(self.index) if self.index in world.ports else world


@dataclass(frozen=True, slots=True)
class PutNetwork:
    """Let the switch know a network."""

    network: NumberedNetwork

    def applied_to(self, world: World) -> World:
        return world.with_network(self.network)


@dataclass(frozen=True, slots=True)
class DropNetwork:
    """Let the switch forget a network."""

    index: NetworkIndex

    def applied_to(self, world: World) -> World:
        return world.without_network(self.index) if self.index in world.networks else world


@dataclass(frozen=True, slots=True)
class PutSecurityGroup:
    """Let the switch know a security group, or know it anew: its ports' flows follow."""

    group: NumberedSecurityGroup

    def applied_to(self, world: World) -> World:
        return world.with_security_group(self.group)


@dataclass(frozen=True, slots=True)
class DropSecurityGroup:
    """Let the switch forget a security group that nobody names."""

    group_id: SecurityGroupId

    def applied_to(self, world: World) -> World:
        return world.without_security_group(self.group_id) if self.group_id in world.security_groups else world


@dataclass(frozen=True, slots=True)
class PutAddressGroup:
    """Let the switch know an address group, or know it anew."""

    group: NumberedAddressGroup

    def applied_to(self, world: World) -> World:
        return world.with_address_group(self.group)


@dataclass(frozen=True, slots=True)
class DropAddressGroup:
    """Let the switch forget an address group that nobody names."""

    group_id: AddressGroupId

    def applied_to(self, world: World) -> World:
        return world.without_address_group(self.group_id) if self.group_id in world.address_groups else world
