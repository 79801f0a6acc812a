"""Security groups and address groups of one host: who names whom, and the rules by which they are admitted.

A change that is under way counts beside what it changes, until it is over: what either forbids is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ofctl.errors import NotFound, Refused
from ofctl.model.port import PortSpec
from ofctl.model.security import (
    AddressGroupId,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
    SecurityGroupId,
)
from ofctl.ovsdb.resources import named_users


class GroupInventory:
    """What was applied, and what is being applied. Not thread-safe: belongs to the event loop."""

    def __init__(self, specs: Callable[[], Iterable[PortSpec]]) -> None:
        """`specs` yields what is intended of all ports, and what updates under way want."""
        self._specs = specs
        self._security_groups: dict[SecurityGroupId, NumberedSecurityGroup] = {}
        self._address_groups: dict[AddressGroupId, NumberedAddressGroup] = {}
        self._changing: dict[SecurityGroupId, SecurityGroup] = {}

    # What is there

    def find_security_group(self, group_id: SecurityGroupId) -> NumberedSecurityGroup | None:
        """Return the group, or None."""
        return self._security_groups.get(group_id)

    def security_group(self, group_id: SecurityGroupId) -> NumberedSecurityGroup:
        """Return the group. Raises NotFound."""
        found = self._security_groups.get(group_id)
        if found is None:
            raise NotFound(
                f"there is no security group {group_id!r}; create it with ApplySecurityGroup", subject=group_id
            )
        return found

    def security_groups(self) -> tuple[NumberedSecurityGroup, ...]:
        """Return all in order of their ids."""
        return tuple(self._security_groups[group_id] for group_id in sorted(self._security_groups))

    def put_security_group(self, group: NumberedSecurityGroup) -> None:
        """Take a group that is durable."""
        self._security_groups[group.group.security_group_id] = group

    def drop_security_group(self, group_id: SecurityGroupId) -> None:
        """Forget a group; no error if it is not there."""
        self._security_groups.pop(group_id, None)

    def find_address_group(self, group_id: AddressGroupId) -> NumberedAddressGroup | None:
        """Return the group, or None."""
        return self._address_groups.get(group_id)

    def address_group(self, group_id: AddressGroupId) -> NumberedAddressGroup:
        """Return the group. Raises NotFound."""
        found = self._address_groups.get(group_id)
        if found is None:
            raise NotFound(
                f"there is no address group {group_id!r}; create it with ApplyAddressGroup", subject=group_id
            )
        return found

    def address_groups(self) -> tuple[NumberedAddressGroup, ...]:
        """Return all in order of their ids."""
        return tuple(self._address_groups[group_id] for group_id in sorted(self._address_groups))

    def put_address_group(self, group: NumberedAddressGroup) -> None:
        """Take a group that is durable."""
        self._address_groups[group.group.address_group_id] = group

    def drop_address_group(self, group_id: AddressGroupId) -> None:
        """Forget a group; no error if it is not there."""
        self._address_groups.pop(group_id, None)

    @contextmanager
    def changing(self, group: SecurityGroup) -> Iterator[None]:
        """Let what a group is about to be count, too, as long as the block lasts."""
        self._changing[group.security_group_id] = group
        try:
            yield
        finally:
            del self._changing[group.security_group_id]

    # Admission

    def check_port(self, spec: PortSpec) -> None:
        """Raise Refused if a port may not have the groups that its spec names."""
        for number, group_id in enumerate(spec.security_groups):
            if group_id not in self._security_groups:
                raise Refused(
                    f"port.security_groups[{number}]: there is no security group {group_id!r}; create it with "
                    "ApplySecurityGroup",
                    reason="SECURITY_GROUP_NOT_FOUND",
                    subject=f"port.security_groups[{number}]",
                )
        self._check_one_kind(spec, "port.security_groups")

    def check_security_group(self, group: SecurityGroup) -> None:
        """Raise Refused if a group may not become `group`: a remote is not there, or its ports would mix kinds."""
        known = {*self._security_groups, group.security_group_id}
        for number, rule in enumerate(group.rules):
            where = f"security_group.rules[{number}]"
            if rule.remote_security_group is not None and rule.remote_security_group not in known:
                raise _no_remote(f"{where}.remote_security_group_id", "security group", rule.remote_security_group)
            if rule.remote_address_group is not None and rule.remote_address_group not in self._address_groups:
                raise _no_remote(f"{where}.remote_address_group_id", "address group", rule.remote_address_group)
        with self.changing(group):
            for spec in self._specs():
                if group.security_group_id in spec.security_groups:
                    self._check_one_kind(spec, "security_group.stateful", without_present=group.security_group_id)

    def _check_one_kind(self, spec: PortSpec, field: str, *, without_present: SecurityGroupId | None = None) -> None:
        """Raise Refused unless all groups of a port are stateful, or all stateless."""
        kinds: dict[bool, SecurityGroupId] = {}
        for group_id in spec.security_groups:
            present = None if group_id == without_present else self._security_groups.get(group_id)
            contents = (None if present is None else present.group, self._changing.get(group_id))
            for content in filter(None, contents):
                kinds.setdefault(content.stateful, group_id)
        if len(kinds) > 1:
            raise Refused(
                f"{field}: port {spec.port_id!r} would have {kinds[True]!r}, which is stateful, and {kinds[False]!r}, "
                "which is stateless; all security groups of a port must be of one kind",
                reason="SECURITY_GROUPS_MIXED",
                subject=field,
            )

    def check_security_group_unused(self, group_id: SecurityGroupId) -> None:
        """Raise Refused while a port has the group, or a rule of another group names it."""
        ports = {spec.port_id for spec in self._specs() if group_id in spec.security_groups}
        namers = {each.security_group_id for each in self._contents() if group_id in _remotes(each)} - {group_id}
        _check_unused("security group", group_id, ports, namers)

    def check_address_group_unused(self, group_id: AddressGroupId) -> None:
        """Raise Refused while a rule names the group."""
        namers = {
            each.security_group_id
            for each in self._contents()
            if any(rule.remote_address_group == group_id for rule in each.rules)
        }
        _check_unused("address group", group_id, (), namers)

    def _contents(self) -> Iterator[SecurityGroup]:
        for numbered in self._security_groups.values():
            yield numbered.group
        yield from self._changing.values()

    # Dependence

    def dependents_of(self, group_id: SecurityGroupId) -> frozenset[SecurityGroupId]:
        """Return the security groups whose ports depend on this one: itself, and those with a rule that names it."""
        namers = {each.security_group_id for each in self._contents() if group_id in _remotes(each)}
        return frozenset({group_id, *namers})

    def dependents_of_addresses(self, group_id: AddressGroupId) -> frozenset[SecurityGroupId]:
        """Return the security groups with a rule that names the address group."""
        return frozenset(
            each.security_group_id
            for each in self._contents()
            if any(rule.remote_address_group == group_id for rule in each.rules)
        )


def _remotes(group: SecurityGroup) -> set[SecurityGroupId]:
    return {rule.remote_security_group for rule in group.rules if rule.remote_security_group is not None}


def _no_remote(field: str, noun: str, group_id: str) -> Refused:
    reason = f"{noun.upper().replace(' ', '_')}_NOT_FOUND"
    return Refused(f"{field}: there is no {noun} {group_id!r}; apply it first", reason=reason, subject=field)


def _check_unused(noun: str, group_id: str, ports: Iterable[str], groups: Iterable[str]) -> None:
    users = [f"port {port!r}" for port in sorted(ports)] + [f"security group {group!r}" for group in sorted(groups)]
    if users:
        raise Refused(
            f"{noun} {group_id!r} is used by {named_users(users)}; take it from there first",
            reason="GROUP_IN_USE",
            subject=group_id,
        )
