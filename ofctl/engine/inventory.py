"""What is intended on this host, by every key that must be unique, and the rules by which a port is admitted.

A claim is made before the first wait and given back when the port is absent, so that of two callers who want the same
address at the same time exactly one is refused, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ofctl.errors import AlreadyExists, InvalidField, NotFound, Refused, ResourceExhausted
from ofctl.model.ids import DeviceName, HostId, NetworkId, PhysicalNetwork, PortId, derived_device_name, derived_mac
from ofctl.model.network import Network, NetworkType, NumberedNetwork
from ofctl.model.port import PortSpec, VifType, VmConsumer

Key = tuple[PortId, HostId]
BUILT_VIF_TYPES = (VifType.TAP, VifType.VETH)


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that one port alone may have. `field` is where the caller asked for it."""

    kind: str
    scope: str
    wanted: tuple[str, ...]
    field: str = field(compare=False)


class Inventory:
    """Networks and claims of one host. Not thread-safe: belongs to the event loop."""

    def __init__(
        self,
        host_id: HostId,
        *,
        max_ports: int,
        device_prefix: str,
        physical_networks: Mapping[PhysicalNetwork, tuple[DeviceName, ...]],
    ) -> None:
        self.host_id = host_id
        self.max_ports = max_ports
        self._device_prefix = device_prefix
        self.physical_networks = physical_networks
        self._networks: dict[NetworkId, NumberedNetwork] = {}
        self._specs: dict[Key, PortSpec] = {}
        self._claims: dict[Key, tuple[Claim, ...]] = {}
        self._holders: dict[Claim, Key] = {}

    # Networks

    def network(self, network_id: NetworkId) -> NumberedNetwork:
        """Return the network. Raises NotFound."""
        found = self._networks.get(network_id)
        if found is None:
            raise NotFound(f"there is no network {network_id!r}; create it with ApplyNetwork", subject=network_id)
        return found

    def networks(self) -> tuple[NumberedNetwork, ...]:
        """Return all networks in order of their ids."""
        return tuple(self._networks[network_id] for network_id in sorted(self._networks))

    def put_network(self, network: NumberedNetwork) -> None:
        """Take a network that is durable."""
        self._networks[network.network.network_id] = network

    def drop_network(self, network_id: NetworkId) -> None:
        """Forget a network that is durably gone."""
        self._networks.pop(network_id, None)

    def check_network(self, network: Network) -> None:
        """Raise what forbids that `network` be applied: the segment of another, or ports that would not fit."""
        for other in self._networks.values():
            if other.network.network_id != network.network_id and _same_segment(other.network, network):
                raise AlreadyExists(
                    f"network {other.network.network_id!r} is on {_segment(network)} already",
                    reason="SEGMENT_IN_USE",
                    subject="network.segmentation_id",
                )
        if network.network_id not in self._networks:
            return
        present = self._networks[network.network_id].network
        for key, spec in self._specs.items():
            if spec.network_id == network.network_id:
                self._check_port_fits(key[0], spec, present, network)

    def _check_port_fits(self, port_id: PortId, spec: PortSpec, present: Network, wanted: Network) -> None:
        for name in ("network_type", "segmentation_id", "physical_network"):
            if getattr(present, name) != getattr(wanted, name):
                raise Refused(
                    f"network.{name} of {wanted.network_id!r} cannot change while port {port_id!r} uses the network",
                    reason="NETWORK_IN_USE",
                    subject=f"network.{name}",
                )
        if spec.mtu is not None and spec.mtu > wanted.mtu:
            raise Refused(
                f"network.mtu {wanted.mtu} is below the MTU {spec.mtu} of port {port_id!r}",
                reason="NETWORK_IN_USE",
                subject="network.mtu",
            )
        for address in spec.fixed_ips:
            if wanted.subnet_of(address) is None:
                raise Refused(
                    f"no subnet of {wanted.network_id!r} would hold {address} of port {port_id!r}",
                    reason="NETWORK_IN_USE",
                    subject="network.subnets",
                )

    def check_network_unused(self, network_id: NetworkId) -> None:
        """Raise Refused while a port uses the network."""
        users = [port_id for (port_id, _), spec in self._specs.items() if spec.network_id == network_id]
        if users:
            raise Refused(
                f"network {network_id!r} is used by {len(users)} port(s), such as {users[0]!r}; unplug them first",
                reason="NETWORK_IN_USE",
                subject=network_id,
            )

    # Ports

    def __contains__(self, key: Key) -> bool:
        return key in self._specs

    def __len__(self) -> int:
        return len(self._specs)

    def __iter__(self) -> Iterator[Key]:
        return iter(sorted(self._specs))

    def admit(self, spec: PortSpec) -> tuple[PortSpec, DeviceName]:
        """Return the spec with its defaults filled in and the name of its device; changes nothing.

        Raises InvalidField, AlreadyExists, Refused, NotFound or ResourceExhausted, whichever applies first.
        """
        if spec.host_id != self.host_id:
            raise NotFound(
                f"port.host_id: this agent serves host {self.host_id!r}, not {spec.host_id!r}", subject="port.host_id"
            )
        network = self.network(spec.network_id).network
        if len(self._specs) >= self.max_ports:
            raise ResourceExhausted(
                f"host {self.host_id!r} carries {self.max_ports} ports, its configured capacity ([agent] max_ports)",
                reason="CAPACITY",
                subject=self.host_id,
            )
        if network.physical_network is not None and network.physical_network not in self.physical_networks:
            raise Refused(
                f"host {self.host_id!r} has no uplink for physical network {network.physical_network!r}; "
                "map it in [agent] physical_networks",
                reason="NO_UPLINK",
                subject="port.network_id",
            )
        _check_vif_type(spec)
        mtu = _admitted_mtu(spec, network)
        mac = spec.mac_address or derived_mac(spec.port_id)
        prefix = self._device_prefix if isinstance(spec.consumer, VmConsumer) else "v" + self._device_prefix
        device = spec.requested_device or derived_device_name(prefix, spec.port_id)
        _check_addresses(spec, network)
        admitted = replace(spec, mac_address=mac, mtu=mtu)
        for claim in _claims_of(admitted, device):
            holder = self._holders.get(claim)
            if holder is not None:
                raise AlreadyExists(
                    f"{claim.field}: {' '.join(claim.wanted)} is in use by port {holder[0]!r}",
                    reason=f"{claim.kind}_IN_USE",
                    subject=claim.field,
                )
        return admitted, device

    def claim(self, spec: PortSpec, device: DeviceName) -> None:
        """Reserve everything that an admitted spec needs for itself."""
        key = (spec.port_id, spec.host_id)
        self._specs[key] = spec
        self._claims[key] = _claims_of(spec, device)
        self._holders.update(dict.fromkeys(self._claims[key], key))

    def release(self, key: Key) -> None:
        """Give back what was claimed for a port; no error if there was nothing."""
        self._specs.pop(key, None)
        for claim in self._claims.pop(key, ()):
            self._holders.pop(claim, None)

    def same_as_claimed(self, spec: PortSpec) -> bool:
        """Tell whether `spec` asks for the port that is there: what it leaves open may be anything."""
        present = self._specs[spec.port_id, spec.host_id]
        asked = replace(
            spec,
            mac_address=spec.mac_address or present.mac_address,
            mtu=spec.mtu or present.mtu,
            requested_device=spec.requested_device or present.requested_device,
            vif_types=present.vif_types,
            recovery=present.recovery,
        )
        return asked == present


def _claims_of(spec: PortSpec, device: DeviceName) -> tuple[Claim, ...]:
    claims = [
        Claim("MAC", spec.network_id, ("MAC address", str(spec.mac_address)), "port.mac_address"),
        Claim("DEVICE", "", ("device", device), "port.device_name"),
    ]
    for number, address in enumerate(spec.fixed_ips):
        claims.append(Claim("ADDRESS", spec.network_id, ("address", str(address)), f"port.fixed_ips[{number}]"))
    if not isinstance(spec.consumer, VmConsumer):
        where = "port.container" if spec.consumer.container else "port.namespace"
        inner = ("interface", spec.consumer.interface_name)
        claims.append(Claim("INTERFACE", spec.consumer.netns_path, inner, f"{where}.interface_name"))
    return tuple(claims)


def _check_addresses(spec: PortSpec, network: Network) -> None:
    for number, address in enumerate(spec.fixed_ips):
        where = f"port.fixed_ips[{number}]"
        subnet = network.subnet_of(address)
        if subnet is None:
            ranges = ", ".join(str(each.cidr) for each in network.subnets) or "none"
            raise InvalidField(where, f"{address} is no host address of a subnet of {spec.network_id!r} ({ranges})")
        if address == subnet.gateway:
            raise InvalidField(where, f"{address} is the gateway of {subnet.cidr}")


def _check_vif_type(spec: PortSpec) -> None:
    if spec.vif_types and spec.vif_type not in spec.vif_types:
        usable = ", ".join(sorted(vif_type.name for vif_type in spec.vif_types))
        raise Refused(
            f"port.vif_types: this host gives such a consumer {spec.vif_type.name}, and the caller can use {usable}",
            reason="VIF_TYPE",
            subject="port.vif_types",
        )


def _admitted_mtu(spec: PortSpec, network: Network) -> int:
    mtu = network.mtu if spec.mtu is None else spec.mtu
    if mtu > network.mtu:
        raise InvalidField("port.mtu", f"{mtu} is above the MTU {network.mtu} of network {network.network_id!r}")
    if mtu < 1280 and any(address.version == 6 for address in spec.fixed_ips):
        raise InvalidField("port.mtu", f"{mtu} is below 1280, the least for a port with an IPv6 address (RFC 8200)")
    return mtu


def _same_segment(left: Network, right: Network) -> bool:
    if NetworkType.LOCAL in (left.network_type, right.network_type):
        return False
    return (left.physical_network, left.segmentation_id) == (right.physical_network, right.segmentation_id)


def _segment(network: Network) -> str:
    tag = f"VLAN {network.segmentation_id}" if network.segmentation_id else "the untagged segment"
    return f"{tag} of {network.physical_network!r}"
