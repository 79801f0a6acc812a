"""Finds the third-party apps that the configuration names, and puts them together with the core.

Whatever is wrong with an app is said at the start, in its name: `AppRefused`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ofctl.apps import CORE_APPS
from ofctl.errors import AppFailed, AppRefused
from ofctl.model.ids import MacAddress, NetworkId, NetworkIndex, OfPort, PhysicalNetwork, PortId, PortIndex
from ofctl.model.network import Network, NetworkType, NumberedNetwork
from ofctl.pipeline.anchors import check_app, place_apps
from ofctl.pipeline.app import App
from ofctl.pipeline.binder import Binder
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.world import Uplink, World, WorldPort

ENTRY_POINTS = "ofctl.apps"


@dataclass(frozen=True, slots=True)
class LoadedApps:
    """The third parties' apps of a host, in the order of the configuration. One that is both is in both."""

    features: tuple[FeatureApp, ...] = ()
    binders: tuple[Binder, ...] = ()


def find_apps(texts: Sequence[str]) -> tuple[type[App], ...]:
    """Return the classes of the apps, each given by its entry point, as MODULE:CLASS or as /PATH/FILE.py[:CLASS].

    Imports them, which runs their modules. Raises AppRefused.
    """
    return tuple(map(_find, texts))


def load_apps(texts: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> LoadedApps:
    """Return the apps, made and checked together with the core: each compiles a host with a port of each kind.

    `options` are the values of group [app:NAME], by NAME. Raises AppRefused.
    """
    apps = place_apps(find_apps(texts), options)
    loaded = LoadedApps(
        tuple(app for app in apps if isinstance(app, FeatureApp)), tuple(app for app in apps if isinstance(app, Binder))
    )
    try:
        Compiler((*CORE_APPS, *loaded.features)).compile_all(rehearsal_world())
    except AppFailed as error:
        raise AppRefused(error.metadata["app"], error.message) from error
    except ValueError as error:
        raise AppRefused(", ".join(app.name for app in apps), str(error)) from error
    return loaded


def rehearsal_world() -> World:
    """Return a host with a network of each kind, an uplink, and two ports in each, for what must compile at least."""
    physical_network = PhysicalNetwork("rehearsal")
    world = World().with_uplink(Uplink(physical_network=physical_network, ofport=OfPort(1)))
    kinds = ((NetworkType.LOCAL, None), (NetworkType.FLAT, None), (NetworkType.VLAN, 100))
    for number, (kind, tag) in enumerate(kinds, 1):
        network = Network(
            network_id=NetworkId(f"rehearsal-{number}"),
            network_type=kind,
            segmentation_id=tag,
            physical_network=None if kind is NetworkType.LOCAL else physical_network,
        )
        world = world.with_network(NumberedNetwork(network=network, index=NetworkIndex(number)))
        for place in range(2):
            index = 2 * number + place
            port = WorldPort(
                port_id=PortId(f"rehearsal-{index}"),
                index=PortIndex(index),
                slot=place,
                network=NetworkIndex(number),
                mac_address=MacAddress(f"02:00:00:00:00:{index:02x}"),
                ofport=OfPort(10 + index),
            )
            world = world.with_port(port)
    return world


def _find(text: str) -> type[App]:
    try:
        found = _file(text) if "/" in text else _member(text) if ":" in text else _installed(text)
    except AppRefused:
        raise
    except Exception as error:
        raise AppRefused(text, f"it cannot be imported: {error!r}") from error
    if not (inspect.isclass(found) and issubclass(found, App)):
        raise AppRefused(text, f"{found!r} is neither a FeatureApp nor a Binder of ofctl.plugin")
    if inspect.isabstract(found):
        raise AppRefused(text, f"{found.__qualname__} is abstract; a binder has both bind and unbind")
    check_app(found)
    return found


def _installed(name: str) -> object:
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    if name not in points.names:
        there = ", ".join(sorted(points.names)) or "none"
        raise AppRefused(
            name, f"no installed package has an entry point {ENTRY_POINTS} of that name; there are: {there}"
        )
    return points[name].load()


def _member(text: str) -> object:
    module, _, name = text.partition(":")
    return _class_in(text, importlib.import_module(module), name)


def _file(text: str) -> object:
    place, _, name = text.partition(":")
    path = Path(place)
    if not path.is_file():
        raise AppRefused(text, f"there is no file {path}")
    module_name = f"ofctl_app_{path.stem}"
    module = sys.modules.get(module_name)
    if module is None or module.__file__ != str(path):
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise AppRefused(text, "it is no Python file: its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return _class_in(text, module, name)


def _class_in(text: str, module: ModuleType, name: str) -> object:
    if name:
        if not hasattr(module, name):
            raise AppRefused(text, f"module {module.__name__} has no {name}")
        found: object = getattr(module, name)
        return found
    own = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, App) and each.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise AppRefused(text, f"it has {len(own)} apps: write {text}:CLASS")
    return own[0]
