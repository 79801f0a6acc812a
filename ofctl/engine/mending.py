"""Puts right what somebody else has changed in the flow tables, and tells whose ports it was about.

The switch tells of changes of flows and groups (`Switch.watch_foreign`), and then everything is compared, with the
channel in use. Nobody tells of the switch's configuration, which is read back now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from ofctl.engine.comparison import Comparison, compare
from ofctl.log import fields
from ofctl.model.ids import PortIndex
from ofctl.openflow.foreign import ForeignChange, ForeignFlow, ForeignGroup, ManyChanges
from ofctl.openflow.revalidation import Revalidators
from ofctl.openflow.switch import Fragments, Switch
from ofctl.pipeline.changes import Change
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.flow import Cookie
from ofctl.pipeline.tables import is_guest_group
from ofctl.pipeline.world import World

logger = logging.getLogger(__name__)

PAUSE_S = 0.25
"""Between two looks at what others have changed; at least as long as the last one took, for the plugs' sake."""
MAX_CHANGES = 1000
"""In one bundle of a repair. A bundle is encoded and applied in one go, and the order of a difference is one in which
it may stop anywhere."""


class Mending:
    """Belongs to `FlowTables`, which sees to it that no wave is under way while one of the methods runs."""

    def __init__(
        self,
        switch: Switch,
        revalidators: Revalidators,
        compiler: Compiler,
        *,
        timeout_s: float,
        config_interval_s: float,
        on_drift: Callable[[Collection[PortIndex]], None],
        on_mended: Callable[[Collection[PortIndex]], None],
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called when `mend_if_due` has something to do; for the others see `FlowTables`."""
        self._switch = switch
        self._revalidators = revalidators
        self._compiler = compiler
        self._timeout_s = timeout_s
        self._config_interval_s = config_interval_s
        self._on_drift = on_drift
        self._on_mended = on_mended
        self._wake = wake
        self._from = 0.0
        """Instant before which no further look is taken."""
        self._amiss: frozenset[PortIndex] | None = None
        """Told as drifted, and not as mended yet; None: nothing is."""
        self._config_timer: asyncio.TimerHandle | None = None
        self._config_due = False
        self.spared: set[Cookie] = set()
        """Flows that are there for a moment, and not to be mended away: probes'."""
        self.drifted = False
        """Whether somebody else has changed something that was not looked at yet."""

    def close(self) -> None:
        """Wake nobody any more."""
        if self._config_timer is not None:
            self._config_timer.cancel()

    def foreign_changed(self, change: ForeignChange) -> None:
        """Take what the switch tells. A fenced guest's groups are its own business; of its flows nothing is told."""
        match change:
            case ForeignGroup(group_id):
                ours = not is_guest_group(group_id)
            case _:
                ours = isinstance(change, ForeignFlow | ManyChanges)
        if ours:
            self.distrust()

    def distrust(self) -> None:
        """Have everything compared soon."""
        if not self.drifted:
            self.drifted = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._from), self._wake)

    def forget(self) -> None:
        """Everything is about to be compared: what was told before is part of that."""
        self.drifted = False

    def resynced(self) -> None:
        """Everything is right now."""
        self._config_due = True
        self._mended()

    async def compared(self, world: World, deadline: float) -> Comparison:
        """Dump everything and compare it with what `world` needs. Raises SwitchUnavailable."""
        flows, groups = await asyncio.gather(
            self._switch.dump_flows(deadline=deadline), self._switch.dump_groups(deadline=deadline)
        )
        return compare(self._compiler, world, flows, groups, spared=self.spared)

    async def mend_if_due(self, world: World) -> None:
        """Mend if somebody has changed something, and not too soon after the last time. Raises as `mend` does."""
        if self.drifted and asyncio.get_running_loop().time() >= self._from:
            await self.mend(world)
        if self._config_due:
            await self._put_config_right(world)

    async def mend(self, world: World) -> None:
        """Put right what is different, if anything is, and tell of it before and after.

        Raises SwitchUnavailable, SwitchRejected, OutcomeUnknown; what was told as drifted is told as mended by the
        next resync then.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self.drifted = False
        found = await self.compared(world, begun + self._timeout_s)
        if found.resync.changes:
            logger.warning(
                "somebody else has changed the flow tables; putting them right",
                extra=fields(
                    ports=len(found.affected),
                    changes=len(found.resync.changes),
                    foreign_flows=len(found.resync.foreign_flows),
                    foreign_groups=len(found.resync.foreign_groups),
                ),
            )
            self._tell_drift(found.affected)
            await self._send(found.resync.changes)
            await self._revalidators.settle(deadline=loop.time() + self._timeout_s)
            self._mended()
        now = loop.time()
        self._from = now + max(PAUSE_S, now - begun)
        if self.drifted:
            loop.call_at(self._from, self._wake)

    async def _send(self, changes: Sequence[Change]) -> None:
        for start in range(0, len(changes), MAX_CHANGES):
            deadline = asyncio.get_running_loop().time() + self._timeout_s
            await self._switch.commit(changes[start : start + MAX_CHANGES], deadline=deadline)

    def _tell_drift(self, affected: frozenset[PortIndex]) -> None:
        self._amiss = affected | (self._amiss or frozenset())
        self._on_drift(affected)

    def _mended(self) -> None:
        amiss, self._amiss = self._amiss, None
        if amiss is not None:
            self._on_mended(amiss)

    async def _put_config_right(self, world: World) -> None:
        """Let fragments be forwarded, and the first one's ports be seen, and come again in a while."""
        loop = asyncio.get_running_loop()
        self._config_due = False
        deadline = loop.time() + self._timeout_s
        present = await self._switch.config(deadline=deadline)
        if present.fragments is not Fragments.NX_MATCH:
            logger.warning("somebody else has set fragments to %s; putting it right", present.fragments.name)
            self._tell_drift(frozenset(world.ports))
            await self._switch.set_config(replace(present, fragments=Fragments.NX_MATCH), deadline=deadline)
            await self._revalidators.settle(deadline=deadline)
            self._mended()
        if self._config_timer is not None:
            self._config_timer.cancel()
        self._config_timer = loop.call_later(self._config_interval_s, self._look_at_config)

    def _look_at_config(self) -> None:
        self._config_due = True
        self._wake()
