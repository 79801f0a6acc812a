"""Whether the host itself talks through a NIC: such a NIC must not be given to the switch. Blocking."""

from __future__ import annotations

import socket

from ofctl.errors import NotFound
from ofctl.netlink import messages
from ofctl.netlink.kernel import step
from ofctl.netlink.links import Links
from ofctl.netlink.specs import DeviceState

_PAIRED_KINDS = ("veth", "netkit")
"""Kinds whose IFLA_LINK is the other end, not the device below."""


def host_traffic(links: Links, nic: str, deadline: float) -> str | None:
    """See `Devices.carries_host_traffic`."""
    devices = links.all(deadline)
    state = next((each for each in devices if each.device == nic), None)
    if state is None:
        raise NotFound(f"there is no network device {nic} on this host", reason="NO_DEVICE", subject=nic)
    with step(f"read the addresses and routes of {nic}", subject=nic):
        addresses = [
            messages.read_address(raw) for raw in links.socket.dump(messages.all_addresses(), deadline=deadline)
        ]
        routes = [
            messages.read_route(raw)
            for family in (socket.AF_INET, socket.AF_INET6)
            for raw in links.socket.dump(messages.all_routes(family), deadline=deadline)
        ]
    for device in (state, *_stacked_on(state, devices)):
        where = nic if device is state else f"{device.device}, which stands on {nic},"
        for address in addresses:
            if address.ifindex == device.ifindex and not address.link_local:
                return f"{where} has the host's address {address.address}"
        for route in routes:
            if route.destination.endswith("/0") and device.ifindex in route.devices:
                return f"{where} carries the host's default route" + (f" via {route.via}" if route.via else "")
    return None


def _stacked_on(base: DeviceState, devices: list[DeviceState]) -> list[DeviceState]:
    """Return the devices whose frames go through `base`: its VLANs, the bridge or bond it is a port of, and theirs."""
    found: list[DeviceState] = []
    waiting = [base]
    while waiting:
        below = waiting.pop()
        for device in devices:
            is_vlan = (
                device.peer_ifindex == below.ifindex and device.peer_nsid is None and device.kind not in _PAIRED_KINDS
            )
            if (is_vlan or device.ifindex == below.master) and device not in found and device is not base:
                found.append(device)
                waiting.append(device)
    return found
