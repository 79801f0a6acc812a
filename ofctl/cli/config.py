"""`ofctl config`: works on files, no agent is asked."""

from __future__ import annotations

from pathlib import Path

import click

from ofctl.apps.loading import load_apps
from ofctl.cli.output import print_table, say
from ofctl.cli.session import local_failures
from ofctl.config import load
from ofctl.pipeline.app import App
from ofctl.pipeline.binder import Binder
from ofctl.pipeline.feature import FeatureApp
from ofctl.settings import GuestSpec


@click.group()
def config() -> None:
    """The agent's configuration."""


@config.command()
@click.option(
    "--config-file",
    "config_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of /etc/ofctl/ofctl.conf; again for another, which wins.",
)
@click.option("--app", "apps", multiple=True, metavar="ENTRY", help="An app or guest besides those of [apps] load.")
def check(config_files: tuple[Path, ...], apps: tuple[str, ...]) -> None:
    """Say what would keep the agent from starting: options, and the apps and guests that they name.

    Apps are imported and compile a made-up host; of guests only the source is read. Nothing of the host is touched.
    """
    with local_failures():
        settings = load([f"--app={app}" for app in apps], config_files or None)
        load_apps(settings.apps.classes, settings.app_options)
    rows = [_app_row(app) for app in settings.apps.classes] + [_guest_row(guest) for guest in settings.guests.run]
    if rows:
        print_table(["NAME", "KIND", "WHERE", "SOURCE"], rows)
    say("the configuration is right")


def _app_row(app: type[App]) -> list[str]:
    kinds = ((FeatureApp, "feature"), (Binder, "binder"))
    kind = " ".join(word for base, word in kinds if issubclass(app, base))
    return [app.name, kind, "", f"{app.__module__}:{app.__qualname__}"]


def _guest_row(guest: GuestSpec) -> list[str]:
    where = f"fence:{guest.fence}" if guest.fence else guest.bridge
    return [guest.name, "guest", where, guest.source]
