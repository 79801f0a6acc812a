"""The flows of security groups' rules and of the addresses that they name: rules + members, never their product.

A rule without a remote group is a flow for each service. Rules that name a remote group meet its addresses in a
conjunction, one for each pair of groups and direction: the services are one clause, the addresses the other, and one
flow speaks for an address in all conjunctions that it is in (ovs-fields(7), conj_id).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from ofctl.model.ids import NetworkIndex
from ofctl.model.network import IpNetwork
from ofctl.model.security import NumberedSecurityGroup, RuleDirection, SecurityGroupIndex, SecurityRule
from ofctl.pipeline.fields import CONJ_ID
from ofctl.pipeline.flow import Conjunction, Cookie, Flow, Match, SetField, Table, Term
from ofctl.pipeline.membership import NO_NAMINGS, Namings
from ofctl.pipeline.service import (
    FAMILIES,
    TRACKED,
    Terms,
    address_group_conjunction,
    remote_terms,
    security_group_conjunction,
    services,
)
from ofctl.pipeline.tables import (
    ALLOWED,
    GROUP,
    NETWORK,
    RULES_TRACKED,
    RULES_UNTRACKED,
    TO_GUEST,
    Priority,
    member_cookie,
    security_group_cookie,
)
from ofctl.pipeline.world import World

ALLOW = SetField(ALLOWED, 1)
ADDRESSES, SERVICES, CLAUSES = 1, 2, 2
TO_GUEST_OF = {
    RuleDirection.INGRESS: Term(TO_GUEST, 1),
    RuleDirection.EGRESS: Term(TO_GUEST, 0),
}


def table_of(*, tracked: bool) -> Table:
    """Return the table of the rules of stateful or of stateless groups."""
    return RULES_TRACKED if tracked else RULES_UNTRACKED


def rule_flows(group: NumberedSecurityGroup, world: World) -> Iterator[Flow]:
    """Yield the flows of a group's rules. What two rules say of one service is one flow."""
    tracked, cookie = group.group.stateful, security_group_cookie(group.index)
    table = table_of(tracked=tracked)
    plain: dict[Match, None] = {}
    asked: dict[Match, set[int]] = {}
    for rule in group.group.rules:
        conjunction = _conjunction(group, rule, world)
        for match in _matches(group.index, rule, tracked=tracked):
            if conjunction is None:
                plain[match] = None
            else:
                asked.setdefault(match, set()).add(conjunction)
    for match in plain:
        yield Flow(table, Priority.PORT, match, cookie, (ALLOW,))
    for match, conjunctions in asked.items():
        yield Flow(table, Priority.BROAD, match, cookie, _clause(conjunctions, SERVICES))
    for conjunction in sorted({each for conjunctions in asked.values() for each in conjunctions}):
        yield Flow(table, Priority.BROAD, Match.of(Term(CONJ_ID, conjunction)), cookie, (ALLOW,))


def _conjunction(group: NumberedSecurityGroup, rule: SecurityRule, world: World) -> int | None:
    """Return the conjunction of a rule that names a remote group."""
    if rule.remote_security_group is not None:
        remote = world.security_groups[rule.remote_security_group].index
        return security_group_conjunction(group.index, rule.direction, remote)
    if rule.remote_address_group is not None:
        addresses = world.address_groups[rule.remote_address_group].index
        return address_group_conjunction(group.index, rule.direction, addresses)
    return None


@lru_cache(maxsize=8192)
def _matches(group: SecurityGroupIndex, rule: SecurityRule, *, tracked: bool) -> tuple[Match, ...]:
    """Return what a rule matches. Remembered, because the other rules of a group stay when one is changed."""
    remote: Terms = ()
    if rule.remote_prefix is not None:
        remote = remote_terms(rule.remote_prefix, rule.direction, tracked=tracked)
    own = (Term(GROUP, group), TO_GUEST_OF[rule.direction])
    return tuple(Match.of(*own, *service, *remote) for service in services(rule, tracked=tracked))


def _clause(conjunctions: Iterable[int], clause: int) -> tuple[Conjunction, ...]:
    return tuple(Conjunction(each, clause, CLAUSES) for each in sorted(conjunctions))


def address_flows(network: NetworkIndex, prefix: IpNetwork, world: World) -> Iterator[Flow]:
    """Yield the flows of an address of security groups: none if no rule names them, at most four."""
    asked: dict[tuple[RuleDirection, bool], set[int]] = {}
    for group_id in world.membership.groups_at(world.networks[network].network_id, prefix):
        namings = world.membership.named_by.get(group_id, NO_NAMINGS)
        remote = world.security_groups[group_id].index if namings else None
        for naming in namings:
            assert remote is not None
            conjunction = security_group_conjunction(naming.group, naming.direction, remote)
            asked.setdefault((naming.direction, naming.tracked), set()).add(conjunction)
    return _members(asked, prefix, (Term(NETWORK, network),), member_cookie(network))


def prefix_flows(prefix: IpNetwork, world: World) -> Iterator[Flow]:
    """Yield the flows of a prefix of address groups, which is the same in all networks."""
    asked: dict[tuple[RuleDirection, bool], set[int]] = {}
    for group_id in world.membership.prefixes.get(prefix, ()):
        remote = world.address_groups[group_id].index
        namings: Namings = world.membership.prefixes_named_by.get(group_id, NO_NAMINGS)
        for naming in namings:
            conjunction = address_group_conjunction(naming.group, naming.direction, remote)
            asked.setdefault((naming.direction, naming.tracked), set()).add(conjunction)
    return _members(asked, prefix, (), member_cookie(NetworkIndex(0)))


def _members(
    asked: dict[tuple[RuleDirection, bool], set[int]], prefix: IpNetwork, where: Terms, cookie: Cookie
) -> Iterator[Flow]:
    for (direction, tracked), conjunctions in asked.items():
        state = (TRACKED,) if tracked else ()
        remote = remote_terms(prefix, direction, tracked=tracked)
        match = Match.of(*where, TO_GUEST_OF[direction], FAMILIES[prefix.version], *state, *remote)
        yield Flow(table_of(tracked=tracked), Priority.BROAD, match, cookie, _clause(conjunctions, ADDRESSES))
