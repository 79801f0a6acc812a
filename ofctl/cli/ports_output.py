"""Ports as tables."""

from __future__ import annotations

from collections.abc import Iterable

from ofctl.cli.output import at, milliseconds, print_facts, print_table, short, state_of
from ofctl.v1.confirmation_pb2 import Confirmation, ConfirmationLevel, Outcome
from ofctl.v1.port_pb2 import AddressPair, GetPortResponse, Port
from ofctl.v1.security_pb2 import ConfirmedPort
from ofctl.v1.vif_pb2 import DatapathType, VifType


def print_ports(ports: Iterable[Port]) -> None:
    """Print one line for each port."""
    columns = ("PORT", "NETWORK", "STATE", "DEVICE", "MAC", "ADDRESSES", "OFPORT", "CONFIRMED", "GUEST")
    print_table(columns, [_row(port) for port in ports])


def print_plugged(port: Port) -> None:
    """Print all there is to say about a port."""
    print_facts(_facts(port))


def print_confirmed(ports: Iterable[ConfirmedPort]) -> None:
    """Print one line of evidence for each port that a group concerns."""
    columns = ("CONFIRMED PORT", "HOST", "LEVEL", "FLOWS", "AT")
    rows = [
        (
            port.port_id,
            port.host_id,
            _level(port.confirmation),
            str(port.confirmation.flow_count),
            at(port.confirmation.confirmed_at_ms),
        )
        for port in ports
    ]
    if rows:
        print_table(columns, rows)


def print_request(found: GetPortResponse) -> None:
    """Print the outcome of a request, then its port if it is there."""
    request = found.request
    ports = " ".join(request.port_ids or [request.port_id])
    print_facts(
        [
            ("request", request.request_id),
            ("outcome", f"{short(Outcome.Name(request.outcome), 'OUTCOME')}, {at(request.at_ms)}"),
            ("reason", request.reason),
            ("", request.message),
            ("port", f"{ports} on host {request.host_id}" + ("" if found.HasField("port") else ": not there")),
        ]
    )
    for port in found.ports:
        print_plugged(port)


def _row(port: Port) -> tuple[str, ...]:
    confirmation = port.confirmation
    return (
        port.spec.port_id,
        port.spec.network_id,
        state_of(port),
        port.vif_details.device_name,
        port.spec.mac_address,
        " ".join(port.spec.fixed_ips),
        str(confirmation.ofport or ""),
        _level(confirmation) if port.HasField("confirmation") else "",
        port.spec.device_id,
    )


def _facts(port: Port) -> list[tuple[str, str]]:
    spec, vif = port.spec, port.vif_details
    facts = [
        ("port", f"{spec.port_id} on host {port.host_id}"),
        ("network", spec.network_id),
        ("state", f"{state_of(port)} since {at(port.state_since_ms)}" if port.state_since_ms else state_of(port)),
        ("device", f"{vif.device_name}, {short(VifType.Name(port.vif_type), 'VIF_TYPE')} on bridge {vif.bridge}"),
        ("inside", f"{vif.veth.peer_device_name} in {vif.veth.netns_path}" if vif.HasField("veth") else ""),
        ("mac", vif.mac_address),
        ("addresses", " ".join(spec.fixed_ips)),
        ("mtu", str(vif.mtu)),
        ("datapath", short(DatapathType.Name(vif.datapath_type), "DATAPATH_TYPE")),
        ("guest must", "switch checksum offload off" if vif.checksum_offload_must_be_off else ""),
        ("guest", " ".join(text for text in (spec.device_id, spec.device_owner) if text)),
        ("project", spec.project_id),
        ("labels", " ".join(f"{key}={value}" for key, value in sorted(spec.labels.items()))),
        ("annotations", " ".join(f"{key}={value}" for key, value in sorted(spec.annotations.items()))),
        ("security groups", " ".join(spec.security_groups)),
        ("allowed", " ".join(map(_pair, spec.allowed_address_pairs))),
        ("port security", ("on" if spec.port_security else "off") if spec.HasField("port_security") else ""),
        ("generation", str(port.generation or "")),
        ("revision", str(port.revision or "")),
        ("plugged by", port.principal + (f", request {port.request_id}" if port.request_id else "")),
    ]
    return facts + (_evidence(port.confirmation) if port.HasField("confirmation") else [("confirmed", "not yet")])


def _pair(pair: AddressPair) -> str:
    return f"{pair.address},{pair.mac_address}" if pair.mac_address else pair.address


def _evidence(confirmation: Confirmation) -> list[tuple[str, str]]:
    total_us = sum(timing.duration_us for timing in confirmation.stages)
    stages = " ".join(f"{timing.stage} {milliseconds(timing.duration_us)}" for timing in confirmation.stages)
    switch = f"dpid {confirmation.dpid}, connection {confirmation.connection_generation}"
    note = f" ({confirmation.level_note})" if confirmation.level_note else ""
    frames = [f"{frame.name}: {frame.seen}, as expected" for frame in confirmation.probe_frames]
    return [
        ("confirmed", f"{_level(confirmation)}{note}, {at(confirmation.confirmed_at_ms)}"),
        ("switch", f"ofport {confirmation.ofport}, {switch}, ifindex {confirmation.ifindex}"),
        ("receipt", f"bundle {confirmation.bundle_id}, barrier xid {confirmation.barrier_xid}"),
        ("flows", f"{confirmation.flow_count}, digest {confirmation.flow_digest[:16]}"),
        *(("" if number else "frames", text) for number, text in enumerate(frames)),
        ("took", f"{milliseconds(total_us)}: {stages}"),
    ]


def _level(confirmation: Confirmation) -> str:
    return short(ConfirmationLevel.Name(confirmation.level), "CONFIRMATION_LEVEL")
