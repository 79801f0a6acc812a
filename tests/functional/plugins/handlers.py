"""Apps that handle packets, for the tests: each takes the datagrams to one UDP port."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ofctl.plugin import (
    ETH_TYPE,
    IP_PROTO,
    ONWARD,
    SOURCE,
    UDP_DST,
    AnchoredTable,
    FeatureApp,
    Flow,
    FromPort,
    Match,
    PacketIn,
    PacketOut,
    Place,
    RegisterBits,
    SetField,
    Term,
    ToApp,
    World,
    WorldPort,
    host_cookie,
    port_cookie,
)

UDP_PORT = 7777
IPV4, UDP = 0x0800, 17
SEEN = 7


class Taking(FeatureApp):
    """Takes the datagrams out of the way and keeps what it was given."""

    api_version = 1
    anchored = (AnchoredTable(name="in", purpose="For tests.", after="classify"),)
    registers = (RegisterBits(name="SEEN", bits=4, purpose="Set in what was seen."),)

    def __init__(self, place: Place | None = None) -> None:
        super().__init__(place)
        self.taken: list[PacketIn] = []

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        datagram = (Term(ETH_TYPE, IPV4), Term(IP_PROTO, UDP), Term(UDP_DST, UDP_PORT))
        match = Match.of(Term(SOURCE, port.index), Term(self.register("SEEN"), 0), *datagram)
        mark = SetField(self.register("SEEN"), SEEN)
        yield Flow(self.table("in"), 100, match, port_cookie(port.index), (mark, ToApp(3)))

    def packet_in(self, packet: PacketIn, world: World) -> Iterable[PacketOut]:
        self.taken.append(packet)
        return ()


class Passing(Taking):
    """Lets go on what it has seen, as if the port had sent it again."""

    name = "passing"

    def packet_in(self, packet: PacketIn, world: World) -> Iterable[PacketOut]:
        self.taken.append(packet)
        assert packet.source is not None
        yield FromPort(packet.frame, packet.source, "in", (("SEEN", 1),))


class Failing(Taking):
    """Raises for every frame."""

    name = "failing"

    def packet_in(self, packet: PacketIn, world: World) -> Iterable[PacketOut]:
        raise ZeroDivisionError("division by zero")


class Blocking(Taking):
    """Waits until it is let go."""

    name = "blocking"
    released = threading.Event()

    def packet_in(self, packet: PacketIn, world: World) -> Iterable[PacketOut]:
        self.released.wait(30)
        self.taken.append(packet)
        return ()


class Curious(Taking):
    """Wants a copy of every frame, and lets all of them go on."""

    name = "curious"

    def host_flows(self, world: World) -> Iterable[Flow]:
        yield Flow(self.table("in"), 1, Match(), host_cookie(), (ToApp(),), goto=ONWARD)

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        return ()
