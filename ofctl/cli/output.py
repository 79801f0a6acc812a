"""Results as tables for people and as ProtoJSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ofctl.v1.port_pb2 import Port, PortState

PIPE_WIDTH = 250
"""Columns, where no terminal cuts lines."""


def print_json(result: Message | Iterable[Message]) -> None:
    """Print a message as a JSON object, several as an array; names as in the contract, 64-bit numbers as strings."""
    if isinstance(result, Message):
        value: Any = plain(result)
    else:
        value = [plain(message) for message in result]
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    _print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line; pairs without a value are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            table.add_row(name, Text(value))
    _print(table)


def say(sentence: str) -> None:
    """Print one sentence."""
    sys.stdout.write(sentence + "\n")


def short(enum_name: str, prefix: str) -> str:
    """Return the name of an enumeration's value as people read it: PORT_STATE_ACTIVE is `active`."""
    return enum_name.removeprefix(prefix + "_").lower().replace("_", "-")


def state_of(port: Port) -> str:
    """Return the state of a port, with its reason."""
    state = short(PortState.Name(port.state), "PORT_STATE")
    return f"{state} ({port.state_reason})" if port.state_reason else state


def at(at_ms: int) -> str:
    """Return an instant in local time; empty for 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at_ms / 1000)) if at_ms else ""


def milliseconds(duration_us: int) -> str:
    """Return a duration in milliseconds."""
    return f"{duration_us / 1000:.1f} ms"


def plain(message: Message) -> dict[str, Any]:
    """Return a message as ProtoJSON has it."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _print(table: Table) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as lines:
        console.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in lines.get().splitlines()))
