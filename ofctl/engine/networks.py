"""Networks of a host: applied and deleted so that store, switch and inventory agree."""

from __future__ import annotations

import asyncio

from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock
from ofctl.engine.inventory import Inventory
from ofctl.engine.world_edits import DropNetwork, PutNetwork
from ofctl.errors import OfctlError
from ofctl.model.ids import NetworkId
from ofctl.model.network import Network, NumberedNetwork
from ofctl.ovsdb.intents import IntentStore

UNDO_S = 5.0
"""How long undoing a change may take that the switch did not take."""


class Networks:
    """One change of a network at a time."""

    def __init__(self, chassis: Chassis, store: IntentStore, inventory: Inventory, clock: Clock) -> None:
        self._chassis = chassis
        self._store = store
        self._inventory = inventory
        self._clock = clock
        self._turn = asyncio.Lock()

    async def apply(self, network: Network, *, deadline: float) -> NumberedNetwork:
        """See `PlugEngine.apply_network`."""
        self._chassis.check_ready()
        async with self._turn:
            self._inventory.check_network(network)
            known = {each.network.network_id: each for each in self._inventory.networks()}
            numbered = await self._store.put_network(network, deadline=deadline)
            try:
                await self._chassis.tables.apply(PutNetwork(numbered), deadline=deadline)
            except OfctlError:
                await self._undo(network.network_id, known.get(network.network_id))
                raise
            self._inventory.put_network(numbered)
            if known.get(network.network_id, numbered) != numbered:
                await self._chassis.settle(deadline=deadline)
            return numbered

    async def _undo(self, network_id: NetworkId, before: NumberedNetwork | None) -> None:
        deadline = self._clock.monotonic() + UNDO_S
        if before is None:
            await self._store.delete_network(network_id, deadline=deadline)
        else:
            await self._store.put_network(before.network, deadline=deadline)

    async def delete(self, network_id: NetworkId, *, deadline: float) -> None:
        """See `PlugEngine.delete_network`."""
        async with self._turn:
            numbered = self._inventory.network(network_id)
            self._inventory.check_network_unused(network_id)
            self._chassis.check_ready()
            # Out of the inventory first: a plug that comes now finds no network, not half of one.
            self._inventory.drop_network(network_id)
            try:
                await self._chassis.tables.apply(DropNetwork(numbered.index), deadline=deadline)
                await self._store.delete_network(network_id, deadline=deadline)
            except OfctlError:
                self._inventory.put_network(numbered)
                raise
