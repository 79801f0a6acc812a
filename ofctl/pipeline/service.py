"""What a rule says of the service, as match terms: for connections by their original tuple, for single frames as is."""

from __future__ import annotations

from collections.abc import Iterator

from ofctl.model.network import IpNetwork
from ofctl.model.security import (
    ICMP,
    ICMPV6,
    MAX_GROUP_INDEX,
    SCTP,
    TCP,
    UDP,
    AddressGroupIndex,
    RuleDirection,
    SecurityGroupIndex,
    SecurityRule,
)
from ofctl.pipeline.fields import (
    CT_IPV6_DST,
    CT_IPV6_SRC,
    CT_NW_DST,
    CT_NW_PROTO,
    CT_NW_SRC,
    CT_TP_DST,
    CT_TP_SRC,
    ETH_TYPE,
    FRAG_ANY,
    FRAG_LATER,
    ICMPV4_CODE,
    ICMPV4_TYPE,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IP_FRAG,
    IP_PROTO,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    SCTP_DST,
    SCTP_SRC,
    TCP_DST,
    UDP_DST,
    Field,
)
from ofctl.pipeline.match import Term, ct_state

Terms = tuple[Term, ...]

IPV4 = Term(ETH_TYPE, 0x0800)
IPV6 = Term(ETH_TYPE, 0x86DD)
FAMILIES = {4: IPV4, 6: IPV6}
TRACKED = ct_state("+trk-inv")
"""Without it OVS matches no field of the original tuple (ovs-fields(7), ct_nw_src)."""
NOT_LATER = Term(IP_FRAG, 0, FRAG_LATER)
"""Later fragments show port 0 and ICMP type 0, and must not pass for those."""

LATER_IPV6 = (IPV6, Term(IP_PROTO, 44), Term(IP_FRAG, FRAG_ANY | FRAG_LATER))
"""All that OVS shows of later IPv6 fragments is that they are such (seen on OVS 3.1). Without their first fragment,
which shows its protocol, nobody puts them together."""

DESTINATION_PORT = {TCP: TCP_DST, UDP: UDP_DST, SCTP: SCTP_DST}
ICMP_FIELDS = {ICMP: (ICMPV4_TYPE, ICMPV4_CODE), ICMPV6: (ICMPV6_TYPE, ICMPV6_CODE)}
REMOTE_TRACKED = {
    (RuleDirection.INGRESS, 4): CT_NW_SRC,
    (RuleDirection.INGRESS, 6): CT_IPV6_SRC,
    (RuleDirection.EGRESS, 4): CT_NW_DST,
    (RuleDirection.EGRESS, 6): CT_IPV6_DST,
}
REMOTE_UNTRACKED = {
    (RuleDirection.INGRESS, 4): IPV4_SRC,
    (RuleDirection.INGRESS, 6): IPV6_SRC,
    (RuleDirection.EGRESS, 4): IPV4_DST,
    (RuleDirection.EGRESS, 6): IPV6_DST,
}


def masks_of_range(first: int, last: int, bits: int = 16) -> Iterator[tuple[int, int]]:
    """Yield the fewest (value, mask) that together match `first` to `last`, both included; a mask of 0 matches all.

    Each step takes the largest aligned block that begins where the last one ended, so at most 2 * bits - 2.
    """
    while first <= last:
        size = first & -first or 1 << bits
        while first + size - 1 > last:
            size >>= 1
        yield first, (1 << bits) - size
        first += size


def services(rule: SecurityRule, *, tracked: bool) -> Iterator[Terms]:
    """Yield the terms of a rule's IP versions, protocol, ports and ICMP message, without its remote end."""
    for version in rule.ip_versions:
        family = (FAMILIES[version], TRACKED) if tracked else (FAMILIES[version],)
        if rule.protocol is None:
            yield family
        elif not tracked:
            for ports in _untracked_ports(rule, rule.protocol):
                yield (*family, Term(IP_PROTO, rule.protocol), *ports)
                if version == 6 and not ports:
                    yield LATER_IPV6
        elif rule.protocol == SCTP and _masks(rule) != [(0, 0)]:
            yield from _tracked_sctp(rule, FAMILIES[version])
        else:
            for ports in _tracked_ports(rule):
                yield (*family, Term(CT_NW_PROTO, rule.protocol), *ports)


def _masks(rule: SecurityRule) -> list[tuple[int, int]]:
    return [(0, 0)] if rule.ports is None else list(masks_of_range(rule.ports.first, rule.ports.last))


def _masked(field: Field, value: int, mask: int) -> Terms:
    full = (1 << field.bits) - 1
    return (Term(field, value, None if mask == full else mask),) if mask else ()


def _tracked_ports(rule: SecurityRule) -> Iterator[Terms]:
    if rule.icmp is not None:
        code = () if rule.icmp.code is None else (Term(CT_TP_DST, rule.icmp.code),)
        yield (Term(CT_TP_SRC, rule.icmp.type), *code)
        return
    for value, mask in _masks(rule):
        yield _masked(CT_TP_DST, value, mask)


def _tracked_sctp(rule: SecurityRule, family: Term) -> Iterator[Terms]:
    """Userspace conntrack does not read SCTP's ports (seen on OVS 3.1), so they are read in each packet.

    An error about an association shows none: it passes if a rule lets any of that protocol pass.
    """
    protocol = Term(IP_PROTO, SCTP)
    for value, mask in _masks(rule):
        yield (family, ct_state("+trk-inv-rel-rpl"), protocol, *_masked(SCTP_DST, value, mask))
        yield (family, ct_state("+trk-inv-rel+rpl"), protocol, *_masked(SCTP_SRC, value, mask))
    yield (family, ct_state("+trk-inv+rel"), Term(CT_NW_PROTO, SCTP))


def _untracked_ports(rule: SecurityRule, protocol: int) -> Iterator[Terms]:
    if rule.icmp is not None:
        kind, code = ICMP_FIELDS[protocol]
        of_code = () if rule.icmp.code is None else (Term(code, rule.icmp.code),)
        yield (NOT_LATER, Term(kind, rule.icmp.type), *of_code)
        return
    for value, mask in _masks(rule):
        yield (NOT_LATER, *_masked(DESTINATION_PORT[protocol], value, mask)) if mask else ()


def remote_terms(prefix: IpNetwork, direction: RuleDirection, *, tracked: bool) -> Terms:
    """Return the terms that want the remote end of a connection, or of a frame, to be in `prefix`; no family."""
    field = (REMOTE_TRACKED if tracked else REMOTE_UNTRACKED)[direction, prefix.version]
    return _masked(field, int(prefix.network_address), int(prefix.netmask))


def security_group_conjunction(group: SecurityGroupIndex, direction: RuleDirection, remote: SecurityGroupIndex) -> int:
    """Return the conjunction id of a group's rules of one direction that name a security group; no other has it."""
    return _conjunction(group, direction, remote, 0)


def address_group_conjunction(group: SecurityGroupIndex, direction: RuleDirection, remote: AddressGroupIndex) -> int:
    """Return the conjunction id of a group's rules of one direction that name an address group; no other has it."""
    return _conjunction(group, direction, remote, 1)


def _conjunction(group: int, direction: RuleDirection, remote: int, kind: int) -> int:
    """Bits 0 to 13 the remote group, 14 to 27 the group, 28 the kind of remote group, 29 ingress."""
    bits = MAX_GROUP_INDEX.bit_length()
    to_guest = direction is RuleDirection.INGRESS
    return ((to_guest << 1 | kind) << bits | group) << bits | remote
