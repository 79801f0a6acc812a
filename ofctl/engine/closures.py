"""What a port depends on in the switch: its own flows, its groups' rules, and the members that those rules name.

The evidence counts and digests all of it, and READBACK compares all of it with what the switch dumps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ofctl.errors import DriverError, Unavailable
from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.model.security import SecurityGroupId
from ofctl.openflow.images import FlowImage
from ofctl.openflow.switch import Switch
from ofctl.openflow.wire import flow_digest, flow_image, group_image
from ofctl.pipeline.changes import FlowKey
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.flow import Cookie
from ofctl.pipeline.tables import port_cookie
from ofctl.pipeline.world import World

if TYPE_CHECKING:
    from ofctl.engine.flow_tables import FlowTables

ATTEMPTS = 3
"""Neighbours join and leave groups while the switch is read; after so many it is read with no change under way."""


@dataclass(frozen=True, slots=True)
class Part:
    """The flows of one cookie that a port depends on."""

    cookie: Cookie
    images: Mapping[FlowKey, FlowImage]
    complete: bool
    """Whether the cookie has no others."""

    def shown_by(self, dumped: Iterable[FlowImage]) -> bool:
        """Tell whether the switch has these flows as they shall be, and, if complete, no others of the cookie."""
        there = {image.key: image for image in dumped}
        if self.complete and there.keys() != self.images.keys():
            return False
        return all(_same(there.get(key), image) for key, image in self.images.items())


def _same(there: FlowImage | None, wanted: FlowImage) -> bool:
    return there is not None and (there.cookie, there.content) == (wanted.cookie, wanted.content)


@dataclass(frozen=True, slots=True)
class Closure:
    """All that a port depends on, part by part; the first is its own."""

    parts: tuple[Part, ...]
    flows: tuple[int, str]
    """How many, and their digest."""


class Closures:
    """Computes closures. Ports of one network with the same groups depend on the same: computed once for a world."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._known_of: tuple[object, ...] = ()
        self._known: dict[tuple[NetworkIndex, tuple[SecurityGroupId, ...]], tuple[Part, ...]] = {}

    def of(self, index: PortIndex, world: World) -> Closure:
        """Return the closure of a port. Raises KeyError if it is not in the world."""
        cookie = port_cookie(index)
        own = _part(cookie, map(flow_image, self._compiler.compile_port(index, world).flows), complete=True)
        parts = (own, *self._dependencies(index, world))
        return Closure(parts, flow_digest(image for part in parts for image in part.images.values()))

    def _dependencies(self, index: PortIndex, world: World) -> tuple[Part, ...]:
        port = world.ports[index]
        if not port.security_groups:
            return ()
        of = (world.security_groups, world.address_groups, world.membership, world.networks)
        if not (self._known_of and all(each is other for each, other in zip(of, self._known_of, strict=True))):
            self._known_of = of
            self._known.clear()
        key = (port.network, port.security_groups)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = tuple(
                _part(each.cookie, map(flow_image, each.flows.flows), complete=each.complete)
                for each in self._compiler.closure(index, world)
            )
        return known


def _part(cookie: Cookie, images: Iterable[FlowImage], *, complete: bool) -> Part:
    return Part(cookie, {image.key: image for image in images}, complete)


async def read_back(switch: Switch, tables: FlowTables, index: PortIndex, *, deadline: float) -> tuple[int, str]:
    """Dump what a port depends on, and its flood group; return how many flows and their digest.

    Raises DriverError (READBACK_DIFFERS) if the switch has not what it shall have, SwitchUnavailable if it was lost
    meanwhile and is not in sync again.
    """
    generation = switch.generation
    if not tables.resynced:
        raise tables.unavailable()
    try:
        return await _read_back(switch, tables, index, deadline)
    except DriverError as error:
        # A switch that has just come back has nothing yet of what it will be given at once.
        if isinstance(error, Unavailable) or (tables.resynced and switch.generation == generation):
            raise
        raise tables.unavailable() from None


async def _read_back(switch: Switch, tables: FlowTables, index: PortIndex, deadline: float) -> tuple[int, str]:
    """What shall be changes meanwhile with the port's neighbours: what was dumped may be of before, or of after."""
    for _ in range(ATTEMPTS):
        before = _possible(tables, index)
        dumped = await _dump(switch, before, deadline)
        after = _possible(tables, index)
        shown = _shown((*before, *after), dumped)
        if shown is not None:
            break
        if {each.flows for each in before} == {each.flows for each in after} and len(before) == len(after) == 1:
            raise _differs(before[0], dumped)
    else:
        async with tables.still(deadline=deadline):
            wanted = tables.closure_of(index)
            dumped = await _dump(switch, (wanted,), deadline)
            shown = _shown((wanted,), dumped)
        if shown is None:
            raise _differs(wanted, dumped)
    await _read_bucket(switch, tables, index, deadline)
    return shown.flows


def _possible(tables: FlowTables, index: PortIndex) -> tuple[Closure, ...]:
    return tuple(tables.closure_of(index, world) for world in tables.possible_worlds if index in world.ports)


def _shown(closures: Iterable[Closure], dumped: Mapping[Cookie, tuple[FlowImage, ...]]) -> Closure | None:
    for closure in closures:
        if all(part.shown_by(dumped.get(part.cookie, ())) for part in closure.parts):
            return closure
    return None


async def _dump(switch: Switch, closures: Iterable[Closure], deadline: float) -> dict[Cookie, tuple[FlowImage, ...]]:
    cookies = tuple(dict.fromkeys(part.cookie for closure in closures for part in closure.parts))
    dumps = await asyncio.gather(*(switch.dump_flows(cookie=cookie, deadline=deadline) for cookie in cookies))
    return {cookie: tuple(flows) for cookie, flows in zip(cookies, dumps, strict=True)}


def _differs(wanted: Closure, dumped: Mapping[Cookie, tuple[FlowImage, ...]]) -> DriverError:
    part = next(part for part in wanted.parts if not part.shown_by(dumped.get(part.cookie, ())))
    return DriverError(
        f"the switch has {len(dumped.get(part.cookie, ()))} flows with cookie {part.cookie:#x} that differ from the "
        f"{len(part.images)} that it confirmed",
        reason="READBACK_DIFFERS",
    )


async def _read_bucket(switch: Switch, tables: FlowTables, index: PortIndex, deadline: float) -> None:
    for group in tables.flood_group_of(index).groups:
        present = await switch.dump_groups(group_id=group.group_id, deadline=deadline)
        # Neighbours come and go meanwhile; what must be there is this port's own bucket.
        wanted = dict(group_image(group).buckets).get(index)
        if wanted is None or not any(dict(image.buckets).get(index) == wanted for image in present):
            raise DriverError(
                f"flood group {group.group_id} lacks the bucket of port number {index}", reason="READBACK_DIFFERS"
            )
