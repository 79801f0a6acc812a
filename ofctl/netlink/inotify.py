"""What happens to names in directories, by inotify(7). No library: these four calls are all of it.

pyroute2 has an inotify of its own, which blocks, knows two kinds of events and never takes a watch back; the packages
that are kept well (watchdog, inotify_simple) bring a thread, or the same ctypes calls.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_Q_OVERFLOW = 0x4000
_IN_ONLYDIR = 0x01000000
_NAMES = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | _IN_ONLYDIR

_EVENT = struct.Struct("=iIII")
_RECEIVE_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


class NameEvent(NamedTuple):
    """Something happened to `name` in the directory of the watch `wd` (-1: events were lost)."""

    wd: int
    mask: int
    name: str


class Inotify:
    """A queue of events of directories. Raises OSError when made: EMFILE beyond fs.inotify.max_user_instances."""

    def __init__(self) -> None:
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def add(self, directory: str) -> int:
        """Watch the names in a directory; return the number of the watch, the same one for the same directory.

        Raises OSError: ENOENT, ENOTDIR, ENOSPC beyond fs.inotify.max_user_watches.
        """
        return _checked(_libc.inotify_add_watch(self._fd, os.fsencode(directory), _NAMES))

    def remove(self, wd: int) -> None:
        """End a watch; the kernel may have ended it already."""
        _libc.inotify_rm_watch(self._fd, wd)

    def read(self) -> Iterator[NameEvent]:
        """Yield what waits, and return when nothing does."""
        while True:
            try:
                events = os.read(self._fd, _RECEIVE_BYTES)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(events):
                wd, mask, _, length = _EVENT.unpack_from(events, offset)
                offset += _EVENT.size
                yield NameEvent(wd, mask, os.fsdecode(events[offset : offset + length].rstrip(b"\0")))
                offset += length


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
