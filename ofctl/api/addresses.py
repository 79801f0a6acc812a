"""IP addresses as the contract writes them. Everything here raises InvalidField with the path it is given."""

from __future__ import annotations

import ipaddress

from ofctl.errors import InvalidField
from ofctl.model.network import IpAddress, IpInterface, IpNetwork


def read_address(text: str, field: str) -> IpAddress:
    """Return an address without prefix length and without zone."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidField(
            field, f"{text!r} is no IP address; write it without prefix length, such as 192.0.2.7 or 2001:db8::7"
        ) from None
    return _unscoped(address, field)


def read_interface(text: str, field: str) -> IpInterface:
    """Return an address with the length of its prefix."""
    problem = f"{text!r} is no address with prefix length; write such as 192.0.2.7/24 or 2001:db8::7/64"
    if not _has_prefix_length(text):
        raise InvalidField(field, problem)
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise InvalidField(field, problem) from None
    _unscoped(interface.ip, field)
    return interface


def read_prefix(text: str, field: str) -> IpNetwork:
    """Return a prefix without host bits."""
    problem = f"{text!r} is no prefix; write such as 192.0.2.0/24 or 2001:db8::/64"
    if not _has_prefix_length(text):
        raise InvalidField(field, problem)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidField(field, problem) from None
    _unscoped(network.network_address, field)
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise InvalidField(field, f"{text} has host bits set; the prefix is {network}")
    return network


def read_address_or_prefix(text: str, field: str) -> IpNetwork:
    """Return a prefix without host bits, or that of a single address."""
    if "/" in text:
        return read_prefix(text, field)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidField(
            field, f"{text!r} is no IP address and no prefix; write such as 192.0.2.7 or 192.0.2.0/24"
        ) from None
    return ipaddress.ip_network(_unscoped(address, field))


def _has_prefix_length(text: str) -> bool:
    """Tell whether a prefix length follows; ipaddress would take net masks and host masks as well."""
    _, slash, length = text.partition("/")
    return bool(slash) and length.isascii() and length.isdigit()


def _unscoped(address: IpAddress, field: str) -> IpAddress:
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise InvalidField(field, f"{address} has a zone; write the address alone")
    return address
