"""Security groups and address groups of a host: applied and deleted so that store, switch and every port agree.

A change is durable first, then one bundle, then the revalidators, then seen on every port that depends on it. One at a
time, from its admission to its evidence: so what it needs of other groups cannot go meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from ofctl.engine.change import Change, Turns
from ofctl.engine.contract import AddressGroupApplied, SecurityGroupApplied
from ofctl.engine.looks import look_at_ports
from ofctl.engine.requests import check_built
from ofctl.engine.world_edits import DropAddressGroup, DropSecurityGroup, Edit, PutAddressGroup, PutSecurityGroup
from ofctl.errors import DeadlineExceeded, OutcomeUnknown, ResourceExhausted, Unavailable
from ofctl.model.confirmation import Level
from ofctl.model.security import (
    MAX_GROUP_INDEX,
    AddressGroup,
    AddressGroupId,
    AddressGroupIndex,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
    SecurityGroupId,
    SecurityGroupIndex,
)
from ofctl.model.vif import PluggedPort

if TYPE_CHECKING:
    from ofctl.engine.host_engine import HostEngine

V = TypeVar("V")
N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Kind(Generic[V, N]):
    """What a change of one of the two kinds of groups is made of. `before` is None for a group that is new."""

    before: N | None
    value: Callable[[N], V]
    put: Callable[..., Awaitable[N]]
    delete: Callable[..., Awaitable[None]]
    edit: Callable[[N], Edit]
    trial: Callable[[V], Edit]
    """What it would be in the switch, if it had a number that is still free."""
    drop: Edit
    keep: Callable[[N], None]
    forget: Callable[[], None]
    concerned: frozenset[SecurityGroupId]
    """The security groups whose ports depend on it."""
    counts: AbstractContextManager[None] = field(default_factory=nullcontext)
    """Held as long as both the old content and the new one count."""


class Application(Change[tuple[N, tuple[PluggedPort, ...]]], Generic[V, N]):
    """A group made as given."""

    def __init__(self, engine: HostEngine, admit: Callable[[], Kind[V, N]], wanted: V, level: Level, deadline: float):
        """`admit` is called when it is the change's turn; raises what forbids it."""
        super().__init__(engine.chassis, engine.clock, deadline=deadline)
        self._engine = engine
        self._admit = admit
        self._kind: Kind[V, N] | None = None
        self._wanted = wanted
        self._level = level
        self._written = self._sent = False
        self._held = ExitStack()

    async def forward(self) -> tuple[N, tuple[PluggedPort, ...]]:
        kind = self._kind = self._admit()
        self._held.enter_context(kind.counts)
        numbered = kind.before
        if numbered is None or kind.value(numbered) != self._wanted:
            # Before it is durable: whoever dies in between would wake up with what no switch can forward for.
            self.chassis.tables.check(kind.trial(self._wanted))
            self.begin()
            numbered = await self.persist(lambda: self._write(kind))
        self._sent = self._written
        edit = kind.edit(numbered)
        await self.persist(lambda: self.chassis.tables.apply(edit, deadline=self.forward_deadline))
        if self._level >= Level.DATAPATH:
            await self.persist(lambda: self.chassis.settle(deadline=self.forward_deadline))
        ports = await look_at_ports(self._engine, kind.concerned, self._level, deadline=self.forward_deadline)
        kind.keep(numbered)
        if self._written:
            self._engine.flush(port.binding.numbers.index for port in ports)
        return numbered, ports

    def release(self) -> None:
        self._held.close()

    async def _write(self, kind: Kind[V, N]) -> N:
        try:
            numbered = await kind.put(self._wanted, deadline=self.forward_deadline)
        except (Unavailable, OutcomeUnknown, DeadlineExceeded):
            self._written = True
            raise
        self._written = True
        return numbered

    async def back(self, deadline: float) -> None:
        kind = self._kind
        assert kind is not None
        if self._written:
            if kind.before is None:
                await kind.delete(deadline=deadline)
            else:
                await kind.put(kind.value(kind.before), deadline=deadline)
        if self._sent:
            edit = kind.drop if kind.before is None else kind.edit(kind.before)
            await self.chassis.tables.apply(edit, deadline=deadline)
            await self.chassis.settle(deadline=deadline)
            # Their evidence may be of the flows that are gone.
            await look_at_ports(self._engine, kind.concerned, self._level, deadline=deadline)


class Deletion(Change[bool], Generic[V, N]):
    """A group that nobody uses, gone: from the switch first, which takes it back if the store does not let it go."""

    def __init__(self, engine: HostEngine, admit: Callable[[], Kind[V, N]], deadline: float):
        super().__init__(engine.chassis, engine.clock, deadline=deadline)
        self._admit = admit
        self._kind: Kind[V, N] | None = None

    async def forward(self) -> bool:
        kind = self._kind = self._admit()
        self.begin()
        # Out of the inventory first: a plug that comes now finds no group, not half of one.
        kind.forget()
        await self.persist(lambda: self.chassis.tables.apply(kind.drop, deadline=self.forward_deadline))
        await self.persist(lambda: self._delete(kind))
        return True

    async def _delete(self, kind: Kind[V, N]) -> None:
        await kind.delete(deadline=self.forward_deadline)

    async def back(self, deadline: float) -> None:
        kind = self._kind
        assert kind is not None and kind.before is not None
        before = await kind.put(kind.value(kind.before), deadline=deadline)
        await self.chassis.tables.apply(kind.edit(before), deadline=deadline)
        kind.keep(before)


def _busy() -> Unavailable:
    return Unavailable("other changes of groups are under way; try again", reason="GROUPS_BUSY", retry_after_ms=500)


class GroupChanges:
    """One change of a group at a time."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self._groups = engine.inventory.groups
        self._turns = Turns(engine.chassis, engine.spawn, "group-change", _busy)

    async def apply_security_group(
        self, group: SecurityGroup, *, level: Level, deadline: float
    ) -> SecurityGroupApplied:
        """See `PlugEngine.apply_security_group`."""
        check_built(level)

        def admit() -> Kind[SecurityGroup, NumberedSecurityGroup]:
            self._groups.check_security_group(group)
            return self._security_kind(group.security_group_id, group)

        change = Application(self._engine, admit, group, level, deadline)
        numbered, ports = await self._turns.take(change, deadline)
        return SecurityGroupApplied(group=numbered, ports=ports)

    async def apply_address_group(self, group: AddressGroup, *, level: Level, deadline: float) -> AddressGroupApplied:
        """See `PlugEngine.apply_address_group`."""
        check_built(level)

        def admit() -> Kind[AddressGroup, NumberedAddressGroup]:
            return self._address_kind(group.address_group_id)

        change = Application(self._engine, admit, group, level, deadline)
        numbered, ports = await self._turns.take(change, deadline)
        return AddressGroupApplied(group=numbered, ports=ports)

    async def delete_security_group(self, group_id: SecurityGroupId, *, deadline: float) -> None:
        """See `PlugEngine.delete_security_group`."""

        def admit() -> Kind[SecurityGroup, NumberedSecurityGroup]:
            self._groups.security_group(group_id)
            self._groups.check_security_group_unused(group_id)
            return self._security_kind(group_id, None)

        await self._turns.take(Deletion(self._engine, admit, deadline), deadline)

    async def delete_address_group(self, group_id: AddressGroupId, *, deadline: float) -> None:
        """See `PlugEngine.delete_address_group`."""

        def admit() -> Kind[AddressGroup, NumberedAddressGroup]:
            self._groups.address_group(group_id)
            self._groups.check_address_group_unused(group_id)
            return self._address_kind(group_id)

        await self._turns.take(Deletion(self._engine, admit, deadline), deadline)

    def _security_kind(
        self, group_id: SecurityGroupId, wanted: SecurityGroup | None
    ) -> Kind[SecurityGroup, NumberedSecurityGroup]:
        store, groups = self._engine.store, self._groups
        before = groups.find_security_group(group_id)
        present = self._engine.chassis.tables.world.security_groups.values()
        index = SecurityGroupIndex(_free(each.index for each in present) if before is None else before.index)
        return Kind(
            before=before,
            value=lambda numbered: numbered.group,
            put=store.put_security_group,
            delete=partial(store.delete_security_group, group_id),
            edit=PutSecurityGroup,
            trial=lambda group: PutSecurityGroup(NumberedSecurityGroup(group=group, index=index)),
            drop=DropSecurityGroup(group_id),
            keep=groups.put_security_group,
            forget=lambda: groups.drop_security_group(group_id),
            concerned=groups.dependents_of(group_id),
            counts=nullcontext() if wanted is None else groups.changing(wanted),
        )

    def _address_kind(self, group_id: AddressGroupId) -> Kind[AddressGroup, NumberedAddressGroup]:
        store, groups = self._engine.store, self._groups
        before = groups.find_address_group(group_id)
        present = self._engine.chassis.tables.world.address_groups.values()
        index = AddressGroupIndex(_free(each.index for each in present) if before is None else before.index)
        return Kind(
            before=before,
            value=lambda numbered: numbered.group,
            put=store.put_address_group,
            delete=partial(store.delete_address_group, group_id),
            edit=PutAddressGroup,
            trial=lambda group: PutAddressGroup(NumberedAddressGroup(group=group, index=index)),
            drop=DropAddressGroup(group_id),
            keep=groups.put_address_group,
            forget=lambda: groups.drop_address_group(group_id),
            concerned=groups.dependents_of_addresses(group_id),
        )


def _free(taken: Iterable[int]) -> int:
    """Return a number that no group has."""
    numbers = set(taken)
    free = next((number for number in range(1, MAX_GROUP_INDEX + 1) if number not in numbers), None)
    if free is None:
        raise ResourceExhausted(
            f"all {MAX_GROUP_INDEX} numbers of groups of this kind are taken; delete one", reason="NUMBERS_EXHAUSTED"
        )
    return free
