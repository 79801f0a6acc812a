"""Who answers a question for a known address, and what becomes of the others, frame by frame."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from ofctl.model.ids import NetworkId, NetworkIndex, PhysicalNetwork
from ofctl.model.network import Network, NetworkType, NumberedNetwork, Subnet
from ofctl.pipeline.world import World
from tests.functional.pipeline.lab import Lab

ASKER, OWNER, THIRD, ROUTER = (f"52:54:00:00:00:0{number}" for number in (1, 2, 3, 4))
ASKER_4, ASKER_6 = "10.0.0.1", "fd00::1"
OWNER_4, OWNER_6, OWNER_LINK_LOCAL = "10.0.0.2", "fd00::2", "fe80::5054:ff:fe00:2"
GATEWAY_4, NOBODY_4, NOBODY_6 = "10.0.0.254", "10.0.0.99", "fd00::99"
ALL, NODE = "ff:ff:ff:ff:ff:ff", "33:33:ff:00:00:02"
NETWORK = Network(
    network_id=NetworkId("net"),
    network_type=NetworkType.VLAN,
    segmentation_id=100,
    physical_network=PhysicalNetwork("physnet"),
    subnets=(
        Subnet(cidr=ipaddress.ip_network("10.0.0.0/24"), gateway=ipaddress.ip_address(GATEWAY_4)),
        Subnet(cidr=ipaddress.ip_network("fd00::/64")),
    ),
)


@pytest.fixture
def lan(lab: Lab) -> Lab:
    """`asker`, whose sender is not checked, `owner` and `third`, in a VLAN network with the uplink `up`."""
    lab.attach("asker", "owner", "third", "up")
    asker = replace(lab.port("asker", 1, 1, ASKER), addresses=addresses(ASKER_4, ASKER_6))
    owner = replace(lab.port("owner", 2, 1, OWNER), addresses=addresses(OWNER_4, OWNER_6), port_security=True)
    ports = [asker, owner, lab.port("third", 3, 1, THIRD)]
    world = World().with_network(NumberedNetwork(network=NETWORK, index=NetworkIndex(1)))
    lab.become(world.with_uplink(lab.uplink("up", "physnet")).with_ports(ports))
    return lab


def addresses(*texts: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    return tuple(map(ipaddress.ip_address, texts))


def settings(lab: Lab, network: Network) -> None:
    lab.become(lab.world.with_network(NumberedNetwork(network=network, index=NetworkIndex(1))))


def request(target: str, *, source: str = ASKER_4, mac: str = ASKER, op: int = 1) -> bytes:
    return padded(Ether(src=mac, dst=ALL) / ARP(op=op, hwsrc=mac, psrc=source, pdst=target))


def solicitation(
    target: str, *, source: str = ASKER_6, mac: str = ASKER, option: bool = True, hlim: int = 255
) -> Packet:
    question = Ether(src=mac, dst=NODE) / IPv6(src=source, dst="ff02::1:ff00:2", hlim=hlim) / ICMPv6ND_NS(tgt=target)
    return question / ICMPv6NDOptSrcLLAddr(lladdr=mac) if option else question


def padded(packet: Packet) -> bytes:
    return bytes(packet).ljust(60, b"\0")


def untagged(frame: bytes) -> bytes:
    assert frame[12:16] == bytes.fromhex("81000064")
    return frame[:12] + frame[16:]


def is_the_owner_s(answer: bytes, *, to: str = ASKER, address: str = ASKER_4) -> bool:
    packet = Ether(answer)
    arp = packet[ARP]
    return (packet.src, packet.dst, arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (
        (OWNER, to, 2, OWNER, OWNER_4, to, address)
    )


def checked(answer: bytes) -> Packet:
    """Return an advertisement whose checksum is right."""
    packet = Ether(answer)
    again = Ether(answer)
    del again[ICMPv6ND_NA].cksum
    assert bytes(again) == answer, "checksum"
    return packet


def test_an_arp_request_for_a_known_address_is_answered_to_the_asker_alone(lan: Lab) -> None:
    received = lan.send("asker", request(OWNER_4))
    assert list(received) == ["asker"] and is_the_owner_s(*received["asker"])


def test_a_question_from_outside_is_answered_to_the_outside(lan: Lab) -> None:
    asked = request(OWNER_4, source=GATEWAY_4, mac=ROUTER)
    received = lan.send("up", asked[:12] + bytes.fromhex("81000064") + asked[12:])
    assert list(received) == ["up"]
    assert is_the_owner_s(untagged(*received["up"]), to=ROUTER, address=GATEWAY_4)


@pytest.mark.parametrize("target", [OWNER_6, OWNER_LINK_LOCAL])
def test_a_solicitation_is_answered_with_an_advertisement(lan: Lab, target: str) -> None:
    received = lan.send("asker", bytes(solicitation(target)))
    assert list(received) == ["asker"]
    (answer,) = map(checked, received["asker"])
    assert (answer.src, answer.dst) == (OWNER, ASKER)
    assert (answer[IPv6].src, answer[IPv6].dst, answer[IPv6].hlim) == (target, ASKER_6, 255)
    advertised = answer[ICMPv6ND_NA]
    assert (advertised.tgt, advertised.R, advertised.S, advertised.O) == (target, 0, 1, 1)
    assert answer[ICMPv6NDOptDstLLAddr].lladdr == OWNER


def test_another_s_duplicate_address_detection_is_told_the_truth(lan: Lab) -> None:
    received = lan.send("asker", request(OWNER_4, source="0.0.0.0"))
    assert list(received) == ["asker"] and is_the_owner_s(*received["asker"], address="0.0.0.0")
    received = lan.send("asker", bytes(solicitation(OWNER_6, source="::", option=False)))
    assert list(received) == ["asker"]
    (answer,) = map(checked, received["asker"])
    assert (answer.dst, answer[IPv6].src, answer[IPv6].dst) == ("33:33:00:00:00:01", OWNER_6, "ff02::1")
    assert (answer[ICMPv6ND_NA].tgt, answer[ICMPv6ND_NA].S) == (OWNER_6, 0)


def test_what_the_owner_says_of_itself_reaches_the_others(lan: Lab) -> None:
    advertisement = Ether(src=OWNER, dst="33:33:00:00:00:01") / IPv6(src=OWNER_6, dst="ff02::1", hlim=255)
    said = [
        request(OWNER_4, source=OWNER_4, mac=OWNER),
        request(OWNER_4, source=OWNER_4, mac=OWNER, op=2),
        request(OWNER_4, source="0.0.0.0", mac=OWNER),
        bytes(solicitation(OWNER_6, source="::", mac=OWNER, option=False)),
        bytes(advertisement / ICMPv6ND_NA(tgt=OWNER_6, R=0, S=0) / ICMPv6NDOptDstLLAddr(lladdr=OWNER)),
    ]
    received = lan.send("owner", *said)
    assert received.keys() == {"asker", "third", "up"}
    assert (
        sorted(received["third"]) == sorted(received["asker"]) == sorted(map(untagged, received["up"])) == sorted(said)
    )


def test_what_cannot_be_answered_goes_to_all(lan: Lab) -> None:
    asked = [
        request(NOBODY_4),
        bytes(solicitation(NOBODY_6)),
        bytes(solicitation(OWNER_6, option=False)),
        bytes(solicitation(OWNER_6, hlim=64)),
        bytes(
            Ether(src=ASKER, dst=NODE)
            / IPv6(src=ASKER_6, hlim=255)
            / IPv6ExtHdrFragment(nh=58, m=1)
            / bytes(solicitation(OWNER_6))[54:]
        ),
        padded(Ether(src=ASKER, dst=ALL) / Dot1Q(vlan=5) / ARP(hwsrc=ASKER, psrc=ASKER_4, pdst=OWNER_4)),
    ]
    received = lan.send("asker", *asked)
    assert received.keys() == {"owner", "third", "up"}
    assert sorted(received["third"]) == sorted(received["owner"]) == sorted(asked)


def test_a_guest_is_asked_itself_whether_it_is_still_there(lan: Lab) -> None:
    asked = [
        bytes(Ether(src=ASKER, dst=OWNER) / Ether(frame).payload)
        for frame in (request(OWNER_4), bytes(solicitation(OWNER_6)))
    ]
    assert lan.send("asker", *asked) == {"owner": asked}


def test_unknown_addresses_are_asked_for_only_where_the_network_says_so(lan: Lab) -> None:
    settings(lan, replace(NETWORK, flood_unknown_neighbors=False))
    assert lan.send("asker", request(NOBODY_4), bytes(solicitation(NOBODY_6))) == {}
    received = lan.send("asker", request(GATEWAY_4))
    assert received.keys() == {"owner", "third", "up"}, "the subnet's gateway is known to be there"
    assert list(lan.send("asker", request(OWNER_4), bytes(solicitation(OWNER_6)))) == ["asker"]
    assert lan.send("asker", request(ASKER_4, source=ASKER_4)).keys() == {"owner", "third", "up"}


def test_a_network_may_have_its_guests_answer(lan: Lab) -> None:
    settings(lan, replace(NETWORK, neighbor_replies=False, flood_unknown_neighbors=False))
    asked = [request(OWNER_4), bytes(solicitation(OWNER_6)), request(NOBODY_4)]
    received = lan.send("asker", *asked)
    assert received.keys() == {"owner", "third", "up"} and sorted(received["owner"]) == sorted(asked)
