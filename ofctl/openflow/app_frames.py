"""The connection for frames that third parties' apps handle: packet-ins up, packet-outs down, no changes.

It is not the one for commits and probes, and it is read no faster than its rate. What the switch cannot get rid of it
throws away: it keeps 100 packet-ins for a connection (`do_send_packet_ins` in OVS's ofproto/connmgr.c), besides what
is in the socket. So a flood costs the agent a bounded share of its time, and delays nothing else.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable

from ofctl.openflow import foreign
from ofctl.openflow.channel import OFPT_PACKET_IN, Channel
from ofctl.openflow.connection import Connection
from ofctl.openflow.injection import PacketIn, PacketOut, encode_packet_out, read_packet_in, set_controller_id
from ofctl.openflow.rate import Rate
from ofctl.pipeline.packets import Injection
from ofctl.pipeline.tables import APP_CONTROLLER

LOG = logging.getLogger(__name__)

HOLD_S = 0.02
"""For so long nothing is read when the rate is used up."""


class AppFrames(Connection):
    """One bridge's frames for apps. `on_frame` is called in the loop for each; it must not block and must not raise."""

    def __init__(self, beside: Connection, *, rate: float, on_frame: Callable[[PacketIn], None]) -> None:
        """`beside` is another connection to the same bridge; `rate` is how many frames are read in a second."""
        super().__init__(
            beside.bridge,
            beside.socket,
            max_backoff_s=beside.max_backoff_s,
            echo_interval_s=beside.echo_interval_s,
            echo_timeout_s=beside.echo_timeout_s,
        )
        self._rate = Rate(rate, burst=rate * 0.1)
        self._on_frame = on_frame

    def greet(self, channel: Channel) -> None:
        """Ask for the packet-ins of our controller id, and for nothing else."""
        channel.send(foreign.only_packet_ins(channel.xids(1)) + set_controller_id(channel.xids(1), APP_CONTROLLER))

    def unasked(self, kind: int, body: bytes) -> None:
        """See `Connection.unasked`."""
        if kind != OFPT_PACKET_IN:
            return
        if not self._rate.take() and self.connected:
            self.require_channel().hold(HOLD_S)
        try:
            frame = read_packet_in(body)
        except (ValueError, struct.error):
            LOG.warning("bridge %s: a packet-in cannot be read", self.bridge)
        else:
            self._on_frame(frame)

    def send_frames(self, injections: Iterable[Injection]) -> None:
        """Put frames into the tables and wait for nothing; lost in silence while the switch is away."""
        if not self.connected:
            return
        channel = self.require_channel()
        packets = [PacketOut(each.frame, each.in_port, each.actions, each.registers) for each in injections]
        first = channel.xids(len(packets))
        channel.send(b"".join(encode_packet_out(packet, xid, 0) for xid, packet in enumerate(packets, first)))
