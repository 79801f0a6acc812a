"""Requests of the contract to values of the model, and back. What cannot be read raises InvalidField with its path.

Paths are those of a PlugPort request (`port.mac_address`); PlugPorts rewrites them to `ports[N].mac_address`.
"""

from __future__ import annotations

from ofctl.api.addresses import read_address, read_interface, read_prefix
from ofctl.api.convert_security import address_pair_to_proto, each, security_of
from ofctl.api.enums import (
    ACTIVATIONS,
    DATAPATH_TYPES,
    EVENT_TYPES,
    LEVELS,
    NETWORK_TYPES,
    OUTCOMES,
    PORT_STATES,
    RECOVERIES,
    VIF_TYPES,
)
from ofctl.errors import InvalidField
from ofctl.model.confirmation import Confirmation, RequestRecord
from ofctl.model.events import PortEvent, PortEventType
from ofctl.model.ids import DeviceName, Dpid, HostId, NetworkId, PhysicalNetwork, PortId, mac_address
from ofctl.model.network import DEFAULT_MTU, Network, NetworkType, Subnet
from ofctl.model.port import NamespaceConsumer, PortSpec, Recovery, Route, VifType, VmConsumer
from ofctl.model.vif import PluggedPort, VifDetails
from ofctl.v1 import confirmation_pb2, network_pb2, port_pb2, vif_pb2

DEFAULT_INTERFACE = DeviceName("eth0")


def spec_from_proto(message: port_pb2.PortSpec, *, host_id: HostId) -> PortSpec:
    """Return the port that `message` describes, on `host_id` if it names no host. Raises InvalidField."""
    return PortSpec(
        port_id=PortId(message.port_id),
        network_id=NetworkId(message.network_id),
        host_id=HostId(message.host_id or host_id),
        consumer=_consumer_from_proto(message),
        project_id=message.project_id,
        device_id=message.device_id,
        device_owner=message.device_owner,
        labels=tuple(sorted(message.labels.items())),
        annotations=tuple(sorted(message.annotations.items())),
        mac_address=mac_address(message.mac_address, "port.mac_address") if message.mac_address else None,
        fixed_ips=tuple(each(read_address, message.fixed_ips, "port.fixed_ips")),
        mtu=message.mtu or None,
        requested_device=DeviceName(message.device_name) if message.device_name else None,
        vif_types=frozenset(
            VIF_TYPES.model(value, f"port.vif_types[{number}]") for number, value in enumerate(message.vif_types)
        ),
        recovery=RECOVERIES.model(message.recovery, "port.recovery", default=Recovery.ROLL_BACK),
        **security_of(message),
    )


def spec_to_proto(spec: PortSpec) -> port_pb2.PortSpec:
    """Return the message that describes `spec`."""
    message = port_pb2.PortSpec(
        port_id=spec.port_id,
        network_id=spec.network_id,
        host_id=spec.host_id,
        project_id=spec.project_id,
        device_id=spec.device_id,
        device_owner=spec.device_owner,
        labels=dict(spec.labels),
        annotations=dict(spec.annotations),
        mac_address=spec.mac_address or "",
        fixed_ips=[str(address) for address in spec.fixed_ips],
        mtu=spec.mtu or 0,
        device_name=spec.requested_device or "",
        vif_types=sorted(VIF_TYPES[vif_type] for vif_type in spec.vif_types),
        recovery=RECOVERIES[spec.recovery],
        allowed_address_pairs=map(address_pair_to_proto, spec.allowed_address_pairs),
        port_security=spec.port_security,
        security_groups=spec.security_groups,
    )
    consumer = spec.consumer
    if isinstance(consumer, VmConsumer):
        message.vm.CopyFrom(
            port_pb2.VmConsumer(
                owner_uid=consumer.owner_uid, owner_gid=consumer.owner_gid, multi_queue=consumer.multi_queue
            )
        )
    else:
        (message.container if consumer.container else message.namespace).CopyFrom(_namespace_to_proto(consumer))
    return message


def _consumer_from_proto(message: port_pb2.PortSpec) -> VmConsumer | NamespaceConsumer:
    match message.WhichOneof("consumer"):
        case "vm":
            vm = message.vm
            return VmConsumer(
                owner_uid=vm.owner_uid if vm.HasField("owner_uid") else None,
                owner_gid=vm.owner_gid if vm.HasField("owner_gid") else None,
                multi_queue=vm.multi_queue,
            )
        case "container":
            return _namespace_from_proto(message.container, "port.container", container=True)
        case "namespace":
            return _namespace_from_proto(message.namespace, "port.namespace", container=False)
        case None:
            raise InvalidField("port.vm", "is missing, and so are container and namespace; say who uses the port")


def _namespace_from_proto(message: port_pb2.NamespaceConsumer, where: str, *, container: bool) -> NamespaceConsumer:
    return NamespaceConsumer(
        netns_path=message.netns_path,
        interface_name=DeviceName(message.interface_name) if message.interface_name else DEFAULT_INTERFACE,
        addresses=tuple(each(read_interface, message.addresses, f"{where}.addresses")),
        routes=tuple(each(_route, message.routes, f"{where}.routes")),
        container=container,
    )


def _namespace_to_proto(consumer: NamespaceConsumer) -> port_pb2.NamespaceConsumer:
    return port_pb2.NamespaceConsumer(
        netns_path=consumer.netns_path,
        interface_name=consumer.interface_name,
        addresses=[str(address) for address in consumer.addresses],
        routes=[
            port_pb2.Route(destination=str(route.destination), via=str(route.via) if route.via else "")
            for route in consumer.routes
        ],
    )


def port_to_proto(port: PluggedPort) -> port_pb2.Port:
    """Return the message for a binding and its device."""
    binding = port.binding
    return port_pb2.Port(
        spec=spec_to_proto(binding.spec),
        host_id=binding.spec.host_id,
        vif_type=VIF_TYPES[port.vif.vif_type],
        vif_details=_vif_to_proto(port),
        activation=ACTIVATIONS[binding.activation],
        state=PORT_STATES[binding.state],
        state_reason=binding.state_reason,
        state_since_ms=binding.state_since_ms,
        request_id=binding.request_id,
        principal=binding.principal,
        revision=binding.revision,
        generation=binding.generation,
        confirmation=confirmation_to_proto(binding.confirmation) if binding.confirmation else None,
    )


def event_to_proto(event: PortEvent, *, snapshot: bool) -> port_pb2.WatchPortsResponse:
    """Return the message for an event of a stream that began with a snapshot, or was resumed."""
    return port_pb2.WatchPortsResponse(
        type=EVENT_TYPES[event.event_type],
        port=port_to_proto(event.port) if event.port else None,
        epoch=event.epoch,
        revision=event.revision,
        snapshot=snapshot and event.event_type is PortEventType.SYNCED,
    )


def _vif_to_proto(port: PluggedPort) -> vif_pb2.VifDetails:
    vif: VifDetails = port.vif
    message = vif_pb2.VifDetails(
        bridge=vif.bridge,
        device_name=vif.device,
        mtu=vif.mtu,
        mac_address=vif.mac_address,
        datapath_type=DATAPATH_TYPES[vif.datapath_type],
        checksum_offload_must_be_off=vif.checksum_offload_must_be_off,
    )
    if vif.vif_type is VifType.TAP:
        consumer = port.binding.spec.consumer
        multi_queue = isinstance(consumer, VmConsumer) and consumer.multi_queue
        message.tap.CopyFrom(vif_pb2.TapVif(device_name=vif.device, multi_queue=multi_queue))
    elif vif.vif_type is VifType.VETH:
        message.veth.CopyFrom(
            vif_pb2.VethVif(device_name=vif.device, peer_device_name=vif.peer_device or "", netns_path=vif.netns_path)
        )
    return message


def confirmation_to_proto(confirmation: Confirmation) -> confirmation_pb2.Confirmation:
    """Return the message for the evidence."""
    return confirmation_pb2.Confirmation(
        level=LEVELS[confirmation.level],
        stages=[
            confirmation_pb2.StageTiming(stage=timing.stage, duration_us=timing.duration_us)
            for timing in confirmation.stages
        ],
        ifindex=confirmation.ifindex,
        ofport=confirmation.ofport,
        dpid=dpid_text(confirmation.dpid),
        connection_generation=confirmation.connection_generation,
        bundle_id=confirmation.bundle_id,
        barrier_xid=confirmation.barrier_xid,
        flow_count=confirmation.flow_count,
        flow_digest=confirmation.flow_digest,
        confirmed_at_ms=confirmation.confirmed_at_ms,
        probe_frames=[
            confirmation_pb2.ProbeFrame(name=frame.name, expected=frame.expected, seen=frame.seen)
            for frame in confirmation.frames
        ],
        level_note=confirmation.note,
    )


def record_to_proto(record: RequestRecord) -> confirmation_pb2.RequestOutcome:
    """Return the message for the outcome of a request."""
    return confirmation_pb2.RequestOutcome(
        request_id=record.request_id,
        port_id=record.port_id,
        host_id=record.host_id,
        outcome=OUTCOMES[record.outcome],
        reason=record.reason,
        message=record.message,
        at_ms=record.at_ms,
        port_ids=sorted(record.port_ids),
    )


def network_from_proto(message: network_pb2.Network) -> Network:
    """Return the network that `message` declares. Raises InvalidField, NotSupported."""
    return Network(
        network_id=NetworkId(message.network_id),
        name=message.name,
        network_type=NETWORK_TYPES.model(message.type, "network.type", default=NetworkType.LOCAL),
        segmentation_id=message.segmentation_id if message.HasField("segmentation_id") else None,
        physical_network=PhysicalNetwork(message.physical_network) if message.physical_network else None,
        mtu=message.mtu or DEFAULT_MTU,
        subnets=tuple(each(_subnet, message.subnets, "network.subnets")),
        port_security=message.port_security if message.HasField("port_security") else True,
        neighbor_replies=message.neighbor_replies if message.HasField("neighbor_replies") else True,
        flood_unknown_neighbors=(
            message.flood_unknown_neighbors if message.HasField("flood_unknown_neighbors") else True
        ),
    )


def network_to_proto(network: Network) -> network_pb2.Network:
    """Return the message that declares `network`."""
    return network_pb2.Network(
        network_id=network.network_id,
        name=network.name,
        type=NETWORK_TYPES[network.network_type],
        segmentation_id=network.segmentation_id,
        physical_network=network.physical_network or "",
        mtu=network.mtu,
        subnets=[
            network_pb2.Subnet(cidr=str(subnet.cidr), gateway=str(subnet.gateway) if subnet.gateway else "")
            for subnet in network.subnets
        ],
        port_security=network.port_security,
        neighbor_replies=network.neighbor_replies,
        flood_unknown_neighbors=network.flood_unknown_neighbors,
    )


def dpid_text(dpid: Dpid) -> str:
    """Return a datapath id as Open vSwitch writes it."""
    return f"{dpid:016x}"


def _subnet(message: network_pb2.Subnet, field: str) -> Subnet:
    gateway = read_address(message.gateway, f"{field}.gateway") if message.gateway else None
    return Subnet(cidr=read_prefix(message.cidr, f"{field}.cidr"), gateway=gateway)


def _route(message: port_pb2.Route, field: str) -> Route:
    destination = read_prefix(message.destination, f"{field}.destination")
    via = read_address(message.via, f"{field}.via") if message.via else None
    if via is not None and via.version != destination.version:
        raise InvalidField(f"{field}.via", f"{via} cannot lead to {destination}: another address family")
    return Route(destination=destination, via=via)
