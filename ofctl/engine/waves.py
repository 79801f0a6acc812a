"""The waves in which changes go to a switch.

All edits that wait when the switch has answered the last wave go in the next one: one bundle, one barrier. When the
switch rejects a wave, the guilty edit is taken out and the others go again, so that only its own caller fails.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ofctl.engine.desired import Desired
from ofctl.engine.mending import Mending
from ofctl.engine.world_edits import Edit
from ofctl.errors import AppFailed, DriverError, OfctlError, OutcomeUnknown, SwitchRejected
from ofctl.openflow.switch import Receipt, Switch
from ofctl.pipeline.compiler import Compiler


@dataclass(slots=True)
class _Waiting:
    """One caller's edit, and what it waits for."""

    edit: Edit
    answer: asyncio.Future[Receipt] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: OfctlError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # The caller's own deadline may have passed: nobody is left to look at the answer.
            self.answer.exception()


class Waves:
    """Belongs to `FlowTables`, which sees to it that nobody else changes the switch while `send` runs."""

    def __init__(
        self, switch: Switch, compiler: Compiler, desired: Desired, mending: Mending, *, timeout_s: float
    ) -> None:
        """`timeout_s`: for one answer of the switch."""
        self._switch = switch
        self._compiler = compiler
        self._desired = desired
        self._mending = mending
        self._timeout_s = timeout_s
        self._waiting: list[_Waiting] = []

    def submit(self, edit: Edit) -> asyncio.Future[Receipt]:
        """Let an edit go with the next wave; the future has the wave's receipt, or why the edit is not in."""
        waiting = _Waiting(edit)
        self._waiting.append(waiting)
        return waiting.answer

    def fail(self, error: OfctlError) -> None:
        """Fail every edit that waits."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.fail(error)

    async def send(self) -> None:
        """Send all that wait. Raises what says that the switch is not in sync any more; then all have failed."""
        wave, self._waiting = self._waiting, []
        parts = [wave]
        mended = False
        while parts:
            # Again for each part: what it builds on may have been in one that was rejected.
            part = self._consistent(parts.pop(0))
            try:
                await self._send(part)
            except (SwitchRejected, AppFailed) as rejection:
                # Which change is guilty does not always tell whose it is (ports share flood groups): try by halves.
                if self._mending.drifted and not mended:
                    # Not its own fault, perhaps: somebody has taken away the group that it adds to.
                    await self._mending.mend(self._desired.world)
                    mended = True
                    parts.insert(0, part)
                elif len(part) == 1:
                    part[0].fail(rejection)
                else:
                    half = len(part) // 2
                    parts[:0] = [part[:half], part[half:]]
            except OfctlError as error:
                for each in (*part, *(later for others in parts for later in others)):
                    each.fail(error)
                raise

    async def _send(self, wave: list[_Waiting]) -> None:
        """Commit the edits as one bundle and answer their callers."""
        if not wave:
            return
        world = self._desired.world
        for each in wave:
            world = each.edit.applied_to(world)
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        self._desired.underway = world
        try:
            receipt = await self._switch.commit(self._compiler.changes(self._desired.world, world), deadline=deadline)
        except OutcomeUnknown:
            self._desired.accept((each.edit for each in wave), world)
            raise
        finally:
            self._desired.underway = None
        self._desired.accept((each.edit for each in wave), world)
        for each in wave:
            if not each.answer.done():
                each.answer.set_result(receipt)

    def _consistent(self, wave: list[_Waiting]) -> list[_Waiting]:
        """Return the edits that fit together and on the present world; the others fail at once."""
        world, fitting = self._desired.world, []
        for each in wave:
            try:
                world = each.edit.applied_to(world)
            except ValueError as error:
                each.fail(DriverError(f"the switch cannot forward for it: {error}", reason="WORLD_CONFLICT"))
            else:
                fitting.append(each)
        return fitting
