"""The control channel between the agent and a guest's process: JSON objects, one a datagram, and file descriptors.

A datagram pair (SOCK_SEQPACKET, unix(7)) keeps messages apart, tells when the other end is gone, and takes nothing
when it is full: a guest that does not read makes its own channel wait, and nobody else.

To the guest: {"switch": true} with a socket that leads to its switch; {"port": ..., "confirmed": bool};
{"host_ready": bool}; {"reply": N, "port"| "error": ...}; {"stop": true}.
From the guest: {"status": ...}; {"plug": N, "port": ..., "timeout_s": S}; {"unplug": N, ...}.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MAX_MESSAGE = 128 * 1024
MAX_MESSAGES_A_TURN = 8
PAUSE_S = 0.02
"""After that many. A guest that floods its channel costs the agent 400 messages a second and no more."""

Json = Mapping[str, Any]


class ControlChannel:
    """The agent's end. Belongs to one event loop."""

    def __init__(self, end: socket.socket, *, on_message: Callable[[Json], None]) -> None:
        """`on_message` gets each object that the guest sends; what is no JSON object is dropped."""
        end.setblocking(False)
        self._end = end
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()
        self._closed = False
        self._loop.add_reader(end, self._readable)

    def close(self) -> None:
        """Cut the channel; the guest's runner ends then. Safe to call again."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._end)
            self._loop.remove_writer(self._end)
            self._end.close()

    async def send(self, message: Json, descriptors: Sequence[int] = ()) -> None:
        """Return when the message is on its way, in order. Raises OSError if the guest is gone.

        Waits for as long as the guest does not read; run it in a task that ends with the guest.
        """
        text = json.dumps(message).encode()
        async with self._sending:
            while not self._closed:
                try:
                    if descriptors:
                        socket.send_fds(self._end, [text], list(descriptors))
                    else:
                        self._end.send(text)
                except BlockingIOError:
                    await self._writable()
                else:
                    return
            raise BrokenPipeError("the guest is gone")

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._end, _resolve, ready)
        try:
            await ready
        finally:
            if not self._closed:
                self._loop.remove_writer(self._end)

    def _readable(self) -> None:
        """Take some of what is there, and pause if there may be more."""
        if self.take():
            self._loop.remove_reader(self._end)
            self._loop.call_later(PAUSE_S, self._resume)

    def take(self) -> bool:
        """Take some of what is there, now; tell whether there may be more."""
        for _ in range(MAX_MESSAGES_A_TURN):
            if self._closed:
                return False
            try:
                text = self._end.recv(MAX_MESSAGE)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                # The guest died and had not read everything (unix_release_sock in the kernel): said once, before what
                # it has sent.
                continue
            except OSError:
                text = b""
            if not text:
                self.close()
                return False
            try:
                message = json.loads(text)
            except ValueError:
                continue
            if isinstance(message, dict):
                self._on_message(message)
        return True

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._end, self._readable)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
