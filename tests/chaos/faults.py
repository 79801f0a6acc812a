"""What can go wrong with a host. Each fault happens and is over when its method returns.

They strike from the main thread, since a child process dies with the thread that made it; the clients run in another.
"""

from __future__ import annotations

import math
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ofctl.pipeline.tables import LAYOUT_VERSION
from ofctl.sandbox.processes import Child
from ofctl.sandbox.sandbox import Sandbox

BRIDGE = "br-int"
COOKIE = 0x0FC1_00_00_00000000 | LAYOUT_VERSION << 40
"""docs/pipeline.md: owner and layout version; the kind and the index are below."""
PORTS, RULES, MEMBERS = (COOKIE | kind << 32 for kind in (3, 6, 7))
OF_A_KIND = 0xFFFFFFFF_00000000
RULES_TRACKED = 110
MENDED_S = 2.0
"""What somebody did to flows is noticed and mended, but a reply may be quicker: it is excused for so long."""


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
    """Devices that somebody has deleted, replaced or set down: what becomes of their frames is nobody's lie."""
    flows_tampered: dict[str, float] = field(default_factory=dict)
    """When somebody last laid hands on a device's own flows, or, under "", on those of rules and members."""
    flow_added: float = -math.inf
    """When somebody last added a rule of his own: nobody who reads back what is ofctl's sees it."""
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
            self.freeze_agent,
            self.freeze_intents_database,
            self.delete_device,
            self.replace_device,
            self.set_device_down,
            self.remove_row,
            self.delete_flows,
            self.add_flow,
            self.delete_rules,
            self.delete_members,
            self.change_rules,
            self.add_rule,
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

    def freeze_agent(self) -> None:
        assert self.sandbox.agent is not None
        self._freeze(self.sandbox.agent, 1.0)

    def freeze_intents_database(self) -> None:
        assert self.sandbox.intents.child is not None
        self._freeze(self.sandbox.intents.child, 1.5)

    def _freeze(self, child: Child, longest_s: float) -> None:
        child.signal(signal.SIGSTOP)
        self._pause(longest_s)
        child.signal(signal.SIGCONT)

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
        victims = self.victims()
        if victims:
            device, index = self.dice.choice(victims)
            self._tamper_flows(device, "del-flows", f"cookie={PORTS | index:#x}/-1")

    def add_flow(self) -> None:
        flow = f"table=50,priority={self.dice.randrange(1, 50)},metadata=0x77,actions=drop"
        self._ovs_ofctl("add-flow", flow)

    def delete_rules(self) -> None:
        self._tamper_flows("", "del-flows", f"cookie={RULES:#x}/{OF_A_KIND:#x}")

    def delete_members(self) -> None:
        self._tamper_flows("", "del-flows", f"cookie={MEMBERS:#x}/{OF_A_KIND:#x}")

    def change_rules(self) -> None:
        """Let the rules of all groups allow nothing."""
        self._tamper_flows("", "mod-flows", f"cookie={RULES:#x}/{OF_A_KIND:#x},table={RULES_TRACKED},actions=drop")

    def add_rule(self) -> None:
        """Let a stranger's rule allow everything, in a flow with no cookie of ofctl's."""
        self.flow_added = math.inf
        flow = f"table={RULES_TRACKED},priority=400,actions=set_field:0x8000/0x8000->reg5"
        self._ovs_ofctl("add-flow", flow)
        self.flow_added = time.monotonic()

    def touched(self, device: str, since: float, *, read_back: bool) -> bool:
        """Tell whether what becomes of a port's frames may be the doing of one who laid hands on it.

        `since`: when the call began that was confirmed. One that read back what the port depends on has seen what
        was there, and only what came later is no fault of its.
        """
        if device in self.tampered or self.flow_added > since - MENDED_S:
            return True
        early = 0.0 if read_back else MENDED_S
        return any(self.flows_tampered.get(each, -math.inf) > since - early for each in ("", device))

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
        device, _ = self.dice.choice(victims)
        self.tampered.add(device)
        self._run(*(word.format(device=device) for word in argv))
        return device

    def _tamper_flows(self, device: str, command: str, flows: str) -> None:
        self.flows_tampered[device] = math.inf
        self._ovs_ofctl(command, flows)
        self.flows_tampered[device] = time.monotonic()

    def _ovs_ofctl(self, command: str, flows: str) -> None:
        self._run("timeout", "2", "ovs-ofctl", "-O", "OpenFlow15", command, self._switch, flows)

    @staticmethod
    def _run(*argv: str) -> None:
        """Run a command that may fail: the device may be gone already."""
        subprocess.run(argv, capture_output=True, timeout=10, check=False)
