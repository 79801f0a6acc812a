"""Child processes that die with their parent, however it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL_S = 0.005


class ProcessFailed(Exception):
    """A child did not start or did not stop; the message has the end of its log."""


class Child:
    """A long-running program started by us; its output goes to `log`.

    The kernel kills it when the thread that started it ends (PR_SET_PDEATHSIG, prctl(2), by way of setpriv(1)), so
    start it from the main thread. A parent that is killed in the millisecond until setpriv has done that leaves it.
    """

    def __init__(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.argv = tuple(argv)
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this child if it still runs."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill with SIGKILL and reap."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def stop(self, *, timeout_s: float = 10.0) -> int:
        """Ask with SIGTERM (after SIGCONT), kill when `timeout_s` have passed; return the exit status."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def wait_for_path(self, path: Path, *, timeout_s: float = 10.0) -> None:
        """Block until `path` exists; raises ProcessFailed if the child ends first or the time is over."""
        self._wait_for(path.exists, f"make {path}", timeout_s)

    def wait_for_socket(self, path: Path, *, timeout_s: float = 10.0) -> None:
        """Block until the unix socket takes connections; raises ProcessFailed like `wait_for_path`.

        The path is there a moment before: bind(2) makes it, and listen(2) comes after.
        """
        self._wait_for(lambda: listens(path), f"listen on {path}", timeout_s)

    def _wait_for(self, done: Callable[[], bool], what: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            if not self.running or time.monotonic() > deadline:
                raise ProcessFailed(f"{self.argv[0]} did not {what}:\n{self.log_tail()}")
            time.sleep(POLL_S)

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of the child's output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def listens(path: Path) -> bool:
    """Tell whether something takes connections on the unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
