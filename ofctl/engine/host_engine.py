"""The engine of one host: takes requests, joins those that ask for the same, and keeps what is known of each port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from ofctl.engine.auditing import Audit
from ofctl.engine.binding import Annotations
from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock
from ofctl.engine.contract import PlugRequest, UnplugRequest
from ofctl.engine.fences import Fences
from ofctl.engine.inventory import Inventory, Key
from ofctl.engine.networks import Networks
from ofctl.engine.operation import Operation, forward_deadline
from ofctl.engine.port_book import PortBook
from ofctl.engine.port_work import PortWork
from ofctl.engine.self_description import describe_host
from ofctl.engine.stages import Stage
from ofctl.engine.verification import Verification
from ofctl.errors import (
    Aborted,
    AlreadyExists,
    InvalidField,
    NotFound,
    NotSupported,
    OfctlError,
    PermissionDenied,
    Refused,
    Unavailable,
)
from ofctl.model.audit import AuditReport
from ofctl.model.confirmation import BUILT_LEVELS, Level, Outcome, RequestRecord
from ofctl.model.events import PortEvent
from ofctl.model.host import AppView, HostView
from ofctl.model.ids import HostId, NetworkId, PortId, PortIndex, RequestId
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.port import Binding, BindingNumbers, PortSpec, VmConsumer
from ofctl.model.vif import PluggedPort
from ofctl.ovsdb.intents import IntentStore, NewBinding

logger = logging.getLogger(__name__)


class HostEngine:
    """Implements `ofctl.engine.contract.PlugEngine`. Belongs to one event loop."""

    def __init__(self, chassis: Chassis, store: IntentStore, inventory: Inventory, clock: Clock) -> None:
        self.chassis = chassis
        self.store = store
        self.inventory = inventory
        self.clock = clock
        self.book = PortBook(chassis, inventory, clock)
        self.fences = Fences(limit=store.request_limit, keeps=inventory.__contains__)
        self.annotations = Annotations()
        self._closing = False
        self._networks = Networks(chassis, store, inventory, clock)
        self.on_left: Callable[[Operation], None] = lambda _: None
        """Called when an operation is over and its result is in the book."""
        self.plugin_views: Callable[[], tuple[AppView, ...]] = tuple
        """Tells of the feature apps and binders."""
        self.app_views: Callable[[], tuple[AppView, ...]] = tuple
        self.packet_counters: Callable[[], Mapping[str, int]] = dict
        """Tells of the applications that run beside the core."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def host_id(self) -> HostId:
        return self.inventory.host_id

    async def close(self) -> None:
        """Stop every operation where it stands; the intents tell the next start what to do."""
        self._closing = True
        self.book.log.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Operations

    def work_on(self, binding: Binding, *, existed: bool) -> PortWork:
        """Return the work on a binding that is there."""
        return PortWork(
            spec=binding.spec,
            device=binding.device,
            network=self.inventory.network(binding.network_id),
            existed=existed,
            binding=binding,
        )

    def operation(self, members: tuple[PortWork, ...], stage: Stage, **settings: Any) -> Operation:
        """Return an operation on this host, not begun."""
        return Operation(self.chassis, self.store, self.clock, self.fences, members, stage, **settings)

    def begin(self, operation: Operation) -> None:
        """Let an operation walk, and take its result when it is over."""
        operation.on_change = self._changed
        self.book.enter(operation)
        self.spawn(self._run(operation), f"operation-{operation.members[0].spec.port_id}")

    def mend(self, binding: Binding) -> None:
        """Walk a port that is there through its stages again, until it is confirmed; nobody waits."""
        work = self.work_on(binding, existed=True)
        work.mending = True
        self.begin(self.operation((work,), Stage.DEVICE, persistent=True))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` beside the calls until it ends or the engine is closed."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, operation: Operation) -> None:
        try:
            await operation.run()
        except Exception:
            logger.exception("a defect of ofctl ended an operation in stage %s", operation.stage.value)
        finally:
            self.book.leave(operation)
            if not self._closing:
                self.on_left(operation)

    def _changed(self, operation: Operation) -> None:
        self.book.publish(member.key for member in operation.members)

    # Plug

    async def plug(self, request: PlugRequest) -> tuple[PluggedPort, ...]:
        """See `PlugEngine.plug`."""
        self._check_built(request.level)
        self._check_distinct(request.specs)
        keys = [(spec.port_id, spec.host_id) for spec in request.specs]
        self.fences.check(keys, request.generation)
        if request.validate_only:
            return self._validated(request)
        self.chassis.check_ready()
        while True:
            # Again: something newer may have come while this waited for what was in its way.
            self.fences.check(keys, request.generation)
            operation = self._present_operation(request)
            if operation is None:
                operation = self._new_operation(request)
                self.fences.advance(keys, request.generation)
                self.begin(operation)
            elif not self._joins(operation, request):
                await operation.wait_finished(forward_deadline(request.deadline))
                continue
            else:
                self.fences.advance(keys, request.generation)
                operation.join(self._record(request), request.deadline)
                self.book.enter(operation)
            await operation.wait_confirmed(request.deadline)
            if operation.level >= request.level and self._remembers(keys, request.generation):
                return tuple(map(self.book.port, keys))

    def _remembers(self, keys: list[Key], generation: int) -> bool:
        """Tell whether the generation is durable: a request may have joined when the evidence was being written."""
        present = [binding for key in keys if (binding := self.book.durable(key)) is not None]
        return all(binding.generation >= generation for binding in present)

    @staticmethod
    def _check_built(level: Level) -> None:
        if level not in BUILT_LEVELS:
            best = max(BUILT_LEVELS).name
            raise NotSupported(f"level {level.name} is not built yet; the host can show {best}", reason="LEVEL")

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
                if key in self.inventory:
                    self._check_same(spec, request)
                    plugged.append(self.book.port(key))
                    continue
                self.annotations.check(spec)
                admitted, device = self.inventory.admit(spec)
                self.inventory.claim(admitted, device)
                claimed.append(key)
                numbers = BindingNumbers(index=PortIndex(0), slot=0)
                plugged.append(self.book.plugged(Binding(spec=admitted, device=device, numbers=numbers)))
        finally:
            for key in claimed:
                self.inventory.release(key)
        return tuple(plugged)

    def _check_same(self, spec: PortSpec, request: PlugRequest) -> None:
        """Raise unless `request` may ask for the port that is there, and asks for the same."""
        self._check_principal(self.book.principal((spec.port_id, spec.host_id)), request.principal, admin=request.admin)
        if not self.inventory.same_as_claimed(spec):
            raise AlreadyExists(
                f"port {spec.port_id!r} is there with another spec; unplug it first, or give it another id",
                reason="PORT_EXISTS",
                subject="port.port_id",
            )

    def _present_operation(self, request: PlugRequest) -> Operation | None:
        """Return an operation in flight on one of the ports, or under the request's id."""
        earlier = self.book.operation_of(request.request_id)
        keys = {(spec.port_id, spec.host_id) for spec in request.specs}
        record = self.book.earlier_request(request.request_id)
        ports = {port_id for port_id, _ in keys}
        if (earlier is not None and {member.key for member in earlier.members} != keys) or (
            record is not None and (record.port_ids or ports) | {record.port_id} != ports
        ):
            raise InvalidField("request_id", f"{request.request_id!r} was used for another port; make a new one")
        self._check_not_superseded(record, keys)
        return earlier or next(filter(None, map(self.book.operation_on, keys)), None)

    def _check_not_superseded(self, record: RequestRecord | None, keys: set[Key]) -> None:
        """Refuse a late copy of a request that something newer has won over: it must not plug again."""
        unplugged = record is not None and record.outcome is Outcome.CONFIRMED and not all(map(self.book.durable, keys))
        overtaken = record is not None and record.outcome is Outcome.ABSENT and record.reason == Aborted.default_reason
        if record is not None and (unplugged or overtaken):
            raise Aborted(
                f"request {record.request_id!r} is over: its port was unplugged since; plug with a new request_id",
                reason="SUPERSEDED",
                subject="request_id",
            )

    def _joins(self, operation: Operation, request: PlugRequest) -> bool:
        """Tell whether the operation plugs just what is asked for; raises if it plugs one of the ports otherwise."""
        if operation.turned:
            return False
        by_key = {(spec.port_id, spec.host_id): spec for spec in request.specs}
        for member in operation.members:
            if member.key in by_key:
                self._check_same(by_key[member.key], request)
        return {member.key for member in operation.members} == by_key.keys()

    def _new_operation(self, request: PlugRequest) -> Operation:
        """Admit and claim every port, or none."""
        members: list[PortWork] = []
        now_ms = self.clock.wall_ms()
        try:
            for spec in request.specs:
                members.append(self._admitted(spec, request, now_ms))
        except OfctlError:
            for member in members:
                if not member.existed:
                    self.inventory.release(member.key)
            raise
        return self.operation(
            tuple(members),
            Stage.INTENT,
            level=request.level,
            forward_deadline=forward_deadline(request.deadline),
            records=[self._record(request)],
        )

    def _record(self, request: PlugRequest) -> RequestRecord:
        return RequestRecord(
            request_id=request.request_id,
            port_id=request.specs[0].port_id,
            port_ids=frozenset(spec.port_id for spec in request.specs),
            host_id=self.host_id,
            outcome=Outcome.IN_PROGRESS,
            at_ms=self.clock.wall_ms(),
        )

    def _admitted(self, spec: PortSpec, request: PlugRequest, now_ms: int) -> PortWork:
        key = (spec.port_id, spec.host_id)
        present = self.book.durable(key)
        if present is not None:
            self._check_same(spec, request)
            return self.work_on(present, existed=True)
        self.annotations.check(spec)
        admitted, device = self.inventory.admit(spec)
        self.inventory.claim(admitted, device)
        return PortWork(
            spec=admitted,
            device=device,
            network=self.inventory.network(spec.network_id),
            existed=False,
            draft=NewBinding(
                spec=admitted,
                device=device,
                request_id=request.request_id,
                principal=request.principal,
                state_since_ms=now_ms,
            ),
        )

    # Unplug

    async def unplug(self, request: UnplugRequest) -> None:
        """See `PlugEngine.unplug`."""
        key = (request.port_id, request.host_id)
        if key not in self.inventory:
            await self._fence_off(key, request)
            raise NotFound(f"there is no port {request.port_id!r} on host {request.host_id!r}", subject=request.port_id)
        self._check_principal(self.book.principal(key), request.principal, admin=request.admin)
        self.fences.check([key], request.generation)
        self.chassis.check_ready()
        await self._check_released(key, request)
        self.fences.advance([key], request.generation)
        while (operation := self.book.operation_on(key)) is not None:
            operation.abort(Aborted(f"an UnplugPort overtook the plug of port {request.port_id!r}"))
            await operation.wait_finished(request.deadline)
            await asyncio.sleep(0)
            self.fences.check([key], request.generation)
        present = self.book.durable(key)
        if present is None:
            await self._fence_off(key, request)
            return
        removal = self.operation((self.work_on(present, existed=False),), Stage.REVOCATION)
        self.begin(removal)
        await removal.wait_finished(request.deadline)

    async def _fence_off(self, key: Key, request: UnplugRequest) -> None:
        """Make durable that an older plug of a port that is not there comes too late."""
        if request.generation and key[1] == self.host_id:
            self.fences.advance([key], request.generation)
            at_ms = self.clock.wall_ms()
            await self.store.put_fence(key, request.generation, at_ms=at_ms, deadline=request.deadline)

    async def _check_released(self, key: Key, request: UnplugRequest) -> None:
        """Refuse to pull the TAP out from under a running guest."""
        binding = self.book.durable(key)
        if request.force or binding is None or not isinstance(binding.spec.consumer, VmConsumer):
            return
        if await self.chassis.devices.is_held(binding.device, deadline=request.deadline):
            raise Refused(
                f"somebody has {binding.device} of port {request.port_id!r} open; stop the guest first, or use force",
                reason="DEVICE_HELD",
                subject="port_id",
            )

    @staticmethod
    def _check_principal(owner: str, principal: str, *, admin: bool) -> None:
        if not admin and owner != principal:
            raise PermissionDenied(f"{owner} plugged this port; only that principal or an admin may do this")

    # Questions

    def port(self, port_id: PortId, host_id: HostId) -> PluggedPort:
        """See `PlugEngine.port`."""
        return self.book.port((port_id, host_id))

    def ports(self) -> tuple[PluggedPort, ...]:
        """See `PlugEngine.ports`."""
        return self.book.ports()

    def request(self, request_id: RequestId) -> RequestRecord:
        """See `PlugEngine.request`."""
        return self.book.request(request_id)

    def watch(self, *, epoch: str = "", after: int = 0) -> AsyncIterator[PortEvent]:
        """See `PlugEngine.watch`."""
        return self.book.log.follow(epoch=epoch, after=after)

    async def verify(self, port_id: PortId, host_id: HostId, level: Level, *, deadline: float) -> PluggedPort:
        """See `PlugEngine.verify`."""
        self._check_built(level)
        self.chassis.check_ready()
        key = (port_id, host_id)
        binding = self.book.durable(key)
        if self.book.operation_on(key) is not None:
            raise Unavailable(
                f"an operation is under way on port {port_id!r}; try again", reason="PORT_BUSY", retry_after_ms=100
            )
        if binding is None:
            raise NotFound(f"there is no port {port_id!r} on host {host_id!r}", subject=port_id)
        verification = Verification(self.chassis, self.clock, self.work_on(binding, existed=True), deadline=deadline)
        self.book.confirm(key, await verification.run(level))
        return self.book.port(key)

    async def audit(self, *, repair: bool, deadline: float) -> AuditReport:
        """See `PlugEngine.audit`."""
        return await Audit(self).run(repair=repair, deadline=deadline)

    def host(self) -> HostView:
        """See `PlugEngine.host`."""
        view = describe_host(self.chassis, self.inventory, port_count=len(self.book), counters=self.book.counters)
        return replace(view, apps=(*self.plugin_views(), *self.app_views()))

    async def app_counters(self, *, deadline: float) -> Mapping[str, int]:
        """See `PlugEngine.app_counters`."""
        return {**await self.chassis.tables.counters(deadline=deadline), **self.packet_counters()}

    def network(self, network_id: NetworkId) -> NumberedNetwork:
        """See `PlugEngine.network`."""
        return self.inventory.network(network_id)

    def networks(self) -> tuple[NumberedNetwork, ...]:
        """See `PlugEngine.networks`."""
        return self.inventory.networks()

    async def apply_network(self, network: Network, *, deadline: float) -> NumberedNetwork:
        """See `PlugEngine.apply_network`."""
        return await self._networks.apply(network, deadline=deadline)

    async def delete_network(self, network_id: NetworkId, *, deadline: float) -> None:
        """See `PlugEngine.delete_network`."""
        await self._networks.delete(network_id, deadline=deadline)
