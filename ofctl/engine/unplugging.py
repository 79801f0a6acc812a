"""Unplugs: whatever is under way on the port is overtaken, then it is removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ofctl.engine.contract import UnplugRequest
from ofctl.engine.inventory import Key
from ofctl.engine.requests import check_principal
from ofctl.engine.stages import Stage
from ofctl.errors import Aborted, NotFound, Refused
from ofctl.model.port import VmConsumer

if TYPE_CHECKING:
    from ofctl.engine.host_engine import HostEngine


class Unplugs:
    """The unplugs of one host."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine

    async def unplug(self, request: UnplugRequest) -> None:
        """See `PlugEngine.unplug`."""
        key = (request.port_id, request.host_id)
        if key not in self._engine.inventory:
            await self._fence_off(key, request)
            raise NotFound(f"there is no port {request.port_id!r} on host {request.host_id!r}", subject=request.port_id)
        check_principal(self._engine.book.principal(key), request.principal, admin=request.admin)
        self._engine.fences.check([key], request.generation)
        self._engine.chassis.check_ready()
        await self._check_released(key, request)
        self._engine.fences.advance([key], request.generation)
        while (operation := self._engine.book.operation_on(key)) is not None:
            operation.abort(Aborted(f"an UnplugPort overtook what was under way on port {request.port_id!r}"))
            await operation.wait_finished(request.deadline)
            await asyncio.sleep(0)
            self._engine.fences.check([key], request.generation)
        present = self._engine.book.durable(key)
        if present is None:
            await self._fence_off(key, request)
            return
        removal = self._engine.operation((self._engine.work_on(present, existed=False),), Stage.REVOCATION)
        self._engine.begin(removal)
        await removal.wait_finished(request.deadline)

    async def _fence_off(self, key: Key, request: UnplugRequest) -> None:
        """Make durable that an older plug of a port that is not there comes too late."""
        if request.generation and key[1] == self._engine.host_id:
            self._engine.fences.advance([key], request.generation)
            at_ms = self._engine.clock.wall_ms()
            await self._engine.store.put_fence(key, request.generation, at_ms=at_ms, deadline=request.deadline)

    async def _check_released(self, key: Key, request: UnplugRequest) -> None:
        """Refuse to pull the TAP out from under a running guest."""
        binding = self._engine.book.durable(key)
        if request.force or binding is None or not isinstance(binding.spec.consumer, VmConsumer):
            return
        if await self._engine.chassis.devices.is_held(binding.device, deadline=request.deadline):
            raise Refused(
                f"somebody has {binding.device} of port {request.port_id!r} open; stop the guest first, or use force",
                reason="DEVICE_HELD",
                subject="port_id",
            )
