"""Shows with frames that a port works: through the tables (PIPELINE), and through its own device (PROBE).

Every frame that goes into the tables here bears a mark that no frame from outside can have, and the delivery stage
sends what is marked back to us and out of no port (docs/adr/0005-probes-bear-a-mark.md). So no guest is reached.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ofctl.engine.flow_tables import FlowTables
from ofctl.engine.probing_door import DoorProbe
from ofctl.engine.probing_verdict import Finding, Scene, Sent, evidence
from ofctl.errors import SwitchUnavailable
from ofctl.model.confirmation import ProbeFrame
from ofctl.model.port import NamespaceConsumer
from ofctl.netlink.probe_door import DoorHeld, ProbeDoor, ProbeDoors
from ofctl.openflow.injection import OFPP_CONTROLLER, PacketOut
from ofctl.openflow.switch import Switch
from ofctl.pipeline.flow import Resubmit, Term
from ofctl.pipeline.probe import EXPERIMENTAL, Direction
from ofctl.pipeline.tables import CLASSIFY, NETWORK, SOURCE_KNOWN
from ofctl.pipeline.world import World, WorldPort

if TYPE_CHECKING:
    from ofctl.engine.port_work import PortWork

ATTEMPTS = 3
"""Neighbours come and go while a broadcast is under way, and the switch throws packet-ins away when very many wait."""
SERIES_AT_ONCE = 2
"""Open vSwitch throws away what is more than 100 packet-ins beyond what the socket takes (ovs-vswitchd.conf.db(5),
Bridge:other_config:controller-queue-size), and one series may give 80."""


class Prober:
    """Sends probes through the tables of one switch, and through the devices of its ports."""

    def __init__(self, switch: Switch, tables: FlowTables) -> None:
        self._switch = switch
        self._tables = tables
        self._doors = ProbeDoors()
        self._turns = asyncio.Semaphore(SERIES_AT_ONCE)

    async def close(self) -> None:
        """End what opens devices."""
        await self._doors.close()

    async def pipeline(self, work: PortWork, *, deadline: float) -> tuple[ProbeFrame, ...]:
        """Inject every probe of a port where its frames begin, and return what became of each.

        Raises DriverError (PROBE_FAILED) that names the first frame that did not do what it should, Unavailable.
        """
        index = work.present.numbers.index
        for _ in range(ATTEMPTS):
            scene = Scene(self._tables, index)
            findings, complete = await self._inject(scene, deadline)
            if complete and not any(finding.wrong for finding in findings):
                break
        if not complete:
            raise SwitchUnavailable("the switch threw away what came back of a probe; try again", retry_after_ms=500)
        return evidence(scene.port, findings)

    async def _inject(self, scene: Scene, deadline: float) -> tuple[list[Finding], bool]:
        """Return what became of each, and whether all that was sent back has come."""
        sent = [Sent.of(probe) for probe in scene.probes]
        packets = [_packet_out(each, scene.port, scene.world) for each in sent]
        async with self._turns:
            with self._switch.probing() as series:
                complete = await self._switch.inject(packets, series, deadline=deadline)
        return scene.judge(sent, series.came), complete

    async def probe(self, work: PortWork, *, deadline: float) -> tuple[tuple[ProbeFrame, ...], str]:
        """Do as `pipeline`, then send frames through the port's own device, both ways.

        Return what became of each, and in a sentence why the device was not used: somebody has the TAP open; empty if
        it was. Raises DriverError (PROBE_FAILED) as `pipeline` does; Unavailable.
        """
        opening = asyncio.create_task(self._open(work, deadline))
        try:
            injected = await self.pipeline(work, deadline=deadline)
            through = DoorProbe(self._switch, self._tables, self._turns, opening)
            return (*injected, *await through.run(work.present.numbers.index, deadline=deadline)), ""
        except DoorHeld as held:
            return injected, f"{held}, so the port was probed through the tables only (PIPELINE)"
        finally:
            await asyncio.wait([opening])
            if opening.exception() is None:
                # Not earlier, beside the switch's work: both would wait for the kernel's one lock on all devices.
                await self._doors.close_door(opening.result())

    async def _open(self, work: PortWork, deadline: float) -> ProbeDoor:
        consumer = work.present.spec.consumer
        if isinstance(consumer, NamespaceConsumer):
            return await self._doors.open_peer(
                consumer.interface_name,
                consumer.netns_path,
                EXPERIMENTAL,
                field=f"port.{'container' if consumer.container else 'namespace'}.netns_path",
                deadline=deadline,
            )
        return await self._doors.open_tap(work.device, multi_queue=consumer.multi_queue, deadline=deadline)


def _packet_out(sent: Sent, port: WorldPort, world: World) -> PacketOut:
    """Return the packet-out that puts a probe where its frames begin."""
    match sent.probe.direction:
        case Direction.FROM_PORT:
            return PacketOut(sent.frame, port.ofport, (Resubmit(CLASSIFY),))
        case Direction.TO_PORT:
            return PacketOut(sent.frame, OFPP_CONTROLLER, (Resubmit(SOURCE_KNOWN),), (Term(NETWORK, port.network),))
        case Direction.FROM_OUTSIDE:
            uplink = world.uplink_of(port.network)
            assert uplink is not None, "an app sends from outside where there is none"
            return PacketOut(sent.frame, uplink.ofport, (Resubmit(CLASSIFY),))
