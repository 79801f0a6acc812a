"""Apps for the tests: one that is right, and ways to be wrong."""

from __future__ import annotations

from collections.abc import Iterable

from ofctl.apps.testing import example_world
from ofctl.model.ids import NetworkIndex
from ofctl.pipeline.fields import XXREG2
from ofctl.pipeline.flow import Output
from ofctl.pipeline.tables import FLOOD
from ofctl.plugin import (
    ETH_TYPE,
    ONWARD,
    SOURCE,
    AnchoredTable,
    FeatureApp,
    Flow,
    Match,
    RegisterBits,
    SetField,
    Term,
    World,
    WorldPort,
    host_cookie,
    network_cookie,
    port_cookie,
)

WORLD = example_world()


class Both(FeatureApp):
    """Has a table at each anchor, a register, and a flow of each kind."""

    name = "both"
    api_version = 1
    anchored = (
        AnchoredTable(name="in", purpose="First.", after="classify"),
        AnchoredTable(name="out", purpose="Last.", before="deliver"),
    )
    registers = (RegisterBits(name="CLASS", bits=4, purpose="For fun."),)

    def host_flows(self, world: World) -> Iterable[Flow]:
        yield Flow(self.table("in"), 10, Match.of(Term(ETH_TYPE, 0x88CC)), host_cookie(), goto=ONWARD)

    def network_flows(self, network: NetworkIndex, world: World) -> Iterable[Flow]:
        mark = SetField(self.register("CLASS"), 3)
        match = Match.of(Term(ETH_TYPE, 0x88B0 + network))
        yield Flow(self.table("in"), 10, match, network_cookie(network), (mark,), goto=ONWARD)

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        match = Match.of(Term(self.register("CLASS"), 3), Term(SOURCE, port.index))
        yield Flow(self.table("out"), 20, match, port_cookie(port.index))


class Second(Both):
    """The same again."""

    name = "second"


def wrong(flow_of: object) -> type[FeatureApp]:
    """Return an app whose ports have the flow that `flow_of(app, port)` gives."""

    class Wrong(Both):
        name = "wrong"

        def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
            yield flow_of(self, port)  # type: ignore[operator]

    return Wrong


def output(app: FeatureApp, port: WorldPort) -> Flow:
    return Flow(app.table("in"), 20, Match.of(Term(SOURCE, port.index)), port_cookie(port.index), (Output(7),))


def foreign_table(app: FeatureApp, port: WorldPort) -> Flow:
    return Flow(FLOOD, 20, Match.of(Term(SOURCE, port.index)), port_cookie(port.index))


def foreign_cookie(app: FeatureApp, port: WorldPort) -> Flow:
    return Flow(app.table("in"), 20, Match.of(Term(SOURCE, port.index)), host_cookie())


def foreign_register(app: FeatureApp, port: WorldPort) -> Flow:
    match = Match.of(Term(SOURCE, port.index))
    return Flow(app.table("in"), 20, match, port_cookie(port.index), (SetField(SOURCE, 1),), goto=ONWARD)


def all_registers(app: FeatureApp, port: WorldPort) -> Flow:
    match = Match.of(Term(SOURCE, port.index))
    return Flow(app.table("in"), 20, match, port_cookie(port.index), (SetField(XXREG2, 1),), goto=ONWARD)


def foreign_goto(app: FeatureApp, port: WorldPort) -> Flow:
    return Flow(app.table("in"), 20, Match.of(Term(SOURCE, port.index)), port_cookie(port.index), goto=FLOOD)


def miss(app: FeatureApp, port: WorldPort) -> Flow:
    return Flow(app.table("in"), 0, Match(), port_cookie(port.index))


def same(app: FeatureApp, port: WorldPort) -> Flow:
    return Flow(app.table("in"), 20, Match.of(Term(ETH_TYPE, 5)), port_cookie(port.index))


def broken(app: FeatureApp, port: WorldPort) -> Flow:
    raise ZeroDivisionError("division by zero")
