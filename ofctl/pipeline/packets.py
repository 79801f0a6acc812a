"""Frames that a third party's app handles itself: what it is given, and what it may send in return. Pure values.

Part of the public contract of apps (docs/plugins.md); import it from `ofctl.plugin`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.pipeline.app import Place
from ofctl.pipeline.flow import OFPP_CONTROLLER, Flow, Match, Resubmit, Table, Term
from ofctl.pipeline.tables import (
    DELIVER,
    DESTINATION,
    FORWARD,
    FROM_OUTSIDE,
    HANDLER,
    HANDLER_TAG_BITS,
    MAX_HANDLERS,
    NETWORK,
    NO_PROBE,
    SOURCE,
    TO_APP,
    TO_OUTSIDE,
    Priority,
    muted_cookie,
)
from ofctl.pipeline.world import World

MIN_FRAME, MAX_FRAME = 14, 16_384
"""Octets: an Ethernet header, and the largest frame that fits in a packet-out with room to spare."""
MAX_ANSWERS = 16
"""Packets that one call of a handler may return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketIn:
    """A frame that a flow of the app has handed over with `ToApp`, as it was there; not with a tag of the uplink."""

    frame: bytes
    network: NetworkIndex
    source: PortIndex | None
    """The port that sent it; None if it is from outside."""
    tag: int
    """That of the `ToApp`."""
    registers: Mapping[str, int] = field(default_factory=dict)
    """The app's own, by name."""


@dataclass(frozen=True, slots=True)
class ToPort:
    """Send a frame to a port, through the delivery stage: nothing on the way filters it."""

    frame: bytes
    port: PortIndex


@dataclass(frozen=True, slots=True)
class ToOutside:
    """Send a frame to the uplink of a network, which puts the network's tag on; nowhere, if it has none."""

    frame: bytes
    network: NetworkIndex


@dataclass(frozen=True, slots=True)
class FromPort:
    """Let a frame go on as if a port had sent it, beginning in a table of the app: filters and all that follow."""

    frame: bytes
    port: PortIndex
    table: str
    """Name of an `AnchoredTable` of the app that is after classify."""
    registers: tuple[tuple[str, int], ...] = ()
    """The app's own that are not 0, by name: so its flows can tell the frame from one that came in."""


PacketOut = ToPort | ToOutside | FromPort
"""What a handler returns."""


@dataclass(frozen=True, slots=True)
class Injection:
    """How a `PacketOut` goes into the tables: at which OpenFlow port, with which registers, beginning where."""

    frame: bytes
    in_port: int
    table: Table
    registers: tuple[Term, ...]

    @property
    def actions(self) -> tuple[Resubmit]:
        """What is done with it."""
        return (Resubmit(self.table),)


@dataclass(frozen=True, slots=True, order=True)
class Sender:
    """Who sent a frame, as far as the limits care: a port, or the outside of a network."""

    outside: bool
    index: int

    @classmethod
    def of(cls, network: int, source: int) -> Sender:
        """Return the sender of a frame with these registers."""
        return cls(True, network) if source == FROM_OUTSIDE else cls(False, source)


def handler_value(number: int, tag: int) -> int:
    """Return what HANDLER is on the way to the handler `number` (1 to MAX_HANDLERS)."""
    assert 1 <= number <= MAX_HANDLERS
    return number << HANDLER_TAG_BITS | tag


def mute(number: int, sender: Sender) -> Flow:
    """Return the flow that keeps a sender's frames from a handler; they are dropped on that way only."""
    handler = Term(HANDLER, handler_value(number, 0), MAX_HANDLERS << HANDLER_TAG_BITS)
    who = (Term(SOURCE, FROM_OUTSIDE), Term(NETWORK, sender.index)) if sender.outside else (Term(SOURCE, sender.index),)
    cookie = muted_cookie(number, sender.index, outside=sender.outside)
    return Flow(TO_APP, Priority.PORT, Match.of(handler, NO_PROBE, *who), cookie)


def injections(answers: Iterable[object], place: Place, world: World) -> list[Injection]:
    """Return how what a handler has returned goes into the tables.

    What is for a port or network that is not there any more is left out. Raises ValueError for what cannot be sent.
    """
    listed = list(islice(iter(answers), MAX_ANSWERS + 1))
    if len(listed) > MAX_ANSWERS:
        raise ValueError(f"packet_in returned more than {MAX_ANSWERS} packets")
    made = (_injection(answer, place, world) for answer in listed)
    return [injection for injection in made if injection is not None]


def _injection(answer: object, place: Place, world: World) -> Injection | None:
    if not isinstance(answer, ToPort | ToOutside | FromPort):
        raise ValueError(f"packet_in returned {answer!r}, which is no ToPort, ToOutside or FromPort")
    if not isinstance(answer.frame, bytes) or not MIN_FRAME <= len(answer.frame) <= MAX_FRAME:
        raise ValueError(f"packet_in returned a frame that is not {MIN_FRAME} to {MAX_FRAME} bytes")
    if isinstance(answer, ToOutside):
        if world.networks.get(answer.network) is None or world.uplink_of(answer.network) is None:
            return None
        registers = (Term(NETWORK, answer.network), Term(DESTINATION, TO_OUTSIDE))
        return Injection(answer.frame, OFPP_CONTROLLER, DELIVER, registers)
    port = world.ports.get(answer.port)
    if port is None:
        return None
    if isinstance(answer, ToPort):
        registers = (Term(NETWORK, port.network), Term(DESTINATION, port.index))
        return Injection(answer.frame, OFPP_CONTROLLER, DELIVER, registers)
    table = place.tables.get(answer.table)
    if table is None or table.number >= FORWARD.number:
        raise ValueError(f"packet_in sends from table {answer.table!r}, which the app has not declared after classify")
    own = dict(answer.registers)
    unknown = sorted(own.keys() - place.registers.keys())
    if unknown:
        raise ValueError(f"packet_in sets register {unknown[0]!r}, which the app does not declare")
    values = (Term(place.registers[name], value) for name, value in own.items() if value)
    return Injection(answer.frame, port.ofport, table, (Term(NETWORK, port.network), Term(SOURCE, port.index), *values))
