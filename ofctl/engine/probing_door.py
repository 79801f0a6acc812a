"""Probes through a port's own device: written to it and seen by the switch, sent to it and read from it.

For the time of the probe one flow marks what comes in at the port with the probes' ethertype, tells us of its arrival,
and sends it through the tables as any frame of the port. So a frame that did not arrive is told from one that the
tables dropped, whatever the port's policy is. Frames are known by a nonce.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ofctl.engine.flow_tables import FlowTables
from ofctl.engine.probing_verdict import Finding, Scene, Sent, evidence, failed
from ofctl.errors import DeviceError, DriverError, SwitchUnavailable
from ofctl.model.confirmation import ProbeFrame
from ofctl.model.ids import PortIndex
from ofctl.netlink.probe_door import ProbeDoor
from ofctl.openflow.injection import OFPP_CONTROLLER, PacketOut, Probing
from ofctl.openflow.switch import Switch
from ofctl.pipeline.fields import ETH_TYPE, IN_PORT
from ofctl.pipeline.flow import Flow, Match, Resubmit, SetField, Term, ToController
from ofctl.pipeline.probe import EXPERIMENTAL, STRANGER, Direction, Probe, nonce_of, probe_frame
from ofctl.pipeline.tables import (
    CLASSIFY,
    DELIVER,
    DESTINATION,
    NETWORK,
    NO_PROBE,
    PROBE,
    PROBE_CONTROLLER,
    Priority,
    probe_cookie,
)
from ofctl.pipeline.world import WorldPort

ATTEMPTS = 3
PATIENCE_S = 1.0
"""For a frame to come through. A device whose carrier has just come may lose the first ones (linkwatch_event in the
kernel's net/core/link_watch.c), so what did not come is sent again."""
FIRST_RESEND_S = 0.002
OUT_OF_THE_DEVICE = "unicast to the port, out of the device"
INTO_THE_DEVICE = "into the device"


def marker(port: WorldPort, mark: int) -> Flow:
    """Return the flow that makes probes of what comes in at `port` with the probes' ethertype.

    It ends where the frame began, which is no loop: what bears a mark does not match it.
    """
    return Flow(
        CLASSIFY,
        Priority.PROBED,
        Match.of(Term(IN_PORT, port.ofport), Term(ETH_TYPE, EXPERIMENTAL), NO_PROBE),
        probe_cookie(port.index),
        (SetField(PROBE, mark), ToController(PROBE_CONTROLLER), Resubmit(CLASSIFY)),
    )


class DoorProbe:
    """One probe through one open device."""

    def __init__(
        self, switch: Switch, tables: FlowTables, turns: asyncio.Semaphore, opening: asyncio.Future[ProbeDoor]
    ) -> None:
        """`turns`: how many series may be under way at once. `opening` gives the device, or says why it does not."""
        self._switch = switch
        self._tables = tables
        self._turns = turns
        self._opening = opening
        self._until = 0.0

    async def run(self, index: PortIndex, *, deadline: float) -> tuple[ProbeFrame, ...]:
        """Return what became of each frame.

        Raises DriverError (PROBE_FAILED), Unavailable, and whatever kept the device from being opened.
        """
        port = Scene(self._tables, index).port
        with self._switch.probing() as series:
            async with self._tables.for_a_moment(marker(port, series.mark), deadline=deadline):
                door = await asyncio.shield(self._opening)
                self._until = min(deadline, asyncio.get_running_loop().time() + PATIENCE_S)
                try:
                    return await self._both_ways(port, door, series)
                except DeviceError as error:
                    raise DriverError(
                        f"port {port.port_id!r} does not work: {error.message}",
                        reason="PROBE_FAILED",
                        metadata=error.metadata,
                    ) from error

    async def _both_ways(self, port: WorldPort, door: ProbeDoor, series: Probing) -> tuple[ProbeFrame, ...]:
        leaving = asyncio.create_task(self._out_of(port, door))
        try:
            frames = evidence(port, await self._into(port.index, door, series))
            return (*frames, await leaving)
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    # Into the device

    async def _into(self, index: PortIndex, door: ProbeDoor, series: Probing) -> list[Finding]:
        for _ in range(ATTEMPTS):
            scene = Scene(self._tables, index)
            sent = [Sent.of(probe) for probe in scene.probes if probe.direction is Direction.FROM_PORT]
            last = Sent.of(Probe("the last frame", Direction.FROM_PORT, probe_frame(STRANGER, scene.port.mac_number)))
            async with self._turns:
                await self._arrivals(scene.port, sent, door, series)
                # What the switch takes in one go it may reorder; this one comes when it is through with those.
                await self._arrivals(scene.port, (last,), door, series)
            findings = scene.judge(sent, series.came, way=INTO_THE_DEVICE)
            if not any(finding.wrong for finding in findings):
                break
        return findings

    async def _arrivals(self, port: WorldPort, sent: Iterable[Sent], door: ProbeDoor, series: Probing) -> None:
        """Return when the switch has told that each frame came in at the port; send again what it does not tell of."""
        missing = {nonce_of(each.frame): each for each in sent}

        def send() -> None:
            for each in missing.values():
                door.send(each.frame)

        def arrived() -> bool:
            if series.gone:
                raise SwitchUnavailable("the switch was disconnected during a probe")
            for packet in series.came:
                if packet.table_number == CLASSIFY.number:
                    missing.pop(nonce_of(packet.frame), None)
            return not missing

        if not await self._until_true(arrived, series.arrival, send):
            first = next(iter(missing.values()))
            name = f"{first.probe.name}, {INTO_THE_DEVICE}"
            raise failed(port, ProbeFrame(name, f"received by the switch at ofport {port.ofport}", "lost"))

    # Out of the device

    async def _out_of(self, port: WorldPort, door: ProbeDoor) -> ProbeFrame:
        sent = Sent.of(Probe(OUT_OF_THE_DEVICE, Direction.TO_PORT, probe_frame(port.mac_number, STRANGER)))
        read: list[bytes] = []
        news = asyncio.Event()

        def take(frame: bytes) -> None:
            if nonce_of(frame) == nonce_of(sent.frame):
                read.append(frame)
                news.set()

        door.receive(take)
        registers = (Term(NETWORK, port.network), Term(DESTINATION, port.index))
        packet = PacketOut(sent.frame, OFPP_CONTROLLER, (Resubmit(DELIVER),), registers)
        expected = f"read from {door.device}"
        came = await self._until_true(lambda: bool(read), news, lambda: self._switch.send_packets((packet,)))
        if not came or read[0] != sent.frame:
            raise failed(port, ProbeFrame(OUT_OF_THE_DEVICE, expected, "changed on its way" if came else "lost"))
        return ProbeFrame(OUT_OF_THE_DEVICE, expected, expected)

    async def _until_true(self, true: Callable[[], bool], news: asyncio.Event, send: Callable[[], None]) -> bool:
        """Send, and again ever more seldom, until it is true; tell whether it became so in time."""
        loop = asyncio.get_running_loop()
        pause = FIRST_RESEND_S
        while loop.time() < self._until:
            send()
            try:
                async with asyncio.timeout_at(min(loop.time() + pause, self._until)):
                    while not true():
                        news.clear()
                        await news.wait()
            except TimeoutError:
                pause *= 2
            else:
                return True
        return False
