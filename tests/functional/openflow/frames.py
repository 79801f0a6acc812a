"""Frames of two hosts, one behind each of two ports, in both families."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from os_ken.lib.packet import ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp
from os_ken.lib.packet.packet import Packet

SO_RCVBUFFORCE = 33
TRAFFIC_ENDS = 0x88B6
MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
ADDRESSES = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
MARKER = b"\xff" * 6 + bytes(6) + TRAFFIC_ENDS.to_bytes(2, "big") + bytes(46)


@dataclass(frozen=True)
class Way:
    """From one host (1 or 2) to the other."""

    family: int
    sender: int

    @property
    def source(self) -> str:
        return ADDRESSES[self.family][self.sender - 1]

    @property
    def destination(self) -> str:
        return ADDRESSES[self.family][2 - self.sender]

    def back(self) -> Way:
        return replace(self, sender=3 - self.sender)

    def ip(self, protocol: int, payload: object, source: str | None = None) -> bytes:
        """Return the IP packet, without Ethernet."""
        header: object
        if self.family == 4:
            header = ipv4.ipv4(src=source or self.source, dst=self.destination, proto=protocol)
        else:
            header = ipv6.ipv6(src=source or self.source, dst=self.destination, nxt=protocol, hop_limit=255)
        packet = Packet(protocols=[header, *(payload if isinstance(payload, list) else [payload])])
        packet.serialize()
        return bytes(packet.data)

    def frame(self, packet: bytes) -> bytes:
        header = ethernet.ethernet(MACS[2 - self.sender], MACS[self.sender - 1], ETHERTYPES[self.family])
        return bytes(header.serialize(bytearray(), None)) + packet

    def udp(self, source_port: int, destination_port: int, payload: bytes = b"x") -> bytes:
        return self.ip(17, [udp.udp(source_port, destination_port), payload])

    def tcp(self, source_port: int, destination_port: int, flags: int, seq: int = 1, ack: int = 0) -> bytes:
        return self.ip(6, tcp.tcp(source_port, destination_port, seq=seq, ack=ack, bits=flags, offset=5))

    def echo(self, *, reply: bool = False, identifier: int = 9) -> bytes:
        if self.family == 4:
            return self.ip(1, icmp.icmp(0 if reply else 8, 0, data=icmp.echo(identifier, 1, b"ping")))
        return self.ip(58, icmpv6.icmpv6(129 if reply else 128, 0, data=icmpv6.echo(identifier, 1, b"ping")))

    def unreachable(self, about: bytes, source: str | None = None) -> bytes:
        """Return the ICMP error about a packet, from the host or from a router with another address."""
        if self.family == 4:
            return self.ip(1, icmp.icmp(3, 3, data=icmp.dest_unreach(data=about)), source)
        return self.ip(58, icmpv6.icmpv6(1, 4, data=bytes(4) + about), source)

    def solicitation(self) -> bytes:
        return self.ip(58, icmpv6.icmpv6(135, 0, data=icmpv6.nd_neighbor(0, self.destination)))

    def fragments(self, source_port: int, destination_port: int, identification: int) -> list[bytes]:
        """Return a datagram of 3,000 octets in three fragments, none too small for OVS."""
        whole = self.udp(source_port, destination_port, bytes(3000))
        start = 20 if self.family == 4 else 40
        payload = whole[start:]
        pieces = [payload[at : at + 1400] for at in range(0, len(payload), 1400)]
        fragments = []
        for number, piece in enumerate(pieces):
            more = number < len(pieces) - 1
            if self.family == 4:
                header: object = ipv4.ipv4(
                    src=self.source, dst=self.destination, proto=17, identification=identification,
                    flags=int(more), offset=number * 175,
                )  # fmt: skip
                packet = Packet(protocols=[header, piece])
            else:
                extension = ipv6.fragment(nxt=17, offset=number * 175, more=int(more), id_=identification)
                header = ipv6.ipv6(
                    src=self.source, dst=self.destination, nxt=44, hop_limit=64, ext_hdrs=[extension],
                )  # fmt: skip
                packet = Packet(protocols=[header, piece])
            packet.serialize()
            fragments.append(bytes(packet.data))
        return fragments


class Hosts:
    """The far ends of the two veth pairs whose near ends are ports 1 and 2."""

    def __init__(self) -> None:
        self.sockets: dict[int, socket.socket] = {}
        for number in (1, 2):
            end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
            end.bind((f"far{number}", 0))
            end.settimeout(5)
            self.sockets[number] = end

    def close(self) -> None:
        for end in self.sockets.values():
            end.close()

    def arrived(self, way: Way, *packets: bytes) -> int:
        """Send packets that way; return how many frames came out.

        The switch handles what it has received in one go, and what it tracks comes out later than what it does not.
        So a second marker follows when the first has come: then the frames have been handled.
        """
        sender, receiver = self.sockets[way.sender], self.sockets[3 - way.sender]
        for packet in packets:
            sender.send(way.frame(packet))
        count = 0
        for _ in range(2):
            sender.send(MARKER)
            while (frame := self._received(receiver))[12:14] != MARKER[12:14]:
                count += 1
            assert frame == MARKER
        return count

    @staticmethod
    def _received(receiver: socket.socket) -> bytes:
        while True:
            frame, address = receiver.recvfrom(4096)
            if address[2] != socket.PACKET_OUTGOING:
                return frame


def numbers(way: Way) -> tuple[int, int]:
    """Return source and destination as numbers."""
    kind = IPv4Address if way.family == 4 else IPv6Address
    return int(kind(way.source)), int(kind(way.destination))
