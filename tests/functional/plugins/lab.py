"""A host with third-party apps, and the daemon that the example binder talks to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ofctl.engine.startup import HostOptions
from tests.functional.engine.lab import Lab

ROOT = Path(__file__).parents[3]


class AppLab(Lab):
    """As `Lab`, with options that hold for every start from now on."""

    extra: dict[str, Any]

    def options(self, **changes: Any) -> HostOptions:
        return super().options(**{**getattr(self, "extra", {}), **changes})


class Daemon:
    """The top-of-rack switch's daemon, in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "tor.sock"
        self._state = directory / "tor.json"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, vlans: str = "0-199") -> None:
        """Return when it accepts."""
        self.socket.unlink(missing_ok=True)
        # As a file: it needs the standard library alone, and the package around it would import more.
        program = [sys.executable, str(ROOT / "examples/binder/ofctl_tor/daemon.py"), "--vlans", vlans]
        self._process = subprocess.Popen([*program, "--socket", str(self.socket), "--state", str(self._state)])
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            assert time.monotonic() < deadline, "the daemon did not start"
            time.sleep(0.005)

    def pause(self) -> None:
        """Let it answer no more, with its socket open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; what was bound stays on disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def bound(self) -> dict[str, Any]:
        """What it has on disk."""
        return dict(json.loads(self._state.read_text())) if self._state.exists() else {}
