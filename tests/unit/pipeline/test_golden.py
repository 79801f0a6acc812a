"""The flows of a few worlds, by table name. `UPDATE_GOLDEN=1 pytest tests/unit/pipeline` writes them anew."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

import pytest

from ofctl.apps import CORE_APPS
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.flow import FlowSet
from ofctl.pipeline.world import World
from tests.unit.pipeline.worlds import EXAMPLE, FLAT, GUARDED, LOCAL, PHYSNET, VLAN, port, uplink

GOLDEN = Path(__file__).parents[2] / "golden"
COMPILER = Compiler(CORE_APPS)

BEFORE_PLUG = EXAMPLE.without_port(port(3, 2).index)

WORLDS = {
    "empty": World(),
    "example": EXAMPLE,
    "local": World().with_network(LOCAL).with_ports([port(1, 1), port(2, 1), port(3, 1, slot=500)]),
    "flat": World().with_network(FLAT).with_uplink(uplink()).with_ports([port(1, 3)]),
    "guarded": GUARDED,
    "uplink-missing": World().with_network(VLAN).with_ports([port(1, 2)]),
}


def text(flows: FlowSet) -> str:
    """Return one flow or group on a line, tables apart."""
    ordered = flows.canonical()
    tables = ["".join(f"{flow}\n" for flow in group) for _, group in groupby(ordered.flows, lambda flow: flow.table)]
    return "\n".join([*tables, "".join(f"{group}\n" for group in ordered.groups)]).strip() + "\n"


def compare(name: str, actual: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(actual)
    assert actual == path.read_text(), f"{path.name} differs; if that is meant, run with UPDATE_GOLDEN=1"


@pytest.mark.parametrize("name", WORLDS)
def test_flows_are_as_written_down(name: str) -> None:
    compare(name, text(COMPILER.compile_all(WORLDS[name])))


def test_the_changes_of_a_plug_and_an_unplug_are_as_written_down() -> None:
    plug = COMPILER.changes(BEFORE_PLUG, EXAMPLE)
    unplug = COMPILER.changes(EXAMPLE, BEFORE_PLUG)
    gone = COMPILER.changes(EXAMPLE, EXAMPLE.without_uplink(PHYSNET))
    parts = {"plug": plug, "unplug": unplug, "the uplink goes": gone}
    compare("changes", "\n".join(f"# {name}\n" + "".join(f"{c}\n" for c in parts[name]) for name in parts))
