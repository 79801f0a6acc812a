"""The connection tracking zones of a host's ports: empty when a port gets one, and limited as long as it has it.

What waits when the last round is over goes in the next one: one flush and one call for the limits, of all ports that
wait. Limits need ovs-vswitchd's control socket. Where that is not there nothing is limited, GetHost counts how many
zones that is (`zones.unlimited`), and ports are plugged all the same; the next occasion tries again. Nobody tells of a
limit that somebody else has changed: they are looked at now and then, and put right (`zones.limits_mended`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from ofctl.errors import DeadlineExceeded, DriverError, OfctlError, SwitchUnavailable
from ofctl.openflow.switch import Switch
from ofctl.openflow.zones import Zones

logger = logging.getLogger(__name__)


class PortZones:
    """Belongs to one event loop and one switch."""

    def __init__(self, switch: Switch, zones: Zones, *, limit: int, timeout_s: float, look_interval_s: float) -> None:
        """`limit`: connections in one zone. `timeout_s`: for one answer of the switch.

        `look_interval_s`: seconds between two looks at the limits.
        """
        self._switch = switch
        self._zones = zones
        self._limit = limit
        self._timeout_s = timeout_s
        self._look_interval_s = look_interval_s
        self.mended = 0
        """How many limits were put right that somebody else had changed."""
        self._looking: asyncio.Task[None] | None = None
        self._in_use: set[int] = set()
        self._unlimited: set[int] = set()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._work: asyncio.Task[None] | None = None

    @property
    def unlimited(self) -> int:
        """How many zones in use could not be given their limit."""
        return len(self._unlimited)

    async def prepare(self, zone: int, *, deadline: float) -> None:
        """Return when a zone is empty and, if that can be, limited: before a new port's flows go in. 0 is none.

        Raises SwitchUnavailable, DriverError, DeadlineExceeded.
        """
        if not zone:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((zone, done))
        if self._work is None:
            self._work = asyncio.create_task(self._serve(), name="zones")
        try:
            async with asyncio.timeout_at(deadline):
                await done
        except TimeoutError:
            raise DeadlineExceeded(f"connection tracking zone {zone} was not emptied in time") from None

    async def restore(self, zones: Collection[int]) -> None:
        """Limit the zones of ports that are there, and those prepared meanwhile: the switch may be a new process.

        Raises nothing: see `unlimited`.
        """
        self._in_use.update(zone for zone in zones if zone)
        self._unlimited |= self._in_use
        await self._set_limits(asyncio.get_running_loop().time() + self._timeout_s)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="zone-limits")

    async def release(self, zone: int, *, deadline: float) -> None:
        """Empty the zone of a port whose flows are gone. Raises SwitchUnavailable, DriverError."""
        if zone:
            await self._switch.flush_connections(zone, deadline=deadline)
            self._in_use.discard(zone)
            self._unlimited.discard(zone)

    async def close(self) -> None:
        """Stop; whoever waits gets SwitchUnavailable."""
        tasks = [task for task in (self._work, self._looking) if task is not None]
        self._work = self._looking = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._answer(self._waiting, SwitchUnavailable("the agent stops"))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_interval_s)
            deadline = asyncio.get_running_loop().time() + self._timeout_s
            limited = self._in_use - self._unlimited
            try:
                told = await self._zones.limits(deadline=deadline)
            except OfctlError:
                continue  # Without its control socket nothing is known; a switch that comes back is restored.
            changed = {zone for zone in limited & self._in_use if zone not in told or told[zone].limit != self._limit}
            if changed:
                logger.warning("somebody has changed the limits of %d connection tracking zones", len(changed))
                self._unlimited |= changed
            await self._set_limits(deadline)
            self.mended += len(changed - self._unlimited)

    async def _serve(self) -> None:
        """Work until nobody waits. The top of a task: whatever goes wrong reaches the callers."""
        round_: list[tuple[int, asyncio.Future[None]]] = []
        try:
            while self._waiting:
                round_, self._waiting = self._waiting, []
                self._answer(round_, await self._prepare({zone for zone, _ in round_}))
        except Exception as error:  # noqa: BLE001
            self._answer(round_ + self._waiting, DriverError(f"connection tracking zones were not prepared: {error}"))
        finally:
            if self._work is asyncio.current_task():
                self._work = None

    async def _prepare(self, zones: set[int]) -> OfctlError | None:
        self._in_use |= zones
        self._unlimited |= zones
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        limiting = asyncio.ensure_future(self._set_limits(deadline))
        try:
            await self._switch.flush_connections(zones, deadline=deadline)
        except OfctlError as error:
            return error
        finally:
            await limiting
        return None

    async def _set_limits(self, deadline: float) -> None:
        zones = self._unlimited & self._in_use
        if not zones:
            return
        try:
            await self._zones.set_limits(dict.fromkeys(zones, self._limit), deadline=deadline)
        except OfctlError as error:
            logger.warning("%d connection tracking zones have no limit: %s", len(zones), error)
        else:
            self._unlimited -= zones

    @staticmethod
    def _answer(waiting: list[tuple[int, asyncio.Future[None]]], error: OfctlError | None) -> None:
        for _, done in waiting:
            if not done.done():
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
                    done.exception()  # Its caller's deadline may have passed: nobody is left to look.
