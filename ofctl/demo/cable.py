"""The cable between a VM port's TAP and a guest's network stack: copies frames between two TAP devices.

A program of its own that needs the standard library alone:

    python -I cable.py PORT_DEVICE NETNS_PATH GUEST_DEVICE MAC

It opens PORT_DEVICE as a virtual machine monitor does (the device stays when it ends), makes GUEST_DEVICE in the
namespace at NETNS_PATH, prints a line, and copies whatever comes until it is killed. The guest's device goes with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
SIOCSIFHWADDR = 0x8924
ARPHRD_ETHER = 1
CLONE_NEWNET = 0x40000000
LONGEST_FRAME = 65_536
BURST = 64
"""Frames taken from one side before the other gets its turn."""


def open_tap(name: str) -> int:
    """Attach to the TAP device `name`, or make it (kernel documentation, networking/tuntap.rst)."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def enter_namespace(path: str) -> None:
    """Move this thread into the network namespace at `path`."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")


def set_mac(descriptor: int, mac: str) -> None:
    """Give the guest's device its MAC address; a TAP takes it through its own descriptor."""
    address = bytes.fromhex(mac.replace(":", ""))
    fcntl.ioctl(descriptor, SIOCSIFHWADDR, struct.pack("16sH6s16x", b"", ARPHRD_ETHER, address))


def copy_frames(one: int, other: int) -> None:
    """Copy frames both ways until an end is gone. A frame that a device does not take is lost, as on any wire."""
    poller = select.poll()
    poller.register(one, select.POLLIN)
    poller.register(other, select.POLLIN)
    opposite = {one: other, other: one}
    while True:
        for source, _ in poller.poll():
            sink = opposite[source]
            for _ in range(BURST):
                try:
                    frame = os.read(source, LONGEST_FRAME)
                except BlockingIOError:
                    break
                try:
                    os.write(sink, frame)
                except (BlockingIOError, OSError):
                    continue


def main() -> None:
    port_device, netns_path, guest_device, mac = sys.argv[1:]
    port = open_tap(port_device)
    enter_namespace(netns_path)
    guest = open_tap(guest_device)
    set_mac(guest, mac)
    sys.stdout.write("connected\n")
    sys.stdout.flush()
    copy_frames(port, guest)


if __name__ == "__main__":
    main()
