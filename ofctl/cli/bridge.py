"""`ofctl bridge`: works on the database of Open vSwitch directly, while no agent runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from ofctl.cli.output import say
from ofctl.cli.session import local_failures, progress
from ofctl.config import load
from ofctl.model.ids import HostId, identifier
from ofctl.model.vif import DatapathType
from ofctl.ovsdb.switch import SwitchDatabase
from ofctl.ovsdb.values import Adoption, BridgeSpec


@click.group()
def bridge() -> None:
    """Take over an existing bridge of Open vSwitch."""


@bridge.command()
@click.argument("name", required=False)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option(
    "--config-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The agent's configuration, which has the database, the host id and the bridge's name.",
)
@click.option("--db", "connection", metavar="METHOD", help="Database of Open vSwitch, such as unix:/PATH.")
@click.option("--host-id", help="Name of this host in the owner mark.")
@click.option("--timeout", "timeout_s", default=30.0, show_default=True, help="Seconds.")
def adopt(
    *,
    name: str | None,
    dry_run: bool,
    config_file: Path | None,
    connection: str | None,
    host_id: str | None,
    timeout_s: float,
) -> None:
    """Put ofctl's owner mark and settings on the existing bridge NAME, so that the agent may own it.

    Flows that others put there are removed when the agent starts; their ports stay. Stop the agent first: one process
    at a time writes for a host.
    """
    with local_failures(), progress("waiting for Open vSwitch"):
        settings = load((), [config_file] if config_file else None)
        datapath = settings.ovsdb.datapath_type
        spec = BridgeSpec(
            name=name or settings.agent.bridge,
            datapath_type=None if datapath == "auto" else DatapathType(datapath),
        )
        owner = HostId(identifier(host_id, "--host-id")) if host_id else settings.agent.host_id
        done = asyncio.run(_adopt(connection or settings.ovsdb.connection, owner, spec, dry_run, timeout_s))
    _report(done)


async def _adopt(connection: str, host_id: HostId, spec: BridgeSpec, dry_run: bool, timeout_s: float) -> Adoption:
    deadline = asyncio.get_running_loop().time() + timeout_s
    database = SwitchDatabase(connection, host_id=host_id)
    try:
        await database.start(deadline=deadline)
        return await database.adopt_bridge(spec, dry_run=dry_run, deadline=deadline)
    finally:
        await database.close()


def _report(done: Adoption) -> None:
    for change in done.changes:
        say(f"  {change}")
    for device in done.foreign_ports:
        say(f"  port {device} is not ofctl's; it stays")
    if done.applied:
        say(f"bridge {done.bridge} is adopted" if done.changes else f"bridge {done.bridge} was adopted already")
    elif done.changes:
        say(f"bridge {done.bridge} would change so; nothing was done (--dry-run)")
    else:
        say(f"bridge {done.bridge} is as ofctl wants it; nothing to do")
