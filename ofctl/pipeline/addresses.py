"""Which addresses a port's guest may use as its own, as numbers for matches."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ofctl.model.network import IpAddress, IpNetwork
from ofctl.model.security import AddressPair
from ofctl.pipeline.world import World, WorldPort

BITS = {4: 32, 6: 128}
LINK_LOCAL = 0xFE80 << 112


class Prefix(NamedTuple):
    """A prefix of one IP version; a single address has all bits of it."""

    version: int
    value: int
    length: int

    @property
    def is_address(self) -> bool:
        return self.length == BITS[self.version]

    @property
    def mask(self) -> int:
        """The mask of the prefix as a number."""
        bits = BITS[self.version]
        return (1 << bits) - (1 << bits - self.length)


EVERYTHING = (Prefix(4, 0, 0), Prefix(6, 0, 0))


@dataclass(frozen=True, slots=True)
class Sender:
    """A MAC address that a guest may send from, and the addresses that it may use with it: disjoint, in order."""

    mac_number: int
    prefixes: tuple[Prefix, ...]

    def of_version(self, version: int) -> tuple[Prefix, ...]:
        """Return the prefixes of one IP version."""
        return tuple(prefix for prefix in self.prefixes if prefix.version == version)


def is_secured(port: WorldPort, world: World) -> bool:
    """Tell whether a port's senders are checked: what the port says, else what its network says."""
    return world.networks[port.network].port_security if port.port_security is None else port.port_security


def senders(port: WorldPort) -> tuple[Sender, ...]:
    """Return what the guest may send from, its own MAC address first.

    With its own: fixed addresses, the pairs that name no MAC address, and the link-local address that its MAC address
    makes; everything, if it has neither fixed addresses nor such a pair. With the others: what the pairs say, and with
    an IPv6 address among it, their link-local address.
    """
    return _senders(port.mac_number, port.addresses, port.address_pairs)


@lru_cache(maxsize=4096)
def _senders(mac: int, addresses: tuple[IpAddress, ...], pairs: tuple[AddressPair, ...]) -> tuple[Sender, ...]:
    """Remembered, because a port is compiled several times while it is plugged."""
    own = [_address(address) for address in addresses]
    if not pairs:
        return (Sender(mac, tuple(sorted({*own, link_local(mac)})) if own else EVERYTHING),)
    by_mac: dict[int, list[Prefix]] = {mac: own}
    for pair in pairs:
        number = mac if pair.mac_address is None else int(pair.mac_address.replace(":", ""), 16)
        by_mac.setdefault(number, []).append(_prefix(pair.address))
    found = []
    for number, prefixes in by_mac.items():
        if number == mac and not prefixes:
            found.append(Sender(mac, EVERYTHING))
            continue
        if number == mac or any(prefix.version == 6 for prefix in prefixes):
            prefixes.append(link_local(number))
        found.append(Sender(number, _disjoint(prefixes)))
    return tuple(found)


def link_local(mac: int) -> Prefix:
    """Return the link-local address with the interface identifier that a MAC address makes (RFC 4291, appendix A)."""
    identifier = (mac >> 24) << 40 | 0xFFFE << 24 | mac & 0xFFFFFF
    return Prefix(6, LINK_LOCAL | identifier ^ 1 << 57, 128)


def _address(address: IpAddress) -> Prefix:
    return Prefix(address.version, int(address), BITS[address.version])


def _prefix(network: IpNetwork) -> Prefix:
    return Prefix(network.version, int(network.network_address), network.prefixlen)


def _disjoint(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """Return the same addresses in the fewest prefixes: no address is in two of them."""
    wanted = tuple(prefixes)
    fours = [ipaddress.IPv4Network((value, length)) for version, value, length in wanted if version == 4]
    sixes = [ipaddress.IPv6Network((value, length)) for version, value, length in wanted if version == 6]
    collapsed: list[IpNetwork] = [*ipaddress.collapse_addresses(fours), *ipaddress.collapse_addresses(sixes)]
    return tuple(map(_prefix, collapsed))
