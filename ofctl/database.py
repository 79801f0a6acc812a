"""The database of the intents as a service of its own: `ofctl-database create|serve`.

The file is a standalone OVSDB database (ovsdb(7)). It is made from the schema in the package, and brought to that
schema while nobody serves it. Serving is ovsdb-server's: this program replaces itself by it. A cluster is set up with
ovsdb-tool create-cluster and join-cluster instead, from the same schema.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ofctl.errors import Refused
from ofctl.ovsdb.log_file import find_damage
from ofctl.ovsdb.schema import check_major, is_older, schema_file

__all__ = ["DatabaseFailed", "main", "prepare", "schema_file", "serve"]

COMMAND_TIMEOUT_S = 60
DEFAULT_FILE = Path("/var/lib/ofctl/ofctl.db")
DEFAULT_SOCKET = Path("/run/ofctl/db.sock")


class DatabaseFailed(Exception):
    """ovsdb-tool refused; the message has what it said."""


def prepare(file: Path) -> str:
    """See that `file` is a database of this version's schema; nobody may serve it. Return what was done.

    A file that is there keeps its content: columns that the schema lost go, new ones come (ovsdb-tool(1), convert).
    A newer minor is left as it is. Raises DatabaseFailed.
    """
    schema = str(schema_file())
    if not file.exists():
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _tool("create", str(file), schema)
        return f"created {file}, schema {_tool('schema-version', schema)}"
    note = _check_whole(file)
    have, want = _tool("db-version", str(file)), _tool("schema-version", schema)
    if is_older(have, want):
        _tool("convert", str(file), schema)
        return f"{note}converted {file} from schema {have} to {want}"
    try:
        check_major(have, want, str(file))
    except Refused as error:
        raise DatabaseFailed(error.message) from None
    return f"{note}{file} has schema {have}"


def _check_whole(file: Path) -> str:
    """Refuse a damaged file; cut off a write that was not finished, and say so."""
    damage = find_damage(file)
    if damage is None or not damage.offset:
        return ""
    if not damage.unfinished:
        raise DatabaseFailed(
            f"{file} is damaged at byte {damage.offset} and is not served: ovsdb-server would forget what follows, and "
            "the agent would remove those ports. Restore a backup, or see docs/operations.md, Repair"
        )
    lost = file.stat().st_size - damage.offset
    os.truncate(file, damage.offset)
    return f"cut {lost} bytes off {file}: its last write was not finished, and nobody had an answer for it; "


def serve(file: Path, socket: Path) -> NoReturn:
    """Replace this process by an ovsdb-server for `file` on the unix socket. Raises DatabaseFailed, OSError."""
    socket.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    os.umask(0o007)
    arguments = [f"--remote=punix:{socket}", f"--unixctl={socket.with_suffix('.ctl')}", "--no-chdir", "-vconsole:info"]
    os.execvp("ovsdb-server", ["ovsdb-server", str(file), *arguments])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="ofctl-database", description="The database of ofctl's intents.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("create", "make the file, or bring it to this version's schema"),
        ("serve", "that, and serve it"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--file", type=Path, default=DEFAULT_FILE, help=f"the database ({DEFAULT_FILE})")
        if name == "serve":
            command.add_argument("--socket", type=Path, default=DEFAULT_SOCKET, help=f"unix socket ({DEFAULT_SOCKET})")
    options = parser.parse_args(argv)
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        print(prepare(options.file), file=sys.stderr, flush=True)
        if options.command == "serve":
            serve(options.file, options.socket)
    except (DatabaseFailed, OSError) as error:
        print(f"ofctl-database: {error}", file=sys.stderr)
        return 1
    return 0


def _tool(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["ovsdb-tool", *arguments], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise DatabaseFailed("there is no ovsdb-tool: install openvswitch-common") from None
    if done.returncode:
        raise DatabaseFailed(f"ovsdb-tool {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()
