"""What a host says of itself, and what an audit of it found, as messages of the contract."""

from __future__ import annotations

from ofctl.api.convert import dpid_text
from ofctl.api.enums import APP_STATES, DATAPATH_TYPES, FINDING_KINDS, LEVELS, VIF_TYPES
from ofctl.model.audit import AuditReport, Finding, FindingKind
from ofctl.model.host import AppView, BridgeView, HostView, UplinkView
from ofctl.v1 import host_pb2

MAX_REPORT_BYTES = 2**21
"""gRPC refuses messages above 4 MiB unless told otherwise; a switch that lost all its flows has tens of thousands."""


def host_to_proto(host: HostView) -> host_pb2.Host:
    """Return the message for what a host says of itself."""
    return host_pb2.Host(
        host_id=host.host_id,
        versions=dict(host.versions),
        bridges=[_bridge_to_proto(bridge) for bridge in host.bridges],
        uplinks=[_uplink_to_proto(uplink) for uplink in host.uplinks],
        vif_types=[VIF_TYPES[vif_type] for vif_type in host.vif_types],
        confirmation_levels=[LEVELS[level] for level in host.levels],
        max_ports=host.max_ports,
        port_count=host.port_count,
        ready=not host.not_ready,
        not_ready=host.not_ready,
        counters=dict(host.counters),
        apps=[_app_to_proto(app) for app in host.apps],
    )


def _bridge_to_proto(bridge: BridgeView) -> host_pb2.Bridge:
    return host_pb2.Bridge(
        name=bridge.name,
        dpid=dpid_text(bridge.dpid),
        datapath_type=DATAPATH_TYPES[bridge.datapath_type],
        owner=bridge.owner,
        connected=bridge.connected,
        resynced=bridge.resynced,
        connection_generation=bridge.connection_generation,
        foreign_ports=bridge.foreign_ports,
    )


def _uplink_to_proto(uplink: UplinkView) -> host_pb2.Uplink:
    return host_pb2.Uplink(
        physical_network=uplink.physical_network,
        device_name=uplink.device,
        ofport=uplink.ofport,
        problem=uplink.problem,
    )


def _app_to_proto(app: AppView) -> host_pb2.App:
    return host_pb2.App(
        name=app.name,
        kind=app.kind,
        source=app.source,
        bridge=app.bridge,
        state=APP_STATES[app.state],
        last_error=app.last_error,
        restarts=app.restarts,
        queue_depth=app.queue_depth,
        flows=app.flows,
        dropped_packet_ins=app.dropped_packet_ins,
        delayed_messages=app.delayed_messages,
        pid=app.pid,
    )


def audit_to_proto(report: AuditReport) -> host_pb2.AuditResponse:
    """Return the message for a report; the last findings are left out if it gets too large."""
    response = host_pb2.AuditResponse(
        ports=report.ports,
        devices=report.devices,
        rows=report.rows,
        flows=report.flows,
        groups=report.groups,
        finding_count=len(report.findings),
        left_count=sum(
            not finding.repaired and finding.kind is not FindingKind.ROW_FOREIGN for finding in report.findings
        ),
    )
    room = MAX_REPORT_BYTES
    for finding in report.findings:
        message = _finding_to_proto(finding)
        room -= message.ByteSize()
        if room < 0:
            break
        response.findings.append(message)
    return response


def _finding_to_proto(finding: Finding) -> host_pb2.Finding:
    return host_pb2.Finding(
        kind=FINDING_KINDS[finding.kind],
        subject=finding.subject,
        detail=finding.detail,
        port_id=finding.port_id or "",
        repaired=finding.repaired,
    )
