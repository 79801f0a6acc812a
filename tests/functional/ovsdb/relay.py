"""A connection that breaks at the worst moment: after the server has done it, before the client has heard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path


class Relay:
    """Passes bytes between clients of its own socket and a server's."""

    def __init__(self, socket: Path, server: Path) -> None:
        self.socket = socket
        self._server = server
        self._listener: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._trigger = b""
        self._on_cut: Callable[[], None] | None = None
        self._armed = False

    @property
    def connection(self) -> str:
        return f"unix:{self.socket}"

    async def start(self) -> None:
        self._listener = await asyncio.start_unix_server(self._serve, self.socket)

    def cut(self, trigger: bytes, then: Callable[[], None]) -> None:
        """When the server answers a client who has sent `trigger`, swallow the answer, run `then` and hang up."""
        self._trigger, self._on_cut = trigger, then

    async def stop(self) -> None:
        self._listener.close()
        for writer in self._writers:
            writer.close()
        await self._listener.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_unix_connection(self._server)
            self._writers |= {writer, far_writer}
            await asyncio.gather(self._pass(reader, far_writer, up=True), self._pass(far_reader, writer, up=False))
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        while received := await reader.read(65_536):
            if up and self._on_cut is not None and self._trigger in received:
                self._armed = True
            elif not up and self._armed and self._on_cut is not None:
                self._armed = False
                then, self._on_cut = self._on_cut, None
                then()
                break
            writer.write(received)
            await writer.drain()
        writer.close()
