"""Plugs: a request is checked, joined with the one that asks for the same, or begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ofctl.engine.contract import PlugRequest
from ofctl.engine.inventory import Key
from ofctl.engine.operation import Operation, forward_deadline
from ofctl.engine.port_work import PortWork
from ofctl.engine.requests import check_built, check_principal, new_record, used_elsewhere
from ofctl.engine.stages import Stage, Walk
from ofctl.errors import Aborted, AlreadyExists, InvalidField, OfctlError
from ofctl.model.confirmation import Outcome, RequestRecord
from ofctl.model.ids import PortIndex
from ofctl.model.port import Binding, BindingNumbers, PortSpec
from ofctl.model.vif import PluggedPort
from ofctl.ovsdb.intents import NewBinding

if TYPE_CHECKING:
    from ofctl.engine.host_engine import HostEngine


class Plugs:
    """The plugs of one host."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine

    async def plug(self, request: PlugRequest) -> tuple[PluggedPort, ...]:
        """See `PlugEngine.plug`."""
        check_built(request.level)
        self._check_distinct(request.specs)
        keys = [(spec.port_id, spec.host_id) for spec in request.specs]
        self._engine.fences.check(keys, request.generation)
        if request.validate_only:
            return self._validated(request)
        self._engine.chassis.check_ready()
        while True:
            # Again: something newer may have come while this waited for what was in its way.
            self._engine.fences.check(keys, request.generation)
            operation = self._present_operation(request)
            if operation is None:
                operation = self._new_operation(request)
                self._engine.fences.advance(keys, request.generation)
                self._engine.begin(operation)
            elif not self._joins(operation, request):
                await operation.wait_finished(forward_deadline(request.deadline))
                continue
            else:
                self._engine.fences.advance(keys, request.generation)
                operation.join(self._record(request), request.deadline)
                self._engine.book.enter(operation)
            await operation.wait_confirmed(request.deadline)
            if operation.level >= request.level and self._remembers(keys, request.generation):
                return tuple(map(self._engine.book.port, keys))

    def _remembers(self, keys: list[Key], generation: int) -> bool:
        """Tell whether the generation is durable: a request may have joined when the evidence was being written."""
        present = [binding for key in keys if (binding := self._engine.book.durable(key)) is not None]
        return all(binding.generation >= generation for binding in present)

    def _check_distinct(self, specs: tuple[PortSpec, ...]) -> None:
        if not specs:
            raise InvalidField("ports", "is empty; give at least one port")
        for number, spec in enumerate(specs):
            if any(spec.port_id == other.port_id for other in specs[:number]):
                raise InvalidField("port.port_id", f"{spec.port_id!r} is given twice")
            if spec.recovery is not specs[0].recovery:
                raise InvalidField("port.recovery", "must be the same for all ports of one call")

    def _validated(self, request: PlugRequest) -> tuple[PluggedPort, ...]:
        """Refuse whatever can be refused, and do nothing. The numbers are not allocated and so are 0."""
        claimed: list[Key] = []
        plugged = []
        try:
            for spec in request.specs:
                key = (spec.port_id, spec.host_id)
                if key in self._engine.inventory:
                    self._check_same(spec, request)
                    plugged.append(self._engine.book.port(key))
                    continue
                self._engine.annotations.check(spec)
                admitted, device = self._engine.inventory.admit(spec)
                self._engine.inventory.claim(admitted, device)
                claimed.append(key)
                numbers = BindingNumbers(index=PortIndex(0), slot=0)
                plugged.append(self._engine.book.plugged(Binding(spec=admitted, device=device, numbers=numbers)))
        finally:
            for key in claimed:
                self._engine.inventory.release(key)
        return tuple(plugged)

    def _check_same(self, spec: PortSpec, request: PlugRequest) -> None:
        """Raise unless `request` may ask for the port that is there, and asks for the same."""
        check_principal(
            self._engine.book.principal((spec.port_id, spec.host_id)), request.principal, admin=request.admin
        )
        if not self._engine.inventory.same_as_claimed(spec):
            raise AlreadyExists(
                f"port {spec.port_id!r} is there with another spec; unplug it first, or give it another id",
                reason="PORT_EXISTS",
                subject="port.port_id",
            )

    def _present_operation(self, request: PlugRequest) -> Operation | None:
        """Return an operation in flight on one of the ports, or under the request's id."""
        earlier = self._engine.book.operation_of(request.request_id)
        keys = {(spec.port_id, spec.host_id) for spec in request.specs}
        record = self._engine.book.earlier_request(request.request_id)
        ports = {port_id for port_id, _ in keys}
        if (earlier is not None and {member.key for member in earlier.members} != keys) or (
            record is not None and (record.port_ids or ports) | {record.port_id} != ports
        ):
            raise used_elsewhere(request.request_id)
        if (record is not None and record.update) or (earlier is not None and earlier.walk is not Walk.PLUG):
            raise InvalidField("request_id", f"{request.request_id!r} is that of an update; make a new one")
        self._check_not_superseded(record, keys)
        return earlier or next(filter(None, map(self._engine.book.operation_on, keys)), None)

    def _check_not_superseded(self, record: RequestRecord | None, keys: set[Key]) -> None:
        """Refuse a late copy of a request that something newer has won over: it must not plug again."""
        unplugged = (
            record is not None and record.outcome is Outcome.CONFIRMED and not all(map(self._engine.book.durable, keys))
        )
        overtaken = record is not None and record.outcome is Outcome.ABSENT and record.reason == Aborted.default_reason
        if record is not None and (unplugged or overtaken):
            raise Aborted(
                f"request {record.request_id!r} is over: its port was unplugged since; plug with a new request_id",
                reason="SUPERSEDED",
                subject="request_id",
            )

    def _joins(self, operation: Operation, request: PlugRequest) -> bool:
        """Tell whether the operation plugs just what is asked for; raises if it plugs one of the ports otherwise."""
        if operation.turned or operation.walk is not Walk.PLUG:
            return False
        by_key = {(spec.port_id, spec.host_id): spec for spec in request.specs}
        for member in operation.members:
            if member.key in by_key:
                self._check_same(by_key[member.key], request)
        return {member.key for member in operation.members} == by_key.keys()

    def _new_operation(self, request: PlugRequest) -> Operation:
        """Admit and claim every port, or none."""
        members: list[PortWork] = []
        now_ms = self._engine.clock.wall_ms()
        try:
            for spec in request.specs:
                members.append(self._admitted(spec, request, now_ms))
        except OfctlError:
            for member in members:
                if not member.existed:
                    self._engine.inventory.release(member.key)
            raise
        return self._engine.operation(
            tuple(members),
            Stage.INTENT,
            level=request.level,
            forward_deadline=forward_deadline(request.deadline),
            records=[self._record(request)],
        )

    def _record(self, request: PlugRequest) -> RequestRecord:
        ports = (spec.port_id for spec in request.specs)
        at_ms = self._engine.clock.wall_ms()
        return new_record(request.request_id, self._engine.host_id, ports, at_ms=at_ms)

    def _admitted(self, spec: PortSpec, request: PlugRequest, now_ms: int) -> PortWork:
        key = (spec.port_id, spec.host_id)
        present = self._engine.book.durable(key)
        if present is not None:
            self._check_same(spec, request)
            return self._engine.work_on(present, existed=True)
        self._engine.annotations.check(spec)
        admitted, device = self._engine.inventory.admit(spec)
        network = self._engine.inventory.network(spec.network_id)
        self._engine.chassis.tables.check_port(spec.port_id, network.index, spec.security_groups)
        self._engine.inventory.claim(admitted, device)
        return PortWork(
            spec=admitted,
            device=device,
            network=network,
            existed=False,
            draft=NewBinding(
                spec=admitted,
                device=device,
                request_id=request.request_id,
                principal=request.principal,
                state_since_ms=now_ms,
            ),
        )
