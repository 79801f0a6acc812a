"""`ofctl address-group`"""

from __future__ import annotations

from typing import TextIO

import click

from ofctl.cli.output import print_facts, print_json, print_table, say
from ofctl.cli.port_options import LEVEL, level_of
from ofctl.cli.ports_output import print_confirmed
from ofctl.cli.session import Session, agent_options
from ofctl.v1.security_pb2 import AddressGroup, DeleteAddressGroupResponse


@click.group("address-group")
def address_group() -> None:
    """Lists of addresses that rules name."""


@address_group.command()
@click.argument("group_id")
@click.option("--name", default="", help="For people.")
@click.option("--address", "addresses", multiple=True, metavar="ADDRESS|CIDR", help="Again for each one.")
@click.option("--addresses", "file", type=click.File(), help="A file with one on each line; - is standard input.")
@LEVEL
@agent_options
def apply(
    session: Session,
    *,
    group_id: str,
    name: str,
    addresses: tuple[str, ...],
    file: TextIO | None,
    level: str,
) -> None:
    """Create an address group, or make it as given; return when every port that it concerns is confirmed."""
    lines = [line.partition("#")[0].strip() for line in file or ()]
    wanted = AddressGroup(address_group_id=group_id, name=name, addresses=[*addresses, *filter(None, lines)])
    with session.agent(f"applying address group {group_id}") as agent:
        applied = agent.apply_address_group(wanted, level=level_of(level))
    if session.as_json:
        print_json(applied)
    else:
        _show(applied.address_group)
        print_confirmed(applied.ports)


@address_group.command("list")
@agent_options
def list_(session: Session) -> None:
    """List the address groups."""
    with session.agent() as agent:
        groups = list(agent.address_groups())
    if session.as_json:
        print_json(groups)
    else:
        rows = [(group.address_group_id, group.name, str(len(group.addresses))) for group in groups]
        print_table(("GROUP", "NAME", "ADDRESSES"), rows)


@address_group.command()
@click.argument("group_id")
@agent_options
def show(session: Session, group_id: str) -> None:
    """Show an address group."""
    with session.agent() as agent:
        found = agent.address_group(group_id)
    if session.as_json:
        print_json(found)
    else:
        _show(found)


@address_group.command()
@click.argument("group_id")
@click.option("--missing-ok", is_flag=True, help="Succeed if there is no such group.")
@agent_options
def delete(session: Session, *, group_id: str, missing_ok: bool) -> None:
    """Delete an address group that no rule names."""
    with session.agent(f"deleting address group {group_id}") as agent:
        agent.delete_address_group(group_id, missing_ok=missing_ok)
    if session.as_json:
        print_json(DeleteAddressGroupResponse())
    else:
        say(f"address group {group_id} is gone")


def _show(group: AddressGroup) -> None:
    addresses = [("" if number else "addresses", address) for number, address in enumerate(group.addresses)]
    print_facts([("group", group.address_group_id), ("name", group.name), *addresses])
