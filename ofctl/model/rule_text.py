"""Security rules as people write and read them, in the store and on the command line.

    ingress tcp 80-443 from 192.0.2.0/24
    ingress icmp type 8 code 0 from group web
    egress ipv6 udp 53 to address-group resolvers
    egress

The order is: direction (also `in` and `out`), `ipv4` or `ipv6`, protocol by name or number or `any`, ports or ICMP
type and code, remote. What is left out is any.
"""

from __future__ import annotations

import ipaddress
from collections import deque

from ofctl.errors import InvalidField
from ofctl.model.network import IpNetwork
from ofctl.model.security import (
    PROTOCOLS,
    AddressGroupId,
    IcmpMessage,
    Ports,
    RuleDirection,
    SecurityGroupId,
    SecurityRule,
)

EXAMPLE = "such as 'in tcp 80-443 from 192.0.2.0/24' or 'in icmp type 8 from group web'"

_DIRECTIONS = {
    "ingress": RuleDirection.INGRESS,
    "in": RuleDirection.INGRESS,
    "egress": RuleDirection.EGRESS,
    "out": RuleDirection.EGRESS,
}
_VERSIONS = {"ipv4": 4, "ipv6": 6}
_PREPOSITIONS = {RuleDirection.INGRESS: "from", RuleDirection.EGRESS: "to"}
_NAMES = {number: name for name, number in PROTOCOLS.items()}

Words = deque[str]


def protocol_text(protocol: int | None) -> str:
    """Return the name of a protocol, or its number if it has none here; empty for any."""
    return "" if protocol is None else _NAMES.get(protocol, str(protocol))


def protocol_of(text: str, field: str) -> int | None:
    """Return the number of a protocol given by name or number; None for an empty text. Raises InvalidField."""
    word = text.strip().lower()
    if not word:
        return None
    number = PROTOCOLS.get(word, int(word) if _is_number(word) else -1)
    if not 0 <= number <= 255:
        raise InvalidField(field, f"{text!r} is no IP protocol; give {', '.join(PROTOCOLS)} or a number, 0 to 255")
    return number


def address_text(network: IpNetwork) -> str:
    """Return a prefix, or a single address without a length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def rule_text(rule: SecurityRule) -> str:
    """Return a rule in one line; `rule_of` reads it back as the same rule."""
    words = [rule.direction.value]
    if rule.ip_version is not None:
        words.append(f"ipv{rule.ip_version}")
    words.append(protocol_text(rule.protocol))
    if rule.ports is not None:
        one = rule.ports.first == rule.ports.last
        words.append(str(rule.ports.first) if one else f"{rule.ports.first}-{rule.ports.last}")
    if rule.icmp is not None:
        words.append(f"type {rule.icmp.type}" + (f" code {rule.icmp.code}" if rule.icmp.code is not None else ""))
    preposition = _PREPOSITIONS[rule.direction]
    if rule.remote_prefix is not None:
        words += [preposition, address_text(rule.remote_prefix)]
    if rule.remote_security_group is not None:
        words += [preposition, "group", rule.remote_security_group]
    if rule.remote_address_group is not None:
        words += [preposition, "address-group", rule.remote_address_group]
    return " ".join(filter(None, words))


def rule_of(text: str, field: str) -> SecurityRule:
    """Return the rule that a line says. Raises InvalidField, for `field` or a path below it."""
    words: Words = deque(text.split())
    direction = _DIRECTIONS.get(words.popleft().lower()) if words else None
    if direction is None:
        raise InvalidField(field, f"{text!r} does not begin with in or out; write {EXAMPLE}")
    version = _VERSIONS.get(words[0].lower()) if words else None
    if version is not None:
        words.popleft()
    protocol = _protocol(words, field)
    ports = _ports(words, field)
    icmp = _icmp(words, field)
    prefix, group, address_group = _remote(words, direction, field)
    if words:
        raise InvalidField(field, f"{text!r} is not understood from {words[0]!r} on; write {EXAMPLE}")
    rule = SecurityRule(
        direction=direction,
        ip_version=version,
        protocol=protocol,
        ports=ports,
        icmp=icmp,
        remote_prefix=prefix,
        remote_security_group=group,
        remote_address_group=address_group,
    )
    rule.check(field)
    return rule


def _protocol(words: Words, field: str) -> int | None:
    if not words or words[0].lower() in ("from", "to"):
        return None
    word = words.popleft()
    return None if word.lower() == "any" else protocol_of(word, f"{field}.protocol")


def _ports(words: Words, field: str) -> Ports | None:
    if not words or not words[0][0].isdigit():
        return None
    word = words.popleft()
    first, dash, last = word.partition("-")
    last = last if dash else first
    if not (_is_number(first) and _is_number(last)):
        raise InvalidField(f"{field}.ports", f"{word!r} is neither a port nor a range such as 80-443")
    return Ports(int(first), int(last))


def _icmp(words: Words, field: str) -> IcmpMessage | None:
    kind = _number_after("type", words, f"{field}.icmp.type")
    code = _number_after("code", words, f"{field}.icmp.code")
    if kind is None:
        if code is not None:
            raise InvalidField(f"{field}.icmp.type", "is missing; a code needs a type before it")
        return None
    return IcmpMessage(kind, code)


def _number_after(name: str, words: Words, field: str) -> int | None:
    if not words or words[0].lower() != name:
        return None
    words.popleft()
    word = words.popleft() if words else ""
    if not _is_number(word):
        raise InvalidField(field, f"{word!r} is no number; write {name} and a number, 0 to 255")
    return int(word)


def _remote(
    words: Words, direction: RuleDirection, field: str
) -> tuple[IpNetwork | None, SecurityGroupId | None, AddressGroupId | None]:
    if not words:
        return None, None, None
    preposition = _PREPOSITIONS[direction]
    if words[0].lower() in ("from", "to") and words[0].lower() != preposition:
        raise InvalidField(f"{field}.remote", f"has {words[0]!r}; an {direction.value} rule says {preposition!r}")
    if words[0].lower() != preposition:
        return None, None, None
    words.popleft()
    kind = words.popleft() if words else ""
    if kind in ("group", "address-group"):
        if not words:
            raise InvalidField(f"{field}.remote", f"{kind!r} has no id after it")
        name = words.popleft()
        return (None, SecurityGroupId(name), None) if kind == "group" else (None, None, AddressGroupId(name))
    try:
        return ipaddress.ip_network(kind if "%" not in kind else ""), None, None  # No address with a zone.
    except ValueError:
        raise InvalidField(
            f"{field}.remote_prefix",
            f"{kind!r} is no address, and no prefix without host bits; write such as 192.0.2.0/24, or group ID",
        ) from None


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= len("65535")
