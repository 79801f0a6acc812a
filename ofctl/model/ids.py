"""Types of the names and numbers that must not be mixed up.

A port of the API (`PortId`), a port of the switch (`OfPort`), a device of the kernel (`DeviceName`)
and the number under which the pipeline knows a port (`PortIndex`) are four different things.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from ofctl.errors import InvalidField

PortId = NewType("PortId", str)
NetworkId = NewType("NetworkId", str)
HostId = NewType("HostId", str)
RequestId = NewType("RequestId", str)
PhysicalNetwork = NewType("PhysicalNetwork", str)
DeviceName = NewType("DeviceName", str)
"""Name of a network device, at most 15 bytes (IFNAMSIZ - 1, netdevice(7))."""
MacAddress = NewType("MacAddress", str)
"""Lower case, colon separated, six octets."""
OfPort = NewType("OfPort", int)
"""OpenFlow port number on one bridge, 1 to 0xfeff for the ports that OVS assigns (ovs-vswitchd.conf.db(5))."""
Dpid = NewType("Dpid", int)
PortIndex = NewType("PortIndex", int)
"""Durable number of a binding on its host, 1 to 2**24 - 1; the pipeline's and the cookie's name of the port."""
NetworkIndex = NewType("NetworkIndex", int)
"""Durable number of a network, 1 to 65,535."""

MAX_NAME_LENGTH = 255
MAX_DEVICE_NAME_LENGTH = 15

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*")
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def identifier(value: str, field: str) -> str:
    """Return `value` if it can name a resource: 1 to 255 of letters, digits and `._:@-`, else raise InvalidField."""
    if not value:
        raise InvalidField(field, "is empty; give an identifier, such as a UUID")
    if len(value) > MAX_NAME_LENGTH:
        raise InvalidField(field, f"has {len(value)} characters; at most {MAX_NAME_LENGTH} are allowed")
    if not _ID.fullmatch(value):
        raise InvalidField(field, f"{value!r} has a character outside of letters, digits and '._:@-'")
    return value


def device_name(value: str, field: str) -> DeviceName:
    """Return `value` as the name of a device that the kernel will accept, else raise InvalidField."""
    if len(value) > MAX_DEVICE_NAME_LENGTH:
        raise InvalidField(
            field, f"{value!r} has {len(value)} characters; a device name has at most {MAX_DEVICE_NAME_LENGTH}"
        )
    if not _DEVICE.fullmatch(value):
        raise InvalidField(field, f"{value!r} is no device name; use letters, digits and '_.-'")
    return DeviceName(value)


def mac_address(value: str, field: str) -> MacAddress:
    """Return a unicast, non-zero MAC address in canonical form, else raise InvalidField."""
    canonical = value.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(canonical):
        raise InvalidField(field, f"{value!r} is no MAC address; write six octets, such as 52:54:00:12:34:56")
    if int(canonical[:2], 16) & 1:
        raise InvalidField(field, f"{canonical} is a multicast address; the first octet must be even")
    if canonical == "00:00:00:00:00:00":
        raise InvalidField(field, "is all zeros; give a unicast address or leave it empty to have one made")
    return MacAddress(canonical)


def derived_mac(port_id: PortId) -> MacAddress:
    """Return a locally administered unicast address that depends on the port's id alone (IEEE 802c, AAI: x2)."""
    digest = hashlib.sha256(port_id.encode()).digest()
    return MacAddress(":".join(f"{octet:02x}" for octet in (0x02, *digest[:5])))


def derived_device_name(prefix: str, port_id: PortId) -> DeviceName:
    """Return `prefix` and as much of a hash of the port's id as 15 bytes leave room for."""
    digest = hashlib.sha256(port_id.encode()).hexdigest()
    return DeviceName((prefix + digest)[:MAX_DEVICE_NAME_LENGTH])
