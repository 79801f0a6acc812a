"""A feature app for ofctl that handles packets: the gateway's IPv4 address of every network answers ARP and ping.

For networks without an outside, where nobody has that address. The MAC address that it answers with is said in the
configuration (`[app:echo] mac_address`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

from oslo_config import cfg

from ofctl.plugin import (
    ARP_OP,
    ARP_TPA,
    ETH_TYPE,
    IP_PROTO,
    IPV4_DST,
    NETWORK,
    AnchoredTable,
    FeatureApp,
    Flow,
    Match,
    Network,
    NetworkIndex,
    NetworkType,
    PacketIn,
    PacketOut,
    Term,
    ToApp,
    ToPort,
    World,
    network_cookie,
)

IPV4, ARP, ICMP = 0x0800, 0x0806, 1
REQUEST, REPLY = 1, 2
ECHO_REQUEST, ECHO_REPLY = 8, 0
QUESTION = 100
ABOUT_ARP, ABOUT_PING = 1, 2
ARP_HEADER = struct.pack("!HHBB", 1, IPV4, 6, 4)


class Echo(FeatureApp):
    """Two flows for each gateway: what asks for it goes to `packet_in` and no further."""

    name = "echo"
    api_version = 1
    options = (cfg.StrOpt("mac_address", default="02:0f:c1:00:00:01", help="Of the gateways that answer."),)
    anchored = (AnchoredTable(name="gateway", purpose="Questions to a gateway that nobody has.", after="classify"),)

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        """Hand over ARP requests and ICMP for the gateways of a network."""
        for gateway in gateways(world.networks[network]):
            arp = (Term(ETH_TYPE, ARP), Term(ARP_OP, REQUEST), Term(ARP_TPA, int(gateway)))
            ping = (Term(ETH_TYPE, IPV4), Term(IP_PROTO, ICMP), Term(IPV4_DST, int(gateway)))
            for tag, question in ((ABOUT_ARP, arp), (ABOUT_PING, ping)):
                match = Match.of(Term(NETWORK, network), *question)
                yield Flow(self.table("gateway"), QUESTION, match, network_cookie(network), (ToApp(tag),))

    def packet_in(self, packet: PacketIn, world: World) -> Iterable[PacketOut]:
        """Answer the port that asks."""
        del world
        if packet.source is None:
            return
        own = bytes.fromhex(self.option("mac_address").replace(":", ""))
        answer = arp_reply(packet.frame, own) if packet.tag == ABOUT_ARP else echo_reply(packet.frame, own)
        if answer is not None:
            yield ToPort(answer, packet.source)


def gateways(network: Network) -> list[IPv4Address]:
    """Return the addresses that this app answers for."""
    if network.network_type is not NetworkType.LOCAL:
        return []
    return [subnet.gateway for subnet in network.subnets if isinstance(subnet.gateway, IPv4Address)]


def arp_reply(request: bytes, own: bytes) -> bytes | None:
    """Return the reply to an ARP request (RFC 826) that says `own`; None if it is not one of IPv4 on Ethernet."""
    if len(request) < 42 or request[14:20] != ARP_HEADER:
        return None
    asking, asked = request[22:32], request[38:42]
    return asking[:6] + own + ARP.to_bytes(2) + ARP_HEADER + REPLY.to_bytes(2) + own + asked + asking


def echo_reply(request: bytes, own: bytes) -> bytes | None:
    """Return the reply to an echo request (RFC 792); None if it is none, or a fragment."""
    if len(request) < 34:
        return None
    header, length = 4 * (request[14] & 0xF), int.from_bytes(request[16:18])
    icmp = request[14 + header : 14 + length]
    fragment = int.from_bytes(request[20:22]) & 0x3FFF
    if header < 20 or len(icmp) != length - header or len(icmp) < 8 or icmp[0] != ECHO_REQUEST or fragment:
        return None
    body = bytes((ECHO_REPLY, 0, 0, 0)) + icmp[4:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, ICMP, 0) + request[30:34] + request[26:30]
    ip = ip[:10] + checksum(ip) + ip[12:]
    return request[6:12] + own + IPV4.to_bytes(2) + ip + body[:2] + checksum(body) + body[4:]


def checksum(octets: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071)."""
    padded = octets + bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2)
