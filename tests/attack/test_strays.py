"""Fragments that the connection table lets go late: they come out with frames of somebody else.

Until 3.6 (and 3.3.5) Open vSwitch adds what it still has of a completed datagram, or of one that has expired, to the
next batch of packets that any port sends through any zone ("ipf: Maintain packet zone and direction" and "ipf: Don't
send expired frags" in its history). All that follows in that batch's actions happens to them, too.
"""

from __future__ import annotations

import time

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Raw

from tests.attack.cast import BROADCAST, CONFINED, INSIDER, NEIGHBOUR, VICTIM, between, ether, ip
from tests.attack.filtering import tcp, udp
from tests.attack.fragments import FIRST, cut, datagram, piece
from tests.attack.host import FILTERED, AttackedHost
from tests.attack.scene import Arrivals

BATCH = 32
"""Packets that the switch takes at once (NETDEV_MAX_BURST)."""
EXPIRY_S = 16
"""A little more than the time for which the switch waits for the other fragments."""
HELD = 12


def in_many(version: int, number: int, count: int) -> list[bytes]:
    """Return the fragments of a datagram to the victim's open port."""
    header = ip(version, INSIDER.address(version), VICTIM.address(version))
    whole = bytes(header / UDP(sport=4900, dport=5000) / Raw(bytes(count * FIRST - 8)))[20 if version == 4 else 40 :]
    parts = [whole[at : at + FIRST] for at in range(0, len(whole), FIRST)]
    return [
        piece(version, number, part, offset=place * FIRST, more=place + 1 < len(parts))
        for place, part in enumerate(parts)
    ]


def strays(got: Arrivals, sent: bytes) -> list[str]:
    return [f"{place}: {frame[:60].hex()}" for place, frames in got.items() for frame in frames if frame != sent]


def triggers(host: AttackedHost, version: int, turn: int) -> list[str]:
    """Send what goes through connection tables, and return what came out besides."""
    to_all = ip(version, NEIGHBOUR.address(version), "10.1.0.255" if version == 4 else "ff02::1") / udp(4901, 5353)
    flooded = ether(NEIGHBOUR.mac, BROADCAST, to_all)
    got = host.guarded.send(NEIGHBOUR, flooded)
    assert set(got) >= {"router", "insider"} and not set(got) & FILTERED
    found = strays(got, flooded)
    new = between(NEIGHBOUR, CONFINED, version, tcp(4910 + turn, 80))
    got = host.guarded.send(NEIGHBOUR, new)
    assert new in got[CONFINED.name]
    return found + strays(got, new)


@pytest.mark.parametrize("version", [4, 6])
def test_what_does_not_fit_into_a_batch_goes_to_nobody_else(host: AttackedHost, version: int) -> None:
    """A fact: a datagram of more fragments than a batch does not arrive, but for those that the switch lets go late."""
    fitting = in_many(version, 900, BATCH)
    assert host.guarded.send(INSIDER, *fitting) == {VICTIM.name: sorted(fitting)}
    assert not triggers(host, version, 0)
    too_many = in_many(version, 901, BATCH + 8)
    assert host.guarded.send(INSIDER, *too_many) == {VICTIM.name: sorted(too_many[BATCH:])}
    assert not triggers(host, version, 1)


@pytest.mark.chaos
@pytest.mark.parametrize("version", [4, 6])
def test_what_has_expired_goes_to_nobody_else(host: AttackedHost, version: int) -> None:
    for number in range(HELD):
        assert not host.guarded.send(INSIDER, cut(version, 910 + number, datagram(version, 4902, 53))[1])
    time.sleep(EXPIRY_S)
    for turn in range(HELD):
        assert not triggers(host, version, turn)
