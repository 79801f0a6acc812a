"""A host that reboots: processes, devices and namespaces are gone, files are kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ofctl.sandbox import sandbox as sandbox_module
from ofctl.sandbox.sandbox import Options, Sandbox
from tests.conftest import enter_new_netns
from tests.functional.boot.manager import Manager


class Machine:
    """A sandbox with a service manager, and what becomes of it when the power goes."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, options: Options | None = None) -> None:
        self.sandbox = Sandbox(directory, options=options)
        self._monkeypatch = monkeypatch

    def lose_power(self) -> None:
        """Kill every process; then nothing is left but files: not a device, not a namespace, not a socket."""
        for child in (self.sandbox.agent, self.sandbox.ovs.vswitchd, self.sandbox.ovs.database.child):
            if child is not None:
                child.kill()
        if self.sandbox.intents.child is not None:
            self.sandbox.intents.kill()
        self.sandbox.agent = self.sandbox.ovs.vswitchd = self.sandbox.ovs.database.child = None
        enter_new_netns()
        for home in (self.sandbox.ovs.rundir, self.sandbox.home):
            for path in home.rglob("*"):
                if path.is_socket() or path.suffix == ".pid":
                    path.unlink()

    def managed_by(self, manager: Manager, *, watchdog_s: float = 0.0) -> None:
        """Let the next agent find this manager in its environment."""
        self._monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        if watchdog_s:
            self._monkeypatch.setenv("WATCHDOG_USEC", str(int(watchdog_s * 1e6)))

    def agent_runs(self, program: str) -> None:
        """Let the next agent be started by this Python program instead of the usual one."""
        self._monkeypatch.setattr(sandbox_module, "AGENT", program)

    def freeze_agent(self) -> None:
        assert self.sandbox.agent is not None
        self.sandbox.agent.signal(signal.SIGSTOP)

    def thaw_agent(self) -> None:
        assert self.sandbox.agent is not None
        self.sandbox.agent.signal(signal.SIGCONT)


@pytest.fixture
def options() -> Mapping[str, Mapping[str, object]]:
    """What the agent's configuration has on top of the sandbox's own."""
    return {}


@pytest.fixture
def machine(netns: None, rundir: Path, monkeypatch: pytest.MonkeyPatch, options: Options) -> Iterator[Machine]:
    """A machine with switch and database running, and no agent yet."""
    made = Machine(rundir, monkeypatch, options)
    try:
        made.sandbox.start_switch()
        yield made
    finally:
        made.sandbox.stop()
