"""Route netlink messages: composed with pyroute2's classes, and the few attributes that are read back.

Attribute numbers are those of linux/if_link.h, linux/if_addr.h and linux/rtnetlink.h.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import Any, NamedTuple

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNSID,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_SETLINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from ofctl.model.ids import DeviceName, MacAddress
from ofctl.model.network import IpInterface
from ofctl.model.port import Route
from ofctl.netlink.rtnl import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Request, attributes
from ofctl.netlink.specs import DeviceState

_IFF_UP = 0x1
_RTEXT_FILTER_SKIP_STATS = 8
_IN6_ADDR_GEN_MODE_NONE = 1
_IFA_F_NODAD = 0x02
RT_TABLE_MAIN = 254
_AF_SPEC, _INET_CONF = 26, 1
_PROMOTE_SECONDARIES = 20
"""IPV4_DEVCONF_PROMOTE_SECONDARIES of linux/ip.h."""
_ONE = struct.pack("=I", 1)
_RTPROT_STATIC = 4
_RTN_UNICAST = 1
_RT_SCOPE_LINK = 253
_TUN_TYPE_TAP = 2
_NOTHING = b""

Attributes = list[tuple[str, Any]]


class AddressEntry(NamedTuple):
    """An address of a device."""

    ifindex: int
    address: str
    link_local: bool
    """IPv6 with the scope of the link."""


class RouteEntry(NamedTuple):
    """A route. `devices` has the index of every next hop's device."""

    destination: str
    via: str | None
    devices: tuple[int, ...]
    table: int
    unicast: bool


def get_link(*, ifindex: int = 0, device: str | None = None) -> Request:
    """Ask for one device, by index or by name."""
    message = ifinfmsg()
    message["index"] = ifindex
    attrs: Attributes = [("IFLA_EXT_MASK", _RTEXT_FILTER_SKIP_STATS)]
    if device is not None:
        attrs.append(("IFLA_IFNAME", device))
    message["attrs"] = attrs
    return Request(message, RTM_GETLINK)


def all_links() -> Request:
    """Dump all devices."""
    return get_link()


def set_link(*, ifindex: int = 0, up: bool | None = None, attrs: Attributes | None = None) -> Request:
    """Change a device: by index, or by the name in `attrs` when the index is 0. `up` None leaves the flag as it is."""
    message = ifinfmsg()
    message["index"] = ifindex
    if up is not None:
        message["flags"] = _IFF_UP if up else 0
        message["change"] = _IFF_UP
    message["attrs"] = attrs or []
    return Request(message, RTM_SETLINK)


def no_link_local(*, ifindex: int = 0, device: str | None = None) -> Request:
    """Keep the host's IPv6 stack off a device: no link-local address, so no DAD and no router solicitation on it.

    What the host's end of a port sends goes to the guest; the guest must hear the network, not the hypervisor.
    """
    attrs: Attributes = [
        ("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _IN6_ADDR_GEN_MODE_NONE)]})]})
    ]
    if device is not None:
        attrs.append(("IFLA_IFNAME", device))
    return set_link(ifindex=ifindex, attrs=attrs)


def new_veth(device: str, *, mtu: int, peer: str, peer_mac: str | None, peer_netns: int) -> Request:
    """Make a veth pair with the peer in the namespace of the descriptor `peer_netns`; fails if a name is taken."""
    peer_attrs: Attributes = [("IFLA_IFNAME", peer), ("IFLA_MTU", mtu), ("IFLA_NET_NS_FD", peer_netns)]
    if peer_mac is not None:
        peer_attrs.append(("IFLA_ADDRESS", peer_mac))
    message = ifinfmsg()
    message["attrs"] = [
        ("IFLA_IFNAME", device),
        ("IFLA_MTU", mtu),
        (
            "IFLA_LINKINFO",
            {
                "attrs": [
                    ("IFLA_INFO_KIND", "veth"),
                    ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": peer_attrs})]}),
                ]
            },
        ),
    ]
    return Request(message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)


def delete_link(*, ifindex: int = 0, group: int | None = None) -> Request:
    """Delete one device, or all of a group."""
    message = ifinfmsg()
    message["index"] = ifindex
    message["attrs"] = [] if group is None else [("IFLA_GROUP", group)]
    return Request(message, RTM_DELLINK)


def nsid_of(netns: int) -> Request:
    """Ask by which number our namespace knows the one of the descriptor `netns`."""
    message = nsidmsg()
    message["attrs"] = [("NETNSA_FD", netns)]
    return Request(message, RTM_GETNSID)


def add_address(ifindex: int, address: IpInterface) -> Request:
    """Add an address, or leave it if it is there.

    IPv6 without duplicate address detection (IFA_F_NODAD): it would keep the address tentative for a second and
    more, and the network guarantees uniqueness already: an address belongs to one port (RFC 4862, 5.4).
    """
    message = _address_message(ifindex, address)
    if address.version == 6:
        message["attrs"].append(("IFA_FLAGS", _IFA_F_NODAD))
    elif address.network.prefixlen < 31:
        message["attrs"].append(("IFA_BROADCAST", str(address.network.broadcast_address)))
    return Request(message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE)


def promote_secondaries(ifindex: int) -> Request:
    """Have a device keep its other IPv4 addresses of a subnet when the first of them goes (ip-sysctl.rst)."""
    content = _nested(_AF_SPEC, _nested(socket.AF_INET, _nested(_INET_CONF, _nested(_PROMOTE_SECONDARIES, _ONE))))
    return Request(struct.pack("=BxHiII", socket.AF_UNSPEC, 0, ifindex, 0, 0) + content, RTM_SETLINK)


def _nested(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content


def delete_address(ifindex: int, address: IpInterface) -> Request:
    """Take an address away; fails with EADDRNOTAVAIL if it is not there.

    Of several IPv4 addresses of one subnet the first takes the others with it; see `promote_secondaries`.
    """
    return Request(_address_message(ifindex, address), RTM_DELADDR)


def _address_message(ifindex: int, address: IpInterface) -> ifaddrmsg:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["prefixlen"] = address.network.prefixlen
    message["index"] = ifindex
    message["attrs"] = [("IFA_LOCAL", str(address.ip)), ("IFA_ADDRESS", str(address.ip))]
    return message


def add_route(ifindex: int, route: Route) -> Request:
    """Add a route through a device to the main table; fails with EEXIST if there is one of that destination."""
    message = rtmsg()
    message["family"] = socket.AF_INET if route.destination.version == 4 else socket.AF_INET6
    message["dst_len"] = route.destination.prefixlen
    message["table"] = RT_TABLE_MAIN
    message["proto"] = _RTPROT_STATIC
    message["type"] = _RTN_UNICAST
    attrs: Attributes = [("RTA_OIF", ifindex)]
    if route.destination.prefixlen:
        attrs.append(("RTA_DST", str(route.destination.network_address)))
    if route.via is not None:
        attrs.append(("RTA_GATEWAY", str(route.via)))
    elif route.destination.version == 4:
        message["scope"] = _RT_SCOPE_LINK
    message["attrs"] = attrs
    return Request(message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)


def all_addresses() -> Request:
    """Dump all addresses of both families."""
    message = ifaddrmsg()
    message["family"] = socket.AF_UNSPEC
    return Request(message, RTM_GETADDR)


def all_routes(family: int) -> Request:
    """Dump all routes of a family, in every table."""
    message = rtmsg()
    message["family"] = family
    return Request(message, RTM_GETROUTE)


def read_link(payload: bytes) -> DeviceState:
    """Read an RTM_NEWLINK payload."""
    ifindex, flags = struct.unpack_from("=iI", payload, 4)
    attrs = attributes(payload, 16)
    link_info = attributes(attrs.get(18, _NOTHING), 0)
    kind = _text(link_info.get(1, _NOTHING))
    tun = attributes(link_info.get(2, _NOTHING), 0) if kind == "tun" else {}
    if tun.get(3) == bytes([_TUN_TYPE_TAP]):
        kind = "tap"
    queues = _u32(tun.get(8))
    return DeviceState(
        device=DeviceName(_text(attrs.get(3, _NOTHING))),
        ifindex=ifindex,
        kind=kind,
        mtu=_u32(attrs.get(4)) or 0,
        mac=MacAddress(attrs.get(1, _NOTHING).hex(":")),
        up=bool(flags & _IFF_UP),
        carrier=attrs.get(33) == b"\1",
        alias=_text(attrs.get(20, _NOTHING)),
        master=_u32(attrs.get(10)),
        multi_queue=tun.get(7) == b"\1",
        queues=None if queues is None else queues + (_u32(tun.get(9)) or 0),
        owner_uid=_u32(tun.get(1)),
        owner_gid=_u32(tun.get(2)),
        peer_ifindex=_u32(attrs.get(5)),
        peer_nsid=_u32(attrs.get(37)),
    )


def read_nsid(payload: bytes) -> int | None:
    """Read an RTM_NEWNSID payload: the number, None if our namespace has none for that one."""
    raw = attributes(payload, 4).get(1)
    number: int = struct.unpack("=i", raw)[0] if raw else -1
    return None if number < 0 else number


def read_address(payload: bytes) -> AddressEntry:
    """Read an RTM_NEWADDR payload."""
    scope = payload[3]
    (ifindex,) = struct.unpack_from("=I", payload, 4)
    attrs = attributes(payload, 8)
    address = ip_address(attrs.get(2) or attrs[1])
    return AddressEntry(ifindex, str(address), scope == _RT_SCOPE_LINK and address.version == 6)


def read_route(payload: bytes) -> RouteEntry:
    """Read an RTM_NEWROUTE payload."""
    family, dst_len = payload[0], payload[1]
    attrs = attributes(payload, 12)
    devices = [ifindex for ifindex in (_u32(attrs.get(4)),) if ifindex is not None]
    hops, offset = attrs.get(9, _NOTHING), 0
    while offset + 8 <= len(hops):
        length, _, _, ifindex = struct.unpack_from("=HBBi", hops, offset)
        devices.append(ifindex)
        offset += max((length + 3) & ~3, 8)
    gateway = attrs.get(5)
    destination = attrs.get(1) or bytes(4 if family == socket.AF_INET else 16)
    return RouteEntry(
        destination=f"{ip_address(destination)}/{dst_len}",
        via=str(ip_address(gateway)) if gateway else None,
        devices=tuple(devices),
        table=_u32(attrs.get(15)) or payload[4],
        unicast=payload[7] == _RTN_UNICAST,
    )


def _u32(raw: bytes | None) -> int | None:
    return struct.unpack("=I", raw)[0] if raw and len(raw) == 4 else None


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="surrogateescape")
