"""Packets between guests, and what arrived of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ofctl.demo.guests import Guest, GuestFailed
from ofctl.demo.report import Report, listed

FAMILIES = ("IPv4", "IPv6")
SMALL_BYTES = 1_000_000
RATE_PER_S = 500
SETTLE_S = 2.0
POLL_S = 0.02


def ping_each_other(report: Report, one: Guest, other: Guest) -> None:
    """Claim that ICMP works between two guests, both ways, in both families."""
    failed = [
        f"{sender.name}->{receiver.name} {FAMILIES[family]}"
        for family in range(len(FAMILIES))
        for sender, receiver in ((one, other), (other, one))
        if not sender.ping(receiver.addresses[family])
    ]
    claim = f"{one.name} <-> {other.name}: ICMP, IPv4 and IPv6, both ways"
    report.claim(not failed, claim, f"no answer: {listed(failed)}" if failed else "4 echoes")


def send_each_other(report: Report, one: Guest, other: Guest) -> None:
    """Claim that TCP works between two guests, both ways, in both families."""
    seen = []
    failed = []
    for family, name in enumerate(FAMILIES):
        for sender, receiver in ((one, other), (other, one)):
            way = f"{sender.name}->{receiver.name} {name}"
            try:
                sent = sender.order(
                    do="send", to=[receiver.addresses[family], receiver.ports["tcp"]], bytes=SMALL_BYTES
                )
            except GuestFailed as problem:
                failed.append(f"{way}: {problem}")
                continue
            if sent["received"] != SMALL_BYTES:
                failed.append(f"{way}: {sent['received']} of {SMALL_BYTES} bytes")
            seen.append(f"{sent['seconds'] * 1000:.0f}")
    claim = f"{one.name} <-> {other.name}: TCP, IPv4 and IPv6, both ways"
    report.claim(not failed, claim, "; ".join(failed) or f"4 x {SMALL_BYTES // 1_000_000} MB in {'/'.join(seen)} ms")


def transfer(report: Report, sender: Guest, receiver: Guest, *, family: int, size: int) -> None:
    """Claim that `size` bytes of TCP arrive, counted by the receiver."""
    claim = f"{size // 1_000_000} MB of TCP over {FAMILIES[family]}, {sender.name} -> {receiver.name}"
    try:
        result = sender.order(do="send", to=[receiver.addresses[family], receiver.ports["tcp"]], bytes=size)
    except GuestFailed as problem:
        report.claim(False, claim, str(problem))
        return
    rate = result["received"] * 8 / result["seconds"] / 1e6
    report.claim(
        result["received"] == size, claim, f"{result['received']} bytes in {result['seconds']:.2f} s, {rate:.0f} Mbit/s"
    )


@dataclass
class _Stream:
    name: str
    sender: Guest
    receiver: Guest
    family: int


class Streams:
    """Numbered datagrams at a steady rate between virtual machines and namespaces, in all directions."""

    def __init__(self, vm1: Guest, vm2: Guest, ns1: Guest, ns2: Guest) -> None:
        ways = ((vm1, ns1, 0), (ns1, vm1, 1), (vm2, ns2, 1), (ns2, vm2, 0), (vm1, vm2, 0), (ns1, ns2, 1))
        self._streams = [_Stream(f"s{number}", *way) for number, way in enumerate(ways)]

    def start(self) -> None:
        """Send from now on."""
        for stream in self._streams:
            to = [stream.receiver.addresses[stream.family], stream.receiver.ports["udp"]]
            stream.sender.order(do="stream", to=to, name=stream.name, rate=RATE_PER_S)

    def received(self) -> int:
        """Return how many datagrams have arrived so far."""
        return sum(stream.receiver.order(do="count", name=stream.name)["distinct"] for stream in self._streams)

    def stop(self, report: Report) -> None:
        """End the streams; claim of each that every datagram sent has arrived, once."""
        sent = {stream.name: stream.sender.order(do="hush", name=stream.name)["sent"] for stream in self._streams}
        deadline = time.monotonic() + SETTLE_S
        while self.received() < sum(sent.values()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for stream in self._streams:
            counted = stream.receiver.order(do="count", name=stream.name)
            lost = sent[stream.name] - counted["distinct"]
            evidence = (
                f"{sent[stream.name]} sent, {counted['distinct']} arrived, {lost} lost, "
                f"{counted['received'] - counted['distinct']} twice, longest pause {counted['gap_ms']} ms"
            )
            if counted["overflow"]:
                evidence += f"; the receiver's own buffer overflowed by {counted['overflow']}"
            report.claim(
                lost == 0 and counted["received"] == counted["distinct"],
                f"not one packet is lost, {FAMILIES[stream.family]} {stream.sender.name} -> {stream.receiver.name}",
                evidence,
            )
