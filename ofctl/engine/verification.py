"""Evidence afresh for a port that is there: everything is looked at, nothing is made or mended."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock
from ofctl.engine.inspection import link_problem, row_problem
from ofctl.engine.port_work import PortWork
from ofctl.engine.world_edits import PortPlace
from ofctl.errors import DriverError, OfctlError
from ofctl.model.confirmation import Confirmation, Level, StageTiming
from ofctl.pipeline.world import World


async def inspect(chassis: Chassis, work: PortWork, *, deadline: float) -> None:
    """Look at the device and the row of a port, and have the switch answer for its flows.

    Raises DriverError (reason as of a DEGRADED port), Unavailable.
    """
    await look_at_device(chassis, work, deadline)
    look_at_row(chassis, work)
    await pass_barrier(chassis, work, deadline)


async def look_at_device(chassis: Chassis, work: PortWork, deadline: float) -> None:
    """Take the device as it is. Raises DriverError if it is not as it must be."""
    binding = work.present
    state = await chassis.devices.state(binding.device, deadline=deadline)
    _raise(work, link_problem(chassis, binding, state), f"device {binding.device}")
    work.state = state


def look_at_row(chassis: Chassis, work: PortWork) -> None:
    """Take the ofport from the row. Raises DriverError if the row is not as it must be."""
    binding = work.present
    row = chassis.database.interface(binding.device)
    _raise(work, row_problem(chassis, binding, row), f"the row of {binding.device}")
    work.ofport = row.ofport if row is not None else None


async def pass_barrier(chassis: Chassis, work: PortWork, deadline: float) -> None:
    """Have the switch answer. Raises DriverError if it is not to forward by what is intended."""
    binding, tables = work.present, chassis.tables
    work.receipt = await tables.apply(Nothing(), deadline=deadline)
    port = tables.world.ports.get(binding.numbers.index)
    place = PortPlace.of(binding, work.network.index)
    if port is None or work.ofport is None or port != place.at(work.ofport):
        _raise(work, "FLOWS_CHANGED", "what the switch forwards by")
    work.flows = tables.closure_of(binding.numbers.index).flows


def _raise(work: PortWork, problem: str | None, what: str) -> None:
    if problem is not None:
        raise DriverError(
            f"port {work.spec.port_id!r} is not as it was confirmed: {what} ({problem})",
            reason=problem,
            metadata={"port_id": work.spec.port_id},
        )


class Verification:
    """One look at one port, stage by stage, in the order of a plug."""

    def __init__(self, chassis: Chassis, clock: Clock, work: PortWork, *, deadline: float) -> None:
        self._chassis = chassis
        self._clock = clock
        self._work = work
        self._deadline = deadline

    async def run(self, level: Level) -> Confirmation:
        """Return the evidence at `level`. Raises DriverError (reason as of a DEGRADED port), Unavailable, ..."""
        chassis, work, deadline = self._chassis, self._work, self._deadline
        await self._timed("device", look_at_device(chassis, work, deadline))
        look_at_row(chassis, work)
        await self._timed("flows", pass_barrier(chassis, work, deadline))
        if level >= Level.DATAPATH:
            await self._timed("datapath", chassis.settle(deadline=deadline))
        if level >= Level.READBACK:
            await self._timed("readback", chassis.read_back(work, deadline=deadline))
        if level >= Level.PIPELINE:
            await self._timed("probe", chassis.probe(work, level=level, deadline=deadline))
        return chassis.evidence(work, level, at_ms=self._clock.wall_ms())

    async def _timed(self, stage: str, look: Awaitable[None]) -> None:
        begun = time.perf_counter()
        try:
            await look
        except OfctlError as error:
            error.stage = error.stage or stage
            raise
        spent_us = int((time.perf_counter() - begun) * 1e6)
        self._work.timings.append(StageTiming(stage=stage, duration_us=spent_us))


class Nothing:
    """An edit that changes nothing: its receipt shows that the switch answers on this connection."""

    def applied_to(self, world: World) -> World:
        return world
