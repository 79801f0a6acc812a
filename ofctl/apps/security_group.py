"""What may reach a port and what may leave it: the rules of its security groups.

A frame of a stateful port goes through the port's connection table, and each one, the connection's first or not, is
judged by the rules of the direction in which the connection was opened, against the connection's original tuple. So a
rule that goes stops what it allowed at once, and replies and ICMP errors need no rule.
"""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ofctl.apps.security_rules import TO_GUEST_OF, address_flows, prefix_flows, rule_flows, table_of
from ofctl.model.ids import NetworkIndex
from ofctl.model.network import IpNetwork
from ofctl.model.security import ICMPV6, UDP, NumberedSecurityGroup, RuleDirection
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import (
    CT_ZONE,
    ETH_TYPE,
    FRAG_ANY,
    FRAG_LATER,
    ICMPV6_TYPE,
    IP_FRAG,
    IP_PROTO,
    UDP_DST,
    UDP_SRC,
    RegisterSlice,
)
from ofctl.pipeline.flow import Action, Conntrack, Flow, Match, Resubmit, SetField, Table, Term
from ofctl.pipeline.judgement import DHCP, EXEMPT_ICMPV6
from ofctl.pipeline.match import ct_state
from ofctl.pipeline.service import FAMILIES, IPV6, TRACKED
from ofctl.pipeline.tables import (
    ALLOWED,
    DELIVER,
    DESTINATION,
    EGRESS_GATE,
    EGRESS_STATE,
    EGRESS_TRACK,
    EGRESS_VERDICT,
    FORWARD,
    GROUP,
    INGRESS_GATE,
    INGRESS_STATE,
    INGRESS_TRACK,
    INGRESS_VERDICT,
    IS_PROBE,
    RULES_TRACKED,
    RULES_UNTRACKED,
    SOURCE,
    TO_GUEST,
    ZONE,
    Priority,
    host_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

ARP = Term(ETH_TYPE, 0x0806)
RARP = Term(ETH_TYPE, 0x8035)
"""By which a hypervisor says where a guest is that it has moved (QEMU, self-announce)."""
FRAGMENT, WHOLE = Term(IP_FRAG, FRAG_ANY, FRAG_ANY), Term(IP_FRAG, 0, FRAG_ANY)
OPENER, REPLY = ct_state("+trk-inv-rpl"), ct_state("+trk-inv+rpl")
VALID = ct_state("-inv")
NEW, KNOWN = ct_state("+trk+new"), ct_state("+trk-new")
CLEAR = SetField(RegisterSlice("GROUP to ZONE", GROUP.register, 0, 32), 0)
"""Nothing of one port's judgement is left for the next port's."""


@dataclass(frozen=True, slots=True)
class Side:
    """The tables of one direction, and where a frame goes on that was let through."""

    track: Table
    state: Table
    verdict: Table
    gate: Table
    onward: Table
    direction: RuleDirection
    port: RegisterSlice

    @property
    def other(self) -> RuleDirection:
        """The direction in which a connection was opened whose replies go this way."""
        return RuleDirection.INGRESS if self.direction is RuleDirection.EGRESS else RuleDirection.EGRESS


EGRESS = Side(EGRESS_TRACK, EGRESS_STATE, EGRESS_VERDICT, EGRESS_GATE, FORWARD, RuleDirection.EGRESS, SOURCE)
INGRESS = Side(INGRESS_TRACK, INGRESS_STATE, INGRESS_VERDICT, INGRESS_GATE, DELIVER, RuleDirection.INGRESS, DESTINATION)


class SecurityGroups(FeatureApp):
    """Default deny in, allow out; stateful with a connection table for each port, or stateless."""

    name = "security_group"
    tables = (
        EGRESS_TRACK,
        EGRESS_STATE,
        EGRESS_VERDICT,
        EGRESS_GATE,
        INGRESS_TRACK,
        INGRESS_STATE,
        INGRESS_VERDICT,
        INGRESS_GATE,
        RULES_TRACKED,
        RULES_UNTRACKED,
    )

    def host_flows(self, world: World) -> Iterable[Flow]:
        for side in (EGRESS, INGRESS):
            yield from _exempt(side)
            yield from _verdicts(side)
            yield _host(side.track, Priority.MISS, Match(), goto=side.onward)
        yield _host(EGRESS_TRACK, Priority.EXEMPT, Match.of(RARP), goto=FORWARD)
        # A frame that was on its way through the connection table of a port that is filtered no more; DELIVER knows
        # which ports there are. EGRESS_STATE has a flow for each port instead: a port that is gone sends nothing.
        yield _host(INGRESS_STATE, Priority.MISS, Match.of(TRACKED), goto=DELIVER)
        # The gate behind lets them on only with the first one of their datagram, which is judged by its ports.
        for family in FAMILIES.values():
            later = Match.of(family, TRACKED, Term(IP_FRAG, FRAG_ANY | FRAG_LATER))
            yield _host(RULES_TRACKED, Priority.EXEMPT, later, SetField(ALLOWED, 1))

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        groups = world.groups_of(port)
        if port.zone:
            yield from _gates(port)
        if not groups:
            yield from _on_its_way(port)
        elif groups[0].group.stateful:
            yield from _stateful(port, groups)
        else:
            yield from _stateless(port, groups)

    def security_group_flows(self, group: NumberedSecurityGroup, world: World) -> Iterable[Flow]:
        return rule_flows(group, world)

    def address_flows(self, network: NetworkIndex, prefix: IpNetwork, world: World) -> Iterable[Flow]:
        return address_flows(network, prefix, world)

    def prefix_flows(self, prefix: IpNetwork, world: World) -> Iterable[Flow]:
        return prefix_flows(prefix, world)


def _host(table: Table, priority: Priority, match: Match, *actions: Action, goto: Table | None = None) -> Flow:
    return Flow(table, priority, match, host_cookie(), actions, goto=goto)


def _exempt(side: Side) -> Iterator[Flow]:
    """Yield what passes without being asked: probes, and what a guest needs to have neighbors and an address.

    For all ports, and not for each filtered one: to go on is what the others' frames do anyway.
    """
    client_speaks = side.direction is RuleDirection.EGRESS
    matches = [Match.of(ARP)]
    matches += [Match.of(IPV6, Term(IP_PROTO, ICMPV6), Term(ICMPV6_TYPE, kind)) for kind in EXEMPT_ICMPV6]
    for version, (client, server) in DHCP.items():
        ports = (client, server) if client_speaks else (server, client)
        udp = (FAMILIES[version], Term(IP_PROTO, UDP))
        matches.append(Match.of(*udp, Term(UDP_SRC, ports[0]), Term(UDP_DST, ports[1])))
    yield _host(side.track, Priority.PROBED, Match.of(IS_PROBE), goto=side.onward)
    for match in matches:
        yield _host(side.track, Priority.EXEMPT, match, goto=side.onward)


def _verdicts(side: Side) -> Iterator[Flow]:
    """Yield what becomes of frames that a rule allowed; the others match nothing, and are dropped.

    All fragments of a datagram go through the connection table once more. It holds them until the first one has come,
    which it does only if it was allowed; later ones show no ports to judge them by (seen on OVS 3.1). No frame goes on
    from where it was committed: what the table may have added to it is only told apart in the next one.
    """
    allowed = Term(ALLOWED, 1)
    # The zone of a stateless port is 0. The state in such a frame is another port's.
    stateless = Match.of(allowed, Term(ZONE, 0))
    yield _host(side.verdict, Priority.PORT, stateless, CLEAR, goto=side.onward)
    for family in FAMILIES.values():
        commit, look_up = Conntrack(ZONE, commit=True, table=side.gate), Conntrack(ZONE, table=side.gate)
        yield _host(side.verdict, Priority.BROAD, Match.of(allowed, family, NEW), commit)
        yield _host(side.verdict, Priority.BROAD, Match.of(allowed, family, KNOWN, FRAGMENT), look_up)
        yield _host(side.verdict, Priority.BROAD, Match.of(allowed, family, KNOWN, WHOLE), CLEAR, goto=side.onward)


def _gates(port: WorldPort) -> Iterator[Flow]:
    """Yield what lets on frames that went through the connection table twice, whatever the port's groups are by now."""
    for side in (EGRESS, INGRESS):
        own = _of(side, port, TRACKED, _own_zone(port))
        yield Flow(side.gate, Priority.PORT, own, port_cookie(port.index), (CLEAR,), goto=side.onward)


def _on_its_way(port: WorldPort) -> Iterator[Flow]:
    """Yield what lets on a frame that was in the connection table when the port ceased to be filtered."""
    if port.zone:
        yield _to_all(EGRESS, EGRESS_STATE, port, TRACKED, _own_zone(port), goto=FORWARD)


def _own_zone(port: WorldPort) -> Term:
    """Return what every frame of the port has that comes out of its connection table.

    OVS before 3.6 lets fragments go with the next frame of any port, and they seem to be that port's, of its network:
    expired ones without a valid state, the last of a completed datagram with one ("ipf: Maintain packet zone").
    """
    return Term(CT_ZONE, port.zone)


def _to_all(side: Side, table: Table, port: WorldPort, *terms: Term, goto: Table | None = None) -> Flow:
    """Return what becomes of the port's frames that no other of its flows in the table matches."""
    return Flow(table, Priority.BROAD, _of(side, port, *terms), port_cookie(port.index), goto=goto)


def _of(side: Side, port: WorldPort, *terms: Term) -> Match:
    return Match.of(Term(side.port, port.index), *terms)


def _is_open(groups: tuple[NumberedSecurityGroup, ...], direction: RuleDirection) -> bool:
    """Tell whether everything may pass: away from the guest, as long as no rule speaks of that."""
    return direction is RuleDirection.EGRESS and not any(group.group.rules_of(direction) for group in groups)


def _ask(groups: tuple[NumberedSecurityGroup, ...], direction: RuleDirection, zone: int) -> Iterator[Action]:
    """Yield the actions that set ALLOWED if one of the groups allows it."""
    yield SetField(ZONE, zone)
    if _is_open(groups, direction):
        yield SetField(ALLOWED, 1)
        return
    yield SetField(TO_GUEST, TO_GUEST_OF[direction].value)
    for group in groups:
        yield SetField(GROUP, group.index)
        yield Resubmit(table_of(tracked=group.group.stateful))


def _stateful(port: WorldPort, groups: tuple[NumberedSecurityGroup, ...]) -> Iterator[Flow]:
    cookie = port_cookie(port.index)
    for side in (EGRESS, INGRESS):
        for family in FAMILIES.values():
            # A frame to all has copies for others behind this one.
            track = Conntrack(port.zone, table=side.state, cloned=side is INGRESS)
            yield Flow(side.track, Priority.PORT, _of(side, port, family), cookie, (track,))
        if not _is_open(groups, side.direction):
            yield _to_all(side, side.track, port)  # No rule speaks of what is not IP.
        for state, direction in ((OPENER, side.direction), (REPLY, side.other)):
            asked = tuple(_ask(groups, direction, port.zone))
            own = _of(side, port, state, _own_zone(port))
            yield Flow(side.state, Priority.PORT, own, cookie, asked, goto=side.verdict)
        yield _to_all(side, side.state, port)


def _stateless(port: WorldPort, groups: tuple[NumberedSecurityGroup, ...]) -> Iterator[Flow]:
    cookie = port_cookie(port.index)
    for side in (EGRESS, INGRESS):
        if _is_open(groups, side.direction):
            yield from _on_its_way(port)
            continue
        yield _to_all(side, side.track, port, goto=side.state)
        asked = tuple(_ask(groups, side.direction, 0))
        # Not tracked, or on its way when the port became stateless.
        yield Flow(side.state, Priority.PORT, _of(side, port, VALID), cookie, asked, goto=side.verdict)
