"""Frames that third parties' apps handle: from the switch to the app's thread, and what it answers back.

What a sender has too much is dropped here first, and if it goes on, in the switch: a flow mutes it for that app, for a
second, and twice as long each time that it begins again. The other senders' frames get through meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping

from ofctl.engine.dropping import Limits
from ofctl.engine.flow_tables import FlowTables
from ofctl.engine.packet_handler import PacketHandler
from ofctl.errors import OfctlError
from ofctl.log import fields
from ofctl.model.host import AppView
from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.openflow.app_frames import AppFrames
from ofctl.openflow.injection import PacketIn as Raw
from ofctl.openflow.switch import Switch
from ofctl.pipeline.app import LIMITED, MUTES
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.packets import Injection, PacketIn, Sender, mute
from ofctl.pipeline.tables import FROM_OUTSIDE, HANDLER, HANDLER_TAG_BITS, NETWORK, SOURCE, TO_APP
from ofctl.pipeline.world import World

logger = logging.getLogger(__name__)

FIRST_MUTE_S, LONGEST_MUTE_S = 1.0, 32.0
FORGIVEN_S = 60.0
"""After so long without being muted a sender is muted shortly again."""
MUTE_TIMEOUT_S = 2.0
READ_AHEAD = 2
"""Times what all apps take in a second is read from the switch: the rest is for finding out who sends too much."""


class PacketHandlers:
    """The handlers of one host. Without an app that handles packets it does nothing and connects to nothing."""

    def __init__(self, apps: Iterable[FeatureApp], switch: Switch, tables: FlowTables, *, limits: Limits) -> None:
        """`apps` may be all third parties'; `tables` are those of `switch`."""
        self._tables = tables
        self._handlers: dict[int, PacketHandler] = {}
        for app in apps:
            number = tables.handlers.get(app.name)
            if number is not None:
                self._handlers[number] = PacketHandler(app, world=self._world, send=self._send, limits=limits)
        rate = READ_AHEAD * limits.per_app * max(1, len(self._handlers))
        self._frames = AppFrames(switch, rate=rate, on_frame=self._take)
        self._muting: dict[tuple[int, Sender], asyncio.Task[None]] = {}
        self._muted: dict[tuple[int, Sender], tuple[float, float]] = {}
        """When a sender's last mute ended, and how long it was."""

    async def start(self) -> None:
        """Connect in the background, and take frames."""
        if self._handlers:
            for handler in self._handlers.values():
                handler.start()
            await self._frames.start()

    async def close(self) -> None:
        """Take no more frames."""
        await self._frames.close()
        for handler in self._handlers.values():
            handler.close()
        tasks = tuple(self._muting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def described(self, views: Iterable[AppView]) -> tuple[AppView, ...]:
        """Return the apps' views with how their handlers fare."""
        by_name = {handler.app.name: handler for handler in self._handlers.values()}
        return tuple(by_name[view.name].view(view) if view.name in by_name else view for view in views)

    def counters(self) -> Mapping[str, int]:
        """Return what was counted since the start, by `app.APP.COUNTER`."""
        return {
            f"app.{handler.app.name}.{name}": count
            for handler in self._handlers.values()
            for name, count in handler.counters.items()
        }

    # From the switch

    def _take(self, raw: Raw) -> None:
        value = raw.value(HANDLER)
        number, tag = value >> HANDLER_TAG_BITS, value & (1 << HANDLER_TAG_BITS) - 1
        handler = self._handlers.get(number)
        if handler is None or raw.table_number != TO_APP.number:
            return
        network, source = raw.value(NETWORK), raw.value(SOURCE)
        sender = Sender.of(network, source)
        if not handler.limits.take(sender):
            handler.counters[LIMITED] += 1
            if handler.limits.is_flood(sender):
                self._mute(number, sender)
            return
        assert handler.app.place is not None
        handler.offer(
            PacketIn(
                frame=raw.frame,
                network=NetworkIndex(network),
                source=None if source == FROM_OUTSIDE else PortIndex(source),
                tag=tag,
                registers={name: raw.value(part) for name, part in handler.app.place.registers.items()},
            )
        )

    def _mute(self, number: int, sender: Sender) -> None:
        key = (number, sender)
        if key in self._muting:
            return
        now = asyncio.get_running_loop().time()
        ended, last_s = self._muted.get(key, (0.0, 0.0))
        seconds = min(2 * last_s, LONGEST_MUTE_S) if last_s and now - ended < FORGIVEN_S else FIRST_MUTE_S
        handler = self._handlers[number]
        handler.counters[MUTES] += 1
        task = asyncio.create_task(self._keep_muted(key, seconds), name=f"mute-{handler.app.name}")
        self._muting[key] = task
        task.add_done_callback(lambda _: self._muting.pop(key, None))
        logger.warning(
            "too many frames for app %s; its sender is muted for %.0f s",
            handler.app.name,
            seconds,
            extra=fields(app=handler.app.name, sender=_name(sender, self._tables)),
        )

    async def _keep_muted(self, key: tuple[int, Sender], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._forgive(loop.time())
        with contextlib.suppress(OfctlError):  # the switch is away, and so are the frames
            async with self._tables.for_a_moment(mute(*key), deadline=loop.time() + MUTE_TIMEOUT_S):
                await asyncio.sleep(seconds)
        self._muted[key] = (loop.time(), seconds)

    def _forgive(self, now: float) -> None:
        for key in [key for key, (ended, _) in self._muted.items() if now - ended >= FORGIVEN_S]:
            del self._muted[key]

    # To the switch

    def _world(self) -> World:
        return self._tables.world

    def _send(self, answers: Iterable[Injection]) -> None:
        self._frames.send_frames(answers)


def _name(sender: Sender, tables: FlowTables) -> str:
    if sender.outside:
        return f"outside of network {sender.index}"
    port = tables.world.ports.get(PortIndex(sender.index))
    return f"port {port.port_id}" if port is not None else f"port number {sender.index}"
