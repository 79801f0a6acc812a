"""The world that flows are computed from: networks, ports and uplinks of one host, as an immutable value.

Every `with_...` and `without_...` returns a new world that shares what has not changed, so that two worlds are
compared in time proportional to their difference (`Compiler.changes`).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ofctl.model.ids import MacAddress, NetworkIndex, OfPort, PhysicalNetwork, PortId, PortIndex
from ofctl.model.network import IpAddress, Network, NumberedNetwork
from ofctl.model.security import (
    AddressGroupId,
    AddressPair,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroupId,
)
from ofctl.pipeline.annotations import annotations_of
from ofctl.pipeline.flow import MAX_BUCKETS
from ofctl.pipeline.tables import MAX_NETWORK_INDEX, MAX_PORT_INDEX, MAX_SHARDS

MAX_OFPORT = 0xFEFF
"""Largest number that ovs-vswitchd gives to a port (ovs-vswitchd.conf.db(5), ofport)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldPort:
    """A port as the pipeline knows it. Raises ValueError for a number outside of its range."""

    port_id: PortId
    index: PortIndex
    slot: int
    """Place in the network's flood groups, 0 upwards."""
    network: NetworkIndex
    mac_address: MacAddress
    ofport: OfPort
    annotations: tuple[tuple[str, str], ...] = ()
    """What apps add to a port, by APP/NAME."""
    addresses: tuple[IpAddress, ...] = ()
    """The guest's fixed addresses."""
    address_pairs: tuple[AddressPair, ...] = ()
    """What it may use besides them."""
    port_security: bool | None = None
    """Whether its senders are checked; None: as its network says."""
    security_groups: tuple[SecurityGroupId, ...] = ()
    zone: int = 0
    """Its connection table, 1 to 65,535; 0 if it has none."""

    def __post_init__(self) -> None:
        if not 0 < self.index <= MAX_PORT_INDEX:
            raise ValueError(f"port {self.port_id}: index {self.index} is outside of 1 to {MAX_PORT_INDEX}")
        if not 0 <= self.slot < MAX_SHARDS * MAX_BUCKETS:
            raise ValueError(f"port {self.port_id}: slot {self.slot} is outside of 0 to {MAX_SHARDS * MAX_BUCKETS - 1}")
        check_ofport(self.ofport, f"port {self.port_id}")

    @property
    def shard(self) -> int:
        """Which of the network's flood groups the port is in."""
        return self.slot // MAX_BUCKETS

    def annotations_of(self, app: str) -> dict[str, str]:
        """Return one app's annotations by their own names."""
        return annotations_of(app, self.annotations)

    @property
    def mac_number(self) -> int:
        """The MAC address as a number of 48 bits."""
        return int(self.mac_address.replace(":", ""), 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """The way out for a physical network."""

    physical_network: PhysicalNetwork
    ofport: OfPort

    def __post_init__(self) -> None:
        check_ofport(self.ofport, f"uplink {self.physical_network}")


def check_ofport(ofport: int, subject: str) -> None:
    """Raise ValueError unless `ofport` is a number that the switch gives to a port."""
    if not 0 < ofport <= MAX_OFPORT:
        raise ValueError(f"{subject}: ofport {ofport} is outside of 1 to {MAX_OFPORT}")


Shards = Mapping[int, tuple[WorldPort, ...]]
Claim = tuple[str, object, object]
"""Something that only one may have, such as an ofport. Two ports of one ofport would share a classification flow."""


@dataclass(frozen=True, slots=True)
class World:
    """Networks, ports and uplinks. Start from `World()`; equality compares all three."""

    networks: Mapping[NetworkIndex, Network] = field(default_factory=dict)
    ports: Mapping[PortIndex, WorldPort] = field(default_factory=dict)
    uplinks: Mapping[PhysicalNetwork, Uplink] = field(default_factory=dict)
    shards_by_network: Mapping[NetworkIndex, Shards] = field(default_factory=dict, compare=False)
    """Ports by network and shard, each tuple in order of index. Replaced, never changed: compare with `is`."""
    claims: Mapping[Claim, str] = field(default_factory=dict, compare=False)
    security_groups: Mapping[SecurityGroupId, NumberedSecurityGroup] = field(default_factory=dict)
    address_groups: Mapping[AddressGroupId, NumberedAddressGroup] = field(default_factory=dict)

    def with_network(self, network: NumberedNetwork) -> World:
        """Return this world with the network added or replaced.

        Raises ValueError if another network is on the same segment: their frames could not be told apart.
        """
        if not 0 < network.index <= MAX_NETWORK_INDEX:
            raise ValueError(f"network index {network.index} is outside of 1 to {MAX_NETWORK_INDEX}")
        claims = dict(self.claims)
        before = self.networks.get(network.index)
        if before is not None:
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

        Raises ValueError if a port's network is not there, or if its ofport, or its MAC address or slot within the
        network, is another port's; KeyError never.
        """
        everyone, claims = dict(self.ports), dict(self.claims)
        shards = dict(self.shards_by_network)
        ports = tuple(ports)
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
            _take(claims, _port_claims(port), f"port {port.port_id}")
            everyone[port.index] = port
            _join(shards, port)
        return replace(self, ports=everyone, shards_by_network=shards, claims=claims)

    def without_port(self, index: PortIndex) -> World:
        """Return this world without the port; raises KeyError if it is not there."""
        return self.without_ports((index,))

    def without_ports(self, indexes: Iterable[PortIndex]) -> World:
        """Return this world without the ports; raises KeyError if one is not there."""
        everyone, claims = dict(self.ports), dict(self.claims)
        shards = dict(self.shards_by_network)
        for index in indexes:
            port = everyone.pop(index)
            _release(claims, _port_claims(port))
            _leave(shards, port)
        return replace(self, ports=everyone, shards_by_network=shards, claims=claims)

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
    )


def _uplink_claims(uplink: Uplink) -> tuple[Claim, ...]:
    return (("ofport", uplink.ofport, None),)


def _network_claims(network: Network) -> tuple[Claim, ...]:
    if network.physical_network is None:
        return ()
    return (("segment", network.physical_network, network.segmentation_id),)


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
