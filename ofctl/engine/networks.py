"""Networks of a host: applied and deleted so that store, switch and inventory agree, also when the caller goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ofctl.engine.change import Change, Turns
from ofctl.engine.world_edits import DropNetwork, PutNetwork
from ofctl.errors import Unavailable
from ofctl.model.ids import NetworkId
from ofctl.model.network import Network, NumberedNetwork

if TYPE_CHECKING:
    from ofctl.engine.host_engine import HostEngine


class _Application(Change[NumberedNetwork]):
    """A network made as given."""

    def __init__(self, engine: HostEngine, wanted: Network, deadline: float) -> None:
        super().__init__(engine.chassis, engine.clock, deadline=deadline)
        self._store, self._inventory = engine.store, engine.inventory
        self._wanted = wanted
        self._before: NumberedNetwork | None = None
        self._written: NumberedNetwork | None = None
        self._sent = False

    async def forward(self) -> NumberedNetwork:
        self._inventory.check_network(self._wanted)
        numbered = self._before = self._inventory.find_network(self._wanted.network_id)
        changed = numbered is None or numbered.network != self._wanted
        if numbered is None or changed:
            self.begin()
            numbered = await self.persist(self._write)
        edit = PutNetwork(numbered)
        self._sent = changed
        await self.persist(lambda: self.chassis.tables.apply(edit, deadline=self.forward_deadline))
        if changed and self._before is not None:
            await self.persist(lambda: self.chassis.settle(deadline=self.forward_deadline))
        self._inventory.put_network(numbered)
        return numbered

    async def _write(self) -> NumberedNetwork:
        self._written = await self._store.put_network(self._wanted, deadline=self.forward_deadline)
        return self._written

    async def back(self, deadline: float) -> None:
        before = self._before
        if before is None:
            await self._store.delete_network(self._wanted.network_id, deadline=deadline)
            if self._sent and self._written is not None:
                await self.chassis.tables.apply(DropNetwork(self._written.index), deadline=deadline)
            return
        await self._store.put_network(before.network, deadline=deadline)
        if self._sent:
            await self.chassis.tables.apply(PutNetwork(before), deadline=deadline)
            await self.chassis.settle(deadline=deadline)


class _Deletion(Change[bool]):
    """A network that no port uses, gone: from the switch first, which takes it back if the store keeps it."""

    def __init__(self, engine: HostEngine, network_id: NetworkId, deadline: float) -> None:
        super().__init__(engine.chassis, engine.clock, deadline=deadline)
        self._store, self._inventory = engine.store, engine.inventory
        self._network_id = network_id
        self._before: NumberedNetwork | None = None

    async def forward(self) -> bool:
        before = self._before = self._inventory.network(self._network_id)
        self._inventory.check_network_unused(self._network_id)
        self.begin()
        # Out of the inventory first: a plug that comes now finds no network, not half of one.
        self._inventory.drop_network(self._network_id)
        drop = DropNetwork(before.index)
        await self.persist(lambda: self.chassis.tables.apply(drop, deadline=self.forward_deadline))
        await self.persist(self._delete)
        return True

    async def _delete(self) -> None:
        await self._store.delete_network(self._network_id, deadline=self.forward_deadline)

    async def back(self, deadline: float) -> None:
        assert self._before is not None
        numbered = await self._store.put_network(self._before.network, deadline=deadline)
        await self.chassis.tables.apply(PutNetwork(numbered), deadline=deadline)
        self._inventory.put_network(numbered)


def _busy() -> Unavailable:
    return Unavailable("other changes of networks are under way; try again", reason="NETWORKS_BUSY", retry_after_ms=500)


class Networks:
    """One change of a network at a time."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self._turns = Turns(engine.chassis, engine.spawn, "network-change", _busy)

    async def apply(self, network: Network, *, deadline: float) -> NumberedNetwork:
        """See `PlugEngine.apply_network`."""
        return await self._turns.take(_Application(self._engine, network, deadline), deadline)

    async def delete(self, network_id: NetworkId, *, deadline: float) -> None:
        """See `PlugEngine.delete_network`."""
        await self._turns.take(_Deletion(self._engine, network_id, deadline), deadline)
