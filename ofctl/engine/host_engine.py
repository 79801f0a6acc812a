"""The engine of one host: takes requests, joins those that ask for the same, and keeps what is known of each port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ofctl.engine.auditing import Audit
from ofctl.engine.binding import Annotations
from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock
from ofctl.engine.contract import (
    AddressGroupApplied,
    PlugRequest,
    SecurityGroupApplied,
    UnplugRequest,
    UpdateRequest,
)
from ofctl.engine.fences import Fences
from ofctl.engine.groups import GroupChanges
from ofctl.engine.inventory import Inventory
from ofctl.engine.networks import Networks
from ofctl.engine.operation import Operation
from ofctl.engine.plugging import Plugs
from ofctl.engine.port_book import PortBook
from ofctl.engine.port_work import PortWork
from ofctl.engine.requests import check_built
from ofctl.engine.self_description import describe_host
from ofctl.engine.stages import Stage
from ofctl.engine.unplugging import Unplugs
from ofctl.engine.updating import Updates
from ofctl.engine.verification import Verification
from ofctl.errors import NotFound, Unavailable
from ofctl.model.audit import AuditReport
from ofctl.model.confirmation import Level, RequestRecord
from ofctl.model.events import PortEvent
from ofctl.model.host import AppView, HostView
from ofctl.model.ids import HostId, NetworkId, PortId, PortIndex, RequestId
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.port import Binding, PortState
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
    SecurityGroupId,
)
from ofctl.model.vif import PluggedPort
from ofctl.ovsdb.intents import IntentStore

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
        self._networks = Networks(self)
        self._groups = GroupChanges(self)
        self.on_left: Callable[[Operation], None] = lambda _: None
        """Called when an operation is over and its result is in the book."""
        self.flush: Callable[[Iterable[PortIndex]], None] = lambda _: None
        """Called with ports whose connections may not be allowed any more."""
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
        task = self.spawn(self._run(operation), f"operation-{operation.members[0].spec.port_id}")
        # Also if it is cancelled before its first step.
        task.add_done_callback(lambda _: operation.end())

    def mend(self, binding: Binding) -> None:
        """Walk a port that is there through its stages again, until it is confirmed; nobody waits."""
        work = self.work_on(binding, existed=True)
        work.mending = True
        self.begin(self.operation((work,), Stage.DEVICE, persistent=True))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` beside the calls until it ends or the engine is closed."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, operation: Operation) -> None:
        try:
            await operation.run()
        except Exception:
            logger.exception("a defect of ofctl ended an operation in stage %s", operation.stage.value)
        finally:
            self.book.leave(operation)
            if not self._closing:
                self.on_left(operation)
                self._mend_after(operation)
                self._flush_after(operation)

    def _mend_after(self, operation: Operation) -> None:
        """Mend the ports of an update whose walk back has left something."""
        for member in operation.members if operation.mends_after else ():
            binding = self.book.durable(member.key)
            if binding is not None and self.book.operation_on(member.key) is None:
                self.book.trouble(member.key, PortState.DEGRADED, "UPDATE_UNDONE")
                self.mend(binding)

    def _flush_after(self, operation: Operation) -> None:
        """Have the connections looked at that the rules of an updated port, or its being a member, have allowed."""
        for member in operation.members if operation.confirmed else ():
            if member.before is not None and member.before.spec.security_groups:
                self.flush([member.before.numbers.index])
                self.flush_ports_of(member.before.spec.security_groups)

    def flush_ports_of(self, groups: Iterable[SecurityGroupId]) -> None:
        """Have the connections looked at of all ports that depend on one of the security groups."""
        concerned = frozenset(each for group in groups for each in self.inventory.groups.dependents_of(group))
        self.flush(
            binding.numbers.index
            for binding in self.book.durables()
            if not concerned.isdisjoint(binding.spec.security_groups)
        )

    def _changed(self, operation: Operation) -> None:
        self.book.publish(member.key for member in operation.members)

    # Changes

    async def plug(self, request: PlugRequest) -> tuple[PluggedPort, ...]:
        """See `PlugEngine.plug`."""
        return await Plugs(self).plug(request)

    async def unplug(self, request: UnplugRequest) -> None:
        """See `PlugEngine.unplug`."""
        await Unplugs(self).unplug(request)

    async def update(self, request: UpdateRequest) -> PluggedPort:
        """See `PlugEngine.update`."""
        return await Updates(self).update(request)

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
        check_built(level)
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

    # Security groups and address groups

    async def apply_security_group(
        self, group: SecurityGroup, *, level: Level, deadline: float
    ) -> SecurityGroupApplied:
        """See `PlugEngine.apply_security_group`."""
        return await self._groups.apply_security_group(group, level=level, deadline=deadline)

    async def delete_security_group(self, group_id: SecurityGroupId, *, deadline: float) -> None:
        """See `PlugEngine.delete_security_group`."""
        await self._groups.delete_security_group(group_id, deadline=deadline)

    def security_group(self, group_id: SecurityGroupId) -> NumberedSecurityGroup:
        """See `PlugEngine.security_group`."""
        return self.inventory.groups.security_group(group_id)

    def security_groups(self) -> tuple[NumberedSecurityGroup, ...]:
        """See `PlugEngine.security_groups`."""
        return self.inventory.groups.security_groups()

    async def apply_address_group(self, group: AddressGroup, *, level: Level, deadline: float) -> AddressGroupApplied:
        """See `PlugEngine.apply_address_group`."""
        return await self._groups.apply_address_group(group, level=level, deadline=deadline)

    async def delete_address_group(self, group_id: AddressGroupId, *, deadline: float) -> None:
        """See `PlugEngine.delete_address_group`."""
        await self._groups.delete_address_group(group_id, deadline=deadline)

    def address_group(self, group_id: AddressGroupId) -> NumberedAddressGroup:
        """See `PlugEngine.address_group`."""
        return self.inventory.groups.address_group(group_id)

    def address_groups(self) -> tuple[NumberedAddressGroup, ...]:
        """See `PlugEngine.address_groups`."""
        return self.inventory.groups.address_groups()
