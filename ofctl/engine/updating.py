"""Updates: a port that is there gets another spec, all or nothing, with the evidence of the new one.

An update waits for whatever else is under way on its port: a plug, another update, a mend, a look for evidence. Only an
unplug overtakes it. What a port is updated to is computed when it is the update's turn, from what the port is then.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from ofctl.engine.contract import UpdateRequest
from ofctl.engine.inventory import Key
from ofctl.engine.operation import Operation, forward_deadline
from ofctl.engine.requests import check_built, check_principal, new_record, used_elsewhere
from ofctl.engine.stages import Stage, Walk
from ofctl.engine.world_edits import ChangePlace, PortPlace
from ofctl.errors import Aborted, DeadlineExceeded, InvalidField, NotFound, Refused, Unavailable
from ofctl.model.changes import PortField
from ofctl.model.confirmation import Outcome, RequestRecord
from ofctl.model.port import Binding
from ofctl.model.vif import PluggedPort

if TYPE_CHECKING:
    from ofctl.engine.host_engine import HostEngine


class Updates:
    """The updates of one host."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine

    async def update(self, request: UpdateRequest) -> PluggedPort:
        """See `PlugEngine.update`."""
        engine, key = self._engine, (request.port_id, request.host_id)
        check_built(request.level)
        if not request.changes.mask:
            raise InvalidField("update_mask", "is empty; name the fields that change")
        if key not in engine.inventory:
            raise _no_port(key)
        check_principal(engine.book.principal(key), request.principal, admin=request.admin)
        engine.chassis.check_ready()
        while True:
            # Again: something newer may have come while this waited for what was in its way.
            engine.fences.check([key], request.generation)
            present = self._present_operation(key, request)
            if present is None:
                operation = self._new_operation(key, request)
                engine.fences.advance([key], request.generation)
                engine.begin(operation)
            elif self._joins(present, request):
                operation = present
                engine.fences.advance([key], request.generation)
                operation.join(self._record(request), request.deadline)
                engine.book.enter(operation)
            else:
                await self._wait_for(present, request)
                continue
            await operation.wait_confirmed(request.deadline)
            binding = engine.book.durable(key)
            if operation.level >= request.level and binding is not None and binding.generation >= request.generation:
                return engine.book.port(key)

    def _present_operation(self, key: Key, request: UpdateRequest) -> Operation | None:
        """Return the operation in flight under the request's id, or on its port."""
        book = self._engine.book
        earlier = book.operation_of(request.request_id)
        record = book.earlier_request(request.request_id)
        elsewhere = record is not None and (record.port_ids or {record.port_id}) != {request.port_id}
        if elsewhere or (earlier is not None and [member.key for member in earlier.members] != [key]):
            raise used_elsewhere(request.request_id)
        plugging = record is not None and not record.update
        if plugging or (earlier is not None and earlier.walk is Walk.PLUG):
            raise InvalidField("request_id", f"{request.request_id!r} is that of a plug of this port; make a new one")
        return earlier or book.operation_on(key)

    @staticmethod
    def _joins(operation: Operation, request: UpdateRequest) -> bool:
        asked = any(record.request_id == request.request_id for record in operation.records)
        return asked and not operation.turned

    @staticmethod
    async def _wait_for(operation: Operation, request: UpdateRequest) -> None:
        """Return when what is under way on the port is over."""
        try:
            await operation.wait_finished(forward_deadline(request.deadline))
        except DeadlineExceeded:
            raise Unavailable(
                f"port {request.port_id!r} is busy in stage {operation.stage.value}; try again",
                reason="PORT_BUSY",
                subject=request.port_id,
                retry_after_ms=500,
            ) from None
        # Let who waits for it, too, and came first, go first.
        await asyncio.sleep(0)

    def _record(self, request: UpdateRequest) -> RequestRecord:
        at_ms = self._engine.clock.wall_ms()
        record = new_record(request.request_id, self._engine.host_id, [request.port_id], at_ms=at_ms)
        return replace(record, update=True)

    def _new_operation(self, key: Key, request: UpdateRequest) -> Operation:
        """Admit the change and claim what it needs; or, if nothing is left to change, just have the port confirmed."""
        before = self._updatable(key)
        record = self._engine.book.earlier_request(request.request_id)
        done = record is not None and record.outcome is Outcome.CONFIRMED
        if not done and request.revision not in (0, before.revision):
            raise Aborted(
                f"port {request.port_id!r} has revision {before.revision}, not {request.revision}: somebody has "
                "changed it since; look at it again",
                reason="REVISION_MISMATCH",
                subject="revision",
                metadata={"revision": str(before.revision)},
            )
        spec = before.spec if done else request.changes.applied_to(before.spec)
        work = self._engine.work_on(before, existed=True)
        walk = Walk.CHECK
        if spec != before.spec:
            if PortField.ANNOTATIONS in request.changes.mask:
                self._engine.annotations.check(spec)
            self._engine.inventory.check_update(spec, before.device)
            place = PortPlace.of(replace(before, spec=spec), work.network.index)
            self._engine.chassis.tables.check(ChangePlace(place))
            self._engine.inventory.begin_update(spec, before.device)
            walk = Walk.UPDATE
            work = replace(work, spec=spec, before=before)
        return self._engine.operation(
            (work,),
            Stage.INSPECTION if walk is Walk.CHECK else Stage.INTENT,
            walk=walk,
            level=request.level,
            forward_deadline=forward_deadline(request.deadline),
            records=[self._record(request)],
        )

    def _updatable(self, key: Key) -> Binding:
        binding = self._engine.book.durable(key)
        if binding is None:
            raise _no_port(key)
        shown = self._engine.book.port(key).binding
        if shown.state_reason == "AWAITING_NAMESPACE":
            raise Refused(
                f"port {key[0]!r} waits for its namespace; update it when that is there again, or unplug it",
                reason="AWAITING_NAMESPACE",
                subject=key[0],
            )
        return binding


def _no_port(key: Key) -> NotFound:
    return NotFound(f"there is no port {key[0]!r} on host {key[1]!r}", subject=key[0])
