"""What is known of each port and each request at this moment, and who is told when it changes."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import replace

from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock
from ofctl.engine.inventory import Inventory, Key
from ofctl.engine.operation import Operation
from ofctl.engine.port_log import PortLog
from ofctl.engine.stages import TERMINAL, Stage
from ofctl.errors import NotFound
from ofctl.model.confirmation import Confirmation, Outcome, RequestRecord
from ofctl.model.events import PortEventType
from ofctl.model.ids import DeviceName, PortIndex, RequestId
from ofctl.model.port import Binding, PortState
from ofctl.model.vif import PluggedPort

SWITCH_DISCONNECTED = "SWITCH_DISCONNECTED"
"""Reason of every port while the switch is away."""


class PortBook:
    """Bindings, operations in flight, and outcomes of requests. Belongs to one event loop.

    The durable state of a binding is BUILD, ACTIVE or REMOVING. DEGRADED and DOWN are what is known on top of it, and
    are computed when somebody asks: nothing is ACTIVE in a switch that cannot be asked.
    """

    def __init__(self, chassis: Chassis, inventory: Inventory, clock: Clock) -> None:
        self.log = PortLog(self.ports)
        self.counters: collections.Counter[str] = collections.Counter()
        """How often something has happened since the agent started; docs/operations.md names them."""
        self._chassis = chassis
        self._inventory = inventory
        self._clock = clock
        self._bindings: dict[Key, Binding] = {}
        self._by_device: dict[DeviceName, Key] = {}
        self._by_index: dict[PortIndex, Key] = {}
        self._troubles: dict[Key, tuple[PortState, str]] = {}
        self._operations: dict[Key, Operation] = {}
        self._requested: dict[RequestId, Operation] = {}
        self._requests: dict[RequestId, RequestRecord] = {}
        self._published: dict[Key, PluggedPort] = {}

    def adopt(self, bindings: Iterable[Binding], requests: Iterable[RequestRecord]) -> None:
        """Take the durable intents of this host, at start."""
        for binding in bindings:
            self._inventory.claim(binding.spec, binding.device)
            self._put(binding)
        self._requests.update((record.request_id, record) for record in requests)

    def _put(self, binding: Binding) -> None:
        key = (binding.port_id, binding.spec.host_id)
        self._bindings[key] = binding
        self._by_device[binding.device] = key
        self._by_index[binding.numbers.index] = key

    def _drop(self, key: Key, device: DeviceName) -> None:
        binding = self._bindings.pop(key, None)
        self._by_device.pop(device, None)
        if binding is not None:
            self._by_index.pop(binding.numbers.index, None)
        self._troubles.pop(key, None)
        self._inventory.release(key)

    # Operations

    def enter(self, operation: Operation) -> None:
        """Note that an operation is under way on its ports."""
        for member in operation.members:
            self._operations[member.key] = operation
            # From before the device is there: what happens to it while it is plugged must not go unheard.
            self._by_device[member.device] = member.key
        for record in operation.records:
            self._requested[record.request_id] = operation
        self.publish(member.key for member in operation.members)

    def leave(self, operation: Operation) -> None:
        """Take the result of an operation that is over."""
        ended = "" if operation.confirmed else "ended_"
        self.counters[f"operations.{ended}{operation.stage.value}"] += 1
        for member in operation.members:
            if self._operations.get(member.key) is operation:
                del self._operations[member.key]
            if operation.confirmed or operation.stage is Stage.UNCHANGED:
                self._put(member.present)
            if member.before is not None:
                kept = member.present if operation.stage in TERMINAL else member.before
                self._inventory.end_update(kept.spec, member.device)
            if operation.confirmed:
                self._troubles.pop(member.key, None)
            elif operation.stage is Stage.ABSENT and not member.existed:
                self._drop(member.key, member.device)
        for record in operation.records:
            self._requested.pop(record.request_id, None)
            self._requests[record.request_id] = _closed(record, operation)
        self.publish(member.key for member in operation.members)

    def operation_on(self, key: Key) -> Operation | None:
        """Return the operation that is under way on a port."""
        return self._operations.get(key)

    def operation_of(self, request_id: RequestId) -> Operation | None:
        """Return the operation that a request in flight is part of."""
        return self._requested.get(request_id)

    def earlier_request(self, request_id: RequestId) -> RequestRecord | None:
        """Return the record of a request that is over, if it is known."""
        return self._requests.get(request_id)

    def request(self, request_id: RequestId) -> RequestRecord:
        """Return the outcome of a request, in flight or over. Raises NotFound."""
        operation = self._requested.get(request_id)
        known = operation.records if operation is not None else ()
        record = next((each for each in known if each.request_id == request_id), None) or self._requests.get(request_id)
        if record is None:
            raise NotFound(
                f"no request {request_id!r} is known: it never arrived, was refused at once, or is long ago",
                subject=request_id,
            )
        return record

    # Ports

    def __len__(self) -> int:
        return len(self._bindings)

    def durable(self, key: Key) -> Binding | None:
        """Return the binding of a port that no operation is making, or None."""
        return self._bindings.get(key)

    def durables(self) -> tuple[Binding, ...]:
        """Return all durable bindings, in order of their keys."""
        return tuple(self._bindings[key] for key in sorted(self._bindings))

    def key_of_device(self, device: DeviceName) -> Key | None:
        """Return whose device it is."""
        return self._by_device.get(device)

    def makes(self, device: DeviceName) -> bool:
        """Tell whether an operation in flight makes or removes that device."""
        return any(member.device == device for each in self._operations.values() for member in each.members)

    def key_of_index(self, index: PortIndex) -> Key | None:
        """Return whose number it is."""
        return self._by_index.get(index)

    def principal(self, key: Key) -> str:
        """Return who plugged a port that is there or in flight. Raises NotFound."""
        operation = self._operations.get(key)
        members = operation.members if operation is not None else ()
        member = next((member for member in members if member.key == key), None)
        if member is not None:
            return member.principal
        return self._known(key).principal

    def _known(self, key: Key) -> Binding:
        operation = self._operations.get(key)
        members = operation.members if operation is not None else ()
        binding = next((member.shown for member in members if member.key == key), None) or self._bindings.get(key)
        if binding is None:
            raise NotFound(f"there is no port {key[0]!r} on host {key[1]!r}", subject=key[0])
        return binding

    def port(self, key: Key) -> PluggedPort:
        """Return a port as it is known now. Raises NotFound."""
        return self.plugged(self._known(key))

    def ports(self) -> tuple[PluggedPort, ...]:
        """Return all ports that are there or have an intent, in order of their keys."""
        in_flight = {
            member.key: member.shown
            for operation in self._operations.values()
            for member in operation.members
            if member.shown is not None
        }
        known = {**self._bindings, **in_flight}
        return tuple(self.plugged(known[key]) for key in sorted(known))

    def plugged(self, binding: Binding) -> PluggedPort:
        """Return a binding with what is known on top of its durable state."""
        state, reason = self._state(binding)
        if state is not binding.state:
            published = self._published.get((binding.port_id, binding.spec.host_id))
            same = published is not None and published.binding.state is state
            since_ms = published.binding.state_since_ms if published is not None and same else self._clock.wall_ms()
            binding = replace(binding, state=state, state_reason=reason, state_since_ms=since_ms)
        return PluggedPort(binding=binding, vif=self._chassis.vif(binding))

    def _state(self, binding: Binding) -> tuple[PortState, str]:
        tables = self._chassis.tables
        if binding.state is not PortState.ACTIVE:
            return binding.state, binding.state_reason
        if not tables.resynced:
            return PortState.DOWN, SWITCH_DISCONNECTED
        trouble = self._troubles.get((binding.port_id, binding.spec.host_id))
        if trouble is not None:
            return trouble
        if binding.numbers.index not in tables.world.ports:
            no_room = binding.numbers.index in tables.left_out
            return PortState.DOWN, "PIPELINE_CAPACITY" if no_room else "NO_OFPORT"
        return PortState.ACTIVE, ""

    def confirm(self, key: Key, confirmation: Confirmation) -> None:
        """Note fresh evidence for a port that is there."""
        binding = self._bindings.get(key)
        if binding is not None:
            self._put(replace(binding, confirmation=confirmation))
            self.publish([key])

    def trouble(self, key: Key, state: PortState, reason: str) -> None:
        """Note what is wrong with a port that was confirmed: DEGRADED while it is mended, DOWN while it cannot be."""
        self._troubles[key] = (state, reason)
        self.counters[f"{state.value}.{reason.lower()}"] += 1
        self.publish([key])

    def connections_flushed(self, count: int) -> None:
        """Count connections that new rules do not allow, and that are gone."""
        self.counters["connections.flushed"] += count

    def clear_trouble(self, key: Key) -> None:
        """Note that a port is as it was confirmed."""
        if self._troubles.pop(key, None) is not None:
            self.publish([key])

    def publish(self, keys: Iterable[Key]) -> None:
        """Tell those who watch about the ports that are not as they were told last."""
        for key in keys:
            before = self._published.get(key)
            try:
                now = self.port(key)
            except NotFound:
                if before is not None:
                    del self._published[key]
                    self.log.write(PortEventType.REMOVED, before)
                continue
            if before is None or before != now or before.binding.confirmation != now.binding.confirmation:
                self._published[key] = now
                self.log.write(PortEventType.ADDED if before is None else PortEventType.CHANGED, now, before=before)

    def publish_all(self) -> None:
        """Tell those who watch about every port that is not as they were told last."""
        self.publish(sorted({*self._bindings, *self._operations, *self._published}))


def _closed(record: RequestRecord, operation: Operation) -> RequestRecord:
    """Return the record of a request that is over. One that neither made nor lost a port has shown nothing."""
    if record.outcome is not Outcome.IN_PROGRESS:
        return record
    failure = operation.failure
    reason, message = (failure.reason, failure.message) if failure is not None else ("", "")
    return replace(record, outcome=Outcome.UNKNOWN, reason=reason, message=message)
