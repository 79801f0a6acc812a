"""`ofctl security-group`"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

import click

from ofctl.cli.output import print_facts, print_json, print_table, say
from ofctl.cli.port_options import LEVEL, level_of
from ofctl.cli.ports_output import print_confirmed
from ofctl.cli.session import Session, agent_options
from ofctl.client.rules import line, rule
from ofctl.model.rule_text import EXAMPLE
from ofctl.v1.security_pb2 import DeleteSecurityGroupResponse, GroupMember, SecurityGroup, SecurityRule


@click.group("security-group")
def security_group() -> None:
    """Rules for what may reach ports, and what may leave them."""


@security_group.command()
@click.argument("group_id")
@click.option("--name", default="", help="For people.")
@click.option("--stateless", is_flag=True, help="Track no connections: replies need rules of their own.")
@click.option("--rule", "texts", multiple=True, metavar="RULE", help=f"Again for each rule, {EXAMPLE}.")
@click.option("--rules", "file", type=click.File(), help="A file with a rule on each line; - is standard input.")
@click.option(
    "--member",
    "members",
    multiple=True,
    metavar="NETWORK,ADDRESS",
    help="An address that belongs to the group without being a port of this host.",
)
@LEVEL
@agent_options
def apply(
    session: Session,
    *,
    group_id: str,
    name: str,
    stateless: bool,
    texts: tuple[str, ...],
    file: TextIO | None,
    members: tuple[str, ...],
    level: str,
) -> None:
    """Create a security group, or make it as given; return when every port that has it is confirmed.

    A rule says, in this order: in or out; ipv4 or ipv6; a protocol by name or number, or any; ports, or ICMP type and
    code; `from` (in) or `to` (out) an address, a prefix, `group ID` or `address-group ID`. What is left out is any:

    \b
        in tcp 80-443 from 192.0.2.0/24
        in icmp type 8 code 0 from group web
        out udp 53 to address-group resolvers
        out ipv6
    """
    rules = [_rule(text, "--rule") for text in texts]
    rules += _rules_of(file) if file is not None else []
    wanted = SecurityGroup(
        security_group_id=group_id,
        name=name,
        stateful=not stateless,
        rules=rules,
        members=[_member(text) for text in members],
    )
    with session.agent(f"applying security group {group_id}") as agent:
        applied = agent.apply_security_group(wanted, level=level_of(level))
    if session.as_json:
        print_json(applied)
    else:
        _show(applied.security_group)
        print_confirmed(applied.ports)


@security_group.command("list")
@agent_options
def list_(session: Session) -> None:
    """List the security groups."""
    with session.agent() as agent:
        groups = list(agent.security_groups())
    if session.as_json:
        print_json(groups)
    else:
        columns = ("GROUP", "NAME", "KIND", "RULES", "MEMBERS")
        print_table(columns, [_row(group) for group in groups])


@security_group.command()
@click.argument("group_id")
@agent_options
def show(session: Session, group_id: str) -> None:
    """Show a security group; its rules as `apply --rules` reads them."""
    with session.agent() as agent:
        found = agent.security_group(group_id)
    if session.as_json:
        print_json(found)
    else:
        _show(found)


@security_group.command()
@click.argument("group_id")
@click.option("--missing-ok", is_flag=True, help="Succeed if there is no such group.")
@agent_options
def delete(session: Session, *, group_id: str, missing_ok: bool) -> None:
    """Delete a security group that no port has and no other group names."""
    with session.agent(f"deleting security group {group_id}") as agent:
        agent.delete_security_group(group_id, missing_ok=missing_ok)
    if session.as_json:
        print_json(DeleteSecurityGroupResponse())
    else:
        say(f"security group {group_id} is gone")


def _rule(text: str, where: str) -> SecurityRule:
    try:
        return rule(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=where) from None


def _rules_of(lines: Iterable[str]) -> list[SecurityRule]:
    """Return the rules of a file; empty lines, and what follows a #, say nothing."""
    texts = ((number, text.partition("#")[0].strip()) for number, text in enumerate(lines, 1))
    return [_rule(text, f"--rules, line {number}") for number, text in texts if text]


def _member(text: str) -> GroupMember:
    network, comma, address = text.partition(",")
    if not comma:
        raise click.BadParameter(f"{text!r} has no ','; write NETWORK,ADDRESS", param_hint="--member")
    return GroupMember(network_id=network, address=address)


def _row(group: SecurityGroup) -> tuple[str, ...]:
    kind = "stateful" if group.stateful else "stateless"
    return (group.security_group_id, group.name, kind, str(len(group.rules)), str(len(group.members)))


def _show(group: SecurityGroup) -> None:
    group_id, name, kind, *_ = _row(group)
    rules = [line(each) for each in group.rules]
    members = [f"{member.address} on network {member.network_id}" for member in group.members]
    print_facts(
        [
            ("group", group_id),
            ("name", name),
            ("kind", kind),
            *(("" if number else "rules", text) for number, text in enumerate(rules)),
            *(("" if number else "members", text) for number, text in enumerate(members)),
        ]
    )
