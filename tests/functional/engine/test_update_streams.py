"""Updates under traffic: what old and new rules allow passes all the time, what both forbid never does.

Every frame is counted. The guarded guest's groups allow the same all the time, each in its own words: with rules for
anybody, for a security group, for an address group, stateful and stateless.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ofctl.model.confirmation import Level
from ofctl.model.network import IpAddress
from ofctl.model.port import PortState
from ofctl.model.security import (
    AddressGroupId,
    AddressPair,
    IcmpMessage,
    Ports,
    RuleDirection,
    SecurityGroupId,
    SecurityRule,
)
from ofctl.model.vif import PluggedPort
from tests.functional.engine.lab import Lab, in_s
from tests.functional.engine.streams import TAIL, tail

IN, OUT = RuleDirection.INGRESS, RuleDirection.EGRESS
ICMP_, TCP_, UDP_, ICMPV6_ = 1, 6, 17, 58
OPEN, GUARDED = 0, 1
"""The two guests: one has a group that lets in all, the other the groups that change."""
PEERS, PEER_ADDRESSES = SecurityGroupId("peers"), AddressGroupId("peer-addresses")
STATEFUL = tuple(map(SecurityGroupId, ("anybody", "by-group", "by-address")))
STATELESS = SecurityGroupId("stateless")
EXTRA = SecurityGroupId("extra")
ADDRESSES = {
    OPEN: tuple(map(ipaddress.ip_address, ("10.1.0.5", "fd00:1::5"))),
    GUARDED: tuple(map(ipaddress.ip_address, ("10.1.0.6", "fd00:1::6"))),
}


def service(direction: RuleDirection, protocol: int, *ports: int) -> list[SecurityRule]:
    return [SecurityRule(direction=direction, protocol=protocol, ports=Ports(port, port)) for port in ports]


def echo(direction: RuleDirection, *kinds: tuple[int, int]) -> list[SecurityRule]:
    return [
        SecurityRule(direction=direction, protocol=protocol, icmp=IcmpMessage(kind))
        for kinds_of_both in kinds
        for protocol, kind in zip((ICMP_, ICMPV6_), kinds_of_both, strict=True)
    ]


REQUEST, REPLY = (8, 128), (0, 129)
OPENED = [*service(IN, UDP_, 5000), *service(IN, TCP_, 80), *service(OUT, UDP_, 6000), *service(OUT, TCP_, 81)]
RULES = (*OPENED, *echo(OUT, REQUEST))
"""What connections may be opened, from and to the guarded guest."""
BACK = [*service(IN, UDP_, 4000), *service(IN, TCP_, 4001), *service(OUT, UDP_, 3000), *service(OUT, TCP_, 3001)]
REPLIES = (*BACK, *echo(IN, REPLY))
"""What stateless groups need besides, for the replies."""


def packet(sender: int, version: int, ports: tuple[PluggedPort, PluggedPort]) -> Packet:
    source, destination = ports[sender].binding, ports[1 - sender].binding
    which = 0 if version == 4 else 1
    addresses = {"src": str(ADDRESSES[sender][which]), "dst": str(ADDRESSES[1 - sender][which])}
    layer = IP if version == 4 else IPv6
    return Ether(src=source.mac_address, dst=destination.mac_address) / layer(**addresses)


def ping(version: int, identifier: int, *, reply: bool = False) -> Packet:
    if version == 4:
        return ICMP(type=0 if reply else 8, id=identifier, seq=1)
    return (ICMPv6EchoReply if reply else ICMPv6EchoRequest)(id=identifier, seq=1)


def upper_layers(version: int) -> Iterator[tuple[int, bool, Packet]]:
    """Yield sender, whether it is permitted, and what follows the IP header; each connection in both directions."""
    yield OPEN, True, UDP(sport=3000, dport=5000)
    yield GUARDED, True, UDP(sport=5000, dport=3000)
    yield GUARDED, True, UDP(sport=4000, dport=6000)
    yield OPEN, True, UDP(sport=6000, dport=4000)
    yield OPEN, True, TCP(sport=3001, dport=80, flags="A", seq=1000, ack=2000)
    yield GUARDED, True, TCP(sport=80, dport=3001, flags="A", seq=2000, ack=1000)
    yield GUARDED, True, TCP(sport=4001, dport=81, flags="A", seq=3000, ack=4000)
    yield OPEN, True, TCP(sport=81, dport=4001, flags="A", seq=4000, ack=3000)
    yield GUARDED, True, ping(version, 7)
    yield OPEN, True, ping(version, 7, reply=True)
    yield OPEN, False, UDP(sport=3000, dport=9999)
    yield OPEN, False, TCP(sport=3001, dport=22, flags="S", seq=1000)
    yield OPEN, False, TCP(sport=3002, dport=22, flags="A", seq=1000, ack=2000)
    yield OPEN, False, ping(version, 8)
    yield GUARDED, False, UDP(sport=4000, dport=9998)
    yield GUARDED, False, TCP(sport=4001, dport=9998, flags="S", seq=1000)


def frame(number: int, below: Packet, layer: Packet) -> bytes:
    """Return a frame without its end, whose checksums are right with it."""
    content = b"........" + tail(number, 0)
    if isinstance(layer, ICMPv6EchoRequest | ICMPv6EchoReply):
        layer.data = content
    else:
        layer = layer / Raw(content)
    return bytes(below / layer)[: -TAIL.size]


@dataclass
class Traffic:
    """The process that sends and counts; `verdict` is there when it has ended."""

    process: asyncio.subprocess.Process
    permitted: list[bool]
    verdict: list[tuple[int, int, int]]

    @property
    def sent(self) -> int:
        return sum(sent for sent, _, _ in self.verdict)

    @property
    def lost(self) -> int:
        return sum(missing for good, (_, missing, _) in zip(self.permitted, self.verdict, strict=True) if good)

    @property
    def leaked(self) -> int:
        return sum(came for good, (_, _, came) in zip(self.permitted, self.verdict, strict=True) if not good)


@asynccontextmanager
async def traffic(ports: tuple[PluggedPort, PluggedPort], *, rate: int) -> AsyncIterator[Traffic]:
    """Have both guests send as long as the block lasts."""
    layers = [(version, *each) for version in (4, 6) for each in upper_layers(version)]
    described = [
        (sender, permitted, frame(number, packet(sender, version, ports), layer).hex())
        for number, (version, sender, permitted, layer) in enumerate(layers)
    ]
    devices = [str(port.binding.device) for port in ports]
    argv = [sys.executable, "-m", "tests.functional.engine.streams", *devices, str(rate)]
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=1 << 20)
    running = Traffic(process, [permitted for _, permitted, _ in described], [])
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(described).encode() + b"\n")
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"begun\n"
        yield running
        process.stdin.write(b"stop\n")
        async with asyncio.timeout(30):
            running.verdict = [tuple(each) for each in json.loads(await process.stdout.readline())]
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def prepare(lab: Lab) -> tuple[PluggedPort, PluggedPort]:
    """Apply the groups and plug both guests."""
    anything = [SecurityRule(direction=IN, ip_version=version) for version in (4, 6)]
    await lab.apply_group(PEERS, *anything)
    await lab.apply_addresses(PEER_ADDRESSES, "10.1.0.5/32", "fd00:1::5/128")
    await lab.apply_group(STATEFUL[0], *RULES)
    await lab.apply_group(STATEFUL[1], *(replace(rule, remote_security_group=PEERS) for rule in RULES))
    await lab.apply_group(STATEFUL[2], *(replace(rule, remote_address_group=PEER_ADDRESSES) for rule in RULES))
    await lab.apply_group(STATELESS, *RULES, *REPLIES, stateful=False)
    await lab.apply_group(EXTRA, *service(IN, UDP_, 7000))
    (peer,) = await lab.plug(lab.spec("p0", fixed_ips=ADDRESSES[OPEN], security_groups=(PEERS,)))
    (guarded,) = await lab.plug(lab.spec("p1", fixed_ips=ADDRESSES[GUARDED], security_groups=STATEFUL[:1]))
    return peer, guarded


def changes(lab: Lab, level: Level) -> Iterator[Callable[[], Awaitable[object]]]:
    """Yield updates without end, each from what the one before has left."""

    def groups(*names: SecurityGroupId) -> Callable[[], Awaitable[object]]:
        return lambda: lab.update("p1", security_groups=names, level=level)

    def fixed(*more: str) -> Callable[[], Awaitable[object]]:
        added: tuple[IpAddress, ...] = tuple(map(ipaddress.ip_address, more))
        return lambda: lab.update("p1", fixed_ips=(*ADDRESSES[GUARDED], *added), level=level)

    def pairs(*prefixes: str) -> Callable[[], Awaitable[object]]:
        allowed = tuple(AddressPair(ipaddress.ip_network(prefix)) for prefix in prefixes)
        return lambda: lab.update("p1", allowed_address_pairs=allowed, level=level)

    def rules(*more: SecurityRule) -> Callable[[], Awaitable[object]]:
        return lambda: lab.apply_group(STATEFUL[0], *RULES, *more, level=level)

    def members(*more: str) -> Callable[[], Awaitable[object]]:
        return lambda: lab.apply_addresses(PEER_ADDRESSES, "10.1.0.5/32", "fd00:1::5/128", *more, level=level)

    anybody, by_group, by_address = STATEFUL
    for number in itertools.count():
        yield groups(anybody, EXTRA)
        yield fixed(f"10.1.1.{number % 200 + 1}", f"fd00:1::1:{number % 200 + 1:x}")
        yield rules(*service(IN, UDP_, 7001 + number % 100))
        yield groups(by_group)
        yield pairs("10.1.2.0/24")
        yield groups(by_group, by_address)
        yield members("10.1.3.0/24")
        yield groups(by_address)
        yield fixed()
        yield groups(STATELESS)
        yield members()
        yield pairs()
        yield groups(anybody)
        yield rules()


async def updated_under_traffic(lab: Lab, *, updates: int, rate: int, level: Level) -> Traffic:
    """Return what became of the frames that were sent during so many updates."""
    ports = await prepare(lab)
    async with traffic(ports, rate=rate) as running:
        for change in itertools.islice(changes(lab, level), updates):
            await change()
    assert lab.port("p1").binding.state is PortState.ACTIVE
    report = await lab.engine.audit(repair=False, deadline=in_s(10))
    assert report.findings == ()
    return running


async def test_nothing_leaks_and_nothing_is_lost_during_updates(lab: Lab) -> None:
    seen = await updated_under_traffic(lab, updates=56, rate=5_000, level=Level.DATAPATH)
    assert (seen.leaked, seen.lost) == (0, 0), seen.verdict
    assert min(sent for sent, _, _ in seen.verdict) > 0


@pytest.mark.chaos
@pytest.mark.parametrize("level", [Level.DATAPATH, Level.READBACK])
async def test_nothing_leaks_and_nothing_is_lost_during_a_thousand_updates(lab: Lab, level: Level) -> None:
    seen = await updated_under_traffic(lab, updates=1_000, rate=5_000, level=level)
    assert (seen.leaked, seen.lost) == (0, 0), (seen.sent, seen.verdict)


async def test_the_streams_are_what_they_are_meant_to_be(lab: Lab) -> None:
    """The count is no empty one: without groups what is forbidden comes, and with others what is permitted does not."""
    ports = await prepare(lab)
    async with traffic(ports, rate=2_000) as running:
        await lab.update("p1", security_groups=())
        await asyncio.sleep(0.3)
        await lab.update("p1", security_groups=(EXTRA,))
        await asyncio.sleep(0.3)
        await lab.update("p1", security_groups=STATEFUL[:1])
    forbidden = [came for good, (_, _, came) in zip(running.permitted, running.verdict, strict=True) if not good]
    assert all(came > 0 for came in forbidden), running.verdict
    assert running.lost > 0
