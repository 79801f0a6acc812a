"""Tells that something was mounted or unmounted in our mount namespace: proc_pid_mountinfo(5), "poll(2)"."""

from __future__ import annotations

import os
import select


class MountEvents:
    """A descriptor that becomes readable when the mounts change. Raises OSError.

    /proc/self/mountinfo is always readable and reports a change as EPOLLPRI, for which an event loop has no reader:
    hence an epoll of our own, which is readable when that happens. There is nothing to read: the kernel forgets the
    change as soon as anybody has asked (mounts_poll in fs/proc_namespace.c), and the outer epoll asks. To be woken is
    the news, once for each time.
    """

    def __init__(self) -> None:
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._epoll = select.epoll()
            self._epoll.register(self._mounts, select.EPOLLPRI)
        except BaseException:
            os.close(self._mounts)
            raise

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()
        os.close(self._mounts)
