"""The schema of the served intents, and ours: which of the two is newer, and what is done about it.

Minors are additive, so that an agent can be upgraded and downgraded on the same database: they add tables, and columns
with a default, and never a value to an enumeration, nor a word to the text of a rule, which an older agent could not
read. An older database is converted while it is served; a newer minor is used as it is; a newer major is refused.

The default of a boolean is false (RFC 7047, section 5.2.1): a flag that is to be true in old rows is optional. An agent
of 1.2 or before leaves security groups alone, and what it plugs meanwhile is not filtered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from importlib import resources
from pathlib import Path
from typing import Any

from ofctl.errors import ConfigError, DriverError, Refused, Unavailable
from ofctl.ovsdb.framing import MessageSplitter
from ofctl.ovsdb.replica import Json

LOG = logging.getLogger(__name__)

ANSWER_S = 2.0
"""How long one of several servers may take to say its schema before the next is asked."""
RETRY_S = 0.05
OPTIONAL_TABLES = frozenset({"Global"})
OPTIONAL_COLUMNS = frozenset(
    {("Binding", "meter"), ("Network", "revision")}
    | {(table, "external_ids") for table in ("Host", "Network", "Binding", "SecurityGroup", "AddressGroup")}
)
"""What the agent neither reads nor needs."""


def schema_file() -> Path:
    """Return the path of the schema in the package."""
    return Path(str(resources.files("ofctl.ovsdb") / "ofctl.ovsschema"))


def load_schema() -> Json:
    """Return the schema in the package."""
    schema = json.loads(schema_file().read_text("utf-8"))
    assert isinstance(schema, dict)
    return schema


async def agree(remotes: str, *, deadline: float) -> Json:
    """Bring the served database up to our schema if it is older, and return the part of ours that it has.

    Raises Refused (DATABASE_NEWER, DATABASE_LACKS), DriverError (the conversion failed),
    Unavailable at the deadline.
    """
    ours = load_schema()
    theirs = await served_schema(remotes, str(ours["name"]), deadline=deadline)
    if is_older(theirs["version"], ours["version"]):
        await convert(remotes, schema_file(), deadline=deadline)
        LOG.warning("converted the intents' database from schema %s to %s", theirs["version"], ours["version"])
        theirs = await served_schema(remotes, str(ours["name"]), deadline=deadline)
    check_major(theirs["version"], ours["version"], remotes)
    return common_part(ours, theirs)


def numbers(version: str) -> tuple[int, ...]:
    """Return a schema's version (RFC 7047, section 3.1: <version>) as numbers that compare."""
    return tuple(int(part) for part in version.split("."))


def is_older(have: str, want: str) -> bool:
    """Tell whether a database of schema `have` is to be converted to `want`."""
    return numbers(have) < numbers(want)


def check_major(have: str, want: str, where: str) -> None:
    """Raise Refused for a database of a newer major: what it says may mean something else."""
    if numbers(have)[0] > numbers(want)[0]:
        raise Refused(
            f"the intents at {where} have schema {have}, newer than {want} of this ofctl: install the newer version",
            reason="DATABASE_NEWER",
            subject="database.connection",
        )


def common_part(ours: Json, theirs: Json) -> Json:
    """Return our schema without what the served one lacks and nobody needs. Raises Refused if more is missing."""
    tables: Json = {}
    missing: list[str] = []
    for name, table in ours["tables"].items():
        served = theirs["tables"].get(name)
        if served is None:
            missing += [] if name in OPTIONAL_TABLES else [name]
            continue
        columns = {key: column for key, column in table["columns"].items() if key in served["columns"]}
        lost = table["columns"].keys() - columns.keys()
        missing += [f"{name}.{column}" for column in sorted(lost) if (name, column) not in OPTIONAL_COLUMNS]
        tables[name] = {**table, "columns": columns}
    if missing:
        raise Refused(
            f"the intents' database has schema {theirs['version']} and lacks {', '.join(missing)}, which this ofctl "
            "needs; restore it from a backup (docs/operations.md)",
            reason="DATABASE_LACKS",
            subject="database.connection",
        )
    return {**ours, "tables": tables}


async def served_schema(remotes: str, database: str, *, deadline: float) -> Json:
    """Return the schema of a database as the first of `remotes` that answers has it. Raises Unavailable."""
    problem = "nobody answered"
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                for remote in remotes.split(","):
                    try:
                        async with asyncio.timeout(ANSWER_S):
                            return await _ask(remote.strip(), database)
                    except (OSError, EOFError, LookupError, ValueError) as error:
                        problem = f"{remote}: {error or type(error).__name__}"
                await asyncio.sleep(RETRY_S)
    except TimeoutError:
        raise Unavailable(
            f"database {database} did not come up on {remotes} ({problem}); is its ovsdb-server running?",
            reason="OVSDB_DISCONNECTED",
        ) from None


async def _ask(remote: str, database: str) -> Json:
    """Ask one server, once (RFC 7047, section 4.1.2). Raises LookupError if it has no such database."""
    reader, writer = await _connect(remote)
    try:
        writer.write(json.dumps({"method": "get_schema", "params": [database], "id": 0}).encode())
        await writer.drain()
        splitter = MessageSplitter()
        while received := await reader.read(65_536):
            for message in splitter.feed(received):
                reply: Any = message
                if reply.get("id") == 0 and reply.get("method") is None:
                    if reply.get("error"):
                        raise LookupError(f"it has no database {database}")
                    schema: Json = reply["result"]
                    return schema
        raise EOFError("it closed the connection")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _connect(remote: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    kind, _, place = remote.partition(":")
    if kind == "unix":
        return await asyncio.open_unix_connection(place)
    if kind == "tcp":
        host, _, port = place.rpartition(":")
        if port.isdecimal():
            return await asyncio.open_connection(host.strip("[]"), int(port))
    raise ConfigError(f"database.connection: {remote!r} is not unix:PATH or tcp:HOST:PORT, nor several with commas")


async def convert(remotes: str, file: Path, *, deadline: float) -> None:
    """Convert the served database to the schema in `file`, standalone or clustered (ovsdb-client(1)).

    What the rows have in common with the new schema stays; it is one transaction of the server. Clients that hold a
    replica see their connection or their monitor end, and take it up again. Raises DriverError, Unavailable.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            "ovsdb-client",
            "convert",
            remotes,
            str(file),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise DriverError("there is no ovsdb-client: install openvswitch-common", reason="NO_OVSDB_CLIENT") from None
    try:
        async with asyncio.timeout_at(deadline):
            _, said = await child.communicate()
    except TimeoutError:
        raise Unavailable(f"the conversion of the intents at {remotes} did not end in time") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise DriverError(
            f"the intents at {remotes} cannot be converted to the schema of this ofctl: {said.decode().strip()}",
            reason="CONVERSION_FAILED",
        )
