"""One OpenFlow 1.5 connection: framing, handshake, echo, and which answer belongs to which request.

Everything happens in the protocol's callbacks: an echo request is answered before the next message is looked at, and
a lost connection is reported in the same step of the event loop in which the kernel reports it.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Protocol

from ofctl.openflow.refusals import refusal
from ofctl.openflow.wire import VERSION, message

LOG = logging.getLogger(__name__)

OFPT_HELLO = 0
OFPT_ERROR = 1
OFPT_ECHO_REQUEST = 2
OFPT_ECHO_REPLY = 3
OFPT_FEATURES_REQUEST = 5
OFPT_FEATURES_REPLY = 6
OFPT_PACKET_IN = 10
OFPT_PORT_STATUS = 12
OFPT_MULTIPART_REPLY = 19
OFPT_REQUESTFORWARD = 32
UNASKED = frozenset({OFPT_PACKET_IN, OFPT_PORT_STATUS, OFPT_REQUESTFORWARD})
"""Messages that answer no request; and so do multipart replies to transaction 0, a flow monitor's news."""
FEATURES_XID = 1
HELLO = message(OFPT_HELLO, 0, struct.pack("!HHI", 1, 8, 1 << VERSION))
"""With the version bitmap (OpenFlow 1.5.1, 7.5.1): 1.5 and nothing else."""
STALL_S = 0.05
MAX_XID = 0xFFFFFFFF

_unpack_header = struct.Struct("!BBHI").unpack_from


class Exchange(Protocol):
    """A request, or several with consecutive transaction ids, waiting for the answers."""

    first_xid: int
    last_xid: int

    def received(self, kind: int, xid: int, body: bytes) -> bool:
        """Take a message with one of its transaction ids; True when no more will come."""

    def lost(self) -> None:
        """The connection is gone: no more will come."""


class Channel(asyncio.Protocol):
    """The protocol of one connection. `ready` gets the datapath id, `on_lost` is called once, with the cause.

    `on_unasked` is called with type and body of each message that answers no request.
    """

    def __init__(
        self,
        name: str,
        *,
        echo_interval_s: float,
        echo_timeout_s: float,
        on_lost: Callable[[str], None],
        on_unasked: Callable[[int, bytes], None],
    ) -> None:
        self.name = name
        self.echo_interval_s = echo_interval_s
        self.echo_timeout_s = echo_timeout_s
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[int] = self._loop.create_future()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self._on_lost = on_lost
        self._on_unasked = on_unasked
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._exchanges: dict[int, Exchange] = {}
        self._next_xid = FEATURES_XID + 1
        self._heard = self._loop.time()
        self._asked = False
        """For an echo, since the last sign of life."""
        self._timer: asyncio.TimerHandle | None = None
        self._cause = ""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._heard = self._loop.time()
        transport.write(HELLO)
        self._arm(self._heard + self.echo_interval_s)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._rest:
            data = self._rest + data
        offset, end = 0, len(data)
        while end - offset >= 8:
            version, kind, length, xid = _unpack_header(data, offset)
            if length < 8:
                self.abort(f"sent a message of {length} bytes")
                return
            if end - offset < length:
                break
            self._dispatch(version, kind, xid, data[offset + 8 : offset + length])
            offset += length
        self._rest = data[offset:]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        cause = self._cause or (str(exc) if exc is not None else "closed by the switch")
        self._transport = None
        exchanges, self._exchanges = self._exchanges, {}
        self.closed.set_result(cause)
        self._on_lost(cause)
        for exchange in exchanges.values():
            exchange.lost()

    # for the switch

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def xids(self, count: int) -> int:
        """Return the first of `count` consecutive transaction ids that nobody uses."""
        if self._next_xid + count > MAX_XID:
            self._next_xid = FEATURES_XID + 1
        first = self._next_xid
        self._next_xid += count
        return first

    def begin(self, exchange: Exchange, frames: bytes) -> None:
        """Send `frames` and hand the answers to `exchange` until it is over or `end` is called."""
        self._exchanges[exchange.last_xid] = exchange
        self.send(frames)

    def end(self, exchange: Exchange) -> None:
        """Nobody waits for this exchange any more; what still comes is ignored."""
        if self._exchanges.get(exchange.last_xid) is exchange:
            del self._exchanges[exchange.last_xid]

    def send(self, frames: bytes) -> None:
        """Send without waiting for an answer; lost in silence when the connection is."""
        if self._transport is not None:
            self._transport.write(frames)

    def hold(self, seconds: float) -> None:
        """Read nothing for a moment, much shorter than the echo interval; what was read already is still handed on."""
        transport = self._transport
        if transport is not None and transport.is_reading():
            transport.pause_reading()
            self._loop.call_later(seconds, self._read_on, transport)

    def abort(self, cause: str) -> None:
        """Cut the connection now; what was not sent yet is thrown away."""
        self._cause = self._cause or cause
        if self._transport is not None:
            self._transport.abort()

    # inside

    @staticmethod
    def _read_on(transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            transport.resume_reading()

    def _dispatch(self, version: int, kind: int, xid: int, body: bytes) -> None:
        if kind == OFPT_ECHO_REQUEST:
            self.send(message(OFPT_ECHO_REPLY, xid, body))
            return
        if kind in UNASKED or (kind == OFPT_MULTIPART_REPLY and not xid):
            self._on_unasked(kind, body)
            return
        exchange = self._exchange(xid)
        if exchange is not None:
            if exchange.received(kind, xid, body):
                self.end(exchange)
        elif kind == OFPT_HELLO:
            self._hello(version)
        elif kind == OFPT_FEATURES_REPLY and xid == FEATURES_XID and not self.ready.done():
            self.ready.set_result(struct.unpack_from("!Q", body)[0])
        elif kind == OFPT_ERROR:
            refused = refusal(xid, body)
            LOG.debug("%s: %s for transaction %#x, which nobody waits for", self.name, refused.name, xid)
            if not self.ready.done():
                self.abort(f"refused the handshake: {refused.name}")
        elif kind != OFPT_ECHO_REPLY:
            LOG.debug("%s: ignored message type %d, transaction %#x", self.name, kind, xid)

    def _exchange(self, xid: int) -> Exchange | None:
        exchange = self._exchanges.get(xid)
        if exchange is not None or not self._exchanges:
            return exchange
        return next((each for each in self._exchanges.values() if each.first_xid <= xid < each.last_xid), None)

    def _hello(self, version: int) -> None:
        if version < VERSION:
            self.abort(f"speaks OpenFlow version {version:#x} at most, not 1.5")
        else:
            self.send(message(OFPT_FEATURES_REQUEST, FEATURES_XID))

    def _arm(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._listen, when)

    def _listen(self, due: float) -> None:
        """Ask for a sign of life when there was none for an interval; cut the connection after the timeout."""
        now = self._loop.time()
        silence = now - self._heard
        if now - due > STALL_S:
            # This loop was late itself: what the switch sent meanwhile is read before this is called again.
            self._arm(now + STALL_S / 2)
        elif self._asked and silence >= self.echo_timeout_s:
            self.abort(f"silent for {silence:.1f} s")
        elif silence >= self.echo_interval_s:
            self.send(message(OFPT_ECHO_REQUEST, 0))
            self._asked = True
            # However late it was asked, the switch has the same time to answer.
            patience = max(self.echo_timeout_s - self.echo_interval_s, self.echo_timeout_s / 2)
            self._arm(max(self._heard + self.echo_timeout_s, now + patience))
        else:
            self._asked = False
            self._arm(self._heard + self.echo_interval_s)
