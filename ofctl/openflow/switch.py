"""One bridge's OpenFlow 1.5 channel: connects, stays connected, commits bundles, dumps.

Everything runs in one event loop and starts no thread. Deadlines are instants of `loop.time()`, in seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ofctl.errors import DriverError, OutcomeUnknown, SwitchRejected, SwitchUnavailable
from ofctl.model.ids import DeviceName, Dpid, OfPort
from ofctl.openflow import replies
from ofctl.openflow.channel import Channel
from ofctl.openflow.exchanges import BundleExchange, ConnectionGone, MultipartExchange
from ofctl.openflow.images import FlowImage, GroupImage
from ofctl.openflow.wire import encode_change
from ofctl.pipeline.changes import Change

LOG = logging.getLogger(__name__)

BACKOFF_GROWTH = 1.3
"""Small, so that a switch that is back is found within 30 % of the time that it was away."""

DumpedFlow = FlowImage
Item = TypeVar("Item")


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


@dataclass(frozen=True, slots=True)
class CommitTimings:
    """Microseconds: `add` until the switch had taken every change without error, `commit` until the last barrier."""

    add: int
    commit: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The switch answered both the commit and the barrier after it, on this generation of the connection."""

    generation: int
    bundle_id: int
    barrier_xid: int
    changes: int
    durations_us: CommitTimings


class Switch:
    """The OpenFlow channel of one bridge. Create it anywhere, use it in one event loop.

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
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._subscribers: list[Callable[[Connected | Disconnected], None]] = []
        self._waiting: list[asyncio.Future[int]] = []
        self._bundles = 0
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
            raise self._unavailable(self._last_problem) from None
        finally:
            self._waiting.remove(waiter)

    async def commit(self, changes: Sequence[Change], *, deadline: float) -> Receipt:
        """Make all of `changes` or none, in order, and return when the OpenFlow tables are confirmed by a barrier.

        Several commits may be in flight; they are applied in the order in which they were called. If the task is
        cancelled before the commit request is sent nothing is applied; after that nobody knows.
        Raises SwitchRejected (nothing is in; `change` is the guilty index), SwitchUnavailable (nothing is in),
        OutcomeUnknown (the commit was sent and no answer came before `deadline` or before the disconnect),
        ValueError (a change that no message can carry; nothing was sent).
        """
        channel = self._require_channel()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if deadline <= begun:
            raise self._unavailable("the deadline passed before anything was sent")
        self._bundles = self._bundles % 0xFFFFFFFF + 1
        exchange = BundleExchange(channel.xids(BundleExchange.size(changes)), self._bundles, changes)
        opening = exchange.opening()
        generation = self.generation
        sent = False
        try:
            channel.begin(exchange, opening)
            async with asyncio.timeout_at(deadline):
                await exchange.added
                added = loop.time()
                if exchange.errors:
                    raise self._rejected(exchange, changes)
                sent = True
                channel.send(exchange.closing())
                await exchange.confirmed
        except TimeoutError:
            raise self._no_answer("did not answer before the deadline", sent=sent) from None
        except ConnectionGone:
            raise self._no_answer("disconnected", sent=sent) from None
        finally:
            channel.end(exchange)
            if not sent:
                channel.send(exchange.discard())
        self._check_committed(exchange, changes)
        timings = CommitTimings(add=round((added - begun) * 1e6), commit=round((loop.time() - added) * 1e6))
        return Receipt(generation, exchange.bundle_id, exchange.last_xid, len(changes), timings)

    async def dump_flows(
        self, *, deadline: float, cookie: int | None = None, table: int | None = None
    ) -> list[DumpedFlow]:
        """Return the flows with exactly this cookie, in this table; None means any. Raises SwitchUnavailable."""
        request = replies.flow_request(cookie, table)
        return await self._multipart(replies.OFPMP_FLOW_DESC, request, replies.flows, deadline=deadline)

    async def dump_groups(self, *, deadline: float, group_id: int | None = None) -> list[GroupImage]:
        """Return one group (or nothing if there is none), or all. Raises SwitchUnavailable."""
        request = replies.group_request(group_id)
        return await self._multipart(replies.OFPMP_GROUP_DESC, request, replies.groups, deadline=deadline)

    async def ports(self, *, deadline: float) -> dict[DeviceName, OfPort]:
        """Return the ports that the bridge has as OpenFlow sees them, OFPP_LOCAL included. Raises SwitchUnavailable."""
        request = replies.port_request()
        listed = await self._multipart(replies.OFPMP_PORT_DESC, request, replies.ports, deadline=deadline)
        return {DeviceName(name): OfPort(number) for name, number in listed}

    def send_unconfirmed(self, changes: Sequence[Change]) -> None:
        """Send changes that nobody waits for, outside of a bundle; errors are logged at DEBUG, no connection is no-op.

        For what changes no packet's way: see `ofctl.openflow.revalidation`.
        """
        channel = self._channel
        if channel is not None:
            xid = channel.xids(len(changes))
            channel.send(b"".join([encode_change(change, xid + n) for n, change in enumerate(changes)]))

    async def _multipart(
        self, kind: int, body: bytes, read: Callable[[bytes], Iterator[Item]], *, deadline: float
    ) -> list[Item]:
        channel = self._require_channel()
        exchange = MultipartExchange(channel.xids(1), kind, body, read)
        try:
            channel.begin(exchange, exchange.request)
            async with asyncio.timeout_at(deadline):
                refused = await exchange.done
        except TimeoutError:
            raise self._unavailable("did not answer a dump before the deadline") from None
        except ConnectionGone:
            raise self._unavailable("disconnected") from None
        finally:
            channel.end(exchange)
        if refused is not None:
            raise DriverError(
                f"bridge {self.bridge} refused multipart request {kind}: {refused.name}",
                reason="SWITCH_REFUSED_DUMP",
                metadata={"of_error": refused.name},
            )
        return exchange.items

    # outcomes

    def _check_committed(self, exchange: BundleExchange, changes: Sequence[Change]) -> None:
        if exchange.committed and exchange.errors:
            raise OutcomeUnknown(
                f"bridge {self.bridge} said both that a bundle is committed and {exchange.errors[0].name}"
            )
        if exchange.errors:
            raise self._rejected(exchange, changes)
        if not exchange.committed:
            raise OutcomeUnknown(f"bridge {self.bridge} answered the barrier and not the commit before it")

    def _rejected(self, exchange: BundleExchange, changes: Sequence[Change]) -> SwitchRejected:
        index, error = exchange.guilty()
        metadata = {"of_error": error.name}
        if index is None:
            return SwitchRejected(f"bridge {self.bridge} refused a bundle: {error.name}", metadata=metadata)
        text = str(changes[index])
        metadata["change"] = text
        return SwitchRejected(
            f"bridge {self.bridge} refused change {index} of {len(changes)}, {text}: {error.name}",
            change=index,
            metadata=metadata,
        )

    def _no_answer(self, what: str, *, sent: bool) -> OutcomeUnknown | SwitchUnavailable:
        if not sent:
            return self._unavailable(f"{what}; nothing was changed")
        return OutcomeUnknown(f"bridge {self.bridge} {what} after a commit was sent: it may be in or not")

    def _unavailable(self, why: str) -> SwitchUnavailable:
        return SwitchUnavailable(f"bridge {self.bridge} is not available: {why}", subject=self.bridge)

    def _require_channel(self) -> Channel:
        if self._channel is None:
            raise self._unavailable(self._last_problem)
        return self._channel

    # the connection

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
            level = logging.INFO if self._task is None else logging.WARNING
            LOG.log(level, "bridge %s: disconnected, generation %d: %s", self.bridge, self.generation, cause)
            self._tell(Disconnected(self.generation, cause))

    def _tell(self, event: Connected | Disconnected) -> None:
        loop = asyncio.get_running_loop()
        for callback in tuple(self._subscribers):
            loop.call_soon(callback, event)
