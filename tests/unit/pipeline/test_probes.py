"""What the apps send to show that a port works, and where they expect it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from ofctl.apps import CORE_APPS
from ofctl.apps.flooding import MAX_PROBED_COPIES
from ofctl.model.ids import MacAddress, PortIndex
from ofctl.model.security import AddressPair
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Learn, Output, OutputRegister
from ofctl.pipeline.probe import (
    FRAME_BYTES,
    NONCE_BYTES,
    STRANGER,
    Direction,
    Probe,
    nonce_of,
    probe_frame,
    untagged,
    with_nonce,
)
from ofctl.pipeline.tables import NO_PROBE, TO_OUTSIDE, TO_UNKNOWN
from ofctl.pipeline.world import World, WorldPort
from tests.unit.pipeline.worlds import EXAMPLE, LOCAL, VLAN, port

COMPILER = Compiler(CORE_APPS)


class Blocking(FeatureApp):
    """A policy that lets no broadcast out."""

    name = "blocking"
    tables = ()

    def lets_pass(self, probe: Probe, port: WorldPort, world: World) -> bool:
        return not (probe.direction is Direction.FROM_PORT and probe.frame.startswith(b"\xff" * 6))


def expected(world: World, index: int, compiler: Compiler = COMPILER) -> dict[str, set[int]]:
    return {probe.name: set(probe.expected) for probe in compiler.probes(PortIndex(index), world)}


def test_a_port_of_a_network_with_an_outside() -> None:
    assert expected(EXAMPLE, 2) == {
        "broadcast with a VLAN tag": set(),
        "broadcast from a group address": set(),
        "broadcast from another address": set(),
        "unicast to a neighbour": {3},
        "unicast to the port": {2},
        "reserved multicast": set(),
        "broadcast": {2, 3, TO_OUTSIDE},
        "unicast to an unknown address": {TO_UNKNOWN},
        "unicast from outside": {2},
        "its own address from outside": set(),
    }


def test_a_sender_that_is_not_checked_is_not_probed_for_it() -> None:
    open_port = replace(port(2, 2, slot=0), port_security=False)
    probes = expected(EXAMPLE.with_port(open_port), 2)
    assert not [name for name in probes if name.startswith("broadcast ")] and "broadcast" in probes


def test_the_forged_address_is_none_of_the_port_s_own() -> None:
    octets = STRANGER.to_bytes(6, "big").hex(":")
    pair = AddressPair(ip_network("10.0.0.9/32"), MacAddress(octets))
    world = EXAMPLE.with_port(replace(port(2, 2, slot=0), address_pairs=(pair,)))
    (forged,) = [each for each in COMPILER.probes(PortIndex(2), world) if each.name == "broadcast from another address"]
    assert int.from_bytes(forged.frame[6:12], "big") == STRANGER + 1


def test_a_port_alone_without_an_outside() -> None:
    alone = expected(EXAMPLE, 1)
    assert alone["unicast to itself"] == {1} and alone["broadcast"] == {1}
    assert alone["unicast to an unknown address"] == set()
    assert not any("outside" in name for name in alone)
    assert "unicast from outside" not in expected(World().with_network(VLAN).with_ports([port(1, 2)]), 1)


def test_names_and_frames_are_a_port_s_own() -> None:
    probes = COMPILER.probes(PortIndex(2), EXAMPLE)
    assert len({probe.name for probe in probes}) == len(probes)
    assert all(len(probe.frame) == FRAME_BYTES for probe in probes)


def test_what_a_policy_blocks_is_expected_nowhere() -> None:
    blocked = expected(EXAMPLE, 2, Compiler((*CORE_APPS, Blocking())))
    assert blocked["broadcast"] == set()
    assert blocked["unicast to a neighbour"] == {3}


def test_no_broadcast_where_too_many_copies_would_come_back() -> None:
    world = World().with_network(LOCAL).with_ports([port(n, 1) for n in range(1, MAX_PROBED_COPIES + 1)])
    assert "broadcast" in expected(world, 1)
    assert "broadcast" not in expected(world.with_port(port(MAX_PROBED_COPIES + 1, 1)), 1)


def test_the_unknown_address_is_nobody_s() -> None:
    octets = STRANGER.to_bytes(6, "big").hex(":")
    taken = port(5, 1)
    taken = WorldPort(
        port_id=taken.port_id,
        index=taken.index,
        slot=taken.slot,
        network=taken.network,
        mac_address=MacAddress(octets),
        ofport=taken.ofport,
    )
    world = World().with_network(LOCAL).with_ports([port(1, 1), taken])
    unknown = next(probe for probe in COMPILER.probes(PortIndex(1), world) if "unknown" in probe.name)
    assert unknown.frame[:6] == (STRANGER + 1).to_bytes(6, "big")


def test_no_flow_sends_a_probe_out_or_learns_from_it() -> None:
    for flow in COMPILER.compile_all(EXAMPLE).flows:
        if any(isinstance(action, Output | OutputRegister | Learn) for action in flow.actions):
            assert NO_PROBE in flow.match.terms, flow


def test_frames_are_known_by_their_nonce_with_and_without_a_tag() -> None:
    nonce = bytes(range(NONCE_BYTES))
    tagged = with_nonce(probe_frame(1, 2, tag=5), nonce)
    assert nonce_of(tagged) == nonce_of(untagged(tagged)) == nonce
    assert untagged(tagged)[:14] == probe_frame(1, 2)[:14] and untagged(untagged(tagged)) == untagged(tagged)
