"""TAPs by ioctl on /dev/net/tun (Documentation/networking/tuntap.rst, linux/if_tun.h).

Our own ioctls and not pyroute2's `link("add", kind="tuntap")`: that one sets TUNSETPERSIST and closes before anybody
can set an alias, so a crash leaves a device without our mark; and it lacks IFF_TUN_EXCL, so a foreign TAP of the same
name would be taken without a word.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from ofctl.netlink.kernel import refused

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_TUNSETGROUP = 0x400454CE
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_MULTI_QUEUE = 0x0100
_IFF_TUN_EXCL = 0x8000
_SIOCETHTOOL = 0x8946
_ETHTOOL_GTXCSUM = 0x16
_ETHTOOL_STXCSUM = 0x17


class NewTap:
    """A TAP that goes away when it is closed, unless it was made persistent. Multi-queue is a property for life."""

    def __init__(self, device: str, *, multi_queue: bool, tun_path: str) -> None:
        """Create the device. Raises DeviceError; with errno EBUSY a device of that name exists already."""
        self.device = device
        self._fd = _open_tun(device, tun_path)
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL | (_IFF_MULTI_QUEUE if multi_queue else 0)
        try:
            fcntl.ioctl(self._fd, _TUNSETIFF, struct.pack("16sH22x", device.encode(), flags))
        except OSError as error:
            self.close()
            raise refused(f"create the TAP {device}", error, subject=device) from error

    def close(self) -> None:
        """Let go. The device is destroyed with that if it is not persistent."""
        os.close(self._fd)

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """Say who may open it without CAP_NET_ADMIN. Raises OSError."""
        if uid is not None:
            fcntl.ioctl(self._fd, _TUNSETOWNER, uid)
        if gid is not None:
            fcntl.ioctl(self._fd, _TUNSETGROUP, gid)

    def set_persistent(self) -> None:
        """Let it outlive its last descriptor. Raises OSError."""
        fcntl.ioctl(self._fd, _TUNSETPERSIST, 1)


def _open_tun(device: str, tun_path: str) -> int:
    try:
        return os.open(tun_path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        reason, cure = _TUN_CURES.get(error.errno or 0, (None, ""))
        raise refused(
            f"open {tun_path} to create the TAP {device}", error, subject=device, cure=cure, reason=reason
        ) from error


_FORBIDDEN = ("TUN_FORBIDDEN", "the distributions' default is mode 0666; as root: chmod 0666 /dev/net/tun")
_MISSING = ("TUN_MISSING", "load the kernel module tun, and give a container the device /dev/net/tun (char 10:200)")
_TUN_CURES: dict[int, tuple[str | None, str]] = {
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.ENOENT: _MISSING,
    errno.ENODEV: _MISSING,
    errno.ENXIO: _MISSING,
}


def switch_tx_checksum_off(socket_fd: int, device: str) -> None:
    """Make a device send whole checksums: `ethtool -K DEVICE tx off`, in the namespace of the socket.

    The ioctl is half the cost of pyroute2's ethtool, which needs a generic netlink socket of its own; the old
    command ETHTOOL_STXCSUM switches every transmit checksum feature at once, and segmentation offload goes with it
    (net/ethtool/ioctl.c, netdev_fix_features). Raises OSError.
    """
    if _ethtool_value(socket_fd, device, _ETHTOOL_GTXCSUM):
        _ethtool_value(socket_fd, device, _ETHTOOL_STXCSUM)


def _ethtool_value(socket_fd: int, device: str, command: int) -> int:
    """Run an ethtool command on a struct ethtool_value (command, value 0) and return the value that comes back."""
    value = (ctypes.c_uint32 * 2)(command, 0)
    fcntl.ioctl(socket_fd, _SIOCETHTOOL, struct.pack("16sP16x", device.encode(), ctypes.addressof(value)))
    return value[1]
