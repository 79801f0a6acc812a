"""A holder of a TAP, as QEMU is one."""

from __future__ import annotations

import fcntl
import os
import struct
from types import TracebackType

TUNSETIFF = 0x400454CA
TUNSETQUEUE = 0x400454D9
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_MULTI_QUEUE = 0x0100
IFF_DETACH_QUEUE = 0x0400


class Holder:
    """Has one queue of a TAP open."""

    def __init__(self, device: str, *, multi_queue: bool = False) -> None:
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        flags = IFF_TAP | IFF_NO_PI | (IFF_MULTI_QUEUE if multi_queue else 0)
        try:
            fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), flags))
        except OSError:
            os.close(self.fd)
            raise

    def disable_queue(self) -> None:
        """Let the kernel deliver nothing to this queue, and keep it."""
        fcntl.ioctl(self.fd, TUNSETQUEUE, struct.pack("16sH22x", b"", IFF_DETACH_QUEUE))

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.fd)
