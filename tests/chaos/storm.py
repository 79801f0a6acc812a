"""Clients that plug and unplug while faults strike, and the account of what they were told and what was true.

    python -m tests.chaos [--seed N] [--plugs N] [--clients N]

A *lie* is a reply "confirmed" (DATAPATH or above) whose first frame did not arrive at a neighbour although the switch
was alive from the reply on. A *leak* is what differs from the intents after the faults are over. *Disagreements* are
requests whose outcome, asked for afterwards, is not what the system shows.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from io import FileIO

from ofctl.client import (
    ApiError,
    AsyncClient,
    Client,
    ConfirmationLevel,
    Network,
    NotFound,
    Outcome,
    PortSpec,
    Subnet,
    VmConsumer,
)
from ofctl.sandbox.sandbox import Sandbox
from tests.chaos.faults import BRIDGE, Faults
from tests.eyes import Seen, intended, look, open_tap

NETWORK = Network(network_id="chaos", subnets=[Subnet(cidr="10.9.0.0/16")], port_security=False)
SINK = "sink"
SINK_MAC = bytes.fromhex("020000000001")
ETHERTYPE = 0x88B6
"""For local experiments (IEEE 802, table of EtherTypes)."""
LOST_S = 5.0
"""A frame that is not there after this is lost. Nothing on the way waits, but the machine may be busy."""
CALL_S = 8.0
CONVERGE_S = 30.0
LEVELS = (ConfirmationLevel.CONFIRMATION_LEVEL_DATAPATH, ConfirmationLevel.CONFIRMATION_LEVEL_READBACK)


@dataclass
class Account:
    """What was counted."""

    plugs: int = 0
    confirmed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    frame_s: list[float] = field(default_factory=list)
    """Confirmed, and the first frame arrived after so many seconds."""
    excused: int = 0
    """Confirmed, and a fault that blinds or touches the port struck before the frame could arrive."""
    lies: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    unplugs: int = 0


class Storm:
    """One run. `run` belongs to the main thread."""

    def __init__(self, sandbox: Sandbox, *, seed: int, plugs: int, clients: int) -> None:
        self.sandbox = sandbox
        self.account = Account()
        self._dice = random.Random(seed)
        self._plugs = plugs
        self._clients = clients
        self.live: set[str] = set()
        self._open_requests: dict[str, str] = {}
        self._arrived: dict[bytes, asyncio.Event] = {}
        self.faults = Faults(sandbox, random.Random(seed + 1), self._victims)
        self._done = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> tuple[Seen, float]:
        """Let it storm; return what is seen when it has converged, and after how many seconds."""
        with Client(self.sandbox.target) as client:
            client.apply_network(NETWORK)
            sink = client.plug(
                PortSpec(port_id=SINK, network_id="chaos", mac_address="02:00:00:00:00:01", vm=VmConsumer())
            )
        with open_tap(sink.vif_details.device_name) as tap:
            clients = threading.Thread(target=self._run_clients, args=(tap,), name="clients")
            clients.start()
            while not self._done.wait(self._dice.uniform(0.2, 1.2)):
                self.faults.strike()
            clients.join()
        if self._failure is not None:
            raise self._failure
        begun = time.monotonic()
        seen = self._converged(begun + CONVERGE_S)
        spent = time.monotonic() - begun
        self._settle_requests()
        return seen, spent

    def _victims(self) -> list[tuple[str, int]]:
        """Return device and index of the ports that may be tampered with: all but the one that listens."""
        bindings = intended(self.sandbox.ovs, self.sandbox.intents)
        return [(device, index) for port_id, device, index in bindings if port_id != SINK]

    def _converged(self, deadline: float) -> Seen:
        while True:
            seen = look(self.sandbox.ovs, self.sandbox.intents, BRIDGE)
            if (seen.as_intended and seen.ports == {SINK, *self.live}) or time.monotonic() > deadline:
                return seen
            time.sleep(0.05)

    def _settle_requests(self) -> None:
        """Ask for every outcome that a caller was left without, and compare with what is there."""
        there = look(self.sandbox.ovs, self.sandbox.intents, BRIDGE).ports
        with Client(self.sandbox.target) as client:
            for request_id, port_id in self._open_requests.items():
                try:
                    outcome = client.request(request_id).request.outcome
                except NotFound:
                    outcome = Outcome.OUTCOME_ABSENT
                expected = port_id in there
                if outcome not in (Outcome.OUTCOME_CONFIRMED, Outcome.OUTCOME_ABSENT) or (
                    expected and outcome != Outcome.OUTCOME_CONFIRMED
                ):
                    self.account.disagreements.append(f"{request_id}: {Outcome.Name(outcome)}, there: {expected}")

    # The clients' thread

    def _run_clients(self, tap: FileIO) -> None:
        try:
            asyncio.run(self._all_clients(tap))
        except BaseException as failure:  # noqa: BLE001 - the main thread raises it
            self._failure = failure
        finally:
            self._done.set()

    async def _all_clients(self, tap: FileIO) -> None:
        os.set_blocking(tap.fileno(), False)
        loop = asyncio.get_running_loop()
        loop.add_reader(tap.fileno(), self._read_sink, tap)
        async with AsyncClient(self.sandbox.target) as client:
            await asyncio.gather(*(self._client(client, number) for number in range(self._clients)))
        loop.remove_reader(tap.fileno())

    def _read_sink(self, tap: FileIO) -> None:
        while (frame := tap.read(2048)) is not None:
            waiting = self._arrived.get(frame[14:30])
            if waiting is not None:
                waiting.set()

    async def _client(self, client: AsyncClient, number: int) -> None:
        dice = random.Random(f"{number}{self._dice.random()}")
        mine: list[str] = []
        while self.account.plugs < self._plugs:
            self.account.plugs += 1
            port_id = f"p{self.account.plugs}"
            if await self._plug(client, dice, port_id):
                mine.append(port_id)
            while len(mine) > 3 or (mine and dice.random() < 0.4):
                await self._unplug(client, mine.pop(dice.randrange(len(mine))))
        for port_id in mine[1:]:
            await self._unplug(client, port_id)

    async def _plug(self, client: AsyncClient, dice: random.Random, port_id: str) -> bool:
        level = dice.choice(LEVELS)
        request_id = f"r-{port_id}"
        spec = PortSpec(port_id=port_id, network_id="chaos", vm=VmConsumer())
        try:
            port = await client.plug(spec, level=level, request_id=request_id, timeout_s=dice.uniform(0.5, CALL_S))
        except ApiError as error:
            self.account.failed[type(error).__name__] += 1
            self._open_requests[request_id] = port_id
            return await self._resolve(client, port_id, request_id)
        self.account.confirmed[ConfirmationLevel.Name(level).rpartition("_")[2]] += 1
        struck = self.faults.struck
        blind = self.faults.blind
        device = port.vif_details.device_name
        begun = time.time()
        try:
            self.account.frame_s.append(await self._first_frame(device, port.vif_details.mac_address))
        except (TimeoutError, OSError) as problem:
            if blind or self.faults.struck != struck or device in self.faults.tampered:
                self.account.excused += 1
            else:
                name = ConfirmationLevel.Name(level).rpartition("_")[2]
                self.account.lies.append(f"{port_id} {device} {name} at {begun:.3f}: {problem!r}")
        self.live.add(port_id)
        return True

    async def _resolve(self, client: AsyncClient, port_id: str, request_id: str) -> bool:
        """Return whether the port of a failed plug is there in the end, as the agent says."""
        for _ in range(200):
            try:
                outcome = (await client.request(request_id, timeout_s=CALL_S)).request.outcome
            except NotFound:
                return False
            except ApiError:
                outcome = Outcome.OUTCOME_UNKNOWN
            if outcome == Outcome.OUTCOME_CONFIRMED:
                self.live.add(port_id)
                return True
            if outcome == Outcome.OUTCOME_ABSENT:
                return False
            await asyncio.sleep(0.1)
        self.account.disagreements.append(f"{request_id}: still no outcome")
        return False

    async def _unplug(self, client: AsyncClient, port_id: str) -> None:
        self.account.unplugs += 1
        self.live.discard(port_id)
        for _ in range(200):
            try:
                await client.unplug(port_id, force=True, missing_ok=True, timeout_s=CALL_S)
            except ApiError:
                await asyncio.sleep(0.1)
            else:
                return
        self.account.disagreements.append(f"{port_id}: cannot be unplugged")

    async def _first_frame(self, device: str, mac: str) -> float:
        """Send one frame from the port to the sink, at once; return after how many seconds it was there.

        Raises TimeoutError if it is lost, OSError if the device does not take it.
        """
        nonce = os.urandom(16)
        waiting = self._arrived[nonce] = asyncio.Event()
        frame = SINK_MAC + bytes.fromhex(mac.replace(":", "")) + ETHERTYPE.to_bytes(2, "big") + nonce + bytes(30)
        try:
            with open_tap(device) as tap:
                sent = time.monotonic()
                tap.write(frame)
                async with asyncio.timeout(LOST_S):
                    await waiting.wait()
                return time.monotonic() - sent
        finally:
            del self._arrived[nonce]
