"""`ofctl port`"""

from __future__ import annotations

import os
import signal

import click

from ofctl.cli.output import print_json, say
from ofctl.cli.port_options import GENERATION, LEVEL, described, level_of, pairs_of, pairs_to_map
from ofctl.cli.port_update import update
from ofctl.cli.ports_output import print_plugged, print_ports, print_request
from ofctl.cli.session import Session, agent_options
from ofctl.cli.watch import as_json, as_text, write
from ofctl.v1.port_pb2 import (
    RECOVERY_KEEP_TRYING,
    RECOVERY_ROLL_BACK,
    NamespaceConsumer,
    PortSpec,
    PortState,
    Route,
    UnplugPortResponse,
    VmConsumer,
)
from ofctl.v1.vif_pb2 import VifType

STATES = ("build", "active", "degraded", "down", "error", "removing")
VIF_TYPES = ("tap", "veth", "vhost-user", "representor")


@click.group()
def port() -> None:
    """Plug, change, unplug, verify and look at ports."""


@port.command()
@click.argument("port_id")
@click.option("--network", "network_id", required=True, help="The network's id.")
@click.option("--vm", is_flag=True, help="A virtual machine uses the port: make a TAP.")
@click.option("--netns", metavar="PATH|NAME", help="A network namespace uses it: make a veth pair.")
@click.option("--container", metavar="PATH|NAME", help="A container's namespace uses it: make a veth pair.")
@described
@click.option("--mac", "mac_address", default="", help="Derived from the port's id if not given.")
@click.option("--mtu", type=click.IntRange(0, 2**32 - 1), default=0, help="Bytes; the network's if not given.")
@click.option("--device", "device_name", default="", help="Name of the device on the host.")
@click.option("--owner-uid", type=click.IntRange(0, 2**32 - 1), help="With --vm: user that may open the TAP.")
@click.option("--owner-gid", type=click.IntRange(0, 2**32 - 1), help="With --vm: group that may open the TAP.")
@click.option("--multi-queue", is_flag=True, help="With --vm.")
@click.option("--interface", default="", help="In the namespace: name of the interface, eth0 if not given.")
@click.option("--address", "addresses", multiple=True, metavar="ADDRESS/LENGTH", help="In the namespace.")
@click.option("--route", "routes", multiple=True, metavar="CIDR[,VIA]", help="In the namespace.")
@click.option("--project", "project_id", default="")
@click.option("--device-id", default="", help="The guest's id.")
@click.option("--device-owner", default="", help="What kind of guest.")
@click.option("--vif-type", "vif_types", multiple=True, type=click.Choice(VIF_TYPES), help="One that you can use.")
@click.option("--host", "host_id", default="", help="Host to plug on; the agent's own if not given.")
@LEVEL
@click.option("--keep-trying", is_flag=True, help="On failure keep the port wanted, instead of rolling back.")
@click.option("--request-id", help="To ask for the outcome later; made if not given.")
@click.option("--validate-only", is_flag=True, help="Say what would be, and do nothing.")
@GENERATION
@agent_options
def plug(
    session: Session,
    *,
    port_id: str,
    network_id: str,
    vm: bool,
    netns: str | None,
    container: str | None,
    owner_uid: int | None,
    owner_gid: int | None,
    multi_queue: bool,
    interface: str,
    addresses: tuple[str, ...],
    routes: tuple[str, ...],
    fixed_ips: tuple[str, ...],
    security_groups: tuple[str, ...],
    allowed_addresses: tuple[str, ...],
    port_security: bool | None,
    mac_address: str,
    mtu: int,
    device_name: str,
    project_id: str,
    device_id: str,
    device_owner: str,
    labels: tuple[str, ...],
    annotations: tuple[str, ...],
    vif_types: tuple[str, ...],
    host_id: str,
    level: str,
    keep_trying: bool,
    request_id: str | None,
    validate_only: bool,
    generation: int,
) -> None:
    """Plug a port; print it when the switch has confirmed it."""
    if [vm, bool(netns), bool(container)].count(True) != 1:
        raise click.UsageError("say who uses the port: one of --vm, --netns or --container")
    inside = netns or container
    if inside and (owner_uid is not None or owner_gid is not None or multi_queue):
        raise click.UsageError("--owner-uid, --owner-gid and --multi-queue go with --vm")
    if vm and (interface or addresses or routes):
        raise click.UsageError("--interface, --address and --route go with --netns or --container")
    namespace = NamespaceConsumer(
        netns_path=_path(inside or ""),
        interface_name=interface,
        addresses=addresses,
        routes=[_route(text) for text in routes],
    )
    spec = PortSpec(
        port_id=port_id,
        network_id=network_id,
        host_id=host_id,
        project_id=project_id,
        device_id=device_id,
        device_owner=device_owner,
        labels=pairs_to_map(labels, "--label"),
        annotations=pairs_to_map(annotations, "--annotation"),
        security_groups=security_groups,
        allowed_address_pairs=pairs_of(allowed_addresses),
        port_security=port_security,
        mac_address=mac_address,
        fixed_ips=fixed_ips,
        mtu=mtu,
        device_name=device_name,
        vm=VmConsumer(owner_uid=owner_uid, owner_gid=owner_gid, multi_queue=multi_queue) if vm else None,
        namespace=namespace if netns else None,
        container=namespace if container else None,
        vif_types=[VifType.Value(f"VIF_TYPE_{kind.upper().replace('-', '_')}") for kind in vif_types],
        recovery=RECOVERY_KEEP_TRYING if keep_trying else RECOVERY_ROLL_BACK,
    )
    with session.agent(f"plugging {port_id}") as agent:
        plugged = agent.plug(
            spec,
            request_id=request_id,
            level=level_of(level),
            validate_only=validate_only,
            generation=generation,
        )
    if session.as_json:
        print_json(plugged)
    else:
        print_plugged(plugged)


port.add_command(update)


@port.command()
@click.argument("port_id")
@click.option("--host", "host_id", default="", help="The agent's own if not given.")
@click.option("--force", is_flag=True, help="Even while a process holds the TAP open.")
@click.option("--missing-ok", is_flag=True, help="Succeed if there is no such port.")
@GENERATION
@agent_options
def unplug(session: Session, *, port_id: str, host_id: str, force: bool, missing_ok: bool, generation: int) -> None:
    """Remove a port; return when nothing of it is left."""
    with session.agent(f"unplugging {port_id}") as agent:
        agent.unplug(port_id, host_id=host_id, force=force, generation=generation, missing_ok=missing_ok)
    if session.as_json:
        print_json(UnplugPortResponse())
    else:
        say(f"port {port_id} is gone")


@port.command("list")
@click.option("--network", "network_id", default="")
@click.option("--project", "project_id", default="")
@click.option("--device-id", default="", help="The guest's id.")
@click.option("--host", "host_id", default="")
@click.option("--state", type=click.Choice(STATES))
@agent_options
def list_(
    session: Session, *, network_id: str, project_id: str, device_id: str, host_id: str, state: str | None
) -> None:
    """List the ports that match all filters."""
    with session.agent("listing ports") as agent:
        found = list(
            agent.ports(
                network_id=network_id,
                project_id=project_id,
                device_id=device_id,
                host_id=host_id,
                state=PortState.Value(f"PORT_STATE_{(state or 'unspecified').upper()}"),
            )
        )
    if session.as_json:
        print_json(found)
    else:
        print_ports(found)


@port.command()
@click.argument("port_id", required=False)
@click.option("--host", "host_id", default="", help="The agent's own if not given.")
@click.option("--request", "request_id", help="Show the outcome of that request instead, and its port.")
@agent_options
def show(session: Session, *, port_id: str | None, host_id: str, request_id: str | None) -> None:
    """Show a port with its evidence, or what became of a request."""
    if (port_id is None) == (request_id is None):
        raise click.UsageError("give PORT_ID or --request")
    with session.agent() as agent:
        if request_id is not None:
            found = agent.request(request_id)
            if session.as_json:
                print_json(found)
            else:
                print_request(found)
        elif port_id is not None:
            one = agent.port(port_id, host_id=host_id)
            if session.as_json:
                print_json(one)
            else:
                print_plugged(one)


@port.command()
@click.argument("port_id")
@click.option("--host", "host_id", default="", help="The agent's own if not given.")
@LEVEL
@agent_options
def verify(session: Session, *, port_id: str, host_id: str, level: str) -> None:
    """Look at a port that is there and show the evidence afresh. Nothing is mended."""
    with session.agent(f"verifying {port_id}") as agent:
        verified = agent.verify(port_id, host_id=host_id, level=level_of(level))
    if session.as_json:
        print_json(verified)
    else:
        print_plugged(verified)


@port.command()
@click.option("--network", "network_id", default="")
@click.option("--project", "project_id", default="")
@click.option("--device-id", default="", help="The guest's id.")
@click.option("--host", "host_id", default="")
@agent_options
def watch(session: Session, *, network_id: str, project_id: str, device_id: str, host_id: str) -> None:
    """Show the ports that match all filters, then every change of them, until it is interrupted.

    One line for each event; with -o json one object a line. A restart of the agent is waited for. --timeout is not
    used.
    """
    line = as_json if session.as_json else as_text
    # An interrupt that is raised while gRPC's compiled part runs can be lost there. Each line has been written out.
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    with session.agent() as agent:
        for event in agent.watch(network_id=network_id, project_id=project_id, device_id=device_id, host_id=host_id):
            write(line(event))


def _path(namespace: str) -> str:
    """Return the path of a namespace that was given by path, or by name as ip-netns(8) has it."""
    return namespace if "/" in namespace else f"/run/netns/{namespace}"


def _route(text: str) -> Route:
    destination, _, via = text.partition(",")
    return Route(destination=destination, via=via)
