"""Clients that plug, update and unplug ports and change their groups while faults strike, and the account of it.

    python -m tests.chaos [--seed N] [--plugs N] [--clients N]

A *lie* is a reply "confirmed" (DATAPATH or above) that was not true although the switch was alive from the reply on:
a frame that the confirmed rules allow did not arrive, one that they forbid did, or the evidence counts other flows than
`ovs-ofctl` dumps. A *leak* is what differs from the intents after the faults are over. *Disagreements* are requests
whose outcome, asked for afterwards, is not what the system shows.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from contextlib import ExitStack

from ofctl.client import AsyncClient, Client, Network, PortSpec, SecurityGroup, Subnet, VmConsumer, rule
from ofctl.sandbox.sandbox import Sandbox
from tests.chaos.clients import Account, Scene, StormClient
from tests.chaos.evidence import leaks_of
from tests.chaos.faults import BRIDGE, Faults
from tests.chaos.frames import Ears
from tests.chaos.trial import Trial
from tests.chaos.truth import ADDRESSES, GUARD, GUARDED, MACS, NETWORK, SINK, TRUSTED
from tests.eyes import intended, look

CONVERGE_S = 30.0
LISTENERS = (SINK, GUARD)


class Storm:
    """One run. `run` belongs to the main thread."""

    def __init__(self, sandbox: Sandbox, *, seed: int, plugs: int, clients: int) -> None:
        self.sandbox = sandbox
        self.account = Account()
        self.leaks: list[str] = []
        self._dice = random.Random(seed)
        self._plugs = plugs
        self._number = clients
        self._clients: list[StormClient] = []
        self.faults = Faults(sandbox, random.Random(seed + 1), self._victims)
        self._calm = threading.Event()
        self._converged = threading.Event()
        self._done = threading.Event()
        self._failure: BaseException | None = None

    @property
    def live(self) -> set[str]:
        """Ids of the ports that shall be there."""
        return {*LISTENERS, *(guest.port_id for each in self._clients for guest in each.guests.values())}

    def run(self) -> float:
        """Let it storm; return after how many seconds it had converged, or nothing more was waited for."""
        devices = self._prepare()
        clients = threading.Thread(target=self._run_clients, args=(devices,), name="clients")
        clients.start()
        while not self._calm.wait(self._dice.uniform(0.2, 1.2)):
            self.faults.strike()
        begun = time.monotonic()
        self._converge(begun + CONVERGE_S)
        spent = time.monotonic() - begun
        self._converged.set()
        clients.join()
        if self._failure is not None:
            raise self._failure
        return spent

    def _prepare(self) -> list[str]:
        """Make the network, its listeners, and the groups that all share; return the devices of the listeners."""
        with Client(self.sandbox.target) as client:
            subnets = [Subnet(cidr="10.9.0.0/16"), Subnet(cidr="fd09::/64")]
            client.apply_network(Network(network_id=NETWORK, subnets=subnets))
            for stateful, name in TRUSTED.items():
                client.apply_security_group(SecurityGroup(security_group_id=name, stateful=stateful))
            rules = [rule(f"in udp {GUARDED} from group {name}") for name in TRUSTED.values()]
            client.apply_security_group(SecurityGroup(security_group_id=GUARD, rules=rules))
            return [client.plug(_listener(name)).vif_details.device_name for name in LISTENERS]

    def _victims(self) -> list[tuple[str, int]]:
        """Return device and index of the ports that may be tampered with: all but those that listen."""
        bindings = intended(self.sandbox.ovs, self.sandbox.intents)
        return [(device, index) for port_id, device, index in bindings if port_id not in LISTENERS]

    def _converge(self, deadline: float) -> None:
        names = [each.policy.names for each in self._clients]
        while True:
            seen = look(self.sandbox.ovs, self.sandbox.intents, BRIDGE)
            self.leaks = leaks_of(self.sandbox, names, (GUARD, *TRUSTED.values()))
            if not (seen.as_intended and seen.ports == self.live):
                self.leaks.append(f"{seen} is not {sorted(self.live)}")
            if not self.leaks or time.monotonic() > deadline:
                return
            time.sleep(0.05)

    # The clients' thread

    def _run_clients(self, devices: list[str]) -> None:
        try:
            asyncio.run(self._all_clients(devices))
        except BaseException as failure:  # noqa: BLE001 - the main thread raises it
            self._failure = failure
        finally:
            self._calm.set()

    async def _all_clients(self, devices: list[str]) -> None:
        ears = Ears()
        async with AsyncClient(self.sandbox.target) as client:
            with ExitStack() as held:
                sink, _ = (held.enter_context(ears.at(device)) for device in devices)
                scene = Scene(self.sandbox, self.faults, self.account, self._plugs, ears, sink)
                for number in range(self._number):
                    dice = random.Random(f"{number}{self._dice.random()}")
                    self._clients.append(StormClient(scene, client, number, dice))
                await asyncio.gather(*(each.run() for each in self._clients))
                self._calm.set()
                await asyncio.to_thread(self._converged.wait, CONVERGE_S + 30)
                await self._look_again(scene)

    async def _look_again(self, scene: Scene) -> None:
        """Put every port that is left to the test; nothing excuses any more."""
        for each in self._clients:
            for guest in each.guests.values():
                verdict = await Trial(scene.ears, scene.sink, guest, each.policy).run()
                self.account.frames += verdict.sent
                if verdict.lost or verdict.leaked:
                    self.account.lies.append(f"in the end: {guest} {each.policy} {verdict}")


def _listener(name: str) -> PortSpec:
    return PortSpec(
        port_id=name,
        network_id=NETWORK,
        mac_address=MACS[name],
        vm=VmConsumer(),
        fixed_ips=[ADDRESSES[name, version] for version in (4, 6)],
        security_groups=[GUARD] if name == GUARD else [],
    )
