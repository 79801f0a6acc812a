"""Three ovsdb-servers that hold the intents together, on the loopback of the test's network namespace."""

from __future__ import annotations

import json
from pathlib import Path

from ofctl.sandbox.ovs import OvsdbServer, environment, run
from ofctl.sandbox.processes import Child

ELECTION_MS = 300


class Member(OvsdbServer):
    """One server of the cluster."""

    def __init__(self, directory: Path, number: int, *, schema: Path) -> None:
        super().__init__(directory, name=f"raft{number}", schema=schema)
        self.address = f"tcp:127.0.0.1:{7640 + number}"

    def found(self) -> None:
        """Make a new cluster's file."""
        run(["ovsdb-tool", f"--election-timer={ELECTION_MS}", "create-cluster", *self._files, self.address])

    def join(self, other: Member) -> None:
        """Make the file of one that joins."""
        run(["ovsdb-tool", "join-cluster", str(self.database), "ofctl", self.address, other.address])

    @property
    def _files(self) -> tuple[str, str]:
        return str(self.database), str(self.schema)

    def start(self) -> None:
        """Start the server; block until it listens."""
        for stale in (self.socket, self.control):
            stale.unlink(missing_ok=True)
        listen = [f"--remote=punix:{self.socket}", f"--unixctl={self.control}", "--no-chdir", "-vconsole:warn"]
        self.child = Child(
            ["ovsdb-server", str(self.database), *listen],
            log=self.directory / f"{self.name}.log",
            env=environment(self.directory),
        )
        self.child.wait_for_socket(self.socket)

    def wait_joined(self) -> None:
        """Block until this member has the database."""
        run(["ovsdb-client", "--timeout=10", "wait", self.connection, "ofctl", "connected"])

    def leads(self) -> bool:
        """Tell whether this member is the leader."""
        if self.child is None:
            return False
        query = {"op": "select", "table": "Database", "where": [["name", "==", "ofctl"]], "columns": ["leader"]}
        answer = run(["ovsdb-client", "--timeout=5", "query", self.connection, json.dumps(["_Server", query])])
        return any(row["leader"] for row in json.loads(answer)[0]["rows"])


class Cluster:
    """What the store sees of it is like one server: a connection, and a leader that can be killed."""

    def __init__(self, directory: Path, *, schema: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.members = [Member(directory, number, schema=schema) for number in (1, 2, 3)]

    @property
    def connection(self) -> str:
        """All members, separated by commas (ovsdb(7), Connection Methods)."""
        return ",".join(member.connection for member in self.members)

    def start(self) -> None:
        """Found the cluster; block until all have joined."""
        first, *others = self.members
        first.found()
        first.start()
        first.wait_joined()
        for member in others:
            member.join(first)
            member.start()
        for member in others:
            member.wait_joined()

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def leader(self) -> Member:
        """Return the member that leads now."""
        return next(member for member in self.members if member.leads())
