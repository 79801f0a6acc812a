"""What a port may ask for, judged from its spec and its network. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from ofctl.errors import InvalidField, Refused
from ofctl.model.ids import DeviceName
from ofctl.model.network import Network
from ofctl.model.port import PortSpec, VmConsumer


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that one port alone may have. `field` is where the caller asked for it."""

    kind: str
    scope: str
    wanted: tuple[str, ...]
    field: str = field(compare=False)


def claims_of(spec: PortSpec, device: DeviceName) -> tuple[Claim, ...]:
    """Return everything that an admitted spec needs for itself alone."""
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


def check_addresses(spec: PortSpec, network: Network) -> None:
    """Raise InvalidField for a fixed address that no port of the network can have."""
    for number, address in enumerate(spec.fixed_ips):
        where = f"port.fixed_ips[{number}]"
        subnet = network.subnet_of(address)
        if subnet is None:
            ranges = ", ".join(str(each.cidr) for each in network.subnets) or "none"
            raise InvalidField(where, f"{address} is no host address of a subnet of {spec.network_id!r} ({ranges})")
        if address == subnet.gateway:
            raise InvalidField(where, f"{address} is the gateway of {subnet.cidr}")


def check_vif_type(spec: PortSpec) -> None:
    """Raise Refused if the caller cannot use what this host would give it."""
    if spec.vif_types and spec.vif_type not in spec.vif_types:
        usable = ", ".join(sorted(vif_type.name for vif_type in spec.vif_types))
        raise Refused(
            f"port.vif_types: this host gives such a consumer {spec.vif_type.name}, and the caller can use {usable}",
            reason="VIF_TYPE",
            subject="port.vif_types",
        )


def admitted_mtu(spec: PortSpec, network: Network) -> int:
    """Return the MTU of a port. Raises InvalidField if network or addresses do not allow the one that it asks for."""
    mtu = network.mtu if spec.mtu is None else spec.mtu
    if mtu > network.mtu:
        raise InvalidField("port.mtu", f"{mtu} is above the MTU {network.mtu} of network {network.network_id!r}")
    if mtu < 1280 and any(address.version == 6 for address in spec.fixed_ips):
        raise InvalidField("port.mtu", f"{mtu} is below 1280, the least for a port with an IPv6 address (RFC 8200)")
    return mtu
