"""`ofctl network`"""

from __future__ import annotations

import click

from ofctl.cli.output import print_facts, print_json, print_table, say, short
from ofctl.cli.session import Session, agent_options
from ofctl.v1.network_pb2 import DeleteNetworkResponse, Network, NetworkType, Subnet

TYPES = ("local", "flat", "vlan", "vxlan", "geneve")


@click.group()
def network() -> None:
    """Networks that ports are plugged into."""


@network.command()
@click.argument("network_id")
@click.option("--name", default="", help="For people.")
@click.option("--type", "kind", type=click.Choice(TYPES), default="local", show_default=True)
@click.option("--segmentation-id", type=int, help="VLAN id, for type vlan.")
@click.option("--physical-network", default="", metavar="NAME", help="Uplink, for types flat and vlan.")
@click.option("--mtu", type=click.IntRange(0, 2**32 - 1), default=0, help="Bytes; 1500 if not given.")
@click.option("--subnet", "subnets", multiple=True, metavar="CIDR[,GATEWAY]", help="Again for each subnet.")
@click.option("--no-port-security", is_flag=True, help="Do not check what guests send, unless a port says so.")
@click.option("--no-neighbor-replies", is_flag=True, help="Do not answer ARP and neighbor solicitations for guests.")
@click.option("--no-flood-unknown-neighbors", is_flag=True, help="Drop such questions for addresses nobody knows.")
@agent_options
def apply(
    session: Session,
    *,
    network_id: str,
    name: str,
    kind: str,
    segmentation_id: int | None,
    physical_network: str,
    mtu: int,
    subnets: tuple[str, ...],
    no_port_security: bool,
    no_neighbor_replies: bool,
    no_flood_unknown_neighbors: bool,
) -> None:
    """Create a network, or make it as given."""
    wanted = Network(
        network_id=network_id,
        name=name,
        type=NetworkType.Value(f"NETWORK_TYPE_{kind.upper()}"),
        segmentation_id=segmentation_id,
        physical_network=physical_network,
        mtu=mtu,
        subnets=[_subnet(text) for text in subnets],
        port_security=not no_port_security,
        neighbor_replies=not no_neighbor_replies,
        flood_unknown_neighbors=not no_flood_unknown_neighbors,
    )
    with session.agent(f"applying network {network_id}") as agent:
        _show(session, agent.apply_network(wanted))


@network.command("list")
@agent_options
def list_(session: Session) -> None:
    """List the networks."""
    with session.agent() as agent:
        networks = list(agent.networks())
    if session.as_json:
        print_json(networks)
    else:
        columns = ("NETWORK", "NAME", "TYPE", "SEGMENT", "PHYSICAL", "MTU", "SUBNETS")
        print_table(columns, [_row(one) for one in networks])


@network.command()
@click.argument("network_id")
@agent_options
def show(session: Session, network_id: str) -> None:
    """Show a network."""
    with session.agent() as agent:
        _show(session, agent.network(network_id))


@network.command()
@click.argument("network_id")
@click.option("--missing-ok", is_flag=True, help="Succeed if there is no such network.")
@agent_options
def delete(session: Session, *, network_id: str, missing_ok: bool) -> None:
    """Delete a network that no port uses."""
    with session.agent(f"deleting network {network_id}") as agent:
        agent.delete_network(network_id, missing_ok=missing_ok)
    if session.as_json:
        print_json(DeleteNetworkResponse())
    else:
        say(f"network {network_id} is gone")


def _subnet(text: str) -> Subnet:
    cidr, _, gateway = text.partition(",")
    return Subnet(cidr=cidr, gateway=gateway)


def _row(one: Network) -> tuple[str, ...]:
    return (
        one.network_id,
        one.name,
        short(NetworkType.Name(one.type), "NETWORK_TYPE"),
        str(one.segmentation_id) if one.HasField("segmentation_id") else "",
        one.physical_network,
        str(one.mtu),
        " ".join(subnet.cidr for subnet in one.subnets),
    )


def _show(session: Session, one: Network) -> None:
    if session.as_json:
        print_json(one)
        return
    names = ("network", "name", "type", "segmentation id", "physical network", "mtu")
    subnets = [
        ("subnet", subnet.cidr + (f", gateway {subnet.gateway}" if subnet.gateway else "")) for subnet in one.subnets
    ]
    security = [
        ("port security", "on" if one.port_security else "off"),
        ("neighbor replies", "on" if one.neighbor_replies else "off"),
        ("unknown neighbors", "flooded" if one.flood_unknown_neighbors else "dropped"),
    ]
    print_facts([*zip(names, _row(one)[:-1], strict=True), *subnets, *security])
