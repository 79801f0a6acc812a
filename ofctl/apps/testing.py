"""For the tests of apps: a made-up host, compiled with the core and the app, as text to compare with a golden file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ofctl.apps import CORE_APPS
from ofctl.apps.loading import rehearsal_world
from ofctl.pipeline.anchors import place_apps
from ofctl.pipeline.app import App
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.world import World


def example_world(annotations: Mapping[str, str] | None = None) -> World:
    """Return a host with a local, a flat and a VLAN network, two ports in each; the first has these annotations."""
    world = rehearsal_world()
    first = world.ports[min(world.ports)]
    return world.with_port(replace(first, annotations=tuple(sorted((annotations or {}).items()))))


def flows_of(*apps: type[App], world: World, options: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the flows in the apps' own tables, one on a line, in canonical order: not those of the core.

    `options` are the values of the apps' options, by name of the app. Raises AppRefused and AppFailed.
    """
    placed = [app for app in place_apps(apps, options or {}) if isinstance(app, FeatureApp)]
    own = {table for app in placed for table in app.tables}
    whole = Compiler((*CORE_APPS, *placed)).compile_all(world).canonical()
    return "".join(f"{flow}\n" for flow in whole.flows if flow.table in own)


def check_golden(path: Path, text: str) -> None:
    """Assert that `text` is what the file has; with UPDATE_GOLDEN in the environment, write it."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; if that is meant, run with UPDATE_GOLDEN=1"
