"""Connections that a port's rules do not allow any more are taken out of its zone: in the background, a port at a time.

Nothing depends on it: the rules judge every frame of a connection, so one that is in the tracker and not allowed is
stopped already (docs/pipeline.md). But it counts against the port's limit, and people see it in `dpctl/dump-conntrack`.

It is the tracker's knowledge of who has opened a connection that stops it. Of one that it does not know any more, the
next frame opens a new one, and if that is the other end's, the other direction's rules judge it: a server whose port
was closed would go on by what it may send. So a connection stays for as long as it would come back like this.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from ofctl.engine.flow_tables import FlowTables
from ofctl.errors import OfctlError
from ofctl.log import fields
from ofctl.model.ids import PortIndex
from ofctl.model.security import RuleDirection
from ofctl.openflow.conntrack import ConnectionTuple, check_removable
from ofctl.openflow.switch import Switch
from ofctl.openflow.zones import Zones
from ofctl.pipeline.judgement import Connection, Judge
from ofctl.pipeline.world import WorldPort

logger = logging.getLogger(__name__)

MAX_AT_ONCE = 1_000
"""Connections of one port that go in one turn; the others in the next."""
JUDGED_AT_ONCE = 200
"""Connections between two moments in which others have their turn."""
TURN_S = 5.0
"""For one port: to list its connections, and to remove them."""
PAUSE = 4
"""Between two ports as many times as long as the last one took: listing is work for the thread that forwards."""


class Flushing:
    """Flushes for one switch. Belongs to one event loop."""

    def __init__(self, switch: Switch, zones: Zones, tables: FlowTables, *, on_flushed: Callable[[int], None]) -> None:
        """`on_flushed` is told how many connections went."""
        self._switch = switch
        self._zones = zones
        self._tables = tables
        self._on_flushed = on_flushed
        self._due: dict[PortIndex, None] = {}
        self._task: asyncio.Task[None] | None = None

    def later(self, ports: Iterable[PortIndex]) -> None:
        """Look at the connections of these ports soon, by the rules that they have then."""
        self._due.update(dict.fromkeys(ports))
        if self._due and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="flushing")

    async def close(self) -> None:
        """Stop; what is not allowed stays where it is, stopped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._due:
                index = next(iter(self._due))
                del self._due[index]
                begun = loop.time()
                try:
                    await self._flush(index, begun + TURN_S)
                except OfctlError as error:
                    logger.warning("connections are not flushed: %s", error, extra=fields(port_index=index))
                await asyncio.sleep(PAUSE * (loop.time() - begun))
        finally:
            self._task = None

    async def _flush(self, index: PortIndex, deadline: float) -> None:
        port = self._tables.world.ports.get(index)
        if port is None or not port.zone:
            return
        tracked = [each.original for each in await self._zones.connections(port.zone, deadline=deadline)]
        judge = Judge(port, self._tables.world)
        gone: list[ConnectionTuple] = []
        for first in range(0, len(tracked), JUDGED_AT_ONCE):
            batch = tracked[first : first + JUDGED_AT_ONCE]
            gone += [each for each in batch if not is_needed(port, judge, each) and _removable(each)]
            await asyncio.sleep(0)
        # By the rules of now: they may have changed meanwhile.
        world = self._tables.world
        now = world.ports.get(index)
        if now is None or now.zone != port.zone:
            return
        judge = Judge(now, world)
        await self._remove(now.zone, [each for each in gone[:MAX_AT_ONCE] if not is_needed(now, judge, each)], deadline)
        if len(gone) > MAX_AT_ONCE:
            self._due[index] = None

    async def _remove(self, zone: int, originals: Sequence[ConnectionTuple], deadline: float) -> None:
        if originals:
            await self._switch.flush_connections(zone, originals, deadline=deadline)
            self._on_flushed(len(originals))


def is_needed(port: WorldPort, judge: Judge, tracked: ConnectionTuple) -> bool:
    """Tell whether a tracked connection is allowed, or would be the other way round; True if it cannot be judged."""
    if tracked.source is None or tracked.destination is None or tracked.protocol is None:
        return True
    kind, code = (tracked.echo.kind, tracked.echo.code) if tracked.echo is not None else (0, 0)
    connection = Connection(
        source=tracked.source,
        destination=tracked.destination,
        protocol=tracked.protocol,
        source_port=(tracked.source_port or 0) if tracked.echo is None else kind,
        destination_port=(tracked.destination_port or 0) if tracked.echo is None else code,
    )
    if judge.allows(connection, _direction(port, connection)):
        return True
    if tracked.echo is not None:
        return False  # A reply opens nothing.
    back = Connection(
        source=connection.destination,
        destination=connection.source,
        protocol=connection.protocol,
        source_port=connection.destination_port,
        destination_port=connection.source_port,
    )
    return judge.allows(back, _direction(port, back))


def _direction(port: WorldPort, connection: Connection) -> RuleDirection | None:
    """Return who has opened a connection, as far as the port's addresses tell."""
    mine = [any(end in prefix for prefix in port.prefixes) for end in (connection.source, connection.destination)]
    if mine == [True, False]:
        return RuleDirection.EGRESS
    return RuleDirection.INGRESS if mine == [False, True] else None


def _removable(tracked: ConnectionTuple) -> bool:
    """Tell whether the switch can remove it and live: one of ICMPv6 it cannot, and that is over by itself soon."""
    try:
        check_removable(tracked)
    except ValueError:
        return False
    return True
