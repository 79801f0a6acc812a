"""`ofctl app`"""

from __future__ import annotations

from pathlib import Path

import click

from ofctl.cli.output import print_json, print_table, short
from ofctl.cli.session import Session, agent_options
from ofctl.scaffold import make_package
from ofctl.v1.host_pb2 import App, AppState


@click.group()
def app() -> None:
    """Applications that run beside the core."""


@app.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to make it; here if not given.",
)
@click.option("--guest", is_flag=True, help="A classic Ryu application instead of a feature app.")
def new(*, name: str, directory: Path, guest: bool) -> None:
    """Make the package ofctl-NAME: a feature app that works, or a guest, with its test, to begin from."""
    try:
        written = make_package("guest" if guest else "feature", name, directory)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    for path in written:
        click.echo(path)


@app.command(name="list")
@agent_options
def list_apps(session: Session) -> None:
    """Show what each application is doing, and what went wrong last."""
    with session.agent("waiting for the agent") as agent:
        found = agent.host().apps
    if session.as_json:
        print_json(found)
    else:
        print_table(
            ["NAME", "KIND", "BRIDGE", "STATE", "FLOWS", "QUEUE", "DROPPED", "DELAYED", "RESTARTS", "LAST ERROR"],
            (_row(one) for one in found),
        )


def _row(one: App) -> list[str]:
    return [
        one.name,
        one.kind,
        one.bridge,
        short(AppState.Name(one.state), "APP_STATE"),
        *(str(number) for number in (one.flows, one.queue_depth, one.dropped_packet_ins, one.delayed_messages)),
        str(one.restarts),
        one.last_error,
    ]
