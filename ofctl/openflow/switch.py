"""One bridge's OpenFlow 1.5 switch: commits bundles, dumps.

Everything runs in one event loop and starts no thread. Deadlines are instants of `loop.time()`, in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ofctl.errors import DriverError, OutcomeUnknown, SwitchRejected, SwitchUnavailable
from ofctl.model.ids import DeviceName, OfPort
from ofctl.openflow import replies
from ofctl.openflow.connection import Connected, Connection, Disconnected
from ofctl.openflow.exchanges import BundleExchange, ConnectionGone, MultipartExchange
from ofctl.openflow.images import FlowImage, GroupImage
from ofctl.openflow.wire import encode_change
from ofctl.pipeline.changes import Change

__all__ = ["CommitTimings", "Connected", "Disconnected", "DumpedFlow", "Receipt", "Switch"]

DumpedFlow = FlowImage
Item = TypeVar("Item")
MAX_BUNDLE_ID = 0xFFFFFFFF


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


class Switch(Connection):
    """What can be asked of a bridge over its channel; connecting is `Connection`'s business."""

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
        if self.connected:
            channel = self.require_channel()
            xid = channel.xids(len(changes))
            channel.send(b"".join([encode_change(change, xid + n) for n, change in enumerate(changes)]))

    async def _multipart(
        self, kind: int, body: bytes, read: Callable[[bytes], Iterator[Item]], *, deadline: float
    ) -> list[Item]:
        channel = self.require_channel()
        exchange = MultipartExchange(channel.xids(1), kind, body, read)
        try:
            channel.begin(exchange, exchange.request)
            async with asyncio.timeout_at(deadline):
                refused = await exchange.done
        except TimeoutError:
            raise self.unavailable_because("did not answer a dump before the deadline") from None
        except ConnectionGone:
            raise self.unavailable_because("disconnected") from None
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
            return self.unavailable_because(f"{what}; nothing was changed")
        return OutcomeUnknown(f"bridge {self.bridge} {what} after a commit was sent: it may be in or not")
