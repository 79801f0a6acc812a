"""What a guest can do to connection tables: its own, and those of others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ofctl.model.confirmation import Level
from ofctl.model.security import SecurityGroup
from tests.attack.cast import ATTACKER, CONFINED, INSIDER, VICTIM, Member, between
from tests.attack.filtering import connected, tcp, udp
from tests.attack.fragments import FIRST, cut, datagram, piece
from tests.attack.host import MAX_CONNECTIONS, AttackedHost, victims
from tests.functional.engine.lab import in_s

AT_ONCE = 50
ROOM_FOR = 2 * MAX_CONNECTIONS
"""Connections on the whole host, for the time of a test."""
DEFAULT_CONNECTIONS = 3_000_000
DEFAULT_FRAGMENTS, MOST_FRAGMENTS = 1_000, 5_000


@pytest.fixture
def clean(host: AttackedHost) -> Iterator[AttackedHost]:
    """The host without a connection, before and after."""
    host.lab.ovs.appctl("dpctl/flush-conntrack")
    yield host
    host.lab.ovs.appctl("dpctl/flush-conntrack")


async def _apply(host: AttackedHost, group: SecurityGroup) -> None:
    await host.lab.engine.apply_security_group(group, level=Level.DATAPATH, deadline=in_s(10))


@pytest.mark.parametrize("version", [4, 6])
def test_a_rule_that_goes_takes_its_connections_along(clean: AttackedHost, version: int) -> None:
    """In the middle of a connection, from either side; another one goes on."""
    scene = clean.guarded

    def opened(source: Member, to: Member) -> None:
        for sender, flags in ((source, "S"), (to, "SA"), (source, "A")):
            ports = (4950, 80) if sender == source else (80, 4950)
            numbers = (100, 0) if flags == "S" else (500, 101) if flags == "SA" else (101, 501)
            frame = between(
                sender, to if sender == source else source, version, tcp(*ports, flags, seq=numbers[0], ack=numbers[1])
            )
            assert scene.send(sender, frame) == scene.expected(sender, [frame])

    opened(INSIDER, VICTIM)
    opened(INSIDER, CONFINED)
    there = between(INSIDER, VICTIM, version, tcp(4950, 80, "PA", seq=101, ack=501, text="x"))
    back = between(VICTIM, INSIDER, version, tcp(80, 4950, "PA", seq=501, ack=102, text="y"))
    other = between(INSIDER, CONFINED, version, tcp(4950, 80, "PA", seq=101, ack=501, text="z"))
    assert scene.send(INSIDER, there) == {VICTIM.name: [there]}
    assert scene.send(VICTIM, back) == {INSIDER.name: [back]}
    whole = victims()
    clean.live.call(_apply(clean, replace(whole, rules=whole.rules[1:])))
    try:
        assert scene.send(INSIDER, there) == {}
        assert scene.send(VICTIM, back) == {}, "its own egress is open, but the connection was not opened by it"
        assert scene.send(INSIDER, other) == {CONFINED.name: [other]}
    finally:
        clean.live.call(_apply(clean, whole))


def flood(host: AttackedHost, count: int) -> None:
    """Open connections to the victim's open port: beyond the limit they pass, untracked."""
    frames = [between(INSIDER, VICTIM, 4, udp(10_000 + number, 5000)) for number in range(count)]
    for start in range(0, count, AT_ONCE):
        part = frames[start : start + AT_ONCE]
        assert host.guarded.send(INSIDER, *part) == host.guarded.expected(INSIDER, part)


def works(host: AttackedHost, port: int) -> bool:
    """Tell whether a connection to another port is tracked: only then its answer comes out."""
    syn = between(INSIDER, CONFINED, 4, tcp(port, 80, seq=100))
    assert host.guarded.send(INSIDER, syn) == {CONFINED.name: [syn]}
    answer = between(CONFINED, INSIDER, 4, tcp(80, port, "SA", seq=500, ack=101))
    return host.guarded.send(CONFINED, answer) == {INSIDER.name: [answer]}


def test_one_port_does_not_exhaust_the_table(clean: AttackedHost) -> None:
    """Without its limit it does; with it the others go on, and so does what it had before."""
    ovs = clean.lab.ovs
    zone = clean.lab.port(f"guarded-{VICTIM.name}").binding.numbers.zone
    ovs.appctl("dpctl/ct-set-maxconns", str(ROOM_FOR))
    try:
        for sender, frame in connected(4, 4960):
            assert clean.guarded.send(sender, frame) == clean.guarded.expected(sender, [frame])
        flood(clean, ROOM_FOR + AT_ONCE)
        assert f"zone={zone},limit={MAX_CONNECTIONS},count={MAX_CONNECTIONS}" in limits(clean)
        assert works(clean, 4961)
        data = between(INSIDER, VICTIM, 4, tcp(443, 4960, "PA", seq=501, ack=101, text="x"))
        assert clean.guarded.send(INSIDER, data) == {VICTIM.name: [data]}
        ovs.appctl("dpctl/ct-del-limits", f"zone={zone}")
        flood(clean, ROOM_FOR + AT_ONCE)
        assert not works(clean, 4962)
    finally:
        ovs.appctl("dpctl/ct-set-maxconns", str(DEFAULT_CONNECTIONS))
        ovs.appctl("dpctl/flush-conntrack")
        ovs.appctl("dpctl/ct-set-limits", f"zone={zone},limit={MAX_CONNECTIONS}")


def limits(host: AttackedHost) -> str:
    return host.lab.ovs.appctl("dpctl/ct-get-limits")


def test_fragments_are_held_for_all_together(clean: AttackedHost) -> None:
    """A fact: one port can hold so many that another's are refused, until they expire. Whole packets go on."""
    whole = {
        version: cut(version, 950, datagram(version, 4970, 5000, sender=ATTACKER), sender=ATTACKER)
        for version in (4, 6)
    }
    for fragments in whole.values():
        assert clean.guarded.send(ATTACKER, *fragments) == {VICTIM.name: sorted(fragments)}
    begun = datagram(4, 4971, 5000)[:FIRST]
    held = [piece(4, 1_000 + number, begun, more=True) for number in range(DEFAULT_FRAGMENTS)]
    for start in range(0, len(held), AT_ONCE):
        assert clean.guarded.send(INSIDER, *held[start : start + AT_ONCE]) == {}
    try:
        for version, fragments in whole.items():
            assert clean.guarded.send(ATTACKER, *fragments) == {}
            sent = between(ATTACKER, VICTIM, version, udp(4972, 5000))
            assert clean.guarded.send(ATTACKER, sent) == {VICTIM.name: [sent]}
    finally:
        clean.lab.ovs.appctl("dpctl/ipf-set-max-nfrags", str(MOST_FRAGMENTS))
