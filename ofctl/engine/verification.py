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


class Verification:
    """One look at one port, stage by stage, in the order of a plug."""

    def __init__(self, chassis: Chassis, clock: Clock, work: PortWork, *, deadline: float) -> None:
        self._chassis = chassis
        self._clock = clock
        self._work = work
        self._deadline = deadline

    async def run(self, level: Level) -> Confirmation:
        """Return the evidence at `level`. Raises DriverError (reason as of a DEGRADED port), Unavailable, ..."""
        await self._timed("device", self._look_at_device())
        await self._timed("attachment", self._look_at_row())
        await self._timed("flows", self._pass_barrier())
        if level >= Level.DATAPATH:
            await self._timed("datapath", self._chassis.settle(deadline=self._deadline))
        if level >= Level.READBACK:
            await self._timed("readback", self._chassis.read_back(self._work, deadline=self._deadline))
        if level >= Level.PIPELINE:
            probe = self._chassis.probe(self._work, level=level, deadline=self._deadline)
            await self._timed("probe", probe)
        return self._chassis.evidence(self._work, level, at_ms=self._clock.wall_ms())

    async def _timed(self, stage: str, look: Awaitable[None]) -> None:
        begun = time.perf_counter()
        try:
            await look
        except OfctlError as error:
            error.stage = error.stage or stage
            raise
        spent_us = int((time.perf_counter() - begun) * 1e6)
        self._work.timings.append(StageTiming(stage=stage, duration_us=spent_us))

    async def _look_at_device(self) -> None:
        binding = self._work.present
        state = await self._chassis.devices.state(binding.device, deadline=self._deadline)
        self._raise(link_problem(self._chassis, binding, state), f"device {binding.device}")
        self._work.state = state

    async def _look_at_row(self) -> None:
        binding = self._work.present
        row = self._chassis.database.interface(binding.device)
        self._raise(row_problem(self._chassis, binding, row), f"the row of {binding.device}")
        self._work.ofport = row.ofport if row is not None else None

    async def _pass_barrier(self) -> None:
        binding = self._work.present
        tables = self._chassis.tables
        self._work.receipt = await tables.apply(Nothing(), deadline=self._deadline)
        port = tables.world.ports.get(binding.numbers.index)
        place = PortPlace.of(binding, self._work.network.index)
        if port is None or self._work.ofport is None or port != place.at(self._work.ofport):
            self._raise("FLOWS_CHANGED", "what the switch forwards by")
        self._work.flows = tables.closure_of(binding.numbers.index).flows

    def _raise(self, problem: str | None, what: str) -> None:
        if problem is not None:
            raise DriverError(
                f"port {self._work.spec.port_id!r} is not as it was confirmed: {what} ({problem})",
                reason=problem,
                metadata={"port_id": self._work.spec.port_id},
            )


class Nothing:
    """An edit that changes nothing: its receipt shows that the switch answers on this connection."""

    def applied_to(self, world: World) -> World:
        return world
