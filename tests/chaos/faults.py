"""What can go wrong with a host. Each fault happens and is over when its method returns.

They strike from the main thread, since a child process dies with the thread that made it; the clients run in another.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ofctl.pipeline.tables import LAYOUT_VERSION
from ofctl.sandbox.sandbox import Sandbox

BRIDGE = "br-int"
PORT_COOKIE = 0x0FC1_00_03_00000000 | LAYOUT_VERSION << 40
"""docs/pipeline.md: owner, the layout version, kind 3; the index is below."""


@dataclass
class Faults:
    """Strikes a sandbox."""

    sandbox: Sandbox
    dice: random.Random
    victims: Callable[[], list[tuple[str, int]]]
    """Device and index of the ports that may be tampered with."""
    counts: Counter[str] = field(default_factory=Counter)
    blind: bool = False
    """The switch cannot forward now: a frame that is lost proves nothing."""
    struck: int = 0
    """Grows at the beginning and at the end of every fault that makes blind."""
    tampered: set[str] = field(default_factory=set)
    """Devices that somebody has laid hands on: what becomes of their frames is not the plug's doing."""
    restarts_ms: list[float] = field(default_factory=list)
    """How long each restarted agent took to serve."""

    @property
    def kinds(self) -> tuple[Callable[[], None], ...]:
        """Return every kind of fault."""
        return (
            self.kill_agent,
            self.kill_switch,
            self.freeze_switch,
            self.kill_switch_database,
            self.kill_intents_database,
            self.delete_device,
            self.replace_device,
            self.set_device_down,
            self.remove_row,
            self.delete_flows,
            self.add_flow,
        )

    def strike(self) -> None:
        """Let one fault happen, chosen at random."""
        fault = self.dice.choice(self.kinds)
        self.counts[fault.__name__] += 1
        fault()

    def kill_agent(self) -> None:
        self.sandbox.kill_agent()
        self._pause(0.2)
        self.restarts_ms.append(self.sandbox.start_agent() * 1e3)

    def kill_switch(self) -> None:
        self._blindly(self._kill_switch)

    def _kill_switch(self) -> None:
        self.sandbox.ovs.kill_vswitchd()
        self._pause(0.2)
        self.sandbox.ovs.start_vswitchd()

    def freeze_switch(self) -> None:
        self._blindly(self._freeze_switch)

    def _freeze_switch(self) -> None:
        self.sandbox.ovs.freeze_vswitchd()
        self._pause(1.5)
        self.sandbox.ovs.thaw_vswitchd()

    def kill_switch_database(self) -> None:
        """Without its database ovs-vswitchd runs no bridge (bridge_run in vswitchd/bridge.c): no frame meanwhile."""
        self._blindly(self._kill_switch_database)

    def _kill_switch_database(self) -> None:
        self.sandbox.ovs.database.kill()
        self._pause(0.2)
        self.sandbox.ovs.database.start()
        self.sandbox.ovs.vsctl("set", "Open_vSwitch", ".", "external_ids:back=yes")

    def kill_intents_database(self) -> None:
        self.sandbox.intents.kill()
        self._pause(0.2)
        self.sandbox.intents.start()

    def delete_device(self) -> None:
        self._tamper("ip", "link", "delete", "{device}")

    def replace_device(self) -> None:
        device = self._tamper("ip", "link", "delete", "{device}")
        if device:
            self._run("ip", "tuntap", "add", device, "mode", "tap")

    def set_device_down(self) -> None:
        self._tamper("ip", "link", "set", "{device}", "down")

    def remove_row(self) -> None:
        database = f"--db={self.sandbox.ovs.database.connection}"
        self._tamper("ovs-vsctl", database, "--timeout=2", "--no-wait", "--if-exists", "del-port", "{device}")

    def delete_flows(self) -> None:
        self._tamper("ovs-ofctl", "-O", "OpenFlow15", "del-flows", self._switch, "cookie={cookie:#x}/-1")

    def add_flow(self) -> None:
        flow = f"table=50,priority={self.dice.randrange(1, 50)},metadata=0x77,actions=drop"
        self._run("timeout", "1", "ovs-ofctl", "-O", "OpenFlow15", "add-flow", self._switch, flow)

    @property
    def _switch(self) -> str:
        return f"unix:{self.sandbox.ovs.rundir / BRIDGE}.mgmt"

    def _blindly(self, fault: Callable[[], None]) -> None:
        self.struck += 1
        self.blind = True
        try:
            fault()
        finally:
            self.blind = False
            self.struck += 1

    def _pause(self, longest_s: float) -> None:
        time.sleep(self.dice.uniform(0, longest_s))

    def _tamper(self, *argv: str) -> str:
        victims = self.victims()
        if not victims:
            return ""
        device, index = self.dice.choice(victims)
        self.tampered.add(device)
        self._run(*(word.format(device=device, cookie=PORT_COOKIE | index) for word in argv))
        return device

    @staticmethod
    def _run(*argv: str) -> None:
        """Run a command that may fail: the device may be gone already."""
        subprocess.run(argv, capture_output=True, timeout=10, check=False)
