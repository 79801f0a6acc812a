"""What the world is made of: ports and uplinks as the pipeline knows them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from ofctl.model.ids import MacAddress, NetworkIndex, OfPort, PhysicalNetwork, PortId, PortIndex
from ofctl.model.network import IpAddress, IpNetwork
from ofctl.model.security import AddressPair, SecurityGroupId
from ofctl.pipeline.annotations import annotations_of
from ofctl.pipeline.flow import MAX_BUCKETS
from ofctl.pipeline.tables import MAX_PORT_INDEX, MAX_SHARDS

MAX_OFPORT = 0xFEFF
"""Largest number that ovs-vswitchd gives to a port (ovs-vswitchd.conf.db(5), ofport)."""
MAX_ZONE = 0xFFFF


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
        if not 0 <= self.zone <= MAX_ZONE:
            raise ValueError(f"port {self.port_id}: zone {self.zone} is outside of 0 to {MAX_ZONE}")
        check_ofport(self.ofport, f"port {self.port_id}")

    @property
    def prefixes(self) -> tuple[IpNetwork, ...]:
        """What the port counts for where a rule names one of its groups: fixed addresses and allowed pairs."""
        own = (ip_network(address) for address in self.addresses)
        return tuple(dict.fromkeys((*own, *(pair.address for pair in self.address_pairs))))

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
