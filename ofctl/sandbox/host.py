"""`make run`: the agent against this host's own Open vSwitch, in the foreground.

The database of the intents is served beside it, from the same file as the systemd unit's, unless it is served already.
Ports stay plugged when this ends; the next start finds them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ofctl.config import load
from ofctl.database import DEFAULT_FILE, DatabaseFailed, prepare
from ofctl.errors import ConfigError
from ofctl.sandbox.processes import Child, ProcessFailed, listens
from ofctl.sandbox.sandbox import AGENT, exit_on_signals

STOP_TIMEOUT_S = 15.0
REFUSED = 2


class NotReady(Exception):
    """Something that the agent needs is not there; the message has the cure."""


def run(argv: Sequence[str]) -> int:
    """Run the agent with the arguments of `ofctl-agent` until it ends; return its exit status."""
    exit_on_signals()
    database = None
    try:
        settings = load(argv)
        check_switch(settings.ovsdb.connection)
        database = serve_intents(settings.database.connection)
        agent = subprocess.Popen([sys.executable, "-c", AGENT, *argv])
        try:
            return agent.wait()
        finally:
            _end(agent)
    except KeyboardInterrupt:
        return 130
    except (ConfigError, DatabaseFailed, NotReady, ProcessFailed) as problem:
        print(f"make run: {problem}", file=sys.stderr)
        return REFUSED
    finally:
        if database is not None:
            database.stop()


def check_switch(connection: str) -> None:
    """Raise NotReady unless the database of Open vSwitch answers."""
    if not connection.startswith("unix:") or listens(Path(connection.removeprefix("unix:"))):
        return
    start = "/usr/share/openvswitch/scripts/ovs-ctl start --system-id=random"
    if Path("/run/systemd/system").is_dir():
        start = "systemctl start openvswitch-switch"
    raise NotReady(f"Open vSwitch does not answer on {connection}. Start it: {start}")


def serve_intents(connection: str) -> Child | None:
    """Serve the database of the intents on a unix socket; None if it is served, or is elsewhere."""
    if "," in connection or not connection.startswith("unix:"):
        return None
    where = Path(connection.removeprefix("unix:"))
    if listens(where):
        return None
    prepare(DEFAULT_FILE)
    where.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    where.unlink(missing_ok=True)
    program = shutil.which("ovsdb-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "ovsdb-server"
    server = Child(
        [program, str(DEFAULT_FILE), f"--remote=punix:{where}", f"--unixctl={where.with_suffix('.ctl')}", "--no-chdir"],
        log=DEFAULT_FILE.with_suffix(".log"),
    )
    server.wait_for_socket(where)
    return server


def _end(agent: subprocess.Popen[bytes]) -> None:
    """Stop the agent if it still runs; a terminal's interrupt has reached it already."""
    if agent.poll() is None:
        agent.send_signal(signal.SIGTERM)
        try:
            agent.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:]))
