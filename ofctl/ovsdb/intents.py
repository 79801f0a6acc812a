"""The store of intents: an OVSDB database of our own schema. What is in it survives every crash.

The numbers in it (of networks, of groups, of ports, and slots) are the identity of what they belong to: cookies, group
ids and the other numbers of the pipeline are pure functions of them, so only they are stored, in the transaction of the
intent.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast

from ofctl.errors import InvalidField, OfctlError, OutcomeUnknown, ResourceExhausted
from ofctl.model.confirmation import RequestRecord
from ofctl.model.ids import DeviceName, HostId, NetworkId, PortId, PortIndex, RequestId
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.port import Activation, Binding, BindingNumbers, PortSpec
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
    SecurityGroupId,
)
from ofctl.ovsdb.catalogue import Catalogue
from ofctl.ovsdb.connection import OvsdbConnection
from ofctl.ovsdb.intent_operations import (
    AddBindings,
    GlobalTaken,
    PutFence,
    PutRequest,
    PutZones,
    RegisterHost,
    RemoveBindings,
    UpdateBindings,
)
from ofctl.ovsdb.intent_view import Intents, IntentView, Refilled, Stored
from ofctl.ovsdb.numbers import PORT_INDEXES, SLOTS, ZONES, NumberPool
from ofctl.ovsdb.resources import ADDRESS_GROUPS, NETWORKS, SECURITY_GROUPS
from ofctl.ovsdb.schema import agree
from ofctl.ovsdb.values import Connected, ConnectionEvent, Disconnected, LockAcquired, LockLost

__all__ = ["DEFAULT_REQUEST_LIMIT", "IntentStore", "Intents", "NewBinding"]

DEFAULT_REQUEST_LIMIT = 10_000
LOG = logging.getLogger(__name__)

Place = tuple[NetworkId, BindingNumbers]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBinding:
    """A binding that has no numbers yet. Its spec is admitted: it has a MAC address and an MTU."""

    spec: PortSpec
    device: DeviceName
    request_id: RequestId
    principal: str
    state_since_ms: int
    activation: Activation = Activation.ACTIVE
    generation: int = 0


class IntentStore:
    """Networks, groups, bindings and outcomes of requests, on disk when a call returns.

    Coroutines belong to the event loop in which `start` ran; deadlines are instants of `loop.time()` in seconds.
    Writes raise Unavailable (nothing written: OVSDB_DISCONNECTED, or NOT_LOCKED while another process holds the lock
    of this host), DeadlineExceeded (nothing sent) and OutcomeUnknown (sent, no answer).
    """

    def __init__(self, connection: str, *, host_id: HostId, request_limit: int = DEFAULT_REQUEST_LIMIT) -> None:
        """`connection` is an active OVSDB connection method, or several with commas for a cluster (ovsdb(7))."""
        self.host_id = host_id
        self.request_limit = request_limit
        """How many outcomes of requests, and as many fences of ports that are gone, are kept."""
        self.generation = 0
        """How often an agent of this host has opened the store with the right to write; 0 if it could not write."""
        self._remotes = connection
        self._view = IntentView(host_id, request_limit=request_limit)
        self._connection = OvsdbConnection(connection, self._view, on_event=self._note)
        self._intents = Intents(networks=(), bindings=(), requests=())
        self._networks = Catalogue(NETWORKS, self._connection)
        self._security_groups = Catalogue(SECURITY_GROUPS, self._connection)
        self._address_groups = Catalogue(ADDRESS_GROUPS, self._connection)
        self._catalogues: dict[str, Catalogue[Any, Any]] = {
            each.kind.table: each for each in (self._networks, self._security_groups, self._address_groups)
        }
        self._promised_places: set[Place] = set()
        self._port_indexes = NumberPool("port indexes", PORT_INDEXES)
        self._slots: dict[NetworkId, NumberPool] = {}
        self._zones = zone_pool()
        self._unwritten_zones: set[int] = set()

    @property
    def connected(self) -> bool:
        """Whether the replica is complete and follows the database."""
        return self._connection.connected

    @property
    def locked(self) -> bool:
        """Whether this process may write."""
        return self._connection.locked

    @property
    def transactions_sent(self) -> int:
        """Transactions sent since `start`; calls that wait at the same time share one."""
        return self._connection.waves_sent

    async def start(self, *, deadline: float) -> Intents:
        """Bring an older schema up to date, connect, and return everything intended for this host.

        Raises Unavailable at the deadline, Refused (DATABASE_NEWER) for a database of a newer major, DriverError when
        it cannot be converted. With a full disk it starts: what is there is served, and only writes are refused.
        Every binding has a zone, also one that an older version wrote.
        """
        self._view.schema = await agree(self._remotes, deadline=deadline)
        await self._connection.start(deadline=deadline)
        intents = self._intents
        try:
            if self.locked:
                await self._register(deadline)
            return replace(intents, bindings=await self._with_zones(intents.bindings, deadline))
        except BaseException:
            await self.close()
            raise

    async def _with_zones(self, bindings: tuple[Binding, ...], deadline: float) -> tuple[Binding, ...]:
        """Give zones to those that have none; if that cannot be written now, each is written with its next update."""
        zones = {binding.port_id: self._zones.take() for binding in bindings if not binding.numbers.zone}
        if zones:
            try:
                await self._connection.run(PutZones(zones), deadline=deadline)
            except OfctlError as error:
                LOG.error("the connection tracking zones of %d ports are not durable yet: %s", len(zones), error)
                self._unwritten_zones.update(zones.values())
        return tuple(
            replace(binding, numbers=replace(binding.numbers, zone=zones[binding.port_id]))
            if binding.port_id in zones
            else binding
            for binding in bindings
        )

    async def _register(self, deadline: float) -> None:
        while True:
            try:
                self.generation = await self._connection.run(RegisterHost(self.host_id), deadline=deadline)
            except GlobalTaken:
                # The row of the other host came before the refusal.
                continue
            except ResourceExhausted as error:
                LOG.error("nothing can be written to the intents' database: %s", error)
            return

    async def close(self) -> None:
        """End the thread; waiting calls fail. Safe to call again."""
        await self._connection.close()

    def subscribe(self, callback: Callable[[ConnectionEvent], None]) -> Callable[[], None]:
        """Call `callback` in the loop for each event of the connection from now on; return what ends that."""

        def filtered(event: object) -> None:
            if isinstance(event, Connected | Disconnected | LockAcquired | LockLost):
                callback(event)

        return self._connection.subscribe(filtered)

    def networks(self) -> Mapping[NetworkId, NumberedNetwork]:
        """Return the networks as last heard, those of other hosts included: a live read-only view; no I/O."""
        return cast(Mapping[NetworkId, NumberedNetwork], self._networks.known)

    def security_groups(self) -> Mapping[SecurityGroupId, NumberedSecurityGroup]:
        """Return the security groups as last heard, those of other hosts included: a live read-only view; no I/O."""
        return cast(Mapping[SecurityGroupId, NumberedSecurityGroup], self._security_groups.known)

    def address_groups(self) -> Mapping[AddressGroupId, NumberedAddressGroup]:
        """Return the address groups as last heard, those of other hosts included: a live read-only view; no I/O."""
        return cast(Mapping[AddressGroupId, NumberedAddressGroup], self._address_groups.known)

    async def put_network(self, network: Network, *, deadline: float) -> NumberedNetwork:
        """Create the network, with the lowest free index, or bring it to this content with the index it has."""
        return await self._networks.put(network, deadline=deadline)

    async def put_security_group(self, group: SecurityGroup, *, deadline: float) -> NumberedSecurityGroup:
        """Create the group, with the lowest free index, or bring it to this content with the index it has.

        Raises Refused (SECURITY_GROUP_NOT_FOUND, ADDRESS_GROUP_NOT_FOUND) for a group that a rule names and is not
        there; the group itself is.
        """
        return await self._security_groups.put(group, deadline=deadline)

    async def put_address_group(self, group: AddressGroup, *, deadline: float) -> NumberedAddressGroup:
        """Create the group, with the lowest free index, or bring it to this content with the index it has."""
        return await self._address_groups.put(group, deadline=deadline)

    async def delete_network(self, network_id: NetworkId, *, deadline: float) -> None:
        """Delete a network; idempotent. Raises Refused (NETWORK_IN_USE) while a binding of any host uses it."""
        await self._networks.delete(network_id, deadline=deadline)

    async def delete_security_group(self, group_id: SecurityGroupId, *, deadline: float) -> None:
        """Delete a group; idempotent. Raises Refused (GROUP_IN_USE) while a binding of any host or a group names it."""
        await self._security_groups.delete(group_id, deadline=deadline)

    async def delete_address_group(self, group_id: AddressGroupId, *, deadline: float) -> None:
        """Delete a group; idempotent. Raises Refused (GROUP_IN_USE) while a security group names it."""
        await self._address_groups.delete(group_id, deadline=deadline)

    async def add_bindings(
        self, bindings: Sequence[NewBinding], request: RequestRecord | None, *, deadline: float
    ) -> tuple[Binding, ...]:
        """Allocate numbers and write all bindings and the record in one transaction, or nothing.

        A binding that is there already with the same spec, device and request id is returned as it is. Raises
        AlreadyExists (PORT_EXISTS, MAC_IN_USE), NotFound (network), ResourceExhausted.
        """
        for new in bindings:
            self._check_host(new.spec.host_id)
        numbered: list[Binding] = []
        try:
            for new in bindings:
                numbered.append(self._numbered(new))
        except OfctlError:
            self._release(self._places(numbered))
            raise
        places = self._places(numbered)
        self._promised_places |= places
        operation = AddBindings(numbered, request, functools.partial(self._added, places))
        return await self._connection.run(operation, deadline=deadline)

    def _numbered(self, new: NewBinding) -> Binding:
        slots = self._slots.setdefault(new.spec.network_id, slot_pool())
        index = PortIndex(self._port_indexes.take())
        zone = 0
        try:
            zone = self._zones.take()
            slot = slots.take()
        except OfctlError:
            self._port_indexes.release(index)
            self._zones.release(zone)
            raise
        return Binding(
            spec=new.spec,
            device=new.device,
            numbers=BindingNumbers(index=index, slot=slot, zone=zone),
            activation=new.activation,
            state_since_ms=new.state_since_ms,
            request_id=new.request_id,
            principal=new.principal,
            generation=new.generation,
        )

    def _added(self, promised: set[Place], outcome: object) -> None:
        """Free what was not used. With an unknown outcome the numbers stay taken until the replica is filled again."""
        self._promised_places -= promised
        if isinstance(outcome, OutcomeUnknown):
            return
        self._release(promised - (self._places(outcome) if isinstance(outcome, tuple) else set()))

    async def update_bindings(
        self, bindings: Sequence[Binding], request: RequestRecord | None, *, deadline: float
    ) -> None:
        """Write state, reason, confirmation, revision and the spec of bindings that are there, all or nothing.

        Raises NotFound, and Refused (SECURITY_GROUP_NOT_FOUND). Numbers and key do not change.
        """
        for binding in bindings:
            self._check_host(binding.spec.host_id)
        await self._connection.run(UpdateBindings(bindings, request), deadline=deadline)

    async def remove_bindings(
        self,
        keys: Sequence[tuple[PortId, HostId]],
        request: RequestRecord | None,
        *,
        deadline: float,
        generations: Mapping[tuple[PortId, HostId], int] = MappingProxyType({}),
        at_ms: int = 0,
    ) -> None:
        """Remove bindings; idempotent. Their numbers are free once the removal is durable.

        A port whose binding had a generation, or that has one in `generations`, leaves the greater of the two as its
        fence, of wall clock `at_ms`. The oldest fences beyond the limit go: as many ports with a generation must
        have gone since, and a request as old as that would be let in again.
        """
        for _, host_id in keys:
            self._check_host(host_id)
        least = {port_id: generations.get((port_id, host_id), 0) for port_id, host_id in keys}
        operation = RemoveBindings(least, request, self._removed, at_ms=at_ms)
        await self._connection.run(operation, deadline=deadline)

    def _removed(self, outcome: object) -> None:
        if isinstance(outcome, tuple):
            self._release(set(outcome))

    async def put_fence(self, key: tuple[PortId, HostId], generation: int, *, at_ms: int, deadline: float) -> None:
        """Make durable that a request with this generation was seen for a port, there or not; never goes back."""
        self._check_host(key[1])
        await self._connection.run(PutFence(key[0], generation, at_ms=at_ms), deadline=deadline)

    async def put_request(self, record: RequestRecord, *, deadline: float) -> None:
        """Write the outcome of a request; the oldest records beyond the limit go."""
        self._check_host(record.host_id)
        await self._connection.run(PutRequest(record), deadline=deadline)

    def _check_host(self, host_id: HostId) -> None:
        if host_id != self.host_id:
            raise InvalidField("port.host_id", f"is {host_id}; this store holds what is intended for {self.host_id}")

    @staticmethod
    def _places(bindings: Sequence[Binding]) -> set[Place]:
        return {(binding.network_id, binding.numbers) for binding in bindings}

    def _release(self, places: set[Place]) -> None:
        for network_id, numbers in places:
            self._port_indexes.release(numbers.index)
            self._zones.release(numbers.zone)
            self._unwritten_zones.discard(numbers.zone)
            if (slots := self._slots.get(network_id)) is not None:
                slots.release(numbers.slot)
                if not len(slots):
                    del self._slots[network_id]

    def _note(self, event: object) -> None:
        match event:
            case Refilled(intents):
                self._intents = intents
                self._networks.refill(intents.networks)
                self._security_groups.refill(intents.security_groups)
                self._address_groups.refill(intents.address_groups)
                self._count_numbers(intents)
            case Stored(table, key, resource):
                catalogue: Catalogue[Any, Any] = self._catalogues[table]
                catalogue.note(key, resource)

    def _count_numbers(self, intents: Intents) -> None:
        """Take as taken what the rows have, and what is promised to operations under way."""
        places = self._places(intents.bindings) | self._promised_places
        self._port_indexes = NumberPool("port indexes", PORT_INDEXES, (numbers.index for _, numbers in places))
        written = {numbers.zone for _, numbers in places if numbers.zone}
        self._zones = zone_pool(written | self._unwritten_zones)
        slots: dict[NetworkId, list[int]] = {}
        for network_id, numbers in places:
            slots.setdefault(network_id, []).append(numbers.slot)
        self._slots = {network_id: slot_pool(taken) for network_id, taken in slots.items()}


def zone_pool(taken: Iterable[int] = ()) -> NumberPool:
    """Return the connection tracking zones of one host's ports."""
    return NumberPool("connection tracking zones", ZONES, taken)


def slot_pool(taken: Sequence[int] = ()) -> NumberPool:
    """Return the slots of one network's ports on one host."""
    return NumberPool("slots of the network", SLOTS, taken)
