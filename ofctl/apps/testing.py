"""For the tests of apps: a made-up host, compiled with the core and the app, as text to compare with a golden file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ofctl.apps import CORE_APPS
from ofctl.apps.loading import rehearsal_world
from ofctl.pipeline.anchors import ONWARD, place_apps
from ofctl.pipeline.app import App
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Flow, Resubmit, SetField, Table, ToApp
from ofctl.pipeline.tables import HANDLER, HANDLER_TAG_BITS, TO_APP, Priority, cookie_owner
from ofctl.pipeline.world import World


def example_world(annotations: Mapping[str, str] | None = None) -> World:
    """Return a host with a local, a flat and a VLAN network, two ports in each; the first has these annotations."""
    world = rehearsal_world()
    first = world.ports[min(world.ports)]
    return world.with_port(replace(first, annotations=tuple(sorted((annotations or {}).items()))))


def flows_of(*apps: type[App], world: World, options: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the flows that the apps have made, one on a line, in canonical order.

    What another version of the core may change is written as the app said it: `cookie=PORT:3`, `goto_table:onward`,
    `to_app(1)`. `options` are the values of the apps' options, by name of the app. Raises AppRefused and AppFailed.
    """
    placed = [app for app in place_apps(apps, options or {}) if isinstance(app, FeatureApp)]
    own = {table for app in placed for table in app.tables}
    whole = Compiler((*CORE_APPS, *placed)).compile_all(world).canonical()
    return "".join(
        f"{_as_said(flow, own)}\n"
        for flow in whole.flows
        if flow.table in own and (flow.priority != Priority.MISS or flow.match.terms)
    )


def _as_said(flow: Flow, own: set[Table]) -> str:
    ahead = flow.goto is not None and flow.goto not in own
    actions = list(flow.actions)
    for place, action in enumerate(actions):
        if action == Resubmit(TO_APP) and isinstance(value := actions[place - 1], SetField):
            actions[place] = ToApp(value.value & (1 << HANDLER_TAG_BITS) - 1)
    said = tuple(action for action in actions if not (isinstance(action, SetField) and action.field == HANDLER))
    kind, index = cookie_owner(flow.cookie)
    assert kind is not None
    text = str(replace(flow, actions=said, goto=ONWARD if ahead else flow.goto))
    return text.replace(f"cookie={flow.cookie:#x}", f"cookie={kind.name}:{index}")


def check_golden(path: Path, text: str) -> None:
    """Assert that `text` is what the file has; with UPDATE_GOLDEN in the environment, write it."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; if that is meant, run with UPDATE_GOLDEN=1"
