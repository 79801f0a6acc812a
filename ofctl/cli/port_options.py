"""Options that `ofctl port plug` and `ofctl port update` share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from ofctl.v1.confirmation_pb2 import ConfirmationLevel
from ofctl.v1.port_pb2 import AddressPair

LEVELS = ("barrier", "datapath", "readback", "pipeline", "probe", "fabric")
LEVEL = click.option(
    "--level", type=click.Choice(LEVELS), default="datapath", show_default=True, help="What to confirm."
)
GENERATION = click.option(
    "--generation",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    help="Fences the port: a later request with a smaller one is refused.",
)
PORT_SECURITY = click.option(
    "--port-security/--no-port-security",
    default=None,
    help="Check what the guest sends, or not; a network has a default for its ports.",
)

F = TypeVar("F", bound=Callable[..., Any])


def described(command: F) -> F:
    """Give a command the options for what may change while a port is plugged, except its texts."""
    for option in (
        click.option("--annotation", "annotations", multiple=True, metavar="APP/FIELD=VALUE", help="For an app."),
        click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="For your own use."),
        PORT_SECURITY,
        click.option(
            "--allowed-address",
            "allowed_addresses",
            multiple=True,
            metavar="ADDRESS|CIDR[,MAC]",
            help="What the guest may use as its own besides its addresses.",
        ),
        click.option("--security-group", "security_groups", multiple=True, metavar="ID", help="Filters the port."),
        click.option("--ip", "fixed_ips", multiple=True, metavar="ADDRESS", help="Again for each address."),
    ):
        command = option(command)
    return command


def level_of(name: str) -> ConfirmationLevel.ValueType:
    """Return the level of the contract."""
    return ConfirmationLevel.Value(f"CONFIRMATION_LEVEL_{name.upper()}")


def pairs_of(texts: Iterable[str]) -> list[AddressPair]:
    """Return allowed address pairs, each given as ADDRESS or ADDRESS,MAC."""
    parts = (text.partition(",") for text in texts)
    return [AddressPair(address=address, mac_address=mac) for address, _, mac in parts]


def pairs_to_map(texts: Iterable[str], option: str) -> dict[str, str]:
    """Return what was given as KEY=VALUE. Raises BadParameter."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} has no '='; write KEY=VALUE", param_hint=option)
        found[key] = value
    return found
