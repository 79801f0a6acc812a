"""Attempts on stateful security groups: closed ports, replies to nothing, errors about nothing, and the way out.

What VICTIM lets in is in `tests.attack.host`: TCP 80, UDP 5000 to 5010, echo requests; TCP 2222 from INSIDER's IPv4
address; TCP 3306 from FRIENDS; UDP 7000 from NEIGHBOUR's addresses. CONFINED may send TCP 443 to the router, and UDP
to port 53.
"""

from __future__ import annotations

from typing import Any

from scapy.contrib.geneve import GENEVE
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6NIQueryIPv4,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import GRE, Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from tests.attack.attempt import Attempt, Attempts, Stopper, both
from tests.attack.cast import (
    ATTACKER,
    BROADCAST,
    CONFINED,
    ELSEWHERE,
    FOREIGN_FRIEND,
    INSIDER,
    NEIGHBOUR,
    ROUTER,
    STATELESS,
    VICTIM,
    Member,
    address,
    between,
    ether,
    ip,
)

Before = tuple[tuple[Member, bytes], ...]


def filtered(name: str, family: int, *frames: bytes, sender: Member = INSIDER, before: Before = ()) -> Attempt:
    return Attempt(name, Stopper.SECURITY_GROUP, family, frames, sender=sender, before=before)


def tcp(sport: int, dport: int, flags: str = "S", *, seq: int = 1000, ack: int = 0, text: str = "") -> Any:
    return TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack) / text


def udp(sport: int, dport: int, text: str = "x") -> Any:
    return UDP(sport=sport, dport=dport) / text


def to_victim(version: int, payload: Any, *, sender: Member = INSIDER, **fields: Any) -> bytes:
    return between(sender, VICTIM, version, payload, **fields)


def protocol(version: int, number: int, payload: bytes = bytes(24)) -> bytes:
    """Return a packet to the victim of any IP protocol."""
    field: dict[str, Any] = {"proto": number} if version == 4 else {"nh": number}
    return to_victim(version, Raw(payload), **field)


def closed(version: int) -> Attempts:
    """Yield what no rule of the victim's lets in."""
    other = ICMP(type=13) if version == 4 else ICMPv6NIQueryIPv4()
    for name, payload in (
        ("a SYN to a closed port", tcp(4001, 22)),
        ("a SYN to the port after the open one", tcp(4002, 81)),
        ("UDP to the port before the open ones", udp(4003, 4999)),
        ("UDP to the port after the open ones", udp(4004, 5011)),
        ("UDP to the port that is open for TCP", udp(4005, 80)),
        ("a SYN to the port that is open for UDP", tcp(4006, 5000)),
        ("UDP to port 0", udp(4007, 0)),
        ("a SYN from the open port to a closed one", tcp(80, 22)),
        ("UDP from port 53 to a closed one", udp(53, 1053)),
        ("UDP from the DHCP server's port to another than the client's", udp(67 if version == 4 else 547, 1068)),
        ("ICMP of a type that is not let in", other),
        ("SCTP to the open port", SCTP(sport=4008, dport=80) / SCTPChunkInit()),
    ):
        yield filtered(name, version, to_victim(version, payload))
    for name, number in (
        ("IGMP", 2),
        ("DCCP", 33),
        ("ESP", 50),
        ("EIGRP", 88),
        ("OSPF", 89),
        ("PIM", 103),
        ("VRRP", 112),
        ("UDP-Lite", 136),
        ("an unknown protocol", 253),
        ("protocol 255", 255),
    ):
        yield filtered(name, version, protocol(version, number))
    yield filtered(
        "ICMP of the other family", version, protocol(version, 58 if version == 4 else 1, b"\x08\0" + bytes(22))
    )


def remotes(version: int) -> Attempts:
    """Yield what is open, but not for this sender."""
    friend = address(FOREIGN_FRIEND, version)
    as_friend = ip(version, friend, VICTIM.address(version)) / tcp(4021, 3306)
    yield filtered("a SYN for members of a group", version, to_victim(version, tcp(4020, 3306)))
    yield filtered("a SYN as a member in another network", version, ether(INSIDER.mac, VICTIM.mac, as_friend))
    yield filtered("UDP for an address group", version, to_victim(version, udp(4022, 7000)))
    prefix = to_victim(version, tcp(4023, 2222), sender=NEIGHBOUR)
    yield filtered("a SYN for a prefix, from beside it", version, prefix, sender=NEIGHBOUR)
    if version == 6:
        yield filtered("a SYN for an IPv4 prefix, over IPv6", 6, to_victim(6, tcp(4024, 2222)))
        mapped = IPv6(src=f"::ffff:{INSIDER.address(4)}", dst=VICTIM.address(6)) / tcp(4025, 2222)
        yield filtered("a SYN from the allowed IPv4 address, mapped", 6, ether(INSIDER.mac, VICTIM.mac, mapped))
        both_mapped = IPv6(src=f"::ffff:{INSIDER.address(4)}", dst=f"::ffff:{VICTIM.address(4)}") / tcp(4026, 2222)
        yield filtered("a SYN between mapped addresses", 6, ether(INSIDER.mac, VICTIM.mac, both_mapped))


def tunnels(version: int) -> Attempts:
    """Yield what carries another frame to the victim, as if it were a way into another network."""
    inner = ip(version, INSIDER.address(version), VICTIM.address(version)) / tcp(4030, 80)
    frame = Ether(src=INSIDER.mac, dst=VICTIM.mac) / inner
    crossed = IPv6(src=INSIDER.address(6), dst=VICTIM.address(6)) / tcp(4031, 80)
    if version == 6:
        crossed = IP(src=INSIDER.address(4), dst=VICTIM.address(4)) / tcp(4031, 80)
    for name, payload in (
        ("IP in IP", inner),
        ("the other IP in IP", crossed),
        ("GRE", GRE() / inner),
        ("NVGRE", GRE(proto=0x6558, key_present=1, key=OTHER_VNI << 8) / frame),
        ("VXLAN", UDP(sport=4032, dport=4789) / VXLAN(vni=OTHER_VNI) / frame),
        ("Geneve", UDP(sport=4033, dport=6081) / GENEVE(vni=OTHER_VNI, proto=0x6558) / frame),
    ):
        yield filtered(f"{name} with an allowed SYN inside", version, to_victim(version, payload))


OTHER_VNI = 200


def unasked(version: int) -> Attempts:
    """Yield answers that nobody asked for, and what is no beginning of a connection."""
    reply = ICMP(type=0, id=7) if version == 4 else ICMPv6EchoReply(id=7)
    for flags, name in (
        ("SA", "SYN+ACK"),
        ("A", "ACK"),
        ("R", "RST"),
        ("RA", "RST+ACK"),
        ("FA", "FIN+ACK"),
        ("PA", "data"),
    ):
        yield filtered(f"{name} as if the victim had connected", version, to_victim(version, tcp(443, 40_001, flags)))
        yield filtered(f"{name} to a closed port", version, to_victim(version, tcp(4040, 22, flags)))
    for flags, name in (
        ("SA", "SYN+ACK"),
        ("", "no flag"),
        ("FPU", "FIN, PSH and URG"),
        ("SF", "SYN and FIN"),
        ("SR", "SYN and RST"),
        ("F", "FIN alone"),
    ):
        yield filtered(f"{name} to the open port", version, to_victim(version, tcp(4041, 80, flags)))
    yield filtered("UDP as if the victim had asked", version, to_victim(version, udp(53, 40_002)))
    yield filtered("an echo reply to nothing", version, to_victim(version, reply))


def replies(version: int) -> Attempts:
    """Yield answers to a question that was asked, but not so."""

    def asked(port: int) -> Before:
        return ((VICTIM, between(VICTIM, INSIDER, version, udp(port, 53))),)

    yield filtered("an answer from another port", version, to_victim(version, udp(54, 41_001)), before=asked(41_001))
    yield filtered("an answer to another port", version, to_victim(version, udp(53, 41_999)), before=asked(41_002))
    other = to_victim(version, udp(53, 41_003), sender=NEIGHBOUR)
    yield filtered("an answer from another address", version, other, sender=NEIGHBOUR, before=asked(41_003))
    yield filtered(
        "an answer of another protocol", version, to_victim(version, tcp(53, 41_004, "SA")), before=asked(41_004)
    )
    back = to_victim(version, udp(41_005, 53))
    yield filtered("the question sent back", version, back, before=asked(41_005))
    echo = ICMP(id=77) if version == 4 else ICMPv6EchoRequest(id=77)
    answer = ICMP(type=0, id=78) if version == 4 else ICMPv6EchoReply(id=78)
    pinged = ((VICTIM, between(VICTIM, INSIDER, version, echo)),)
    yield filtered("an echo reply with another identifier", version, to_victim(version, answer), before=pinged)


def connected(version: int, port: int) -> Before:
    """Return the handshake of the victim's own connection to the insider's port 443."""
    return (
        (VICTIM, between(VICTIM, INSIDER, version, tcp(port, 443, "S", seq=100))),
        (INSIDER, to_victim(version, tcp(443, port, "SA", seq=500, ack=101))),
        (VICTIM, between(VICTIM, INSIDER, version, tcp(port, 443, "A", seq=101, ack=501))),
    )


def out_of_window(version: int) -> Attempts:
    """Yield blind guesses at a connection that is there (RFC 5961)."""
    far = 0x4000_0000
    for number, (flags, name) in enumerate((("RA", "RST"), ("PA", "data"), ("FA", "FIN"))):
        port = 42_001 + number
        guess = to_victim(version, tcp(443, port, flags, seq=far, ack=101, text="guess"))
        yield filtered(f"a {name} outside of the window", version, guess, before=connected(version, port))


def error(version: int, kind: str, about: Any) -> Any:
    """Return an ICMP error about a packet."""
    quoted = Raw(bytes(about))
    if version == 4:
        numbers = {"unreachable": (3, 3), "too big": (3, 4), "time exceeded": (11, 0), "redirect": (5, 1)}
        number, code = numbers[kind]
        return ICMP(type=number, code=code) / quoted
    kinds = {
        "unreachable": ICMPv6DestUnreach(code=4),
        "too big": ICMPv6PacketTooBig(mtu=1280),
        "time exceeded": ICMPv6TimeExceeded(),
    }
    return kinds[kind] / quoted


def errors(version: int) -> Attempts:
    """Yield ICMP errors about connections that do not exist."""
    header = ip(version, VICTIM.address(version), INSIDER.address(version))
    for kind in ("unreachable", "too big", "time exceeded", *(("redirect",) if version == 4 else ())):
        for name, about in (("UDP", udp(43_001, 53)), ("TCP", tcp(43_002, 443))):
            payload = error(version, kind, header / about)
            yield filtered(f"an error about {name} that was never sent, {kind}", version, to_victim(version, payload))
    asked = ((VICTIM, between(VICTIM, INSIDER, version, udp(43_003, 53))),)
    yield filtered(
        "an error about another port than the one that was asked",
        version,
        to_victim(version, error(version, "unreachable", header / udp(43_003, 54))),
        before=asked,
    )
    yield filtered(
        "an error about half a packet", version, to_victim(version, error(version, "unreachable", bytes(header)[:12]))
    )


def groups(version: int) -> Attempts:
    """Yield what goes to a group address in IP and to the victim in Ethernet."""
    for name, destination in (
        ("a multicast group", "224.0.0.251" if version == 4 else "ff02::fb"),
        ("all", "255.255.255.255" if version == 4 else "ff02::1"),
    ):
        packet = ip(version, INSIDER.address(version), destination) / udp(4050, 5353)
        yield filtered(f"UDP to a closed port, for {name}", version, ether(INSIDER.mac, VICTIM.mac, packet))
    packet = ip(version, INSIDER.address(version), "10.1.0.255" if version == 4 else "ff02::1") / udp(4051, 5353)
    frame = ether(INSIDER.mac, BROADCAST, packet)
    yield Attempt(
        "UDP to a closed port, in a broadcast",
        Stopper.SECURITY_GROUP,
        version,
        (frame,),
        sender=INSIDER,
        unfiltered=UNFILTERED,
    )


def out(version: int) -> Attempts:
    """Yield what a port with egress rules may not send."""

    def sent(payload: Any, to: Member = ROUTER, **fields: Any) -> bytes:
        return between(CONFINED, to, version, payload, **fields)

    ping = ICMP() if version == 4 else ICMPv6EchoRequest()
    unknown: dict[str, Any] = {"proto": 253} if version == 4 else {"nh": 253}
    for name, frame in (
        ("a SYN to a port that is not allowed", sent(tcp(4060, 22))),
        ("a SYN to the allowed port of another", sent(tcp(4061, 443), NEIGHBOUR)),
        ("a SYN from the allowed port", sent(tcp(443, 22))),
        ("UDP to the port after the allowed one", sent(udp(4062, 54))),
        ("UDP from the allowed port", sent(udp(53, 4062))),
        ("TCP to the port that is allowed for UDP", sent(tcp(4063, 53))),
        ("a ping", sent(ping)),
        ("an unknown protocol", sent(Raw(bytes(24)), **unknown)),
        ("SYN+ACK without a connection", sent(tcp(80, 40_010, "SA"))),
        ("ACK without a connection", sent(tcp(80, 40_011, "A"))),
        ("RST without a connection", sent(tcp(80, 40_012, "R"))),
        (
            "a SYN to another port at an address elsewhere",
            ether(
                CONFINED.mac, ROUTER.mac, ip(version, CONFINED.address(version), ELSEWHERE[version]) / tcp(4064, 443)
            ),
        ),
        (
            "UDP to a multicast group",
            ether(
                CONFINED.mac,
                "01:00:5e:00:00:fb" if version == 4 else "33:33:00:00:00:fb",
                ip(version, CONFINED.address(version), "224.0.0.251" if version == 4 else "ff02::fb") / udp(5353, 5353),
            ),
        ),
        (
            "UDP to all",
            ether(
                CONFINED.mac,
                BROADCAST,
                ip(version, CONFINED.address(version), "255.255.255.255" if version == 4 else "ff02::1")
                / udp(9999, 9999),
            ),
        ),
    ):
        yield filtered(f"out: {name}", version, frame, sender=CONFINED)
    opened = ((INSIDER, between(INSIDER, CONFINED, version, tcp(4065, 80, seq=100))),)
    other = between(CONFINED, INSIDER, version, tcp(81, 4065, "SA", seq=500, ack=101))
    yield filtered("out: an answer from another port", version, other, sender=CONFINED, before=opened)
    new = between(CONFINED, INSIDER, version, tcp(4065, 80))
    yield filtered("out: a connection back", version, new, sender=CONFINED, before=opened)


def stateless(version: int) -> Attempts:
    """Yield what a stateless group does not let in: for it there are no replies. TCP 80 is open."""

    def sent(payload: Any) -> bytes:
        return between(INSIDER, STATELESS, version, payload)

    asked = ((STATELESS, between(STATELESS, INSIDER, version, udp(44_001, 53))),)
    yield filtered("stateless: a SYN to a closed port", version, sent(tcp(4070, 22)))
    yield filtered("stateless: a SYN from the open port", version, sent(tcp(80, 22)))
    yield filtered("stateless: an answer that no rule lets in", version, sent(udp(53, 44_001)), before=asked)
    yield filtered("stateless: SYN+ACK to a closed port", version, sent(tcp(443, 40_020, "SA")))
    yield filtered("stateless: UDP to the port that is open for TCP", version, sent(udp(4071, 80)))
    yield filtered("stateless: an unknown protocol", version, sent(Raw(bytes(24))))


def between_filtered(version: int) -> Attempts:
    """Yield what one filtered port may send and another does not let in: the state of the one is not the other's."""
    for name, source, to, payload in (
        ("from a confined port what it may send", CONFINED, VICTIM, udp(4080, 53)),
        ("from a port that may send all", VICTIM, CONFINED, tcp(4081, 22)),
        ("to a stateless port", VICTIM, STATELESS, tcp(4082, 22)),
        ("from a stateless port", STATELESS, VICTIM, tcp(4083, 22)),
        ("from a stateless port to a confined one", STATELESS, CONFINED, udp(80, 4084)),
        ("from a confined port to a stateless one", CONFINED, STATELESS, udp(4085, 53)),
    ):
        yield filtered(f"to a closed port, {name}", version, between(source, to, version, payload), sender=source)
    opened = ((INSIDER, between(INSIDER, CONFINED, version, tcp(4086, 80, seq=100))),)
    aside = between(CONFINED, VICTIM, version, tcp(80, 4086, "SA", seq=500, ack=101))
    yield filtered("an answer to somebody else", version, aside, sender=CONFINED, before=opened)


UNFILTERED = (ATTACKER, NEIGHBOUR, ROUTER)

ATTEMPTS = tuple(
    attempt
    for group in (
        closed,
        remotes,
        tunnels,
        unasked,
        replies,
        out_of_window,
        errors,
        groups,
        out,
        stateless,
        between_filtered,
    )
    for attempt in both(group)
)
