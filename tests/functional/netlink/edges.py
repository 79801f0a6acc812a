"""The edges at which the driver meets the kernel, so that a fault or a death can be put at each of them in turn."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
from collections.abc import Callable
from typing import Any


class Edges:
    """Counts the calls at the edges and calls `at` before the one numbered `position` (from 1)."""

    def __init__(self, position: int, at: Callable[[], None]) -> None:
        self.position = position
        self.at = at
        self.count = 0
        self.names: list[str] = []

    def patch(self, replace: Callable[[Any, str, Any], None]) -> None:
        """Put the counters in place with `replace(owner, name, value)`, such as `monkeypatch.setattr`."""
        for owner, name in ((os, "open"), (fcntl, "ioctl"), (socket.socket, "send")):
            replace(owner, name, self._counting(name, getattr(owner, name)))

    def _counting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **named: Any) -> Any:
            first = arguments[0]
            if name != "send" or first.family == socket.AF_NETLINK:
                self.count += 1
                self.names.append(name)
                if self.count == self.position:
                    self.at()
            return call(*arguments, **named)

        return counting


def die() -> None:
    """As an agent that is killed with -9 at this very point."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number: int) -> Callable[[], None]:
    """Return what raises as the kernel would with that errno."""

    def raise_it() -> None:
        raise OSError(number, os.strerror(number))

    raise_it.__name__ = errno.errorcode[number]
    return raise_it
