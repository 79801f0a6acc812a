"""The engine of one host: takes requests, joins those that ask for the same, and keeps what is known of each port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any

from ofctl.engine.chassis import Chassis, PortWork
from ofctl.engine.clock import Clock
from ofctl.engine.contract import PlugRequest, UnplugRequest
from ofctl.engine.flow_tables import DropNetwork, PutNetwork
from ofctl.engine.inventory import Inventory, Key
from ofctl.engine.operation import Operation, forward_deadline
from ofctl.engine.self_description import describe_host
from ofctl.engine.stages import Stage
from ofctl.errors import (
    Aborted,
    AlreadyExists,
    InvalidField,
    NotFound,
    NotSupported,
    OfctlError,
    PermissionDenied,
    Refused,
)
from ofctl.log import fields
from ofctl.model.confirmation import BUILT_LEVELS, Outcome, RequestRecord
from ofctl.model.host import HostView
from ofctl.model.ids import DeviceName, HostId, NetworkId, PortId, PortIndex, RequestId
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.port import Binding, BindingNumbers, PortSpec, PortState, VmConsumer
from ofctl.model.vif import PluggedPort
from ofctl.ovsdb.intents import IntentStore, NewBinding
from ofctl.ovsdb.values import InterfaceChanged, SwitchEvent

logger = logging.getLogger(__name__)


class HostEngine:
    """Implements `ofctl.engine.contract.PlugEngine`. Belongs to one event loop."""

    def __init__(self, chassis: Chassis, store: IntentStore, inventory: Inventory, clock: Clock) -> None:
        self.chassis = chassis
        self.store = store
        self.inventory = inventory
        self.clock = clock
        self._bindings: dict[Key, Binding] = {}
        self._operations: dict[Key, Operation] = {}
        self._requests: dict[RequestId, RequestRecord] = {}
        self._requested: dict[RequestId, Operation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._networks_lock = asyncio.Lock()

    @property
    def host_id(self) -> HostId:
        return self.inventory.host_id

    async def close(self) -> None:
        """Stop every operation where it stands; the intents tell the next start what to do."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What was there at start

    def adopt(self, bindings: Iterable[Binding], requests: Iterable[RequestRecord]) -> None:
        """Take the durable intents of this host."""
        for binding in bindings:
            self.inventory.claim_binding(binding)
            self._bindings[binding.port_id, binding.spec.host_id] = binding
        self._requests.update((record.request_id, record) for record in requests)

    def set_state(self, key: Key, state: PortState, reason: str) -> None:
        """Note what was found out about a port that no operation is about."""
        self._bindings[key] = self._bindings[key].in_state(state, reason, at_ms=self.clock.wall_ms())

    def unfinished_request(self, request_id: RequestId) -> RequestRecord | None:
        """Return the record of a request whose outcome was open when the last agent died."""
        record = self._requests.get(request_id)
        return record if record is not None and record.outcome is Outcome.IN_PROGRESS else None

    def bindings(self) -> tuple[Binding, ...]:
        """Return the durable bindings, in order of their keys."""
        return tuple(self._bindings[key] for key in sorted(self._bindings))

    def work_on(self, binding: Binding, *, existed: bool) -> PortWork:
        """Return the work on a binding that is there."""
        return PortWork(
            spec=binding.spec,
            device=binding.device,
            network=self.inventory.network(binding.network_id),
            existed=existed,
            binding=binding,
        )

    def begin(self, operation: Operation) -> None:
        """Let an operation walk, and take its result when it is over."""
        for member in operation.members:
            self._operations[member.key] = operation
        if operation.record is not None:
            self._requested[operation.record.request_id] = operation
        self._spawn(self._run(operation), f"operation-{operation.members[0].spec.port_id}")

    def operation(self, members: tuple[PortWork, ...], stage: Stage, **settings: Any) -> Operation:
        """Return an operation on this host, not begun."""
        return Operation(self.chassis, self.store, self.clock, members, stage, **settings)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, operation: Operation) -> None:
        try:
            await operation.run()
        except Exception:
            logger.exception("a defect of ofctl ended an operation in stage %s", operation.stage.value)
        finally:
            self._take_result(operation)

    def _take_result(self, operation: Operation) -> None:
        for member in operation.members:
            if self._operations.get(member.key) is operation:
                del self._operations[member.key]
            if operation.confirmed:
                self._bindings[member.key] = member.present
            elif operation.stage is Stage.ABSENT and not member.existed:
                self._bindings.pop(member.key, None)
                self.inventory.release(member.key)
        if operation.record is not None:
            self._requested.pop(operation.record.request_id, None)
            self._requests[operation.record.request_id] = operation.record

    # What happens to ports behind our back

    def watch(self, event: SwitchEvent) -> None:
        """Take an event of the switch's database: a port that lost its row or has another ofport is mended."""
        if not isinstance(event, InterfaceChanged):
            return
        key = self._keys_by_device().get(event.device)
        binding = self._bindings.get(key) if key is not None else None
        if key is None or binding is None or key in self._operations or binding.state is not PortState.ACTIVE:
            return
        known = self.chassis.tables.world.ports.get(binding.numbers.index)
        if event.state is None or not event.state.ours:
            logger.warning("the row of a port is gone; attaching it again", extra=fields(port=binding.port_id))
            self.mend(binding)
        elif known is not None and event.state.ofport not in (None, known.ofport):
            logger.warning("a port has another ofport", extra=fields(port=binding.port_id, ofport=event.state.ofport))
            self.mend(binding)

    def _keys_by_device(self) -> dict[DeviceName, Key]:
        return {binding.device: key for key, binding in self._bindings.items()}

    def mend(self, binding: Binding) -> None:
        """Walk a port that is there through its stages again, until it is confirmed; nobody waits."""
        self.begin(self.operation((self.work_on(binding, existed=True),), Stage.DEVICE, persistent=True))

    # Plug

    async def plug(self, request: PlugRequest) -> tuple[PluggedPort, ...]:
        """See `PlugEngine.plug`."""
        if request.level not in BUILT_LEVELS:
            raise NotSupported(
                f"level {request.level.name} is not built yet; the host can show READBACK", reason="LEVEL"
            )
        self._check_distinct(request.specs)
        if request.validate_only:
            return self._validated(request)
        self.chassis.check_ready()
        while True:
            operation = self._present_operation(request)
            if operation is None:
                operation = self._new_operation(request)
                self.begin(operation)
            elif not self._joins(operation, request):
                await operation.wait_finished(forward_deadline(request.deadline))
                continue
            operation.extend(request.deadline)
            await operation.wait_confirmed(request.deadline)
            if operation.level >= request.level:
                return tuple(self._plugged(self._binding((spec.port_id, spec.host_id))) for spec in request.specs)

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
                    plugged.append(self._plugged(self._binding(key)))
                    continue
                admitted, device = self.inventory.admit(spec)
                self.inventory.claim(admitted, device)
                claimed.append(key)
                numbers = BindingNumbers(index=PortIndex(0), slot=0)
                plugged.append(self._plugged(Binding(spec=admitted, device=device, numbers=numbers)))
        finally:
            for key in claimed:
                self.inventory.release(key)
        return tuple(plugged)

    def _check_same(self, spec: PortSpec, request: PlugRequest) -> None:
        """Raise unless `request` may ask for the port that is there, and asks for the same."""
        self._check_principal(self._owner((spec.port_id, spec.host_id)), request.principal, admin=request.admin)
        if not self.inventory.same_as_claimed(spec):
            raise AlreadyExists(
                f"port {spec.port_id!r} is there with another spec; unplug it first, or give it another id",
                reason="PORT_EXISTS",
                subject="port.port_id",
            )

    def _present_operation(self, request: PlugRequest) -> Operation | None:
        """Return an operation in flight on one of the ports, or under the request's id."""
        earlier = self._requested.get(request.request_id)
        keys = {(spec.port_id, spec.host_id) for spec in request.specs}
        record = self._requests.get(request.request_id)
        if (earlier is not None and {member.key for member in earlier.members} != keys) or (
            record is not None and record.port_id not in {port_id for port_id, _ in keys}
        ):
            raise InvalidField("request_id", f"{request.request_id!r} was used for another port; make a new one")
        return earlier or next((self._operations[key] for key in keys if key in self._operations), None)

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
        record = RequestRecord(
            request_id=request.request_id,
            port_id=request.specs[0].port_id,
            host_id=self.host_id,
            outcome=Outcome.IN_PROGRESS,
            at_ms=now_ms,
        )
        return self.operation(
            tuple(members),
            Stage.INTENT,
            level=request.level,
            forward_deadline=forward_deadline(request.deadline),
            record=record,
        )

    def _admitted(self, spec: PortSpec, request: PlugRequest, now_ms: int) -> PortWork:
        key = (spec.port_id, spec.host_id)
        if key in self._bindings:
            self._check_same(spec, request)
            return self.work_on(self._bindings[key], existed=True)
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
            raise NotFound(f"there is no port {request.port_id!r} on host {request.host_id!r}", subject=request.port_id)
        self._check_principal(self._owner(key), request.principal, admin=request.admin)
        self.chassis.check_ready()
        await self._check_released(key, request)
        while (operation := self._operations.get(key)) is not None:
            operation.abort(Aborted(f"an UnplugPort overtook the plug of port {request.port_id!r}"))
            await operation.wait_finished(request.deadline)
            await asyncio.sleep(0)
        if key not in self._bindings:
            return
        removal = self.operation((self.work_on(self._bindings[key], existed=False),), Stage.REVOCATION)
        self.begin(removal)
        await removal.wait_finished(request.deadline)

    async def _check_released(self, key: Key, request: UnplugRequest) -> None:
        """Refuse to pull the TAP out from under a running guest."""
        binding = self._bindings.get(key)
        if request.force or binding is None or not isinstance(binding.spec.consumer, VmConsumer):
            return
        if await self.chassis.devices.is_held(binding.device, deadline=request.deadline):
            raise Refused(
                f"somebody has {binding.device} of port {request.port_id!r} open; stop the guest first, or use force",
                reason="DEVICE_HELD",
                subject="port_id",
            )

    def _owner(self, key: Key) -> str:
        operation = self._operations.get(key)
        if key in self._bindings or operation is None:
            return self._bindings[key].principal
        member = next(member for member in operation.members if member.key == key)
        return member.draft.principal if member.draft is not None else member.present.principal

    @staticmethod
    def _check_principal(owner: str, principal: str, *, admin: bool) -> None:
        if not admin and owner != principal:
            raise PermissionDenied(f"{owner} plugged this port; only that principal or an admin may do this")

    # Questions

    def port(self, port_id: PortId, host_id: HostId) -> PluggedPort:
        """See `PlugEngine.port`."""
        return self._plugged(self._binding((port_id, host_id)))

    def ports(self) -> tuple[PluggedPort, ...]:
        """See `PlugEngine.ports`."""
        in_flight = {
            member.key: member.binding
            for operation in self._operations.values()
            for member in operation.members
            if member.binding is not None
        }
        known = {**self._bindings, **in_flight}
        return tuple(self._plugged(known[key]) for key in sorted(known))

    def request(self, request_id: RequestId) -> RequestRecord:
        """See `PlugEngine.request`."""
        operation = self._requested.get(request_id)
        record = operation.record if operation is not None else self._requests.get(request_id)
        if record is None:
            raise NotFound(
                f"no request {request_id!r} is known: it never arrived, was refused at once, or is long ago",
                subject=request_id,
            )
        return record

    def _binding(self, key: Key) -> Binding:
        operation = self._operations.get(key)
        members = operation.members if operation is not None else ()
        binding = next((member.binding for member in members if member.key == key), None) or self._bindings.get(key)
        if binding is None:
            raise NotFound(f"there is no port {key[0]!r} on host {key[1]!r}", subject=key[0])
        return binding

    def _plugged(self, binding: Binding) -> PluggedPort:
        """Return the binding as it is at this moment: nothing is ACTIVE in a switch that cannot be asked."""
        tables = self.chassis.tables
        if binding.state is PortState.ACTIVE and not tables.resynced:
            binding = replace(binding, state=PortState.DOWN, state_reason="SWITCH_DISCONNECTED")
        elif binding.state is PortState.ACTIVE and binding.numbers.index not in tables.world.ports:
            binding = replace(binding, state=PortState.DOWN, state_reason="NO_OFPORT")
        return PluggedPort(binding=binding, vif=self.chassis.vif(binding))

    def host(self) -> HostView:
        """See `PlugEngine.host`."""
        return describe_host(self.chassis, self.inventory, port_count=len(self._bindings))

    # Networks

    def network(self, network_id: NetworkId) -> NumberedNetwork:
        """See `PlugEngine.network`."""
        return self.inventory.network(network_id)

    def networks(self) -> tuple[NumberedNetwork, ...]:
        """See `PlugEngine.networks`."""
        return self.inventory.networks()

    async def apply_network(self, network: Network, *, deadline: float) -> NumberedNetwork:
        """See `PlugEngine.apply_network`."""
        self.chassis.check_ready()
        async with self._networks_lock:
            self.inventory.check_network(network)
            before = next((each for each in self.networks() if each.network.network_id == network.network_id), None)
            numbered = await self.store.put_network(network, deadline=deadline)
            try:
                await self.chassis.tables.apply(PutNetwork(numbered), deadline=deadline)
            except OfctlError:
                await self._restore_network(network.network_id, before)
                raise
            self.inventory.put_network(numbered)
            return numbered

    async def _restore_network(self, network_id: NetworkId, before: NumberedNetwork | None) -> None:
        deadline = self.clock.monotonic() + 5.0
        if before is None:
            await self.store.delete_network(network_id, deadline=deadline)
        else:
            await self.store.put_network(before.network, deadline=deadline)

    async def delete_network(self, network_id: NetworkId, *, deadline: float) -> None:
        """See `PlugEngine.delete_network`."""
        async with self._networks_lock:
            numbered = self.inventory.network(network_id)
            self.inventory.check_network_unused(network_id)
            self.chassis.check_ready()
            # Out of the inventory first: a plug that comes now finds no network, not half of one.
            self.inventory.drop_network(network_id)
            try:
                await self.chassis.tables.apply(DropNetwork(numbered.index), deadline=deadline)
                await self.store.delete_network(network_id, deadline=deadline)
            except OfctlError:
                self.inventory.put_network(numbered)
                raise
