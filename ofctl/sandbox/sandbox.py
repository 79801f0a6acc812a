"""A whole host to play with: a private Open vSwitch, a database of intents, and an agent that owns the switch."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from ofctl.database import schema_file
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs, environment
from ofctl.sandbox.processes import Child
from ofctl.sandbox.readiness import wait_until_serving

START_TIMEOUT_S = 20.0
STATE_PREFIX = "ofctl-sandbox-"
AGENT = "import sys; from ofctl.agent import main; sys.exit(main())"

Options = Mapping[str, Mapping[str, object]]


class Sandbox:
    """Switch, database and agent below `directory`; the daemons run in the network namespace of the caller.

    A context manager: starts on entry, stops on exit. Start it from the main thread (see `Child`). Within
    `ofctl.sandbox.isolation`, with `/run` as directory, sockets are at the programs' default paths.
    """

    def __init__(
        self,
        directory: Path,
        *,
        options: Options | None = None,
        state: Path | None = None,
        apps: Sequence[str] = (),
    ) -> None:
        """`options` are added to the agent's configuration, by group; `state` is where the intents' file goes.

        `apps` are entries as in `[apps] load`.
        """
        self.ovs = PrivateOvs(directory / "openvswitch")
        self.home = directory / "ofctl"
        self.intents = OvsdbServer(self.home, name="db", schema=schema_file(), file=(state or self.home) / "intents.db")
        self.socket = self.home / "ofctl.sock"
        self.config_file = self.home / "ofctl.conf"
        self.agent_log = self.home / "agent.log"
        self.agent: Child | None = None
        self._options = options or {}
        self._apps = tuple(apps)

    @property
    def target(self) -> str:
        """The gRPC target of the agent."""
        return f"unix:{self.socket}"

    def start(self) -> None:
        """Start everything; block until the agent serves. Raises ProcessFailed; what was started is stopped then."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            self.start_switch()
            self.start_agent()
            undo.pop_all()

    def start_switch(self) -> None:
        """Start the switch and the database of intents without an agent."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.ovs.start()
        self.intents.start()

    def start_agent(self, *, timeout_s: float = START_TIMEOUT_S) -> float:
        """Start the agent; block until it serves. Return the seconds that this took. Raises ProcessFailed."""
        self.config_file.write_text(self._configuration())
        self.agent = Child(
            [
                sys.executable,
                "-c",
                AGENT,
                "--config-file",
                str(self.config_file),
                *(f"--app={app}" for app in self._apps),
            ],
            log=self.agent_log,
            env=environment(self.ovs.rundir),
        )
        return wait_until_serving(self.target, self.agent, timeout_s=timeout_s)

    def kill_agent(self) -> None:
        """Kill the agent with SIGKILL and reap it."""
        assert self.agent is not None
        self.agent.kill()
        self.agent = None

    def stop_agent(self) -> None:
        """End the agent with SIGTERM. Safe to call again."""
        if self.agent is not None:
            self.agent.stop()
            self.agent = None

    def stop(self) -> None:
        """Stop everything that runs. Safe to call again."""
        self.stop_agent()
        self.intents.stop()
        self.ovs.stop()

    def _configuration(self) -> str:
        own: dict[str, dict[str, object]] = {
            "agent": {"host_id": "sandbox"},
            "ovsdb": {
                "connection": self.ovs.database.connection,
                "rundir": self.ovs.rundir,
                "datapath_type": "netdev",
            },
            "grpc": {"socket": self.socket},
            "database": {"connection": self.intents.connection},
        }
        for group, values in self._options.items():
            own.setdefault(group, {}).update(values)
        lines = []
        for group, values in own.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in values.items())]
        return "\n".join(lines) + "\n"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class StateDirectory:
    """A directory on disk for the file of the intents, so that a durable transaction costs what it costs.

    A context manager. It is locked while in use; one that a killed sandbox left behind is removed by the next.
    """

    def __enter__(self) -> Path:
        sweep()
        self._path = Path(tempfile.mkdtemp(prefix=STATE_PREFIX))
        self._lock = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self._path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        os.close(self._lock)


def sweep() -> None:
    """Remove our user's state directories that nobody has locked."""
    for path in Path(tempfile.gettempdir()).glob(f"{STATE_PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program by SystemExit, so that what is open is closed."""

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
