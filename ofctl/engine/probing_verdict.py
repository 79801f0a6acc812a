"""What became of probes against what should have become of them. No I/O."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ofctl.engine.flow_tables import FlowTables
from ofctl.errors import DriverError
from ofctl.model.confirmation import ProbeFrame
from ofctl.model.ids import PortIndex
from ofctl.openflow.injection import PacketIn
from ofctl.pipeline.probe import NONCE_BYTES, Direction, Probe, nonce_of, untagged, with_nonce
from ofctl.pipeline.tables import DELIVER, DESTINATION, FROM_OUTSIDE, NETWORK, OUTSIDE_BIT, SOURCE
from ofctl.pipeline.world import World, WorldPort

NAMED = 4
"""So many ofports are named in the evidence; of more it says how many."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A probe that was sent, and its frame as it was then."""

    probe: Probe
    frame: bytes

    @classmethod
    def of(cls, probe: Probe) -> Sent:
        """Give a probe a nonce."""
        return cls(probe, with_nonce(probe.frame, secrets.token_bytes(NONCE_BYTES)))


@dataclass(frozen=True, slots=True)
class Finding:
    """A probe, and whether something else became of it than should have."""

    evidence: ProbeFrame
    wrong: bool


class Scene:
    """A port among what the switch may forward for while its probes are under way."""

    def __init__(self, tables: FlowTables, index: PortIndex) -> None:
        """Begin before the probes are sent. Raises DriverError (PROBE_FAILED) if the port is not in the tables."""
        self._tables = tables
        self._worlds = [world for world in tables.possible_worlds if index in world.ports]
        if not self._worlds:
            raise DriverError("the switch does not forward for this port any more", reason="PROBE_FAILED")
        self.world = self._worlds[0]
        self.port = self.world.ports[index]
        self.probes = tables.probes_of(index, self.world)

    def judge(self, sent: Iterable[Sent], came: Iterable[PacketIn], *, way: str = "") -> list[Finding]:
        """End after the last has come back; return what became of each. `way` ends their names in the evidence."""
        index = self.port.index
        worlds = {id(world): world for world in (*self._worlds, *self._tables.possible_worlds) if index in world.ports}
        expected = [{probe.name: probe for probe in self._tables.probes_of(index, world)} for world in worlds.values()]
        return judge(self.port, sent, came, expected, self.world, way=way)


def judge(
    port: WorldPort,
    sent: Iterable[Sent],
    came: Iterable[PacketIn],
    worlds: Sequence[Mapping[str, Probe]],
    world: World,
    *,
    way: str = "",
) -> list[Finding]:
    """Compare what came to the delivery stage with what the probes of `worlds`, by name, expect.

    With several worlds, one of which the switch forwards by, a frame must come where all of them send it, and may
    come where one of them does. `world` gives the ofports for the evidence; `way` ends the names in it.
    """
    sent = tuple(sent)
    copies: dict[bytes, list[PacketIn]] = {nonce_of(each.frame): [] for each in sent}
    for packet in came:
        if packet.table_number == DELIVER.number and (known := copies.get(nonce_of(packet.frame))) is not None:
            known.append(packet)
    return [_judge(port, each, copies[nonce_of(each.frame)], worlds, world=world, way=way) for each in sent]


def _judge(
    port: WorldPort,
    sent: Sent,
    copies: Sequence[PacketIn],
    worlds: Sequence[Mapping[str, Probe]],
    *,
    world: World,
    way: str,
) -> Finding:
    probe = sent.probe
    same = [there.expected for names in worlds if (there := names.get(probe.name)) and there.frame == probe.frame]
    must = _outlets(frozenset.intersection(*same)) if len(same) == len(worlds) else frozenset()
    may = _outlets(frozenset.union(*same))
    seen = _outlets(packet.value(DESTINATION) for packet in copies)
    # Where a world expects another frame of that name, it says nothing about this one.
    wrong = not must <= seen or (len(same) == len(worlds) and not seen <= may)
    text = _described(seen, world)
    changed = next(filter(None, (_change(port, sent, packet) for packet in copies)), "")
    if changed:
        wrong, text = True, f"{text}, {changed}"
    name = f"{probe.name}, {way or probe.direction.value}"
    return Finding(ProbeFrame(name, _described(_outlets(probe.expected), world), text), wrong)


def _outlets(destinations: Iterable[int]) -> frozenset[int]:
    """Return ports' indexes, and one number for every way to the outside."""
    return frozenset(OUTSIDE_BIT if value & OUTSIDE_BIT else value for value in destinations)


def _change(port: WorldPort, sent: Sent, packet: PacketIn) -> str:
    sources = {Direction.FROM_PORT: port.index, Direction.TO_PORT: 0, Direction.FROM_OUTSIDE: FROM_OUTSIDE}
    if packet.frame != untagged(sent.frame):
        return "changed on its way"
    if packet.value(NETWORK) != port.network:
        return f"in network {packet.value(NETWORK)} instead of {port.network}"
    if packet.value(SOURCE) != sources[sent.probe.direction]:
        return f"as if port {packet.value(SOURCE)} had sent it"
    return ""


def _described(outlets: frozenset[int], world: World) -> str:
    if not outlets:
        return "dropped"
    ports = sorted(index for index in outlets if index != OUTSIDE_BIT)
    ways = ["the uplink"] if OUTSIDE_BIT in outlets else []
    if len(ports) > NAMED:
        ways.insert(0, f"{len(ports)} ports")
    elif ports:
        ofports = [_ofport(PortIndex(index), world) for index in ports]
        ways.insert(0, f"ofport{'s' if len(ports) > 1 else ''} {', '.join(ofports)}")
    return " and ".join(ways)


def _ofport(index: PortIndex, world: World) -> str:
    return str(world.ports[index].ofport) if index in world.ports else f"of port {index}"


def evidence(port: WorldPort, findings: Iterable[Finding]) -> tuple[ProbeFrame, ...]:
    """Return the frames, or raise DriverError (PROBE_FAILED) with the first that is wrong."""
    findings = tuple(findings)
    for finding in findings:
        if finding.wrong:
            raise failed(port, finding.evidence)
    return tuple(finding.evidence for finding in findings)


def failed(port: WorldPort, frame: ProbeFrame) -> DriverError:
    """Return the error for a port whose probe did not do what it should."""
    return DriverError(
        f"port {port.port_id!r} does not work: the probe {frame.name!r} should have been: {frame.expected}; "
        f"it was: {frame.seen}",
        reason="PROBE_FAILED",
        metadata={"probe": frame.name, "expected": frame.expected, "seen": frame.seen},
    )
