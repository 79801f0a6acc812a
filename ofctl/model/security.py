"""Security groups and address groups: what may reach a port, and what may leave it.

A port without security groups is not filtered. A port with any lets in what a rule of one of its groups allows, and
nothing else; it lets out everything until one of its groups has an egress rule, and from then on what a rule allows.
Replies belong to what was let through, and so do the ICMP errors about it.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from typing import NewType

from ofctl.errors import InvalidField
from ofctl.model.ids import MAX_NAME_LENGTH, MacAddress, NetworkId, identifier, mac_address
from ofctl.model.network import IpNetwork

SecurityGroupId = NewType("SecurityGroupId", str)
AddressGroupId = NewType("AddressGroupId", str)
SecurityGroupIndex = NewType("SecurityGroupIndex", int)
"""Durable number of a security group, 1 to MAX_GROUP_INDEX."""
AddressGroupIndex = NewType("AddressGroupIndex", int)
"""Durable number of an address group, 1 to MAX_GROUP_INDEX."""

MAX_GROUP_INDEX = (1 << 14) - 1
"""Two group numbers, a direction and a kind make a conjunction's id of 32 bits."""
MAX_RULES = 1_000
MAX_MEMBERS = 4_096
MAX_GROUPS_OF_PORT = 16
MAX_ADDRESS_PAIRS = 32

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "icmpv6": ICMPV6, "sctp": SCTP}
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as a host's programs may see them (RFC 4291, 2.5.5.2); no packet has one."""
WITH_PORTS = frozenset({TCP, UDP, SCTP})


class RuleDirection(enum.Enum):
    """As the port's guest sees it: what comes to it, what leaves it."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class Ports:
    """A range of transport ports, both ends included, 0 to 65,535."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class IcmpMessage:
    """An ICMP or ICMPv6 type, and its code if only that one is meant."""

    type: int
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityRule:
    """What is let through: every condition that is there must hold. Validates itself: raises InvalidField.

    At most one of the `remote_` conditions. The remote end is where a frame comes from (INGRESS) or goes to (EGRESS).
    """

    direction: RuleDirection
    ip_version: int | None = None
    """4, 6, or None for both."""
    protocol: int | None = None
    """IP protocol number, 0 to 255; None for any."""
    ports: Ports | None = None
    """Of the destination; with TCP, UDP or SCTP."""
    icmp: IcmpMessage | None = None
    """With ICMP or ICMPv6."""
    remote_prefix: IpNetwork | None = None
    remote_security_group: SecurityGroupId | None = None
    """The addresses of its ports that are on the same network."""
    remote_address_group: AddressGroupId | None = None

    @property
    def ip_versions(self) -> tuple[int, ...]:
        """The IP versions that the rule is for: what it says, or what its prefix or protocol implies."""
        implied = self.ip_version
        if implied is None and self.remote_prefix is not None:
            implied = self.remote_prefix.version
        if implied is None and self.protocol in (ICMP, ICMPV6):
            implied = 4 if self.protocol == ICMP else 6
        return (4, 6) if implied is None else (implied,)

    def check(self, field: str) -> None:
        """Raise InvalidField, naming a field below `field`, if the conditions do not go together."""
        if self.ip_version not in (None, 4, 6):
            raise InvalidField(f"{field}.ip_version", f"is {self.ip_version}; it must be 4 or 6, or absent for both")
        if self.protocol is not None and not 0 <= self.protocol <= 255:
            raise InvalidField(f"{field}.protocol", f"is {self.protocol}; an IP protocol is 0 to 255")
        self._check_family(field)
        self._check_ports(field)
        self._check_icmp(field)
        remotes = (self.remote_prefix, self.remote_security_group, self.remote_address_group)
        if sum(remote is not None for remote in remotes) > 1:
            raise InvalidField(f"{field}.remote", "has more than one of prefix, security group and address group")
        if self.remote_security_group is not None:
            identifier(self.remote_security_group, f"{field}.remote_security_group_id")
        if self.remote_address_group is not None:
            identifier(self.remote_address_group, f"{field}.remote_address_group_id")

    def _check_family(self, field: str) -> None:
        version = self.ip_version
        if version is not None and self.remote_prefix is not None and self.remote_prefix.version != version:
            raise InvalidField(f"{field}.remote_prefix", f"{self.remote_prefix} is no IPv{version} prefix")
        if isinstance(self.remote_prefix, ipaddress.IPv6Network) and self.remote_prefix.subnet_of(MAPPED):
            mapped = ipaddress.IPv4Network((int(self.remote_prefix[0]) & 0xFFFFFFFF, self.remote_prefix.prefixlen - 96))
            raise InvalidField(f"{field}.remote_prefix", f"{self.remote_prefix} is on no wire; write {mapped}")
        families = {ICMP: 4, ICMPV6: 6}
        if self.protocol in families:
            family = families[self.protocol]
            other = self.remote_prefix.version if self.remote_prefix is not None else version
            if other not in (None, family):
                name = "ICMP" if family == 4 else "ICMPv6"
                raise InvalidField(f"{field}.protocol", f"{name} is of IPv{family}, and the rule is for IPv{other}")

    def _check_ports(self, field: str) -> None:
        if self.ports is None:
            return
        if self.protocol not in WITH_PORTS:
            raise InvalidField(f"{field}.ports", "needs protocol TCP, UDP or SCTP")
        if not 0 <= self.ports.first <= self.ports.last <= 0xFFFF:
            raise InvalidField(
                f"{field}.ports", f"{self.ports.first} to {self.ports.last} is no range within 0 to 65535"
            )

    def _check_icmp(self, field: str) -> None:
        if self.icmp is None:
            return
        if self.protocol not in (ICMP, ICMPV6):
            raise InvalidField(f"{field}.icmp", "needs protocol ICMP or ICMPv6")
        if not 0 <= self.icmp.type <= 255:
            raise InvalidField(f"{field}.icmp.type", f"is {self.icmp.type}; it must be 0 to 255")
        if self.icmp.code is not None and not 0 <= self.icmp.code <= 255:
            raise InvalidField(f"{field}.icmp.code", f"is {self.icmp.code}; it must be 0 to 255")


@dataclass(frozen=True, slots=True, order=True)
class GroupMember:
    """An address that belongs to a security group without being a port of this host: a port of another host."""

    network_id: NetworkId
    address: IpNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup:
    """Rules that ports share, and what else is counted among its ports. Validates itself: raises InvalidField."""

    security_group_id: SecurityGroupId
    name: str = ""
    stateful: bool = True
    """False: no connection is tracked, each frame is judged for itself, and replies need a rule of their own."""
    rules: tuple[SecurityRule, ...] = ()
    members: tuple[GroupMember, ...] = ()

    def __post_init__(self) -> None:
        identifier(self.security_group_id, "security_group.security_group_id")
        _check_name(self.name, "security_group.name")
        _check_length(self.rules, MAX_RULES, "security_group.rules")
        _check_length(self.members, MAX_MEMBERS, "security_group.members")
        for number, rule in enumerate(self.rules):
            rule.check(f"security_group.rules[{number}]")
        _check_distinct(self.rules, "security_group.rules")
        _check_distinct(self.members, "security_group.members")
        for number, member in enumerate(self.members):
            identifier(member.network_id, f"security_group.members[{number}].network_id")

    def rules_of(self, direction: RuleDirection) -> tuple[SecurityRule, ...]:
        """Return the rules of one direction, in their order, which has no meaning."""
        return tuple(rule for rule in self.rules if rule.direction is direction)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGroup:
    """A list of prefixes that rules name. Validates itself: raises InvalidField."""

    address_group_id: AddressGroupId
    name: str = ""
    addresses: tuple[IpNetwork, ...] = ()

    def __post_init__(self) -> None:
        identifier(self.address_group_id, "address_group.address_group_id")
        _check_name(self.name, "address_group.name")
        _check_length(self.addresses, MAX_MEMBERS, "address_group.addresses")
        _check_distinct(self.addresses, "address_group.addresses")


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedSecurityGroup:
    """A security group and the durable number that the pipeline knows it by."""

    group: SecurityGroup
    index: SecurityGroupIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedAddressGroup:
    """An address group and the durable number that the pipeline knows it by."""

    group: AddressGroup
    index: AddressGroupIndex


@dataclass(frozen=True, slots=True)
class AddressPair:
    """Addresses that a port may use besides its fixed ones (RFC 5798 routers, nested guests); a prefix too."""

    address: IpNetwork
    mac_address: MacAddress | None = None
    """None: the port's own."""

    def check(self, field: str) -> None:
        """Raise InvalidField, naming a field below `field`, if the MAC address is no unicast address."""
        if self.mac_address is not None:
            mac_address(self.mac_address, f"{field}.mac_address")


def _check_name(name: str, field: str) -> None:
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidField(field, f"has {len(name)} characters; at most {MAX_NAME_LENGTH} are allowed")


def _check_length(values: tuple[object, ...], most: int, field: str) -> None:
    if len(values) > most:
        raise InvalidField(field, f"has {len(values)} entries; at most {most} are allowed")


def _check_distinct(values: tuple[object, ...], field: str) -> None:
    seen: set[object] = set()
    for number, value in enumerate(values):
        if value in seen:
            raise InvalidField(f"{field}[{number}]", "is given twice")
        seen.add(value)
