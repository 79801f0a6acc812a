"""Other network namespaces: is it one, is it ours, and a socket inside of it (network_namespaces(7), setns(2))."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ofctl.errors import InvalidField, Refused
from ofctl.netlink.kernel import refused
from ofctl.netlink.rtnl import RouteSocket

OWN_NETNS = "/proc/thread-self/ns/net"
CLONE_NEWNET = 0x40000000
NO_ENTRY = "this needs CAP_SYS_ADMIN, here and in the user namespace that owns the network namespace"
"""The cure for EPERM of setns(2)."""
_NO_OPENING = "below /proc/PID this needs CAP_SYS_PTRACE, below another user's directory CAP_DAC_READ_SEARCH"
_NS_GET_NSTYPE = 0xB703
_libc = ctypes.CDLL(None, use_errno=True)
_NOT_A_PATH = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist: a part of the path is no directory",
    errno.ELOOP: "is a loop of symbolic links",
    errno.ENAMETOOLONG: "is too long for a path",
    errno.ENXIO: "is no network namespace",
    errno.ENODEV: "is no network namespace",
    errno.ESRCH: "does not exist: that process has ended",
}


@contextmanager
def open_netns(path: str, *, field: str, subject: str) -> Iterator[int]:
    """Give a descriptor of the network namespace at `path`, which keeps it alive; close it at the end.

    Raises InvalidField if there is no network namespace, Refused if it is the calling thread's own.
    """
    try:
        fd = _open_regular(path, field)
    except OSError as error:
        if error.errno in _NOT_A_PATH:
            raise InvalidField(field, f"{path} {_NOT_A_PATH[error.errno]}", reason="NO_NETNS") from error
        cure = _NO_OPENING if error.errno == errno.EACCES else ""
        raise refused(f"open the network namespace {path}", error, subject=subject, cure=cure) from error
    try:
        _check_is_netns(fd, path, field)
        there, here = os.fstat(fd), os.stat(OWN_NETNS)
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            raise Refused(
                f"{path} is the network namespace of the switch itself; give the consumer one of its own",
                reason="NETNS_IS_HOST",
                subject=subject,
            )
        yield fd
    finally:
        os.close(fd)


def netns_identity(path: str, known: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """Return device and inode of the network namespace at `path`; None if there is none that can be opened.

    What still has the inode `known` is not opened again. Raises OSError when it cannot be told: no descriptor is left,
    no memory.
    """
    try:
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity == known:
            return identity
        fd = _open_regular(path, "")
        try:
            _check_is_netns(fd, path, "")
        finally:
            os.close(fd)
    except (InvalidField, ValueError):
        return None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return None
    return identity


class Entrance:
    """A route netlink socket in another namespace.

    A thread of its own enters the namespace, makes the socket, which stays there, and ends: no other thread moves. It
    works while the caller makes the pair: a thread takes 0.1 ms, and under load more.
    """

    def __init__(self, netns: int) -> None:
        """`netns` is a descriptor of the namespace; it must stay open until `close`. Raises OSError."""
        self._socket: RouteSocket | None = None
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._make, args=(netns,), name="ofctl-netns", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, "no thread can be started; raise TasksMax or the limit of processes") from error

    def _make(self, netns: int) -> None:
        try:
            enter(netns)
            self._socket = RouteSocket()
        except OSError as error:
            self._error = error

    def socket(self) -> RouteSocket:
        """Return the socket, always the same. Blocks until it is made; raises OSError."""
        self._thread.join()
        if self._socket is None:
            raise self._error or OSError(errno.EIO, "the thread that enters the namespace ended early")
        return self._socket

    def close(self) -> None:
        """Close the socket if it was made."""
        self._thread.join()
        if self._socket is not None:
            self._socket.close()


def _open_regular(path: str, field: str) -> int:
    """Open a regular file, as those of namespaces are. To open a FIFO may block, and to open a device may do things."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InvalidField(field, f"{path} is no network namespace", reason="NO_NETNS")
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def enter(netns: int) -> None:
    """Move the calling thread, which should be one of its own, into a namespace. (os.setns came with Python 3.12.)"""
    if _libc.setns(netns, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _check_is_netns(fd: int, path: str, field: str) -> None:
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError as error:
        raise InvalidField(field, f"{path} is no network namespace", reason="NO_NETNS") from error
    if kind != CLONE_NEWNET:
        raise InvalidField(field, f"{path} is a namespace, but not one of the network", reason="NO_NETNS")
