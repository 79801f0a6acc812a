"""The fence of classic Ryu and os-ken applications on the owned bridge: how frames get to them, and on from them.

Guests write flows in tables of their own, and nowhere else. What they do not match goes on as if they were not there.
What they send goes on in this pipeline, with the port that they chose: through security groups and delivery as any
frame, and never to another network. Probes do not meet them: what a guest does with frames is no promise of ofctl's.
"""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ofctl.model.ids import NetworkIndex
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fence import FENCES, FencedGuest
from ofctl.pipeline.fields import IN_PORT, METADATA
from ofctl.pipeline.flow import Cookie, Flow, Match, Resubmit, SetField, Table, Term
from ofctl.pipeline.tables import (
    CHOSEN,
    CHOSEN_FLOOD,
    CHOSEN_PORT,
    DELIVER,
    DESTINATION,
    DESTINATION_KNOWN,
    FENCE,
    FENCE_CHOICE,
    FENCE_FROM_PORT,
    FENCE_LABELS,
    FENCE_ONWARD,
    FENCE_OUTPUT,
    FENCE_TO_PORT,
    FLOOD,
    FORWARD,
    FROM_OUTSIDE,
    IS_PROBE,
    NETWORK,
    NO_PROBE,
    SOURCE,
    SOURCE_KNOWN,
    TO_OUTSIDE,
    TO_PORT_FENCE,
    Priority,
    host_cookie,
    network_cookie,
    port_cookie,
)
from ofctl.pipeline.world import World, WorldPort

OFPP_TABLE, OFPP_NORMAL, OFPP_FLOOD, OFPP_ALL = 0xFFFFFFF9, 0xFFFFFFFA, 0xFFFFFFFB, 0xFFFFFFFC
"""In FENCE_OUTPUT, OFPP_TABLE stands for OFPP_IN_PORT: a look-up cannot be made with that one."""
TO_PORT, FROM_PORT = Term(FENCE, TO_PORT_FENCE, TO_PORT_FENCE), Term(FENCE, 0, TO_PORT_FENCE)


class Fencing(FeatureApp):
    """Made by the composition root where guests are fenced, and only there."""

    name = "fencing"
    tables = (FENCE_CHOICE, FENCE_FROM_PORT, FENCE_TO_PORT, FENCE_OUTPUT, FENCE_ONWARD, FENCE_LABELS)

    def __init__(self, guests: Sequence[FencedGuest]) -> None:
        super().__init__()
        self._guests = {gate: tuple(guest for guest in guests if guest.gate is gate) for gate in FENCES.values()}
        behind = {FENCE_FROM_PORT: SOURCE_KNOWN, FENCE_TO_PORT: DELIVER}
        self.doors = {FORWARD: FENCE_CHOICE, **{behind[gate]: gate for gate, there in self._guests.items() if there}}

    def host_flows(self, world: World) -> Iterable[Flow]:
        yield from self._turns(FENCE_FROM_PORT, SOURCE_KNOWN, Match.of(Term(FENCE, 0), NO_PROBE))
        yield from self._turns(FENCE_TO_PORT, DELIVER, Match.of(FROM_PORT, NO_PROBE))
        yield from self._outputs()
        yield _host(FENCE_CHOICE, Priority.PORT, Match.of(Term(CHOSEN, CHOSEN_PORT)), goto=DESTINATION_KNOWN)
        yield _host(FENCE_CHOICE, Priority.PORT, Match.of(Term(CHOSEN, CHOSEN_FLOOD)), goto=FLOOD)
        yield _host(FENCE_CHOICE, Priority.MISS, Match(), goto=FORWARD)

    def _turns(self, gate: Table, behind: Table, at_first: Match) -> Iterator[Flow]:
        """Yield a flow for each guest, which leads the frames there that the one before did not take; and the last."""
        guests = self._guests[gate]
        if not guests:
            return
        before = [at_first, *(Match.of(Term(FENCE, guest.mark), NO_PROBE) for guest in guests)]
        for match, guest in zip(before, guests, strict=False):
            visit = (
                SetField(FENCE, guest.mark),
                SetField(METADATA, 0),
                Resubmit(_own_table(guest)),
                Resubmit(gate),
            )
            yield _host(gate, Priority.BROAD, match, *visit)
        yield _host(gate, Priority.BROAD, before[-1], Resubmit(behind))
        yield _host(gate, Priority.BROAD, Match.of(IS_PROBE), Resubmit(behind))
        if gate is FENCE_FROM_PORT:
            # Chosen by a guest: the others do not see it. Through the sender's security groups it goes.
            for choice in (CHOSEN_PORT, CHOSEN_FLOOD):
                yield _host(gate, Priority.PORT, Match.of(Term(CHOSEN, choice)), Resubmit(behind))

    def _outputs(self) -> Iterator[Flow]:
        """Yield what is no port's: NORMAL, FLOOD, and where what has been chosen enters the pipeline."""
        for gate, where in ((FENCE_FROM_PORT, FROM_PORT), (FENCE_TO_PORT, TO_PORT)):
            if self._guests[gate]:
                yield _host(FENCE_OUTPUT, Priority.BROAD, Match.of(_port(OFPP_NORMAL), where), Resubmit(gate))
        flood = (SetField(CHOSEN, CHOSEN_FLOOD), Resubmit(FENCE_ONWARD))
        for everybody in (OFPP_FLOOD, OFPP_ALL):
            yield _host(FENCE_OUTPUT, Priority.BROAD, Match.of(_port(everybody)), *flood)
        for choice, table in ((CHOSEN_PORT, DESTINATION_KNOWN), (CHOSEN_FLOOD, FLOOD)):
            # Who sent it has been asked already, or it comes from nobody: a packet-out without a port.
            yield _host(FENCE_ONWARD, Priority.PORT, Match.of(TO_PORT, Term(CHOSEN, choice)), Resubmit(table))
            nobodys = Match.of(FROM_PORT, Term(SOURCE, 0), Term(CHOSEN, choice))
            yield _host(FENCE_ONWARD, Priority.PORT, nobodys, Resubmit(table))
        yield _host(FENCE_ONWARD, Priority.BROAD, Match.of(FROM_PORT), Resubmit(FENCE_FROM_PORT))

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        uplink = world.uplink_of(network)
        if uplink is not None:
            cookie = network_cookie(network)
            there, back = Term(NETWORK, network), Term(SOURCE, FROM_OUTSIDE)
            yield _output(Match.of(_port(uplink.ofport), there), TO_OUTSIDE, cookie)
            yield _output(Match.of(_port(OFPP_TABLE), there, back), TO_OUTSIDE, cookie)

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        cookie = port_cookie(port.index)
        yield _output(Match.of(_port(port.ofport), Term(NETWORK, port.network)), port.index, cookie)
        yield _output(Match.of(_port(OFPP_TABLE), Term(SOURCE, port.index)), port.index, cookie)


def _host(
    table: Table, priority: Priority, match: Match, *actions: SetField | Resubmit, goto: Table | None = None
) -> Flow:
    return Flow(table, priority, match, host_cookie(), actions, goto=goto)


def _output(match: Match, destination: int, cookie: Cookie) -> Flow:
    chosen = (SetField(DESTINATION, destination), SetField(CHOSEN, CHOSEN_PORT), Resubmit(FENCE_ONWARD))
    return Flow(FENCE_OUTPUT, Priority.PORT, match, cookie, chosen)


def _port(number: int) -> Term:
    return Term(IN_PORT, number)


def _own_table(guest: FencedGuest) -> Table:
    return Table(guest.first_table, f"{guest.name}.0", "guests", "A fenced guest's own.", dynamic=True)
