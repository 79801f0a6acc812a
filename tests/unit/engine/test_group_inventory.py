"""Who names whom among groups, and what is refused; while a change is under way both contents count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ofctl.engine.group_inventory import GroupInventory
from ofctl.errors import NotFound, Refused
from ofctl.model.ids import HostId, NetworkId, PortId
from ofctl.model.port import PortSpec, VmConsumer
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    AddressGroupIndex,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    RuleDirection,
    SecurityGroup,
    SecurityGroupId,
    SecurityGroupIndex,
    SecurityRule,
)

A, B, C = map(SecurityGroupId, "abc")
GUESTS = AddressGroupId("guests")
IN = RuleDirection.INGRESS


def group(group_id: SecurityGroupId, *remotes: SecurityGroupId, stateful: bool = True) -> SecurityGroup:
    rules = tuple(SecurityRule(direction=IN, remote_security_group=remote) for remote in remotes)
    return SecurityGroup(security_group_id=group_id, rules=rules, stateful=stateful)


def port(*groups: SecurityGroupId) -> PortSpec:
    spec = PortSpec(port_id=PortId("p1"), network_id=NetworkId("n1"), host_id=HostId("h1"), consumer=VmConsumer())
    return replace(spec, security_groups=groups)


def inventory(*groups: SecurityGroup, ports: tuple[PortSpec, ...] = ()) -> GroupInventory:
    made = GroupInventory(lambda: ports)
    for number, each in enumerate(groups, 1):
        made.put_security_group(NumberedSecurityGroup(group=each, index=SecurityGroupIndex(number)))
    return made


def refused(call: object, *arguments: object) -> tuple[str, str | None]:
    assert callable(call)
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.reason, caught.value.subject


def test_a_port_may_have_what_is_there_and_of_one_kind() -> None:
    made = inventory(group(A), group(B), group(C, stateful=False))
    made.check_port(port(A, B))
    made.check_port(port(C))
    assert refused(made.check_port, port(A, C)) == ("SECURITY_GROUPS_MIXED", "port.security_groups")
    none = SecurityGroupId("none")
    assert refused(made.check_port, port(A, none)) == ("SECURITY_GROUP_NOT_FOUND", "port.security_groups[1]")


def test_a_group_keeps_its_kind_while_a_port_has_another_of_that_kind() -> None:
    made = inventory(group(A), group(B), ports=(port(A, B),))
    mixed = ("SECURITY_GROUPS_MIXED", "security_group.stateful")
    assert refused(made.check_security_group, group(A, stateful=False)) == mixed
    alone = inventory(group(A), group(B), ports=(port(A),))
    alone.check_security_group(group(A, stateful=False))


def test_while_a_group_changes_its_kind_a_port_may_have_neither_kind_with_it() -> None:
    made = inventory(group(A), group(B), group(C, stateful=False))
    with made.changing(group(A, stateful=False)):
        assert refused(made.check_port, port(A, B))[0] == "SECURITY_GROUPS_MIXED"
        assert refused(made.check_port, port(A, C))[0] == "SECURITY_GROUPS_MIXED"
    made.check_port(port(A, B))


def test_rules_name_what_is_there_or_their_own_group() -> None:
    made = inventory(group(A))
    made.check_security_group(group(B, A, B))
    field = "security_group.rules[0].remote_security_group_id"
    assert refused(made.check_security_group, group(B, C)) == ("SECURITY_GROUP_NOT_FOUND", field)
    nobody = SecurityGroup(security_group_id=B, rules=(SecurityRule(direction=IN, remote_address_group=GUESTS),))
    field = "security_group.rules[0].remote_address_group_id"
    assert refused(made.check_security_group, nobody) == ("ADDRESS_GROUP_NOT_FOUND", field)


def test_what_is_used_stays_and_is_named() -> None:
    made = inventory(group(A, A), group(B, A), ports=(port(B),))
    assert refused(made.check_security_group_unused, A) == ("GROUP_IN_USE", A)
    assert refused(made.check_security_group_unused, B) == ("GROUP_IN_USE", B)
    made.put_security_group(NumberedSecurityGroup(group=group(B), index=SecurityGroupIndex(2)))
    made.check_security_group_unused(A)
    with made.changing(group(C, A)):
        assert refused(made.check_security_group_unused, A) == ("GROUP_IN_USE", A)


def test_ports_depend_on_their_groups_and_on_those_that_these_name() -> None:
    made = inventory(group(A), group(B, A), group(C, B))
    assert made.dependents_of(A) == {A, B}
    assert made.dependents_of(B) == {B, C}
    with made.changing(group(C, A)):
        assert made.dependents_of(A) == {A, B, C}


def test_address_groups() -> None:
    rule = SecurityRule(direction=IN, remote_address_group=GUESTS)
    made = inventory(SecurityGroup(security_group_id=A, rules=(rule,)))
    with pytest.raises(NotFound):
        made.address_group(GUESTS)
    numbered = NumberedAddressGroup(group=AddressGroup(address_group_id=GUESTS), index=AddressGroupIndex(1))
    made.put_address_group(numbered)
    assert made.address_groups() == (numbered,) and made.address_group(GUESTS) is numbered
    assert made.dependents_of_addresses(GUESTS) == {A}
    assert refused(made.check_address_group_unused, GUESTS) == ("GROUP_IN_USE", GUESTS)
    made.drop_security_group(A)
    made.check_address_group_unused(GUESTS)
