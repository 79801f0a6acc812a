"""Getting connected to a bridge's management socket, and staying so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ofctl.errors import SwitchUnavailable
from ofctl.model.ids import Dpid
from ofctl.openflow.channel import Channel
from ofctl.openflow.foreign import ForeignChanges
from ofctl.openflow.injection import PacketIns

LOG = logging.getLogger(__name__)

BACKOFF_GROWTH = 1.3
"""Small, so that a switch that is back is found within 30 % of the time that it was away."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The handshake is over; the switch may have lost everything since the last generation."""

    generation: int
    dpid: Dpid


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection of this generation is gone."""

    generation: int
    cause: str


class Connection:
    """A bridge's channel, made again whenever it is lost. Create it anywhere, use it in one event loop.

    Backoff: the first retry comes after `first_backoff_s`, the others grow to `max_backoff_s` (seconds).
    A switch that says nothing for `echo_interval_s` is asked for an echo, after `echo_timeout_s` it is disconnected.
    """

    def __init__(
        self,
        bridge: str,
        socket: Path,
        *,
        first_backoff_s: float = 0.002,
        max_backoff_s: float = 1.0,
        echo_interval_s: float = 2.0,
        echo_timeout_s: float = 5.0,
        handshake_timeout_s: float = 5.0,
    ) -> None:
        self.bridge = bridge
        self.socket = socket
        self.first_backoff_s = first_backoff_s
        self.max_backoff_s = max_backoff_s
        self.echo_interval_s = echo_interval_s
        self.echo_timeout_s = echo_timeout_s
        self.handshake_timeout_s = handshake_timeout_s
        self.generation = 0
        """Counts the connections; 0 before the first."""
        self.dpid: Dpid | None = None
        self.foreign = ForeignChanges()
        """What other clients change; see `Switch.watch_foreign`."""
        self.packet_ins = PacketIns()
        """Frames that the tables send us; see `Switch.probing`."""
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._subscribers: list[Callable[[Connected | Disconnected], None]] = []
        self._waiting: list[asyncio.Future[int]] = []
        self._last_problem = "never connected"

    @property
    def connected(self) -> bool:
        """Whether the handshake is over and the connection has not been lost since."""
        return self._channel is not None

    async def start(self) -> None:
        """Start connecting in the background; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._stay_connected(), name=f"openflow {self.bridge}")

    async def close(self) -> None:
        """Disconnect for good; commits and dumps in flight end with SwitchUnavailable or OutcomeUnknown."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def subscribe(self, callback: Callable[[Connected | Disconnected], None]) -> Callable[[], None]:
        """Have `callback` called in the loop at every change of the connection; returns what ends that.

        It is called before any commit or dump in flight sees the loss, and must not block.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback) if callback in self._subscribers else None

    async def wait_connected(self, *, deadline: float) -> int:
        """Return the generation of the present connection, or of the next. Raises SwitchUnavailable at `deadline`."""
        if self.connected:
            return self.generation
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except TimeoutError:
            raise self.unavailable_because(self._last_problem) from None
        finally:
            self._waiting.remove(waiter)

    # for the switch

    def unavailable_because(self, why: str) -> SwitchUnavailable:
        return SwitchUnavailable(f"bridge {self.bridge} is not available: {why}", subject=self.bridge)

    def require_channel(self) -> Channel:
        if self._channel is None:
            raise self.unavailable_because(self._last_problem)
        return self._channel

    def greet(self, channel: Channel) -> None:
        """Send what comes before everything else on a channel that is through its handshake."""

    def unasked(self, kind: int, body: bytes) -> None:
        """Take a message of the switch that answers no request."""

    # inside

    async def _stay_connected(self) -> None:
        backoff = self.first_backoff_s
        while True:
            channel = await self._connect()
            if channel is not None:
                backoff = self.first_backoff_s
                try:
                    await asyncio.shield(channel.closed)
                finally:
                    channel.abort("closed by ofctl")
                    await channel.closed
            await asyncio.sleep(backoff)
            backoff = min(backoff * BACKOFF_GROWTH, self.max_backoff_s)

    async def _connect(self) -> Channel | None:
        """Return a channel that is through its handshake, or None."""
        loop = asyncio.get_running_loop()
        channel = Channel(
            self.bridge,
            echo_interval_s=self.echo_interval_s,
            echo_timeout_s=self.echo_timeout_s,
            on_lost=self._lost,
            on_unasked=self.unasked,
        )
        try:
            await loop.create_unix_connection(lambda: channel, str(self.socket))
        except OSError as error:
            self._problem(f"{self.socket}: {error.strerror or error}")
            return None
        done = False
        try:
            await asyncio.wait(
                (channel.ready, channel.closed), timeout=self.handshake_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            done = channel.ready.done() and channel.open
        finally:
            if not done:
                channel.abort(f"no handshake within {self.handshake_timeout_s} s")
                self._problem(await channel.closed)
        if not done:
            return None
        self._established(channel, Dpid(channel.ready.result()))
        return channel

    def _problem(self, problem: str) -> None:
        if problem != self._last_problem:
            LOG.info("bridge %s: not connected: %s", self.bridge, problem)
            self._last_problem = problem

    def _established(self, channel: Channel, dpid: Dpid) -> None:
        self.greet(channel)
        self._channel = channel
        self.generation += 1
        self.dpid = dpid
        LOG.info("bridge %s: connected, generation %d, dpid %016x", self.bridge, self.generation, dpid)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(self.generation)
        self._tell(Connected(self.generation, dpid))

    def _lost(self, cause: str) -> None:
        if self._channel is not None:
            self._channel = None
            self._last_problem = cause
            self.packet_ins.lose()
            level = logging.INFO if self._task is None else logging.WARNING
            LOG.log(level, "bridge %s: disconnected, generation %d: %s", self.bridge, self.generation, cause)
            self._tell(Disconnected(self.generation, cause))

    def _tell(self, event: Connected | Disconnected) -> None:
        loop = asyncio.get_running_loop()
        for callback in tuple(self._subscribers):
            loop.call_soon(callback, event)
