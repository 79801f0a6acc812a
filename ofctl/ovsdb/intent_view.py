"""The rows of the intents' database for one host. Lives in the thread of the replica."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ofctl.errors import NotFound, OfctlError, Refused
from ofctl.model.confirmation import RequestRecord
from ofctl.model.ids import HostId, PortId
from ofctl.model.network import NumberedNetwork
from ofctl.model.port import Binding, PortSpec
from ofctl.model.security import NumberedAddressGroup, NumberedSecurityGroup
from ofctl.ovsdb.group_rows import address_group_of, security_group_of
from ofctl.ovsdb.intent_rows import binding_of, confirmation_of, network_of, request_columns, request_of
from ofctl.ovsdb.notation import delete, insert, ovs_set, reference, row_name, update
from ofctl.ovsdb.operation import View
from ofctl.ovsdb.replica import Json, column, identity
from ofctl.ovsdb.schema import load_schema
from ofctl.ovsdb.switch_view import lock_name

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intents:
    """All that is intended for one host: complete, since the server sent it as one reply."""

    networks: tuple[NumberedNetwork, ...]
    bindings: tuple[Binding, ...]
    requests: tuple[RequestRecord, ...]
    security_groups: tuple[NumberedSecurityGroup, ...] = ()
    address_groups: tuple[NumberedAddressGroup, ...] = ()
    fences: Mapping[tuple[PortId, HostId], int] = field(default_factory=dict)
    """The greatest generation seen for ports that are gone; that of a port that is there is in its binding."""


@dataclass(frozen=True, slots=True)
class Refilled:
    """The replica was filled, at the start or after a reconnection."""

    intents: Intents


@dataclass(frozen=True, slots=True)
class Stored:
    """A network or group came, changed or (`resource` None) went, by whatever host."""

    table: str
    key: str
    resource: NumberedNetwork | NumberedSecurityGroup | NumberedAddressGroup | None


SHARED: Mapping[str, tuple[str, Callable[[Any], NumberedNetwork | NumberedSecurityGroup | NumberedAddressGroup]]] = {
    "Network": ("network_id", network_of),
    "SecurityGroup": ("security_group_id", security_group_of),
    "AddressGroup": ("address_group_id", address_group_of),
}
"""The tables whose rows are those of all hosts: the column of the key, and what reads a row."""
OF_ONE_HOST = ("Host", "Binding", "Confirmation", "Request", "Fence")


class IntentView(View):
    """Networks and groups of all hosts; bindings and requests of one."""

    def __init__(self, host_id: HostId, *, request_limit: int) -> None:
        super().__init__(load_schema())
        self.host_id = host_id
        self.lock = lock_name(host_id)
        self.request_limit = request_limit
        self.shared: dict[str, dict[str, Any]] = {table: {} for table in SHARED}
        """Rows by table and key."""
        self.networks, self.security_groups, self.address_groups = self.shared.values()
        self.bindings: dict[str, Any] = {}
        self.requests: dict[str, Any] = {}
        """In the order in which they came."""
        self.fences: dict[str, Any] = {}
        """Of ports that are gone, in the order in which they went."""
        self._newest_fence_ms = 0
        self._refilled = False
        self._touched: set[tuple[str, str]] = set()

    def conditions(self) -> dict[str, list[Any]]:
        """Fetch what is this host's: in a cluster the database holds that of many."""
        return {table: [["host_id", "==", self.host_id]] for table in OF_ONE_HOST}

    def row_changed(self, event: str, row: Any, old: Any) -> None:  # noqa: ARG002
        match row._table.name:
            case "Network" | "SecurityGroup" | "AddressGroup" as table:
                key = column(row, SHARED[table][0])
                _index(self.shared[table], key, event, row)
                self._touched.add((table, key))
            case "Binding":
                _index(self.bindings, column(row, "port_id"), event, row)
            case "Request":
                _index(self.requests, column(row, "request_id"), event, row)
            case "Fence":
                if event != "delete":
                    # One that was raised is the youngest again.
                    self.fences.pop(column(row, "port_id"), None)
                _index(self.fences, column(row, "port_id"), event, row)
                self._newest_fence_ms = max(self._newest_fence_ms, int(column(row, "at_ms")))

    def refill(self) -> None:
        for index in (*self.shared.values(), self.bindings, self.requests, self.fences):
            index.clear()
        for table in (*SHARED, "Binding"):
            for row in self.tables[table].rows.values():
                self.row_changed("create", row, None)
        for table in ("Request", "Fence"):
            for row in sorted(self.tables[table].rows.values(), key=lambda row: int(column(row, "at_ms"))):
                self.row_changed("create", row, None)
        self._refilled = True

    def take_events(self) -> list[object]:
        if self._refilled:
            self._refilled = False
            self._touched.clear()
            return [Refilled(self.intents())]
        events: list[object] = []
        for table, key in self._touched:
            row = self.shared[table].get(key)
            try:
                events.append(Stored(table, key, None if row is None else SHARED[table][1](row)))
            except (OfctlError, ValueError) as error:
                # Written by hand. What it was is known, and counts until it can be read again.
                LOG.error("row %s of table %s cannot be read and is taken as it was: %s", key, table, error)
        self._touched.clear()
        return events

    def ending(self) -> list[Json]:
        """Have the server answer only when the transaction is on disk (RFC 7047, section 5.2.7)."""
        return [{"op": "commit", "durable": True}]

    def intents(self) -> Intents:
        """Return all rows as values, in order of their ids."""
        return Intents(
            networks=tuple(network_of(row) for _, row in sorted(self.networks.items())),
            security_groups=tuple(security_group_of(row) for _, row in sorted(self.security_groups.items())),
            address_groups=tuple(address_group_of(row) for _, row in sorted(self.address_groups.items())),
            bindings=tuple(self.binding(row) for _, row in sorted(self.bindings.items())),
            requests=tuple(request_of(row) for row in self.requests.values()),
            fences={(PortId(port), self.host_id): column(row, "generation") for port, row in self.fences.items()},
        )

    def binding(self, row: Any) -> Binding:
        """Return a Binding row, with the evidence that belongs to it, as a value."""
        evidence = column(row, "confirmation")
        return binding_of(
            row, None if evidence is None else confirmation_of(self.tables["Confirmation"].rows[evidence])
        )

    def network(self, network_id: str) -> Any:
        """Return the row of a network. Raises NotFound."""
        row = self.networks.get(network_id)
        if row is None:
            raise NotFound(f"there is no network {network_id}", reason="NETWORK_NOT_FOUND", subject=network_id)
        return row

    def security_group(self, group_id: str) -> Any:
        """Return the row of a security group. Raises Refused: what names it cannot be."""
        row = self.security_groups.get(group_id)
        if row is None:
            raise Refused(
                f"there is no security group {group_id}; apply it first",
                reason="SECURITY_GROUP_NOT_FOUND",
                subject=group_id,
            )
        return row

    def address_group(self, group_id: str) -> Any:
        """Return the row of an address group. Raises Refused."""
        row = self.address_groups.get(group_id)
        if row is None:
            raise Refused(
                f"there is no address group {group_id}; apply it first",
                reason="ADDRESS_GROUP_NOT_FOUND",
                subject=group_id,
            )
        return row

    def references(self, spec: PortSpec) -> Json:
        """Return the columns of a Binding that refer to other rows. Raises NotFound (network), Refused (groups)."""
        groups = [self.security_group(group) for group in spec.security_groups]
        return {
            "network": reference(identity(self.network(spec.network_id))),
            "security_group_rows": ovs_set(reference(identity(group)) for group in groups),
        }

    def put_request(self, record: RequestRecord | None) -> list[Json]:
        """Return the operations that write a record, and those that drop the oldest beyond the limit."""
        if record is None:
            return []
        columns = request_columns(record)
        present = self.requests.get(record.request_id)
        if present is not None:
            del columns["request_id"], columns["host_id"]
            return [update("Request", identity(present), columns)]
        return [
            insert("Request", columns, name=row_name("request", record.request_id)),
            *_drop_oldest("Request", self.requests, arriving=1, limit=self.request_limit),
        ]

    def put_fences(self, generations: Mapping[PortId, int], *, at_ms: int) -> list[Json]:
        """Return the operations that remember the generations of ports that are gone, and drop the oldest.

        No two get the same `at_ms`: it is the order in which they went, and so they go after a restart too, when the
        rows come in no order.
        """
        operations: list[Json] = []
        arriving = 0
        for port_id, generation in generations.items():
            present = self.fences.get(port_id)
            if present is not None and column(present, "generation") >= generation:
                continue
            self._newest_fence_ms = max(at_ms, self._newest_fence_ms + 1)
            columns: Json = {"generation": generation, "at_ms": self._newest_fence_ms}
            if present is None:
                arriving += 1
                columns |= {"port_id": port_id, "host_id": self.host_id}
                operations.append(insert("Fence", columns, name=row_name("fence", port_id)))
            else:
                operations.append(update("Fence", identity(present), columns))
        return operations + _drop_oldest("Fence", self.fences, arriving=arriving, limit=self.request_limit)

    def drop_fence(self, port_id: PortId) -> list[Json]:
        """Return the operations that take the fence of a port away, since its binding has the generation now."""
        present = self.fences.get(port_id)
        return [] if present is None else [delete("Fence", identity(present))]

    def host(self) -> Any:
        """Return this host's row, or None."""
        return next(iter(self.tables["Host"].rows.values()), None)


def _drop_oldest(table: str, rows: dict[str, Any], *, arriving: int, limit: int) -> list[Json]:
    surplus = len(rows) + arriving - limit if arriving else 0
    return [delete(table, identity(row)) for _, row in zip(range(surplus), rows.values(), strict=False)]


def _index(index: dict[str, Any], key: str, event: str, row: Any) -> None:
    if event != "delete":
        index[key] = row
    elif index.get(key) == row:
        del index[key]
