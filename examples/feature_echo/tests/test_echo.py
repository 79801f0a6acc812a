"""The flows of the app as written down, and what it answers: no switch is needed. `UPDATE_GOLDEN=1 pytest`."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from ofctl_echo import ABOUT_ARP, ABOUT_PING, Echo, checksum
from os_ken.lib.packet import arp, ethernet, icmp, ipv4
from os_ken.lib.packet.packet import Packet

from ofctl.apps.testing import check_golden, example_world, flows_of
from ofctl.model.network import NumberedNetwork, Subnet
from ofctl.plugin import NetworkIndex, PacketIn, Place, PortIndex, ToPort, World

GOLDEN = Path(__file__).parent / "golden"
OWN, GUEST = "02:0f:c1:00:00:01", "02:00:00:00:00:02"
OPTIONS = {"mac_address": OWN}
PORT = PortIndex(2)
GATEWAY, ADDRESS = "10.1.0.1", "10.1.0.2"


def world_with_gateway() -> World:
    world = example_world()
    index = NetworkIndex(1)
    subnet = Subnet(cidr=ip_network("10.1.0.0/24"), gateway=ip_address(GATEWAY))
    return world.with_network(NumberedNetwork(network=replace(world.networks[index], subnets=(subnet,)), index=index))


def answer(frame: bytes, tag: int, *, source: PortIndex | None = PORT) -> Packet | None:
    """Return what the app sends to the port that asks, read by another implementation."""
    app = Echo(Place(options=OPTIONS))
    packet = PacketIn(frame=frame, network=NetworkIndex(1), source=source, tag=tag)
    for out in app.packet_in(packet, world_with_gateway()):
        assert isinstance(out, ToPort) and out.port == source
        return Packet(out.frame)
    return None


def built(*protocols: object) -> bytes:
    packet = Packet()
    for protocol in protocols:
        packet.add_protocol(protocol)
    packet.serialize()
    return bytes(packet.data)


def ping(kind: int = icmp.ICMP_ECHO_REQUEST, **changes: int) -> bytes:
    return built(
        ethernet.ethernet(dst=OWN, src=GUEST),
        ipv4.ipv4(src=ADDRESS, dst=GATEWAY, proto=1, **changes),
        icmp.icmp(kind, 0, 0, icmp.echo(7, 9, b"odd length!")),
    )


def test_flows() -> None:
    check_golden(GOLDEN / "flows.txt", flows_of(Echo, world=world_with_gateway(), options={"echo": OPTIONS}))


def test_who_has_the_gateway() -> None:
    question = built(
        ethernet.ethernet(dst="ff:ff:ff:ff:ff:ff", src=GUEST, ethertype=0x0806),
        arp.arp(opcode=arp.ARP_REQUEST, src_mac=GUEST, src_ip=ADDRESS, dst_ip=GATEWAY),
    )
    reply = answer(question, ABOUT_ARP)
    assert reply is not None
    frame, said = reply.get_protocol(ethernet.ethernet), reply.get_protocol(arp.arp)
    assert (frame.dst, frame.src) == (GUEST, OWN)
    assert (said.opcode, said.src_mac, said.src_ip) == (arp.ARP_REPLY, OWN, GATEWAY)
    assert (said.dst_mac, said.dst_ip) == (GUEST, ADDRESS)
    assert answer(question[:41], ABOUT_ARP) is None


def test_a_ping_is_answered_with_what_it_carried() -> None:
    reply = answer(ping(), ABOUT_PING)
    assert reply is not None
    frame, ip, said = (reply.get_protocol(kind) for kind in (ethernet.ethernet, ipv4.ipv4, icmp.icmp))
    assert (frame.dst, frame.src, ip.src, ip.dst) == (GUEST, OWN, GATEWAY, ADDRESS)
    assert (said.type, said.data.id, said.data.seq, said.data.data) == (icmp.ICMP_ECHO_REPLY, 7, 9, b"odd length!")
    assert checksum(reply.data[14:34]) == checksum(reply.data[34:]) == b"\0\0"


@pytest.mark.parametrize(
    "frame", [ping(kind=icmp.ICMP_ECHO_REPLY), ping(flags=1), ping(offset=1), ping()[:50], b"", ping()[:33]]
)
def test_what_is_no_ping(frame: bytes) -> None:
    assert answer(frame, ABOUT_PING) is None


def test_the_outside_is_not_answered() -> None:
    assert answer(ping(), ABOUT_PING, source=None) is None
