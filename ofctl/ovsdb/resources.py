"""What all hosts of a database share, each with a durable number: networks, security groups, address groups.

One way to write them and one way to delete them; here is what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ofctl.errors import DriverError, NotFound, OfctlError, Refused
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.security import (
    MAX_GROUP_INDEX,
    AddressGroup,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
)
from ofctl.ovsdb.group_rows import (
    address_group_columns,
    address_group_of,
    security_group_columns,
    security_group_of,
    security_groups_of,
)
from ofctl.ovsdb.intent_operations import IntentOperation
from ofctl.ovsdb.intent_rows import network_columns, network_of
from ofctl.ovsdb.intent_view import IntentView
from ofctl.ovsdb.notation import delete, insert, ovs_set, reference, row_name, update
from ofctl.ovsdb.numbers import NETWORK_INDEXES
from ofctl.ovsdb.replica import Json, column, identity

V = TypeVar("V")
N = TypeVar("N")
"""The resource with its number."""

NAMED_USERS = 5
"""How many users of a resource are named when it cannot be deleted."""


class NumberTaken(DriverError):
    """Another host has given out the same number meanwhile: take the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[V, N]):
    """One kind of resource: where it is kept and what it is called."""

    table: str
    noun: str
    key_column: str
    number_column: str
    numbers: tuple[int, int]
    key: Callable[[V], str]
    columns: Callable[[IntentView, V], Json]
    """All but key and number. May raise Refused: it names what is not there."""
    read: Callable[[Any], N]
    place: Callable[[N], tuple[str, int]]
    """Key and number."""
    users: Callable[[IntentView, str], list[str]]
    """What names it, of this host's ports and of all resources, in words."""
    in_use: Callable[[str, str], Refused]
    """The error for a key that cannot be deleted because of its users."""


class PutResource(IntentOperation[N], Generic[V, N]):
    """A resource with this content, under the number it has or a new one."""

    def __init__(self, kind: Resource[V, N], value: V, number: int, on_settled: Callable[[Any], None]) -> None:
        super().__init__(f"{kind.table}:{kind.key(value)}", on_settled=on_settled)
        self.kind = kind
        self.value = value
        self.number = number

    def build(self, view: IntentView) -> list[Json]:
        kind, key = self.kind, self.kind.key(self.value)
        columns = kind.columns(view, self.value)
        present = view.shared[kind.table].get(key)
        if present is not None:
            return [update(kind.table, identity(present), columns)]
        columns |= {kind.key_column: key, kind.number_column: self.number}
        return [insert(kind.table, columns, name=row_name(kind.table, key))]

    def result(self, view: IntentView, marker: int) -> N:  # noqa: ARG002
        row = view.shared[self.kind.table].get(self.kind.key(self.value))
        if row is None:
            raise NotFound(f"{self.kind.noun} {self.kind.key(self.value)} was deleted meanwhile by another host")
        return self.kind.read(row)

    def explain(self, failure: str) -> OfctlError:
        if f'"{self.kind.number_column}"' in failure or f'"{self.kind.key_column}"' in failure:
            return NumberTaken(f"another host has just made a {self.kind.noun}: {failure}")
        return super().explain(failure)


class DeleteResource(IntentOperation[None], Generic[V, N]):
    """No such resource."""

    def __init__(self, kind: Resource[V, N], key: str) -> None:
        super().__init__(f"{kind.table}:{key}")
        self.kind = kind
        self.key = key

    def build(self, view: IntentView) -> list[Json]:
        row = view.shared[self.kind.table].get(self.key)
        if row is None:
            return []
        if users := self.kind.users(view, self.key):
            raise self._in_use(users)
        return [delete(self.kind.table, identity(row))]

    def result(self, view: IntentView, marker: int) -> None:  # noqa: ARG002
        return None

    def explain(self, failure: str) -> OfctlError:
        return self._in_use(["a port of another host"]) if "referential" in failure else super().explain(failure)

    def _in_use(self, users: list[str]) -> Refused:
        return self.kind.in_use(self.key, named_users(users))


def named_users(users: Collection[str]) -> str:
    """Return the first users by name, and how many more there are."""
    named = sorted(users)[:NAMED_USERS]
    more = len(users) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def network_in_use(key: str, users: str) -> Refused:
    """Return the error for a network that ports use."""
    return Refused(f"network {key} is used by {users}; unplug that first", reason="NETWORK_IN_USE", subject=key)


def security_group_in_use(key: str, users: str) -> Refused:
    """Return the error for a security group that ports have or rules name."""
    return Refused(
        f"security group {key} is used by {users}; take it from the ports and the rules first",
        reason="GROUP_IN_USE",
        subject=key,
    )


def address_group_in_use(key: str, users: str) -> Refused:
    """Return the error for an address group that rules name."""
    return Refused(
        f"address group {key} is used by {users}; take it from the rules first", reason="GROUP_IN_USE", subject=key
    )


def _security_group_columns(view: IntentView, group: SecurityGroup) -> Json:
    groups = {
        rule.remote_security_group: view.security_group(rule.remote_security_group)
        for rule in group.rules
        if rule.remote_security_group not in (None, group.security_group_id)
    }
    address_groups = {
        rule.remote_address_group: view.address_group(rule.remote_address_group)
        for rule in group.rules
        if rule.remote_address_group is not None
    }
    return {
        **security_group_columns(group),
        "remote_security_groups": ovs_set(reference(identity(row)) for row in groups.values()),
        "remote_address_groups": ovs_set(reference(identity(row)) for row in address_groups.values()),
    }


def _users_of_network(view: IntentView, key: str) -> list[str]:
    return [f"port {port}" for port, row in view.bindings.items() if column(row, "network_id") == key]


def _users_of_security_group(view: IntentView, key: str) -> list[str]:
    ports = [f"port {port}" for port, row in view.bindings.items() if key in security_groups_of(row)]
    return ports + _groups_that_name(view, view.security_groups[key], "remote_security_groups")


def _users_of_address_group(view: IntentView, key: str) -> list[str]:
    return _groups_that_name(view, view.address_groups[key], "remote_address_groups")


def _groups_that_name(view: IntentView, named: Any, references: str) -> list[str]:
    found = identity(named)
    return [f"security group {name}" for name, row in view.security_groups.items() if found in column(row, references)]


NETWORKS: Resource[Network, NumberedNetwork] = Resource(
    table="Network",
    noun="network",
    key_column="network_id",
    number_column="network_index",
    numbers=NETWORK_INDEXES,
    key=lambda network: network.network_id,
    columns=lambda _, network: network_columns(network),
    read=network_of,
    place=lambda numbered: (numbered.network.network_id, numbered.index),
    users=_users_of_network,
    in_use=network_in_use,
)
SECURITY_GROUPS: Resource[SecurityGroup, NumberedSecurityGroup] = Resource(
    table="SecurityGroup",
    noun="security group",
    key_column="security_group_id",
    number_column="group_index",
    numbers=(1, MAX_GROUP_INDEX),
    key=lambda group: group.security_group_id,
    columns=_security_group_columns,
    read=security_group_of,
    place=lambda numbered: (numbered.group.security_group_id, numbered.index),
    users=_users_of_security_group,
    in_use=security_group_in_use,
)
ADDRESS_GROUPS: Resource[AddressGroup, NumberedAddressGroup] = Resource(
    table="AddressGroup",
    noun="address group",
    key_column="address_group_id",
    number_column="group_index",
    numbers=(1, MAX_GROUP_INDEX),
    key=lambda group: group.address_group_id,
    columns=lambda _, group: address_group_columns(group),
    read=address_group_of,
    place=lambda numbered: (numbered.group.address_group_id, numbered.index),
    users=_users_of_address_group,
    in_use=address_group_in_use,
)
