"""Finds the applications that the configuration names, feature apps and guests, and puts the former in the core.

Whatever is wrong with one is said at the start, in the name of its entry: `AppRefused`.
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
from ofctl.apps.entries import Entry, Kind, find_module, kind_of, read_entry
from ofctl.errors import AppFailed, AppRefused, InvalidField
from ofctl.model.ids import (
    DeviceName,
    MacAddress,
    NetworkId,
    NetworkIndex,
    OfPort,
    PhysicalNetwork,
    PortId,
    PortIndex,
    device_name,
    identifier,
)
from ofctl.model.network import Network, NetworkType, NumberedNetwork
from ofctl.pipeline.anchors import check_app, place_apps
from ofctl.pipeline.app import App
from ofctl.pipeline.binder import Binder
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.world import Uplink, World, WorldPort
from ofctl.settings import FENCES, GuestSpec

ENTRY_POINTS = {"ofctl.apps": Kind.FEATURE, "ofctl.guests": Kind.GUEST}
"""Groups of installed packages' entry points."""
FENCE = "fence:"


@dataclass(frozen=True, slots=True)
class FoundApps:
    """What the entries name, each kind in their order."""

    classes: tuple[type[App], ...] = ()
    guests: tuple[GuestSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedApps:
    """The third parties' apps of a host, in the order of the configuration. One that is both is in both."""

    features: tuple[FeatureApp, ...] = ()
    binders: tuple[Binder, ...] = ()


def find_apps(texts: Sequence[str], *, bridge: str) -> FoundApps:
    """Return what the entries `[NAME=]TARGET[@WHERE]` name (docs/plugins.md); `bridge` is the one that ofctl owns.

    Imports feature apps and binders, which runs their modules; of guests nothing is imported. Raises AppRefused.
    """
    classes: list[type[App]] = []
    guests: list[GuestSpec] = []
    names: dict[str, str] = {}
    bridges: dict[str, str] = {}
    for entry in map(read_entry, texts):
        kind, source = _place(entry)
        if kind is Kind.GUEST:
            guest = _guest(entry, source, bridge)
            name = guest.name
            guests.append(guest)
            if not guest.fence and guest.bridge in bridges:
                raise AppRefused(
                    entry.text, f"bridge {guest.bridge} is that of {bridges[guest.bridge]}; give it one of its own"
                )
            bridges[guest.bridge] = entry.text
        else:
            app = _feature(entry)
            name = app.name
            classes.append(app)
        if name in names:
            cure = "write NAME= before one of them" if kind is Kind.GUEST else "leave one of them away"
            raise AppRefused(entry.text, f"{names[name]} is named {name} too; {cure}")
        names[name] = entry.text
    return FoundApps(tuple(classes), tuple(guests))


def load_apps(classes: Sequence[type[App]], options: Mapping[str, Mapping[str, Any]]) -> LoadedApps:
    """Return the apps, made and checked together with the core: each compiles a host with a port of each kind.

    `options` are the values of group [app:NAME], by NAME. Raises AppRefused.
    """
    apps = place_apps(classes, options)
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


def _place(entry: Entry) -> tuple[Kind, str]:
    """Return the kind of an entry, and what a guest's process is told to load: a file or a module."""
    if entry.is_file:
        path = Path(entry.target).absolute()
        if not path.is_file():
            raise AppRefused(entry.text, f"there is no file {path}")
        if path.suffix != ".py":
            raise AppRefused(entry.text, f"{path} is no Python file: its name must end in .py")
        return kind_of(entry.text, path, ""), str(path)
    points = {
        group: point
        for group in ENTRY_POINTS
        for point in importlib.metadata.entry_points(group=group, name=entry.target)
        if not entry.member
    }
    if len(points) > 1:
        raise AppRefused(entry.text, f"there are entry points {' and '.join(points)} of that name; write its module")
    if points:
        ((group, point),) = points.items()
        return ENTRY_POINTS[group], point.module
    source = find_module(entry.target)
    if source is None:
        there = sorted(point.name for group in ENTRY_POINTS for point in importlib.metadata.entry_points(group=group))
        raise AppRefused(
            entry.text,
            f"there is no module {entry.target}, and no installed package has an entry point "
            f"{' or '.join(ENTRY_POINTS)} of that name; there are: {', '.join(there) or 'none'}",
        )
    return kind_of(entry.text, source, entry.target), entry.target


def _guest(entry: Entry, source: str, bridge: str) -> GuestSpec:
    if entry.member:
        raise AppRefused(entry.text, f"a guest is a whole file or module: leave :{entry.member} away")
    if entry.is_file and Path(entry.target).name == "__init__.py":
        raise AppRefused(entry.text, f"that file is a package's: write NAME={Path(source).parent.name}, the package")
    where = entry.where or f"{FENCE}{FENCES[0]}"
    fences = " or ".join(f"@{FENCE}{each}" for each in FENCES)
    fence = where.removeprefix(FENCE) if where.startswith(FENCE) else ""
    if where.startswith(FENCE) and fence not in FENCES:
        raise AppRefused(entry.text, f"there is no {where}; write {fences}")
    if where == bridge:
        raise AppRefused(
            entry.text,
            f"{bridge} is the bridge that ofctl owns: write {fences} for a fence on it, or another bridge",
        )
    try:
        name = identifier(entry.name or _short_name(entry), "")
        on = DeviceName(bridge) if fence else device_name(where, "")
    except InvalidField as error:
        raise AppRefused(entry.text, f"its name or bridge {error.problem}") from None
    return GuestSpec(name=name, source=source, bridge=on, fence=fence)


def _short_name(entry: Entry) -> str:
    return Path(entry.target).stem if entry.is_file else entry.target.rpartition(".")[2]


def _feature(entry: Entry) -> type[App]:
    if entry.where:
        raise AppRefused(
            entry.text,
            f"only guests have a place; a feature app's tables say where they are: leave @{entry.where} away",
        )
    try:
        found = _load(entry)
    except AppRefused:
        raise
    except Exception as error:
        raise AppRefused(entry.text, f"it cannot be imported: {error!r}") from error
    if not (inspect.isclass(found) and issubclass(found, App)):
        raise AppRefused(entry.text, f"{found!r} is neither a FeatureApp nor a Binder of ofctl.plugin")
    if inspect.isabstract(found):
        raise AppRefused(entry.text, f"{found.__qualname__} is abstract; a binder has both bind and unbind")
    check_app(found)
    if entry.name not in ("", found.name):
        raise AppRefused(entry.text, f"it names itself {found.name}: write that, or leave {entry.name}= away")
    return found


def _load(entry: Entry) -> object:
    if entry.is_file:
        return _member(entry, _module_of(Path(entry.target).absolute()))
    if not entry.member:
        for point in importlib.metadata.entry_points(group="ofctl.apps", name=entry.target):
            return point.load()
    return _member(entry, importlib.import_module(entry.target))


def _module_of(path: Path) -> ModuleType:
    module_name = f"ofctl_app_{path.stem}"
    module = sys.modules.get(module_name)
    if module is None or module.__file__ != str(path):
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return module


def _member(entry: Entry, module: ModuleType) -> object:
    if entry.member:
        if not hasattr(module, entry.member):
            raise AppRefused(entry.text, f"module {module.__name__} has no {entry.member}")
        found: object = getattr(module, entry.member)
        return found
    own = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, App) and each.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise AppRefused(entry.text, f"it has {len(own)} apps: write {entry.target}:CLASS")
    return own[0]
