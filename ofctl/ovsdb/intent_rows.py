"""Model values as rows of the intents' database, and back. `etc/ofctl.ovsschema` has the columns.

Tuples whose order means something are maps from position to value, so that a person can read them with ovsdb-client.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from ofctl.errors import InvalidField
from ofctl.model.confirmation import Confirmation, Level, Outcome, RequestRecord, StageTiming
from ofctl.model.ids import (
    DeviceName,
    Dpid,
    HostId,
    MacAddress,
    NetworkId,
    NetworkIndex,
    OfPort,
    PhysicalNetwork,
    PortId,
    PortIndex,
    RequestId,
)
from ofctl.model.network import Network, NetworkType, NumberedNetwork, Subnet
from ofctl.model.port import (
    Activation,
    Binding,
    BindingNumbers,
    Consumer,
    NamespaceConsumer,
    PortSpec,
    PortState,
    Recovery,
    Route,
    VifType,
    VmConsumer,
)
from ofctl.ovsdb.group_rows import address_pairs_of, security_columns, security_groups_of
from ofctl.ovsdb.notation import in_order, optional, ovs_map, ovs_set
from ofctl.ovsdb.replica import Json, column, ordered

BINDING_KEY = ("port_id", "host_id", "network_id", "port_index", "slot")
"""Columns of Binding that never change."""


def network_columns(network: Network) -> Json:
    """Return the columns of a Network row but its key."""
    gateways = {place: str(net.gateway) for place, net in enumerate(network.subnets) if net.gateway is not None}
    return {
        "name": network.name,
        "network_type": network.network_type.value,
        "segmentation_id": optional(network.segmentation_id),
        "physical_network": optional(network.physical_network),
        "mtu": network.mtu,
        "subnets": in_order(subnet.cidr for subnet in network.subnets),
        "gateways": ovs_map(gateways),
        "port_security": network.port_security,
        "neighbor_replies": network.neighbor_replies,
        "flood_unknown_neighbors": network.flood_unknown_neighbors,
    }


def network_of(row: Any) -> NumberedNetwork:
    """Return a Network row as a value."""
    gateways = column(row, "gateways")
    physical_network = column(row, "physical_network")
    network = Network(
        network_id=NetworkId(column(row, "network_id")),
        name=column(row, "name"),
        network_type=NetworkType(column(row, "network_type")),
        segmentation_id=column(row, "segmentation_id"),
        physical_network=None if physical_network is None else PhysicalNetwork(physical_network),
        mtu=column(row, "mtu"),
        subnets=tuple(
            Subnet(
                cidr=ipaddress.ip_network(cidr),
                gateway=ipaddress.ip_address(gateways[place]) if place in gateways else None,
            )
            for place, cidr in sorted(column(row, "subnets").items())
        ),
        port_security=_unless_false(row, "port_security"),
        neighbor_replies=_unless_false(row, "neighbor_replies"),
        flood_unknown_neighbors=_unless_false(row, "flood_unknown_neighbors"),
    )
    return NumberedNetwork(network=network, index=NetworkIndex(column(row, "network_index")))


def _unless_false(row: Any, name: str) -> bool:
    """Return a flag that is set where nothing is said: in the rows of older versions."""
    return column(row, name) is not False


def binding_columns(binding: Binding) -> Json:
    """Return the columns of a Binding row but its references. Raises InvalidField: not admitted."""
    spec = binding.spec
    if spec.mac_address is None or spec.mtu is None:
        missing = "mac_address" if spec.mac_address is None else "mtu"
        raise InvalidField(
            f"port.{missing}", "is missing; a port is admitted, and then it has one, before it is stored"
        )
    return {
        "port_id": spec.port_id,
        "host_id": spec.host_id,
        "network_id": spec.network_id,
        "port_index": binding.numbers.index,
        "slot": binding.numbers.slot,
        "zone": optional(binding.numbers.zone or None),
        "device": binding.device,
        "mac_address": spec.mac_address,
        "mtu": spec.mtu,
        "fixed_ips": in_order(spec.fixed_ips),
        "former_ips": in_order(binding.former_ips),
        "project_id": spec.project_id,
        "device_id": spec.device_id,
        "device_owner": spec.device_owner,
        "labels": ovs_map(dict(spec.labels)),
        "annotations": ovs_map(dict(spec.annotations)),
        **security_columns(spec),
        "requested_device": optional(spec.requested_device),
        "vif_types": ovs_set(sorted(vif.value for vif in spec.vif_types)),
        "recovery": spec.recovery.value,
        **consumer_columns(spec.consumer),
        "activation": binding.activation.value,
        "state": binding.state.value,
        "state_reason": binding.state_reason,
        "state_since_ms": binding.state_since_ms,
        "request_id": binding.request_id,
        "principal": binding.principal,
        "revision": binding.revision,
        "generation": binding.generation,
    }


def consumer_columns(consumer: Consumer) -> Json:
    """Return the columns that describe a consumer; those of the other kind are empty."""
    if isinstance(consumer, VmConsumer):
        return {
            "consumer": "vm",
            "vm_owner_uid": optional(consumer.owner_uid),
            "vm_owner_gid": optional(consumer.owner_gid),
            "vm_multi_queue": consumer.multi_queue,
            "netns_path": optional(None),
            "netns_interface": optional(None),
            "netns_addresses": ovs_map({}),
            "netns_routes": ovs_map({}),
        }
    return {
        "consumer": "container" if consumer.container else "namespace",
        "vm_owner_uid": optional(None),
        "vm_owner_gid": optional(None),
        "vm_multi_queue": False,
        "netns_path": consumer.netns_path,
        "netns_interface": consumer.interface_name,
        "netns_addresses": in_order(consumer.addresses),
        "netns_routes": in_order(map(route_text, consumer.routes)),
    }


def consumer_of(row: Any) -> Consumer:
    """Return the consumer in a Binding row."""
    kind = column(row, "consumer")
    if kind == "vm":
        return VmConsumer(
            owner_uid=column(row, "vm_owner_uid"),
            owner_gid=column(row, "vm_owner_gid"),
            multi_queue=column(row, "vm_multi_queue"),
        )
    return NamespaceConsumer(
        netns_path=column(row, "netns_path"),
        interface_name=DeviceName(column(row, "netns_interface")),
        addresses=tuple(map(ipaddress.ip_interface, ordered(row, "netns_addresses"))),
        routes=tuple(map(route_of, ordered(row, "netns_routes"))),
        container=kind == "container",
    )


def route_text(route: Route) -> str:
    """Return a route as `ip route` writes it."""
    return str(route.destination) if route.via is None else f"{route.destination} via {route.via}"


def route_of(text: str) -> Route:
    """Return what `route_text` wrote."""
    destination, _, via = text.partition(" via ")
    return Route(destination=ipaddress.ip_network(destination), via=ipaddress.ip_address(via) if via else None)


def binding_of(row: Any, confirmation: Confirmation | None) -> Binding:
    """Return a Binding row as a value."""
    requested_device = column(row, "requested_device")
    spec = PortSpec(
        port_id=PortId(column(row, "port_id")),
        network_id=NetworkId(column(row, "network_id")),
        host_id=HostId(column(row, "host_id")),
        consumer=consumer_of(row),
        project_id=column(row, "project_id"),
        device_id=column(row, "device_id"),
        device_owner=column(row, "device_owner"),
        labels=tuple(sorted(column(row, "labels").items())),
        annotations=tuple(sorted(column(row, "annotations").items())),
        mac_address=MacAddress(column(row, "mac_address")),
        fixed_ips=tuple(map(ipaddress.ip_address, ordered(row, "fixed_ips"))),
        allowed_address_pairs=address_pairs_of(row),
        port_security=column(row, "port_security"),
        security_groups=security_groups_of(row),
        mtu=column(row, "mtu"),
        requested_device=None if requested_device is None else DeviceName(requested_device),
        vif_types=frozenset(map(VifType, column(row, "vif_types"))),
        recovery=Recovery(column(row, "recovery")),
    )
    return Binding(
        spec=spec,
        device=DeviceName(column(row, "device")),
        numbers=BindingNumbers(
            index=PortIndex(column(row, "port_index")), slot=column(row, "slot"), zone=column(row, "zone") or 0
        ),
        activation=Activation(column(row, "activation")),
        state=PortState(column(row, "state")),
        state_reason=column(row, "state_reason"),
        state_since_ms=column(row, "state_since_ms"),
        request_id=RequestId(column(row, "request_id")),
        principal=column(row, "principal"),
        revision=column(row, "revision"),
        generation=column(row, "generation"),
        former_ips=tuple(map(ipaddress.ip_address, ordered(row, "former_ips"))),
        confirmation=confirmation,
    )


def confirmation_columns(evidence: Confirmation, host_id: HostId) -> Json:
    """Return the columns of a Confirmation row."""
    return {
        "host_id": host_id,
        "level": evidence.level.name.lower(),
        "stages": in_order(timing.stage for timing in evidence.stages),
        "stage_durations_us": ovs_map({place: timing.duration_us for place, timing in enumerate(evidence.stages)}),
        "ifindex": evidence.ifindex,
        "ofport": evidence.ofport,
        "dpid": f"{evidence.dpid:016x}",
        "connection_generation": evidence.connection_generation,
        "bundle_id": evidence.bundle_id,
        "barrier_xid": evidence.barrier_xid,
        "flow_count": evidence.flow_count,
        "flow_digest": evidence.flow_digest,
        "confirmed_at_ms": evidence.confirmed_at_ms,
    }


def confirmation_of(row: Any) -> Confirmation:
    """Return a Confirmation row as a value."""
    stages = zip(ordered(row, "stages"), ordered(row, "stage_durations_us"), strict=True)
    return Confirmation(
        level=Level[column(row, "level").upper()],
        stages=tuple(StageTiming(stage=stage, duration_us=duration_us) for stage, duration_us in stages),
        ifindex=column(row, "ifindex"),
        ofport=OfPort(column(row, "ofport")),
        dpid=Dpid(int(column(row, "dpid"), 16)),
        connection_generation=column(row, "connection_generation"),
        bundle_id=column(row, "bundle_id"),
        barrier_xid=column(row, "barrier_xid"),
        flow_count=column(row, "flow_count"),
        flow_digest=column(row, "flow_digest"),
        confirmed_at_ms=column(row, "confirmed_at_ms"),
    )


def request_columns(record: RequestRecord) -> Json:
    """Return the columns of a Request row.

    UNCHANGED is written as ABSENT of an update: an older version knows no other words than it had.
    """
    return {
        "request_id": record.request_id,
        "host_id": record.host_id,
        "port_id": record.port_id,
        "port_ids": ovs_set(sorted(record.port_ids)),
        "outcome": (Outcome.ABSENT if record.outcome is Outcome.UNCHANGED else record.outcome).value,
        "is_update": record.update or record.outcome is Outcome.UNCHANGED,
        "reason": record.reason,
        "message": record.message,
        "at_ms": record.at_ms,
    }


def request_of(row: Any) -> RequestRecord:
    """Return a Request row as a value."""
    outcome = Outcome(column(row, "outcome"))
    update = column(row, "is_update")
    return RequestRecord(
        request_id=RequestId(column(row, "request_id")),
        port_id=PortId(column(row, "port_id")),
        host_id=HostId(column(row, "host_id")),
        outcome=Outcome.UNCHANGED if update and outcome is Outcome.ABSENT else outcome,
        update=update,
        reason=column(row, "reason"),
        message=column(row, "message"),
        at_ms=column(row, "at_ms"),
        port_ids=frozenset(map(PortId, column(row, "port_ids"))),
    )
