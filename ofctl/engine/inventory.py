"""What is intended on this host, by every key that must be unique, and the rules by which a port is admitted.

A claim is made before the first wait and given back when the port is absent, so that of two callers who want the same
address at the same time exactly one is refused, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ofctl.engine.admission import Claim, admitted_mtu, check_addresses, check_vif_type, claims_of
from ofctl.engine.group_inventory import GroupInventory
from ofctl.errors import AlreadyExists, NotFound, Refused, ResourceExhausted
from ofctl.model.ids import DeviceName, HostId, NetworkId, PhysicalNetwork, PortId, derived_device_name, derived_mac
from ofctl.model.network import Network, NetworkType, NumberedNetwork
from ofctl.model.port import PortSpec, VifType, VmConsumer

Key = tuple[PortId, HostId]
BUILT_VIF_TYPES = (VifType.TAP, VifType.VETH)


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
        self._wanted: dict[Key, PortSpec] = {}
        """What updates under way make of specs: until they are over, what is in either is taken."""
        self.groups = GroupInventory(self.specs)
        self._claims: dict[Key, tuple[Claim, ...]] = {}
        self._holders: dict[Claim, Key] = {}

    # Networks

    def network(self, network_id: NetworkId) -> NumberedNetwork:
        """Return the network. Raises NotFound."""
        found = self._networks.get(network_id)
        if found is None:
            raise NotFound(f"there is no network {network_id!r}; create it with ApplyNetwork", subject=network_id)
        return found

    def find_network(self, network_id: NetworkId) -> NumberedNetwork | None:
        """Return the network, or None."""
        return self._networks.get(network_id)

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
        for spec in self.specs():
            if spec.network_id == network.network_id:
                self._check_port_fits(spec.port_id, spec, present, network)

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

    def specs(self) -> Iterator[PortSpec]:
        """Yield what is intended, and for ports with an update under way what is wanted, too."""
        yield from self._specs.values()
        yield from self._wanted.values()

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
        check_vif_type(spec)
        mtu = admitted_mtu(spec, network)
        mac = spec.mac_address or derived_mac(spec.port_id)
        prefix = self._device_prefix if isinstance(spec.consumer, VmConsumer) else "v" + self._device_prefix
        device = spec.requested_device or derived_device_name(prefix, spec.port_id)
        check_addresses(spec, network)
        self.groups.check_port(spec)
        admitted = replace(spec, mac_address=mac, mtu=mtu)
        for claim in claims_of(admitted, device):
            holder = self._holders.get(claim)
            if holder is not None:
                raise AlreadyExists(_in_use(claim, holder), reason=f"{claim.kind}_IN_USE", subject=claim.field)
        return admitted, device

    def claim(self, spec: PortSpec, device: DeviceName) -> None:
        """Reserve everything that an admitted spec needs for itself."""
        key = (spec.port_id, spec.host_id)
        self._specs[key] = spec
        self._claims[key] = claims_of(spec, device)
        self._holders.update(dict.fromkeys(self._claims[key], key))

    def begin_update(self, spec: PortSpec, device: DeviceName) -> None:
        """Admit what an update makes of a port that is there, and reserve it besides what the port has.

        Raises as `check_update` does, and then changes nothing.
        """
        wanted = self.check_update(spec, device)
        key = (spec.port_id, spec.host_id)
        self._wanted[key] = spec
        self._claims[key] = tuple(dict.fromkeys((*self._claims[key], *wanted)))
        self._holders.update(dict.fromkeys(wanted, key))

    def check_update(self, spec: PortSpec, device: DeviceName) -> tuple[Claim, ...]:
        """Return what an update makes a port need for itself. Raises InvalidField or Refused if it cannot be."""
        key = (spec.port_id, spec.host_id)
        network = self.network(spec.network_id).network
        admitted_mtu(spec, network)
        check_addresses(spec, network)
        self.groups.check_port(spec)
        wanted = claims_of(spec, device)
        for claim in wanted:
            holder = self._holders.get(claim, key)
            if holder != key:
                raise Refused(_in_use(claim, holder), reason=f"{claim.kind}_IN_USE", subject=claim.field)
        return wanted

    def end_update(self, spec: PortSpec, device: DeviceName) -> None:
        """Keep only what the port has now: `spec` is what the update came to."""
        key = (spec.port_id, spec.host_id)
        if self._wanted.pop(key, None) is None:
            return
        kept = claims_of(spec, device)
        for claim in set(self._claims[key]) - set(kept):
            self._holders.pop(claim, None)
        self._claims[key] = kept
        self._specs[key] = spec

    def release(self, key: Key) -> None:
        """Give back what was claimed for a port; no error if there was nothing."""
        self._specs.pop(key, None)
        self._wanted.pop(key, None)
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


def _in_use(claim: Claim, holder: Key) -> str:
    return f"{claim.field}: {' '.join(claim.wanted)} is in use by port {holder[0]!r}"


def _same_segment(left: Network, right: Network) -> bool:
    if NetworkType.LOCAL in (left.network_type, right.network_type):
        return False
    return (left.physical_network, left.segmentation_id) == (right.physical_network, right.segmentation_id)


def _segment(network: Network) -> str:
    tag = f"VLAN {network.segmentation_id}" if network.segmentation_id else "the untagged segment"
    return f"{tag} of {network.physical_network!r}"
