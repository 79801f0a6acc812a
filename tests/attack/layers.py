"""Attempts in Ethernet itself: tags, groups that are reserved, protocols between switches, and frames of odd form."""

from __future__ import annotations

from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3
from scapy.packet import Raw

from tests.attack.attempt import Attempt, Attempts, Stopper, both
from tests.attack.cast import (
    ATTACKER,
    BROADCAST,
    INSIDER,
    NEIGHBOUR,
    ROUTER,
    VICTIM,
    Member,
    between,
    ether,
    ip,
)
from tests.attack.filtering import filtered
from tests.attack.senders import stopped

OWN = ATTACKER.mac
OWN_TAG, OTHER_TAG = 100, 200
CISCO = 0x00000C


def refused(name: str, family: int, *frames: bytes, sender: Member = ATTACKER, tagged: bool = False) -> Attempt:
    return Attempt(name, Stopper.CORE, family, frames, sender=sender, tagged=tagged)


def tags(version: int) -> Attempts:
    """Yield frames that would choose their network by themselves."""
    packet = ip(version, ATTACKER.address(version), NEIGHBOUR.address(version)) / UDP(sport=4000, dport=5000)
    for name, header in (
        ("the own network's tag", Dot1Q(vlan=OWN_TAG)),
        ("the tag of another tenant", Dot1Q(vlan=OTHER_TAG)),
        ("tag 0, priority only", Dot1Q(vlan=0, prio=7)),
        ("tag 0 without a priority", Dot1Q(vlan=0)),
        ("tag 4095", Dot1Q(vlan=4095)),
        ("an 802.1ad tag", Dot1AD(vlan=OTHER_TAG)),
        ("an 802.1ad tag 0", Dot1AD(vlan=0)),
        ("two tags, the own first", Dot1Q(vlan=OWN_TAG) / Dot1Q(vlan=OTHER_TAG)),
        ("two tags, the own last", Dot1Q(vlan=OTHER_TAG) / Dot1Q(vlan=OWN_TAG)),
        ("a tag behind tag 0", Dot1Q(vlan=0) / Dot1Q(vlan=OTHER_TAG)),
        ("a tag behind an 802.1ad tag", Dot1AD(vlan=OWN_TAG) / Dot1Q(vlan=OTHER_TAG)),
        ("three tags", Dot1Q(vlan=0) / Dot1Q(vlan=0) / Dot1Q(vlan=OTHER_TAG)),
    ):
        for to, mac in ((" to one", NEIGHBOUR.mac), (" to all", BROADCAST)):
            yield stopped(f"{name}{to}", version, ether(OWN, mac, header / packet))
    yield stopped(
        "a tag of type 0x9100",
        version,
        ether(
            OWN,
            NEIGHBOUR.mac,
            Raw(OTHER_TAG.to_bytes(2, "big") + (b"\x08\x00" if version == 4 else b"\x86\xdd") + bytes(packet)),
            type=0x9100,
        ),
    )


def from_the_wire(version: int) -> Attempts:
    """Yield what comes in through the uplink and is of no network here, or has a plugged port's address."""
    outer = ip(version, ROUTER.address(version), NEIGHBOUR.address(version)) / UDP(sport=4000, dport=5000)
    for name, header in (
        ("a tag of no network, from outside", Dot1Q(vlan=300)),
        ("tag 0, from outside", Dot1Q(vlan=0)),
        ("an 802.1ad tag of no network, from outside", Dot1AD(vlan=300)),
    ):
        frame = ether(ROUTER.mac, NEIGHBOUR.mac, header / outer)
        yield refused(name, version, frame, sender=ROUTER, tagged=True)
    group = ether("01:00:5e:00:00:fb", NEIGHBOUR.mac, outer)
    yield refused("a multicast address as Ethernet sender, from outside", version, group, sender=ROUTER)
    for name, member in (("the victim's", VICTIM), ("the receiver's own", NEIGHBOUR)):
        for to, mac in (("one", NEIGHBOUR.mac), ("all", BROADCAST)):
            yield refused(
                f"{name} MAC address to {to}, from outside", version, ether(member.mac, mac, outer), sender=ROUTER
            )


def groups(version: int) -> Attempts:
    """Yield group addresses as the sender, and frames to oneself."""
    packet = ip(version, ATTACKER.address(version), NEIGHBOUR.address(version)) / UDP(sport=4000, dport=5000)
    for name, mac in (
        ("the broadcast address", BROADCAST),
        ("a multicast address", "01:00:5e:00:00:fb"),
        ("a multicast address of IPv6", "33:33:00:00:00:fb"),
        ("the own address with the group bit", f"53{OWN[2:]}"),
    ):
        yield stopped(f"{name} as Ethernet sender", version, ether(mac, NEIGHBOUR.mac, packet))
        yield stopped(f"{name} as Ethernet sender, to all", version, ether(mac, BROADCAST, packet))
    yield refused("a frame to oneself", version, between(ATTACKER, ATTACKER, version, UDP(sport=4000, dport=5000)))
    jumbo = between(ATTACKER, NEIGHBOUR, version, UDP(sport=4000, dport=5000) / Raw(bytes(8000)))
    yield refused("a frame longer than the network's MTU", version, jumbo)
    zero = ether("00:00:00:00:00:00", NEIGHBOUR.mac, packet)
    yield stopped("no MAC address at all as Ethernet sender", version, zero)
    yield stopped("the receiver's MAC address as Ethernet sender", version, ether(NEIGHBOUR.mac, NEIGHBOUR.mac, packet))


def wrapped(version: int) -> Attempts:
    """Yield a SYN to the victim's closed port in what a switch may not look into, or not far enough."""
    packet = ip(version, INSIDER.address(version), VICTIM.address(version)) / TCP(sport=4140, dport=22)
    kind = 0x0800 if version == 4 else 0x86DD
    for name, header in (
        ("a tag", Dot1Q(vlan=7)),
        ("tag 0", Dot1Q(vlan=0)),
        ("an 802.1ad tag", Dot1AD(vlan=7)),
        ("two tags", Dot1AD(vlan=7) / Dot1Q(vlan=8)),
        ("three tags", Dot1Q(vlan=7) / Dot1Q(vlan=8) / Dot1Q(vlan=9)),
    ):
        yield filtered(f"TCP to a closed port behind {name}", version, ether(INSIDER.mac, VICTIM.mac, header / packet))
    snap = Dot3(src=INSIDER.mac, dst=VICTIM.mac) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=kind)
    yield filtered("TCP to a closed port inside of LLC and SNAP", version, bytes(snap / packet))
    mpls = (16 << 12 | 1 << 8 | 64).to_bytes(4, "big")
    pppoe = bytes.fromhex("11000001") + (len(packet) + 2).to_bytes(2, "big") + {4: b"\0\x21", 6: b"\0\x57"}[version]
    for name, header, ethertype in (
        ("behind an MPLS label", mpls, 0x8847),
        ("in a PPPoE session", pppoe, 0x8864),
        ("behind a tag of type 0x9100", (7).to_bytes(2, "big") + kind.to_bytes(2, "big"), 0x9100),
        ("with an ethertype of nobody", b"", 0x88B5),
    ):
        frame = ether(INSIDER.mac, VICTIM.mac, Raw(header + bytes(packet)), type=ethertype)
        yield filtered(f"TCP to a closed port {name}", version, frame)


def between_switches() -> Attempts:
    """Yield what only switches say to each other."""
    bpdu = LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP(rootid=0, rootmac=OWN, bridgeid=0, bridgemac=OWN)
    lldp = Raw(bytes.fromhex("0207045254000000 0a 040705 52540000000a 06020078 0000".replace(" ", "")))
    snap = LLC(dsap=0xAA, ssap=0xAA, ctrl=3)
    reserved = "01:80:c2:00:00:{:02x}"
    for number, name, payload, ethertype in (
        (0x00, "STP", bpdu, None),
        (0x01, "a pause frame", Raw(b"\0\1\xff\xff"), 0x8808),
        (0x02, "LACP", Raw(b"\1\1"), 0x8809),
        (0x03, "EAPOL", Raw(b"\2\1\0\0"), 0x888E),
        (0x08, "STP of a provider's bridges", bpdu, None),
        (0x0D, "MVRP of a provider's bridges", Raw(b"\0"), 0x88F5),
        (0x0E, "LLDP", lldp, 0x88CC),
        (0x0E, "PTP between neighbours", Raw(bytes(44)), 0x88F7),
        (0x0F, "the last reserved address", Raw(b"x"), 0x88B6),
    ):
        yield refused(f"{name} to a reserved address", 0, to_group(reserved.format(number), payload, ethertype))
    for name, mac, payload, ethertype in (
        ("STP to all", BROADCAST, bpdu, None),
        ("STP to one", NEIGHBOUR.mac, bpdu, None),
        ("PVST+", "01:00:0c:cc:cc:cd", snap / SNAP(OUI=CISCO, code=0x010B) / STP(), None),
        ("CDP", "01:00:0c:cc:cc:cc", snap / SNAP(OUI=CISCO, code=0x2000) / Raw(b"\2\xb4"), None),
        ("VTP", "01:00:0c:cc:cc:cc", snap / SNAP(OUI=CISCO, code=0x2003) / Raw(b"\1\1"), None),
        ("UDLD", "01:00:0c:cc:cc:cc", snap / SNAP(OUI=CISCO, code=0x0111) / Raw(b"\x21"), None),
        ("LLDP to all", BROADCAST, lldp, 0x88CC),
        ("LLDP to one", NEIGHBOUR.mac, lldp, 0x88CC),
        ("MVRP", reserved.format(0x21), Raw(b"\0"), 0x88F5),
        ("GVRP", reserved.format(0x21), LLC(dsap=0x42, ssap=0x42, ctrl=3) / Raw(b"\0\1"), None),
        ("CFM", reserved.format(0x30), Raw(bytes(70)), 0x8902),
        ("IS-IS", reserved.format(0x14), LLC(dsap=0xFE, ssap=0xFE, ctrl=3) / Raw(b"\x83"), None),
        ("EAPOL to one", NEIGHBOUR.mac, Raw(b"\2\1\0\0"), 0x888E),
        ("a pause frame to one", NEIGHBOUR.mac, Raw(b"\0\1\xff\xff"), 0x8808),
        ("MPLS to all", BROADCAST, Raw(bytes(30)), 0x8847),
        ("PPPoE discovery", BROADCAST, Raw(bytes.fromhex("1109000000040101 0000")), 0x8863),
        ("FCoE", NEIGHBOUR.mac, Raw(bytes(50)), 0x8906),
        ("ATA over Ethernet", BROADCAST, Raw(bytes(24)), 0x88A2),
        ("wake on LAN", BROADCAST, Raw(b"\xff" * 6 + bytes(96)), 0x0842),
        ("Ethernet loopback", NEIGHBOUR.mac, Raw(bytes(46)), 0x9000),
        ("a probe of the controller's", NEIGHBOUR.mac, Raw(bytes(46)), 0x88B5),
        ("a probe of the controller's to all", BROADCAST, Raw(bytes(46)), 0x88B5),
        ("a length and no LLC", NEIGHBOUR.mac, Raw(b"x"), 1),
        ("Novell's raw IPX", BROADCAST, Raw(b"\xff\xff" + bytes(28)), 30),
        ("ethertype 0xffff", NEIGHBOUR.mac, Raw(b"x"), 0xFFFF),
    ):
        yield stopped(name, 0, to_group(mac, payload, ethertype))
    yield stopped("an Ethernet header and nothing else", 0, ether(OWN, NEIGHBOUR.mac, type=0x0800))


def to_group(mac: str, payload: object, ethertype: int | None) -> bytes:
    """Return a frame with an ethertype, or with a length where LLC says what it is."""
    if ethertype is None:
        return bytes(Dot3(src=OWN, dst=mac) / payload)
    return ether(OWN, mac, payload, type=ethertype)


ATTEMPTS = (*both(tags), *both(from_the_wire), *both(groups), *both(wrapped), *between_switches())
