"""A port's own device, opened for a moment to send and to receive as the guest will.

A TAP is opened as a virtual machine monitor opens it, and the kernel lets only one in (or one more queue, with
multi-queue). The far end of a veth pair is used through a packet socket in its namespace, bound to one ethertype that
no protocol has, so whoever lives there is not disturbed.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable

from ofctl.model.ids import DeviceName
from ofctl.netlink.devices import TUN_PATH
from ofctl.netlink.kernel import refused, step
from ofctl.netlink.namespaces import enter, open_netns
from ofctl.netlink.worker import Worker

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_MULTI_QUEUE = 0x0100
MAX_FRAME = 65_536
CLOSE_S = 10.0
FRAMES_AT_ONCE = 64
"""Read in one turn of the loop, however many there are."""


class DoorHeld(Exception):
    """Somebody has the TAP open."""


class ProbeDoor:
    """An open device. Belongs to the event loop in which it is first used; closed by `ProbeDoors.close_door`."""

    def __init__(self, device: str, fd: int, on_close: Callable[[], None]) -> None:
        self.device = device
        self._fd = fd
        self._on_close = on_close
        self._loop: asyncio.AbstractEventLoop | None = None

    def send(self, frame: bytes) -> None:
        """Send a frame as the guest would. Raises DeviceError; a full queue loses the frame in silence."""
        try:
            os.write(self._fd, frame)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return
            raise refused(f"send a frame through {self.device}", error, subject=self.device) from error

    def receive(self, callback: Callable[[bytes], None]) -> None:
        """Have `callback` called in the loop with each frame that comes out of the switch. To call once."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read, callback)

    def deafen(self) -> None:
        """Call back no more."""
        if self._loop is not None:
            self._loop.remove_reader(self._fd)

    def release(self) -> None:
        """Let the device go. Blocks: the kernel waits for all its readers (synchronize_net, 2 ms). To call once."""
        self._on_close()

    def _read(self, callback: Callable[[bytes], None]) -> None:
        for _ in range(FRAMES_AT_ONCE):
            try:
                frame = os.read(self._fd, MAX_FRAME)
            except BlockingIOError:
                return
            except OSError:
                # The device went away: nothing more comes, which is what the caller will see.
                self.deafen()
                return
            callback(frame)


class ProbeDoors:
    """Opens doors, in a thread of its own: the kernel may make an opener wait for its lock on all devices.

    The thread belongs to the network namespace of the thread that makes the first call, as that of `Devices` does.
    """

    def __init__(self, *, tun_path: str = TUN_PATH) -> None:
        self._tun_path = tun_path
        self._worker = Worker("ofctl-probe")

    async def open_tap(self, device: DeviceName, *, multi_queue: bool, deadline: float) -> ProbeDoor:
        """Open a TAP that is there. Raises DoorHeld, DeviceError (also if there is none), DeadlineExceeded."""
        return await self._worker.run(
            lambda _: _open_tap(device, self._tun_path, multi_queue=multi_queue),
            doing=f"open the TAP {device}",
            deadline=deadline,
            undo=ProbeDoor.release,
        )

    async def open_peer(
        self, device: DeviceName, netns_path: str, ethertype: int, *, field: str, deadline: float
    ) -> ProbeDoor:
        """Open a packet socket on `device` in a network namespace, for frames of one ethertype.

        Raises InvalidField or Refused as `open_netns` does, DeviceError, DeadlineExceeded.
        """
        return await self._worker.run(
            lambda _: _open_peer(device, netns_path, ethertype, field),
            doing=f"open {device} in {netns_path}",
            deadline=deadline,
            undo=ProbeDoor.release,
        )

    async def close_door(self, door: ProbeDoor) -> None:
        """Return when the device is free for another. It is closed even if the caller is cancelled."""
        door.deafen()
        deadline = asyncio.get_running_loop().time() + CLOSE_S
        closing = self._worker.run(lambda _: door.release(), doing=f"close {door.device}", deadline=deadline)
        await asyncio.shield(asyncio.ensure_future(closing))

    async def close(self) -> None:
        """End the thread."""
        await self._worker.close(lambda: None)


def _open_tap(device: str, tun_path: str, *, multi_queue: bool) -> ProbeDoor:
    flags = _IFF_TAP | _IFF_NO_PI | (_IFF_MULTI_QUEUE if multi_queue else 0)
    with step(f"open {tun_path} for the TAP {device}", subject=device):
        if device not in (name for _, name in socket.if_nameindex()):
            # TUNSETIFF would make one.
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        fd = os.open(tun_path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", device.encode(), flags))
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EBUSY:
            raise DoorHeld(f"somebody has {device} open") from error
        raise refused(f"open the TAP {device}", error, subject=device) from error
    return ProbeDoor(device, fd, lambda: os.close(fd))


def _open_peer(device: str, netns_path: str, ethertype: int, field: str) -> ProbeDoor:
    opened: list[socket.socket | OSError] = []

    def work(netns: int) -> None:
        try:
            enter(netns)
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
            try:
                made.bind((device, ethertype))
            except BaseException:
                made.close()
                raise
            opened.append(made)
        except OSError as error:
            opened.append(error)

    with open_netns(netns_path, field=field, subject=device) as netns:
        thread = threading.Thread(target=work, args=(netns,), name="ofctl-probe-netns", daemon=True)
        with step(f"open {device} in {netns_path}", subject=device):
            try:
                thread.start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, "no thread can be started") from error
            thread.join()
            there = opened[0]
            if isinstance(there, OSError):
                raise there
    return ProbeDoor(device, there.fileno(), there.close)
