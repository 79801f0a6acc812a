"""A network: one broadcast domain that ports are plugged into."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass

from ofctl.errors import InvalidField, NotSupported
from ofctl.model.ids import MAX_NAME_LENGTH, NetworkId, NetworkIndex, PhysicalNetwork, identifier

MIN_MTU = 68
"""RFC 791; a network with an IPv6 subnet needs 1280 (RFC 8200, section 5)."""
MIN_MTU_IPV6 = 1280
MAX_MTU = 65_521
DEFAULT_MTU = 1500

IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class NetworkType(enum.Enum):
    """How the network leaves the host: not at all, untagged, with a VLAN tag; the overlays are reserved."""

    LOCAL = "local"
    FLAT = "flat"
    VLAN = "vlan"
    VXLAN = "vxlan"
    GENEVE = "geneve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """An address range of a network. `gateway` is inside `cidr` or None."""

    cidr: IpNetwork
    gateway: IpAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network as its owner declared it. Construction validates it: raises InvalidField or NotSupported."""

    network_id: NetworkId
    name: str = ""
    network_type: NetworkType = NetworkType.LOCAL
    segmentation_id: int | None = None
    """VLAN id, 1 to 4094; only with type VLAN."""
    physical_network: PhysicalNetwork | None = None
    """Names an uplink of the host; required for FLAT and VLAN, absent for LOCAL."""
    mtu: int = DEFAULT_MTU
    """Largest IP packet in bytes, 68 to 65,521 (1,280 at least with IPv6)."""
    subnets: tuple[Subnet, ...] = ()
    port_security: bool = True
    """Whether the senders on its ports are checked, where a port says nothing else."""
    neighbor_replies: bool = True
    """Whether the switch answers ARP and neighbor solicitations for the addresses that it knows."""
    flood_unknown_neighbors: bool = True
    """Whether such a question for an address that nobody knows is flooded; if not, it is dropped."""

    def __post_init__(self) -> None:
        identifier(self.network_id, "network.network_id")
        if len(self.name) > MAX_NAME_LENGTH:
            raise InvalidField(
                "network.name", f"has {len(self.name)} characters; at most {MAX_NAME_LENGTH} are allowed"
            )
        self._check_type()
        self._check_mtu()
        self._check_subnets()

    def _check_type(self) -> None:
        if self.network_type in (NetworkType.VXLAN, NetworkType.GENEVE):
            raise NotSupported(
                f"network.type: {self.network_type.name} is reserved and not built yet; use LOCAL, FLAT or VLAN",
                subject="network.type",
            )
        needs_uplink = self.network_type in (NetworkType.FLAT, NetworkType.VLAN)
        if needs_uplink and not self.physical_network:
            raise InvalidField("network.physical_network", f"is required for a {self.network_type.name} network")
        if not needs_uplink and self.physical_network:
            raise InvalidField("network.physical_network", "must be empty for a LOCAL network: it has no uplink")
        if self.network_type is NetworkType.VLAN:
            if self.segmentation_id is None or not 1 <= self.segmentation_id <= 4094:
                raise InvalidField("network.segmentation_id", "must be a VLAN id, 1 to 4094, for a VLAN network")
        elif self.segmentation_id is not None:
            raise InvalidField(
                "network.segmentation_id", f"must be absent for a {self.network_type.name} network: it has no tag"
            )

    def _check_mtu(self) -> None:
        ipv6 = any(subnet.cidr.version == 6 for subnet in self.subnets)
        least = MIN_MTU_IPV6 if ipv6 else MIN_MTU
        if not least <= self.mtu <= MAX_MTU:
            raise InvalidField("network.mtu", f"is {self.mtu}; it must be {least} to {MAX_MTU} bytes for this network")

    def _check_subnets(self) -> None:
        for number, subnet in enumerate(self.subnets):
            field = f"network.subnets[{number}]"
            if subnet.gateway is not None and not is_host_address(subnet.gateway, subnet.cidr):
                raise InvalidField(f"{field}.gateway", f"{subnet.gateway} is no host address of {subnet.cidr}")
            for other in self.subnets[:number]:
                if other.cidr.version == subnet.cidr.version and other.cidr.overlaps(subnet.cidr):
                    raise InvalidField(f"{field}.cidr", f"{subnet.cidr} overlaps {other.cidr}")

    def subnet_of(self, address: IpAddress) -> Subnet | None:
        """Return the subnet that `address` is a host address of, or None."""
        return next((subnet for subnet in self.subnets if is_host_address(address, subnet.cidr)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedNetwork:
    """A network and the durable number that the pipeline knows it by."""

    network: Network
    index: NetworkIndex


def is_host_address(address: IpAddress, cidr: IpNetwork) -> bool:
    """Tell whether a host can have `address` in `cidr`: neither network nor broadcast address (RFC 3021)."""
    if address.version != cidr.version or address not in cidr:
        return False
    if cidr.prefixlen >= cidr.max_prefixlen - 1:
        return True
    if address == cidr.network_address:
        return False
    return not (cidr.version == 4 and address == cidr.broadcast_address)
