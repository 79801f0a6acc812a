"""`ofctl demo` and `ofctl sandbox`: they need no agent and start their own."""

from __future__ import annotations

import click

from ofctl.demo.story import run as run_demo
from ofctl.sandbox.shell import run as run_sandbox


@click.command()
@click.pass_context
def demo(context: click.Context) -> None:
    """Show the main job on a private switch: plug, prove with packets, restart under traffic, unplug.

    Nothing of the host is touched. The exit status is 0 only if everything that is claimed was observed.
    """
    context.exit(run_demo())


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--app", "apps", multiple=True, metavar="ENTRY", help="An app or guest to load, as in [apps] load; again for more."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def sandbox(context: click.Context, apps: tuple[str, ...], command: tuple[str, ...]) -> None:
    """Start a private switch and an agent, and a shell (or COMMAND) to play with them; stop them at its end."""
    context.exit(run_sandbox(command, apps=apps))
