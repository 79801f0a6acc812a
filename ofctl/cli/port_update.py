"""`ofctl port update`"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import click

from ofctl.cli.output import print_json
from ofctl.cli.port_options import GENERATION, LEVEL, described, level_of, pairs_of, pairs_to_map
from ofctl.cli.ports_output import print_plugged
from ofctl.cli.session import Session, agent_options
from ofctl.v1.port_pb2 import PortSpec

REPEATED = {
    "ip": "fixed_ips",
    "security-group": "security_groups",
    "allowed-address": "allowed_address_pairs",
    "label": "labels",
    "annotation": "annotations",
}
"""Fields by the option that is given again for each value, and that `--no-OPTION` empties."""


@click.command()
@click.argument("port_id")
@click.option("--host", "host_id", default="", help="The agent's own if not given.")
@described
@click.option("--default-port-security", is_flag=True, help="As the network says.")
@click.option("--project", "project_id")
@click.option("--device-id", help="The guest's id.")
@click.option("--device-owner", help="What kind of guest.")
@click.option("--no-ip", "cleared", flag_value="ip", multiple=True, help="No address.")
@click.option("--no-security-group", "cleared", flag_value="security-group", multiple=True, help="Not filtered.")
@click.option(
    "--no-allowed-address", "cleared", flag_value="allowed-address", multiple=True, help="None besides its own."
)
@click.option("--no-label", "cleared", flag_value="label", multiple=True, help="No label.")
@click.option("--no-annotation", "cleared", flag_value="annotation", multiple=True, help="No annotation.")
@click.option("--revision", type=click.IntRange(0, 2**63 - 1), default=0, help="Refuse unless the port has this one.")
@click.option("--request-id", help="To ask for the outcome later; made if not given.")
@LEVEL
@GENERATION
@agent_options
def update(
    session: Session,
    *,
    port_id: str,
    host_id: str,
    fixed_ips: tuple[str, ...],
    security_groups: tuple[str, ...],
    allowed_addresses: tuple[str, ...],
    port_security: bool | None,
    default_port_security: bool,
    labels: tuple[str, ...],
    annotations: tuple[str, ...],
    project_id: str | None,
    device_id: str | None,
    device_owner: str | None,
    cleared: tuple[str, ...],
    revision: int,
    request_id: str | None,
    level: str,
    generation: int,
) -> None:
    """Change a port that is plugged; print it when the switch has confirmed it.

    Each option replaces all of what the port had of its kind: name every security group, and every label.
    """
    spec = PortSpec(
        port_id=port_id,
        host_id=host_id,
        fixed_ips=fixed_ips,
        security_groups=security_groups,
        allowed_address_pairs=pairs_of(allowed_addresses),
        port_security=port_security,
        labels=pairs_to_map(labels, "--label"),
        annotations=pairs_to_map(annotations, "--annotation"),
        project_id=project_id or "",
        device_id=device_id or "",
        device_owner=device_owner or "",
    )
    texts = {"project_id": project_id, "device_id": device_id, "device_owner": device_owner}
    fields = [*_repeated(spec, cleared), *(name for name, text in texts.items() if text is not None)]
    if default_port_security and port_security is not None:
        raise click.UsageError("--default-port-security goes with neither --port-security nor --no-port-security")
    if default_port_security or port_security is not None:
        fields.append("port_security")
    if not fields:
        raise click.UsageError("say what to change, such as --security-group ID")
    with session.agent(f"updating {port_id}") as agent:
        updated = agent.update(
            spec, fields, revision=revision, request_id=request_id, level=level_of(level), generation=generation
        )
    if session.as_json:
        print_json(updated)
    else:
        print_plugged(updated)


def _repeated(spec: PortSpec, cleared: Collection[str]) -> Iterator[str]:
    """Yield the names of the fields that are given, or emptied."""
    for option, field in REPEATED.items():
        given = bool(getattr(spec, field))
        if given and option in cleared:
            raise click.UsageError(f"--{option} and --no-{option} exclude each other")
        if given or option in cleared:
            yield field
