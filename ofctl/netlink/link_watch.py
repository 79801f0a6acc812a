"""What happens to devices, as the kernel tells it: RTNLGRP_LINK of rtnetlink(7), read in the event loop.

A device is known by its index: a rename is reported as an end and a beginning, and a device that was deleted and made
again under its name as two devices. Facts that shape this module, from the kernel's source:

- Bridges report their ports in the same group, with family AF_BRIDGE: RTM_DELLINK then means "left the bridge", not
  "was deleted" (br_ifinfo_notify in net/bridge/br_netlink.c). Only AF_UNSPEC is about the device.
- The carrier is reported by a work item that lets a second pass between two runs (linkwatch_schedule_work in
  net/core/link_watch.c), so "somebody opened the TAP" may come up to a second late. All else is reported at once.
  A device that is down has its carrier reported with the next change only.
- When the receive buffer is full the kernel drops, says ENOBUFS, and goes on dropping until the buffer is empty
  (netlink_overrun and netlink_rcv_wake in net/netlink/af_netlink.c).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ofctl.errors import OfctlError
from ofctl.model.ids import DeviceName
from ofctl.netlink import messages
from ofctl.netlink.rtnl import KernelError, split
from ofctl.netlink.specs import DeviceState

logger = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 8 << 20
"""About 4,000 events. Bounded by net.core.rmem_max for an agent without CAP_NET_ADMIN in the first user namespace."""
_RTMGRP_LINK = 1
_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_SO_RCVBUFFORCE = 33
_RECEIVE_BYTES = 1 << 16
_DATAGRAMS_PER_TURN = 64


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A device is now like that. Changes of what DeviceState does not show are not reported."""

    device: DeviceName
    state: DeviceState | None
    """None: no device of this index has that name any more (deleted, renamed, or moved to another namespace)."""
    ifindex: int
    """Of the device that is meant: a deletion may be heard when another one has the name already."""


@dataclass(frozen=True, slots=True)
class LinkEventsLost:
    """Changes were not heard: look at everything again. What happens from now on is heard again."""


LinkEvent = LinkChange | LinkEventsLost


class LinkEventSocket:
    """The socket that hears of all devices in the network namespace of the thread that makes it. Raises OSError."""

    def __init__(self, *, buffer_bytes: int = RECEIVE_BUFFER_BYTES) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            self._socket.bind((0, _RTMGRP_LINK))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> None:
        """Throw away what waits, so that the kernel takes up again what it dropped for want of room."""
        waiting: bytes | None = b""
        while waiting is not None:
            try:
                waiting = self.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def receive(self) -> bytes | None:
        """Return the next datagram, None if none waits. Raises OSError; ENOBUFS: some were dropped."""
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None


class LinkWatch:
    """Reads the socket in the loop and hands on what has changed."""

    def __init__(
        self,
        events: LinkEventSocket,
        states: Iterable[DeviceState],
        deliver: Callable[[LinkEvent], None],
        list_links: Callable[[], Awaitable[Iterable[DeviceState]]],
    ) -> None:
        """`states` are the devices as of after the socket was opened; `list_links` lists them again after a loss."""
        self._events = events
        self._known = {state.ifindex: state for state in states}
        self._deliver = deliver
        self._list_links = list_links
        self._loop = asyncio.get_running_loop()
        self._recovery: asyncio.Task[None] | None = None
        self._loop.add_reader(events.fileno(), self._read)

    async def close(self) -> None:
        """Stop and close the socket."""
        self._loop.remove_reader(self._events.fileno())
        if self._recovery is not None:
            self._recovery.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._recovery
        self._events.close()

    def _read(self) -> None:
        """Take what waits, up to a limit: the loop has others to serve, and calls again."""
        for _ in range(_DATAGRAMS_PER_TURN):
            try:
                datagram = self._events.receive()
                if datagram is None:
                    return
                for kind, _, _, payload in split(datagram):
                    self._heard(kind, payload)
            except OSError as error:
                if error.errno != errno.ENOBUFS and not isinstance(error, KernelError):
                    raise
                # Names that changed unheard must be read again before the next change is told from them.
                self._loop.remove_reader(self._events.fileno())
                self._events.drain()
                self._recovery = self._loop.create_task(self._recover(), name="ofctl-links-recover")
                return

    def _heard(self, kind: int, payload: bytes) -> None:
        if kind not in (_RTM_NEWLINK, _RTM_DELLINK) or payload[0] != socket.AF_UNSPEC:
            return
        state = messages.read_link(payload)
        known = self._known.get(state.ifindex)
        if kind == _RTM_DELLINK:
            self._known.pop(state.ifindex, None)
            self._deliver(LinkChange(state.device if known is None else known.device, None, state.ifindex))
            return
        if state == known:
            return
        self._known[state.ifindex] = state
        if known is not None and known.device != state.device:
            self._deliver(LinkChange(known.device, None, state.ifindex))
        self._deliver(LinkChange(state.device, state, state.ifindex))

    async def _recover(self) -> None:
        try:
            states = await self._list_links()
            self._known = {state.ifindex: state for state in states}
        except OfctlError as error:
            self._known = {}
            logger.warning("changes of devices were lost, and the devices cannot be listed: %s", error)
        self._loop.add_reader(self._events.fileno(), self._read)
        self._deliver(LinkEventsLost())
