"""Each call to the agent: what it is given, what it asks, what it returns. The clients make methods of these.

Every call takes `timeout_s`, its deadline in seconds, in place of the client's, and may raise a class of
`ofctl.client.errors`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from google.protobuf.field_mask_pb2 import FieldMask

from ofctl.client.calls import Call, Listing, Removal
from ofctl.v1 import host_pb2, network_pb2, port_pb2, security_pb2
from ofctl.v1.confirmation_pb2 import CONFIRMATION_LEVEL_UNSPECIFIED, ConfirmationLevel

DEFAULT = CONFIRMATION_LEVEL_UNSPECIFIED


def plug(
    port: port_pb2.PortSpec,
    *,
    request_id: str | None = None,
    level: ConfirmationLevel.ValueType = DEFAULT,
    validate_only: bool = False,
    generation: int = 0,
    timeout_s: float | None = None,
) -> Call[port_pb2.Port]:
    """Plug a port; return it when it is confirmed. The proto comment of PlugPort says what that promises.

    `generation` fences the port, here and in `update` and `unplug`: a smaller one that comes later is refused; 0 is no
    fence.
    """
    request = port_pb2.PlugPortRequest(
        port=port,
        request_id=request_id or str(uuid.uuid4()),
        level=level,
        validate_only=validate_only,
        generation=generation,
    )
    return Call(lambda stubs: stubs.ports.PlugPort, request, lambda reply: reply.port, timeout_s)


def plug_all(
    ports: Iterable[port_pb2.PortSpec],
    *,
    request_id: str | None = None,
    level: ConfirmationLevel.ValueType = DEFAULT,
    validate_only: bool = False,
    generation: int = 0,
    timeout_s: float | None = None,
) -> Call[list[port_pb2.Port]]:
    """Plug the ports of one guest, all or nothing; return them in the same order."""
    request = port_pb2.PlugPortsRequest(
        ports=ports,
        request_id=request_id or str(uuid.uuid4()),
        level=level,
        validate_only=validate_only,
        generation=generation,
    )
    return Call(lambda stubs: stubs.ports.PlugPorts, request, lambda reply: list(reply.ports), timeout_s)


def update(
    port: port_pb2.PortSpec,
    fields: Iterable[str],
    *,
    revision: int = 0,
    request_id: str | None = None,
    level: ConfirmationLevel.ValueType = DEFAULT,
    generation: int = 0,
    timeout_s: float | None = None,
) -> Call[port_pb2.Port]:
    """Set `fields` of the port with the id in `port` to what they are there; return it when that is confirmed.

    `revision`: refuse (Aborted) unless the port has this one; 0 is any. The proto comment of UpdatePort says which
    fields may change.
    """
    request = port_pb2.UpdatePortRequest(
        port=port,
        update_mask=FieldMask(paths=fields),
        revision=revision,
        request_id=request_id or str(uuid.uuid4()),
        level=level,
        generation=generation,
    )
    return Call(lambda stubs: stubs.ports.UpdatePort, request, lambda reply: reply.port, timeout_s)


def unplug(
    port_id: str,
    *,
    host_id: str = "",
    force: bool = False,
    generation: int = 0,
    missing_ok: bool = False,
    timeout_s: float | None = None,
) -> Call[None]:
    """Remove a port; return when its absence is verified. With `missing_ok` it may be absent before."""
    request = port_pb2.UnplugPortRequest(port_id=port_id, host_id=host_id, force=force, generation=generation)
    return Removal(lambda stubs: stubs.ports.UnplugPort, request, missing_ok=missing_ok, timeout_s=timeout_s)


def port(port_id: str, *, host_id: str = "", timeout_s: float | None = None) -> Call[port_pb2.Port]:
    """Return a port as it is known now."""
    request = port_pb2.GetPortRequest(port_id=port_id, host_id=host_id)
    return Call(lambda stubs: stubs.ports.GetPort, request, lambda reply: reply.port, timeout_s)


def request(request_id: str, *, timeout_s: float | None = None) -> Call[port_pb2.GetPortResponse]:
    """Return the outcome of an earlier plug or update, and its port if it is there."""
    return Call(
        lambda stubs: stubs.ports.GetPort,
        port_pb2.GetPortRequest(request_id=request_id),
        lambda reply: reply,
        timeout_s,
    )


def ports(
    *,
    network_id: str = "",
    project_id: str = "",
    device_id: str = "",
    host_id: str = "",
    state: port_pb2.PortState.ValueType = port_pb2.PORT_STATE_UNSPECIFIED,
    timeout_s: float | None = None,
) -> Listing[port_pb2.Port]:
    """Yield all ports that match, in order of their ids; asks page by page, each with the deadline."""
    request = port_pb2.ListPortsRequest(
        network_id=network_id, project_id=project_id, device_id=device_id, host_id=host_id, state=state
    )
    return Listing(lambda stubs: stubs.ports.ListPorts, request, lambda page: page.ports, timeout_s)


def verify(
    port_id: str, *, host_id: str = "", level: ConfirmationLevel.ValueType = DEFAULT, timeout_s: float | None = None
) -> Call[port_pb2.Port]:
    """Return a port that is there, with evidence afresh. Raises what does not hold; nothing is mended."""
    request = port_pb2.VerifyPortRequest(port_id=port_id, host_id=host_id, level=level)
    return Call(lambda stubs: stubs.ports.VerifyPort, request, lambda reply: reply.port, timeout_s)


def apply_network(network: network_pb2.Network, *, timeout_s: float | None = None) -> Call[network_pb2.Network]:
    """Create a network or make it as given; return it with its defaults filled in."""
    request = network_pb2.ApplyNetworkRequest(network=network)
    return Call(lambda stubs: stubs.networks.ApplyNetwork, request, lambda reply: reply.network, timeout_s)


def delete_network(network_id: str, *, missing_ok: bool = False, timeout_s: float | None = None) -> Call[None]:
    """Delete a network that no port uses."""
    request = network_pb2.DeleteNetworkRequest(network_id=network_id)
    return Removal(lambda stubs: stubs.networks.DeleteNetwork, request, missing_ok=missing_ok, timeout_s=timeout_s)


def network(network_id: str, *, timeout_s: float | None = None) -> Call[network_pb2.Network]:
    """Return a network."""
    request = network_pb2.GetNetworkRequest(network_id=network_id)
    return Call(lambda stubs: stubs.networks.GetNetwork, request, lambda reply: reply.network, timeout_s)


def networks(*, timeout_s: float | None = None) -> Listing[network_pb2.Network]:
    """Yield all networks in order of their ids; asks page by page, each with the deadline."""
    return Listing(
        lambda stubs: stubs.networks.ListNetworks,
        network_pb2.ListNetworksRequest(),
        lambda page: page.networks,
        timeout_s,
    )


def apply_security_group(
    group: security_pb2.SecurityGroup, *, level: ConfirmationLevel.ValueType = DEFAULT, timeout_s: float | None = None
) -> Call[security_pb2.ApplySecurityGroupResponse]:
    """Create a security group or make it as given; return it with the evidence for every port that it concerns."""
    request = security_pb2.ApplySecurityGroupRequest(security_group=group, level=level)
    return Call(lambda stubs: stubs.security.ApplySecurityGroup, request, lambda reply: reply, timeout_s)


def delete_security_group(group_id: str, *, missing_ok: bool = False, timeout_s: float | None = None) -> Call[None]:
    """Delete a security group that no port has and no other group names."""
    request = security_pb2.DeleteSecurityGroupRequest(security_group_id=group_id)
    return Removal(
        lambda stubs: stubs.security.DeleteSecurityGroup, request, missing_ok=missing_ok, timeout_s=timeout_s
    )


def security_group(group_id: str, *, timeout_s: float | None = None) -> Call[security_pb2.SecurityGroup]:
    """Return a security group."""
    request = security_pb2.GetSecurityGroupRequest(security_group_id=group_id)
    return Call(lambda stubs: stubs.security.GetSecurityGroup, request, lambda reply: reply.security_group, timeout_s)


def security_groups(*, timeout_s: float | None = None) -> Listing[security_pb2.SecurityGroup]:
    """Yield all security groups in order of their ids; asks page by page, each with the deadline."""
    return Listing(
        lambda stubs: stubs.security.ListSecurityGroups,
        security_pb2.ListSecurityGroupsRequest(),
        lambda page: page.security_groups,
        timeout_s,
    )


def apply_address_group(
    group: security_pb2.AddressGroup, *, level: ConfirmationLevel.ValueType = DEFAULT, timeout_s: float | None = None
) -> Call[security_pb2.ApplyAddressGroupResponse]:
    """Create an address group or make it as given; return it with the evidence for every port that it concerns."""
    request = security_pb2.ApplyAddressGroupRequest(address_group=group, level=level)
    return Call(lambda stubs: stubs.security.ApplyAddressGroup, request, lambda reply: reply, timeout_s)


def delete_address_group(group_id: str, *, missing_ok: bool = False, timeout_s: float | None = None) -> Call[None]:
    """Delete an address group that no rule names."""
    request = security_pb2.DeleteAddressGroupRequest(address_group_id=group_id)
    return Removal(lambda stubs: stubs.security.DeleteAddressGroup, request, missing_ok=missing_ok, timeout_s=timeout_s)


def address_group(group_id: str, *, timeout_s: float | None = None) -> Call[security_pb2.AddressGroup]:
    """Return an address group."""
    request = security_pb2.GetAddressGroupRequest(address_group_id=group_id)
    return Call(lambda stubs: stubs.security.GetAddressGroup, request, lambda reply: reply.address_group, timeout_s)


def address_groups(*, timeout_s: float | None = None) -> Listing[security_pb2.AddressGroup]:
    """Yield all address groups in order of their ids; asks page by page, each with the deadline."""
    return Listing(
        lambda stubs: stubs.security.ListAddressGroups,
        security_pb2.ListAddressGroupsRequest(),
        lambda page: page.address_groups,
        timeout_s,
    )


def host(*, host_id: str = "", timeout_s: float | None = None) -> Call[host_pb2.Host]:
    """Return what the host says of itself; answers also when it is not ready."""
    request = host_pb2.GetHostRequest(host_id=host_id)
    return Call(lambda stubs: stubs.hosts.GetHost, request, lambda reply: reply.host, timeout_s)


def audit(*, repair: bool = False, host_id: str = "", timeout_s: float | None = None) -> Call[host_pb2.AuditResponse]:
    """Compare the host with its intents; with `repair`, make it so. See the proto comment of Audit."""
    request = host_pb2.AuditRequest(host_id=host_id, repair=repair)
    return Call(lambda stubs: stubs.hosts.Audit, request, lambda reply: reply, timeout_s)
