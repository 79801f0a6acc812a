"""Tells the service manager how the agent fares: the protocol of sd_notify(3), which is one datagram for each message.

Without NOTIFY_SOCKET in the environment all of this does nothing. No library: see docs/dependencies.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import MutableMapping

logger = logging.getLogger(__name__)

RETRY_S = 0.1
"""Until a message is tried again that the manager had no room for."""


class ServiceManager:
    """The other end of NOTIFY_SOCKET. Belongs to one event loop; no call blocks or raises."""

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        """Takes its variables out of the environment, so that no child speaks in our name."""
        variables = os.environ if environment is None else environment
        address = variables.pop("NOTIFY_SOCKET", "")
        watchdog_us = variables.pop("WATCHDOG_USEC", "")
        watchdog_pid = variables.pop("WATCHDOG_PID", "")
        # "@" stands for the zero byte of an abstract socket (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._unsent: deque[str] = deque()
        self._retry: asyncio.TimerHandle | None = None
        self._ping: asyncio.TimerHandle | None = None
        self._status = ""
        self.watchdog_s = 0.0
        """Seconds of silence after which the manager ends us; 0: never."""
        if watchdog_us.isdigit() and watchdog_pid in ("", str(os.getpid())):
            self.watchdog_s = int(watchdog_us) / 1e6
        if self._address.startswith(("/", "\0")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def start_watchdog(self) -> None:
        """Give a sign of life now, and at half the interval as long as the event loop runs: none comes if it hangs."""
        if self.watchdog_s:
            self._send("WATCHDOG=1")
            self._ping = asyncio.get_running_loop().call_later(self.watchdog_s / 2, self.start_watchdog)

    def ready(self, status: str) -> None:
        """Say that start-up is complete: units that are ordered after ours may start."""
        self._status = status
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """Say in one line how things are, for `systemctl status`; nothing if it was said last."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """Say that we are about to end."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Say no more. Safe to call again."""
        for timer in (self._ping, self._retry):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is not None:
            self._unsent.append(message)
            if self._retry is None:
                self._flush()

    def _flush(self) -> None:
        self._retry = None
        while self._unsent and self._socket is not None:
            try:
                self._socket.sendto(self._unsent[0].encode(), self._address)
            except BlockingIOError:
                self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._flush)
                return
            except OSError as error:
                logger.warning("the service manager does not listen on %r: %s", self._address, error)
            self._unsent.popleft()


def _line(text: str) -> str:
    return " ".join(text.split())
