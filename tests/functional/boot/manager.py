"""The service manager's side of NOTIFY_SOCKET, played by the test."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple


class Said(NamedTuple):
    """One message, when it came (`time.monotonic()`)."""

    at: float
    text: str

    @property
    def status(self) -> str:
        """The STATUS in it, empty if there is none."""
        return next((line[7:] for line in self.text.splitlines() if line.startswith("STATUS=")), "")


class Manager:
    """Listens, and keeps what was said. `on_ready` runs in the listening thread at the very moment of READY."""

    def __init__(self, address: str | Path, *, on_ready: Callable[[], None] | None = None) -> None:
        self.address = str(address)
        self.said: list[Said] = []
        self.error: BaseException | None = None
        self._on_ready = on_ready
        self._queue: queue.Queue[Said] = queue.Queue()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        self._thread = threading.Thread(target=self._listen, name="manager")
        self._thread.start()

    def _listen(self) -> None:
        while text := self._socket.recv(65536).decode():
            said = Said(time.monotonic(), text)
            if "READY=1" in text and self._on_ready is not None:
                self._on_ready()
            self._queue.put(said)

    def wait(self, wanted: Callable[[Said], object], *, timeout_s: float = 20.0) -> Said:
        """Return the next message that `wanted` is true of; fail with what was said when the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                said = self._queue.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"the manager was told only {self.said}") from None
            self.said.append(said)
            if wanted(said):
                return said

    def ready(self, *, timeout_s: float = 20.0) -> Said:
        """Return READY."""
        return self.wait(lambda said: "READY=1" in said.text.splitlines(), timeout_s=timeout_s)

    def silent_for(self, seconds: float, unwanted: str) -> None:
        """Fail if a message with `unwanted` comes within `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                said = self._queue.get(timeout=left)
            except queue.Empty:
                return
            self.said.append(said)
            assert unwanted not in said.text, said

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            address = self._socket.getsockname()
            last.sendto(b"", address)
        self._thread.join()
        self._socket.close()
        if not self.address.startswith("@"):
            os.unlink(self.address)
