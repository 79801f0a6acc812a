"""The command line's entry: finds the command, imports its module, turns what went wrong into an exit status."""

from __future__ import annotations

import importlib
import os
from typing import NamedTuple

import click

from ofctl import __version__


class _Entry(NamedTuple):
    module: str
    summary: str


COMMANDS = {
    "network": _Entry("ofctl.cli.network", "Networks that ports are plugged into."),
    "port": _Entry("ofctl.cli.port", "Plug, change, unplug and look at ports."),
    "security-group": _Entry("ofctl.cli.security_group", "Rules for what may reach ports, and what may leave them."),
    "address-group": _Entry("ofctl.cli.address_group", "Lists of addresses that rules name."),
    "host": _Entry("ofctl.cli.host", "What this host is, and whether it is ready."),
    "app": _Entry("ofctl.cli.app", "Applications that run beside the core."),
    "audit": _Entry("ofctl.cli.audit", "Compare the whole host with what is meant to be there."),
    "config": _Entry("ofctl.cli.config", "Check the agent's configuration and its apps."),
    "bridge": _Entry("ofctl.cli.bridge", "Take over an existing bridge of Open vSwitch."),
    "demo": _Entry("ofctl.cli.local", "Show the main job on a private switch; nothing of the host is touched."),
    "sandbox": _Entry("ofctl.cli.local", "A shell with a private switch and an agent to play with."),
}


class Commands(click.Group):
    """Knows names and summaries of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ofctl")
def cli() -> None:
    """Plug ports into the Open vSwitch of this host, through its ofctl agent.

    Every command has --help. The agent is found by --connect or $OFCTL_CONNECT, else on unix:/run/ofctl/ofctl.sock.
    """


def main() -> None:
    """Run the command line and exit; docs/api.md lists the exit statuses."""
    # gRPC itself writes to stderr, such as that an agent that is restarted says goodbye; it reads this when imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    cli(prog_name="ofctl")
