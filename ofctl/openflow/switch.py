"""One bridge's OpenFlow 1.5 switch: commits bundles, tells what others change, takes probes.

Everything runs in one event loop and starts no thread. Deadlines are instants of `loop.time()`, in seconds.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ofctl.errors import OutcomeUnknown, SwitchRejected, SwitchUnavailable
from ofctl.openflow import foreign
from ofctl.openflow.channel import (
    OFPT_MULTIPART_REPLY,
    OFPT_PACKET_IN,
    OFPT_PORT_STATUS,
    OFPT_REQUESTFORWARD,
    Channel,
)
from ofctl.openflow.connection import Connected, Disconnected
from ofctl.openflow.conntrack import ConnectionTuple, FlushExchange
from ofctl.openflow.exchanges import BundleExchange, ConnectionGone, MultipartExchange
from ofctl.openflow.foreign import ForeignChange
from ofctl.openflow.injection import (
    OFPP_CONTROLLER,
    PacketOut,
    PacketOutExchange,
    Probing,
    set_controller_id,
)
from ofctl.openflow.inquiries import DumpedFlow, Fragments, Inquiries, SwitchConfig
from ofctl.openflow.refusals import Refusal
from ofctl.openflow.replies import SwitchDescription
from ofctl.openflow.wire import encode_change
from ofctl.pipeline.changes import Change
from ofctl.pipeline.diff import DYNAMIC_TABLES
from ofctl.pipeline.flow import ToController
from ofctl.pipeline.tables import PROBE_CONTROLLER

__all__ = [
    "CommitTimings",
    "Connected",
    "Disconnected",
    "DumpedFlow",
    "Fragments",
    "Receipt",
    "Switch",
    "SwitchConfig",
    "SwitchDescription",
]

LOG = logging.getLogger(__name__)

MAX_BUNDLE_ID = 0xFFFFFFFF

FENCE = PacketOut(b"\x0e".ljust(60, b"\0"), OFPP_CONTROLLER, (ToController(PROBE_CONTROLLER),))
"""Meets no table: what it follows has been through them when it comes back."""

FENCE_S = 0.25
"""After so much silence the fence is sent again: packet-ins that nobody reads fast enough are thrown away."""


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


class Switch(Inquiries):
    """Changes a bridge over its channel, watches it and probes it; asking is `Inquiries`' business."""

    _bundles = 0

    async def commit(self, changes: Sequence[Change], *, deadline: float) -> Receipt:
        """Make all of `changes` or none, in order, and return when the OpenFlow tables are confirmed by a barrier.

        Several commits may be in flight; they are applied in the order in which they were called. If the task is
        cancelled before the commit request is sent nothing is applied; after that nobody knows.
        Raises SwitchRejected (nothing is in; `change` is the guilty index), SwitchUnavailable (nothing is in),
        OutcomeUnknown (the commit was sent and no answer came before `deadline` or before the disconnect),
        ValueError (a change that no message can carry; nothing was sent).
        """
        channel = self.require_channel()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if deadline <= begun:
            raise self.unavailable_because("the deadline passed before anything was sent")
        self._bundles = self._bundles % MAX_BUNDLE_ID + 1
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

    def send_unconfirmed(self, changes: Sequence[Change]) -> None:
        """Send changes that nobody waits for, outside of a bundle; errors are logged at DEBUG, no connection is no-op.

        For what changes no packet's way: see `ofctl.openflow.revalidation`.
        """
        if self.connected:
            channel = self.require_channel()
            xid = channel.xids(len(changes))
            channel.send(b"".join([encode_change(change, xid + n) for n, change in enumerate(changes)]))

    async def flush_connections(
        self,
        zones: int | Collection[int],
        originals: ConnectionTuple | Collection[ConnectionTuple] | None = None,
        *,
        deadline: float,
    ) -> None:
        """Remove the tracked connections of one zone or several; return when a barrier confirms that they are gone.

        With `originals` only those whose original direction is like one of them. Partial tuples make the switch go
        through all its connections. Raises SwitchUnavailable (some may be gone), DriverError, ValueError.
        """
        channel = self.require_channel()
        named = (originals,) if originals is None or isinstance(originals, ConnectionTuple) else originals
        listed = (zones,) if isinstance(zones, int) else zones
        flushes = [(zone, original) for zone in listed for original in named]
        exchange = FlushExchange(channel.xids(len(flushes) + 1), flushes)
        refused = await self._answer(channel, exchange, "did not confirm a flush of connections", deadline=deadline)
        if refused:
            raise self.refused("a flush of connections", refused[0])

    def watch_foreign(self, callback: Callable[[ForeignChange], None]) -> Callable[[], None]:
        """Have `callback` called in the loop for what other clients change; returns what ends that.

        At each connect the switch is asked to tell before anything else is asked of it, so what no dump has seen an
        event tells. Watch before `start`: the connection that is there is not asked any more. What comes in one turn
        of the loop is told once each, and a flood as `ManyChanges`. The callback must not block and must not raise.
        """
        return self.foreign.watch(callback)

    @contextmanager
    def probing(self) -> Iterator[Probing]:
        """Give a series of probes its mark, and gather what comes back under it until the block ends."""
        probing = self.packet_ins.open()
        try:
            yield probing
        finally:
            self.packet_ins.close(probing)

    async def inject(self, packets: Sequence[PacketOut], probing: Probing, *, deadline: float) -> bool:
        """Put frames into the tables; return when what they send back has come, to `probing.came`.

        False if the switch has thrown packet-ins away, so that what did not come may be among them. Raises
        SwitchUnavailable, DriverError (the switch refused a frame), ValueError (one that no message carries).
        """
        channel = self.require_channel()
        ending = replace(FENCE, frame=FENCE.frame + struct.pack("!I", channel.xids(1)))
        probing.ending = ending.frame
        probing.ended.clear()
        series = PacketOutExchange(channel.xids(len(packets) + 1), (*packets, ending), probing.mark)
        complete = True
        try:
            channel.begin(series, series.request)
            while not await self._ended(probing, deadline=deadline):
                complete = False
                channel.send(PacketOutExchange(channel.xids(1), (ending,), probing.mark).request)
        finally:
            channel.end(series)
        if probing.gone or not self.connected:
            raise self.unavailable_because("disconnected")
        if series.refused.done():
            raise self.refused("a packet-out", series.refused.result())
        return complete

    async def _ended(self, probing: Probing, *, deadline: float) -> bool:
        """Wait until a series has ended, but not for ever; tell whether it has."""
        patience = asyncio.get_running_loop().time() + FENCE_S
        try:
            async with asyncio.timeout_at(min(deadline, patience)):
                await probing.ended.wait()
        except TimeoutError:
            if deadline <= patience:
                raise self.unavailable_because("did not answer a probe before the deadline") from None
        return probing.ended.is_set()

    def send_packets(self, packets: Sequence[PacketOut]) -> None:
        """Put frames into the tables as if they were no probes, and wait for nothing. Raises SwitchUnavailable."""
        channel = self.require_channel()
        channel.send(PacketOutExchange(channel.xids(len(packets)), packets, 0).request)

    def greet(self, channel: Channel) -> None:
        """Ask for the description, and if anybody watches, for news: see `Connection.greet`."""
        super().greet(channel)
        channel.send(foreign.set_async(channel.xids(1)) + set_controller_id(channel.xids(1), PROBE_CONTROLLER))
        if self.foreign.watched:
            body = foreign.monitor_request(DYNAMIC_TABLES)
            monitor = MultipartExchange(channel.xids(1), foreign.OFPMP_FLOW_MONITOR, body, foreign.flow_updates)
            monitor.done.add_done_callback(self._monitored)
            channel.begin(monitor, monitor.request)

    def unasked(self, kind: int, body: bytes) -> None:
        """See `Connection.unasked`."""
        if kind == OFPT_MULTIPART_REPLY:
            if body[:2] == foreign.FLOW_MONITOR_KIND:
                self.foreign.take(foreign.flow_updates, body[8:])
        elif kind == OFPT_REQUESTFORWARD:
            self.foreign.take(foreign.forwarded_request, body)
        elif kind == OFPT_PORT_STATUS:
            self.foreign.take(foreign.port_status, body)
        elif kind == OFPT_PACKET_IN:
            self.packet_ins.take(body)

    def _monitored(self, done: asyncio.Future[Refusal | None]) -> None:
        if done.exception() is None and (refused := done.result()) is not None:
            LOG.error("bridge %s tells nothing of flows that others change: %s", self.bridge, refused.name)

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
            return self.unavailable_because(f"{what}; nothing was changed")
        return OutcomeUnknown(f"bridge {self.bridge} {what} after a commit was sent: it may be in or not")
