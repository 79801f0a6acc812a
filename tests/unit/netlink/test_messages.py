"""What is read from the kernel's answers, with pyroute2 as the one who writes them, and broken answers."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from ofctl.model.port import Route
from ofctl.netlink import messages
from ofctl.netlink.rtnl import KernelError, attributes, first_payload


def payload(message: Any) -> bytes:
    """Return an encoded message without its header."""
    message.encode()
    return bytes(message.data)[16:]


def test_a_link() -> None:
    message = ifinfmsg()
    message["index"] = 7
    message["flags"] = 1
    message["attrs"] = [
        ("IFLA_IFNAME", "veth1"),
        ("IFLA_MTU", 1400),
        ("IFLA_ADDRESS", "02:00:00:00:00:07"),
        ("IFLA_IFALIAS", "ofctl:h:p"),
        ("IFLA_CARRIER", 1),
        ("IFLA_LINK", 3),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth")]}),
    ]
    state = messages.read_link(payload(message))
    assert (state.ifindex, state.device, state.mtu, state.mac) == (7, "veth1", 1400, "02:00:00:00:00:07")
    assert (state.kind, state.up, state.carrier, state.peer_ifindex) == ("veth", True, True, 3)
    assert (state.master, state.peer_nsid, state.port_id) == (None, None, "p")


def test_a_route_with_several_next_hops_names_all_devices() -> None:
    hops = b"".join(struct.pack("=HBBi", 8, 0, 0, ifindex) for ifindex in (4, 9))
    raw = bytes([socket.AF_INET, 0, 0, 0, 254, 0, 0, 1]) + bytes(4) + struct.pack("=HH", 4 + len(hops), 9) + hops
    entry = messages.read_route(raw)
    assert entry.destination == "0.0.0.0/0" and entry.devices == (4, 9) and entry.unicast


def test_a_route_of_ours_reads_as_it_was_written() -> None:
    route = Route(destination=ip_network("fd00:1::/64"), via=ip_interface("fd00::1/64").ip)
    request = messages.add_route(5, route)
    assert isinstance(request.message, rtmsg)
    assert messages.read_route(payload(request.message)) == ("fd00:1::/64", "fd00::1", (5,), 254, True)


def test_an_address_of_ours_is_usable_at_once() -> None:
    six = messages.add_address(5, ip_interface("fd00::5/64")).message
    assert isinstance(six, ifaddrmsg)
    raw = payload(six)
    assert attributes(raw, 8)[8] == struct.pack("=I", 2), "IFA_F_NODAD"
    assert messages.read_address(raw) == (5, "fd00::5", False)


@pytest.mark.parametrize("raw", [b"", b"\x03\x00\x01\x00", b"\x00\x00\x00\x00" * 3, b"\x08\x00"])
def test_broken_attributes_end_the_reading(raw: bytes) -> None:
    assert attributes(raw, 0) == {}


def test_an_acknowledgement_without_an_answer_is_an_error() -> None:
    with pytest.raises(KernelError):
        first_payload([[]], 0)
