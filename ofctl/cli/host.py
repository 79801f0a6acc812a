"""`ofctl host`"""

from __future__ import annotations

import click

from ofctl.cli.output import print_facts, print_json, short
from ofctl.cli.session import Session, agent_options
from ofctl.v1.confirmation_pb2 import ConfirmationLevel
from ofctl.v1.host_pb2 import Bridge, Host, Uplink
from ofctl.v1.vif_pb2 import DatapathType, VifType


@click.group()
def host() -> None:
    """What this host is, and whether it is ready."""


@host.command()
@click.option("--wait", is_flag=True, help="First wait, for as long as --timeout, until the host is ready.")
@agent_options
def show(session: Session, *, wait: bool) -> None:
    """Show versions, bridges, uplinks, capacity, and what is missing before the host can plug."""
    with session.agent("waiting for the agent") as agent:
        if wait:
            agent.wait_until_ready()
        found = agent.host()
    if session.as_json:
        print_json(found)
    else:
        print_facts(_facts(found))


def _facts(one: Host) -> list[tuple[str, str]]:
    return [
        ("host", one.host_id),
        ("ready", "yes" if one.ready else "no"),
        *(("", problem) for problem in one.not_ready),
        ("ports", f"{one.port_count} of at most {one.max_ports}"),
        *((f"bridge {bridge.name}", _bridge(bridge)) for bridge in one.bridges),
        *((f"uplink {uplink.physical_network}", _uplink(uplink)) for uplink in one.uplinks),
        ("VIF types", " ".join(short(VifType.Name(kind), "VIF_TYPE") for kind in one.vif_types)),
        (
            "confirms",
            " ".join(short(ConfirmationLevel.Name(level), "CONFIRMATION_LEVEL") for level in one.confirmation_levels),
        ),
        *((name, version) for name, version in sorted(one.versions.items())),
        *((f"count {name}", str(number)) for name, number in sorted(one.counters.items())),
    ]


def _bridge(bridge: Bridge) -> str:
    facts = [
        f"dpid {bridge.dpid}",
        f"datapath {short(DatapathType.Name(bridge.datapath_type), 'DATAPATH_TYPE')}",
        f"owner {bridge.owner}",
        f"connected (generation {bridge.connection_generation})" if bridge.connected else "disconnected",
        "resynced" if bridge.resynced else "not resynced",
    ]
    if bridge.foreign_ports:
        facts.append(f"foreign ports: {' '.join(bridge.foreign_ports)}")
    return ", ".join(facts)


def _uplink(uplink: Uplink) -> str:
    state = uplink.problem or (f"ofport {uplink.ofport}" if uplink.HasField("ofport") else "not in the switch")
    return f"{uplink.device_name}, {state}"
