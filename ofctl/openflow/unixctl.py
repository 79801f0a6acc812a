"""The control socket of an OVS daemon: JSON-RPC 1.0 without framing (ovs-appctl(8), OVS's python/ovs/unixctl)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class ControlFailed(Exception):
    """The daemon answered a command with an error."""


class ControlClosed(Exception):
    """Nobody listens on the socket, or the daemon closed it."""


class ControlSocket:
    """One connection. Commands are answered in order; only one caller at a time."""

    def __init__(self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        self._text = ""
        self._next_id = 0

    @classmethod
    async def connect(cls, path: Path) -> ControlSocket:
        """Raises ControlClosed if nobody listens."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
        except OSError as error:
            raise ControlClosed(f"{path}: {error.strerror or error}") from error
        return cls(path, reader, writer)

    async def run(self, *commands: str) -> Sequence[str]:
        """Send all commands in one piece and return what each printed. No deadline of its own: cancel it.

        After a cancellation the connection is of no more use: close it. Raises ControlFailed, ControlClosed.
        """
        first = self._next_id
        self._next_id += len(commands)
        requests = [
            json.dumps({"id": number, "method": command, "params": []})
            for number, command in enumerate(commands, first)
        ]
        try:
            self._writer.write("".join(requests).encode())
            return [self._result(await self._answer()) for _ in commands]
        except OSError as error:
            raise ControlClosed(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    async def _answer(self) -> dict[str, Any]:
        decoder = json.JSONDecoder()
        while True:
            text = self._text.lstrip()
            if text:
                try:
                    answer, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    pass  # Not all of it is here yet.
                else:
                    self._text = text[end:]
                    assert isinstance(answer, dict)
                    return answer
            received = await self._reader.read(65_536)
            if not received:
                raise ControlClosed(f"{self.path}: closed by the daemon")
            self._text = text + received.decode(errors="replace")

    @staticmethod
    def _result(answer: dict[str, Any]) -> str:
        if answer.get("error") is not None:
            raise ControlFailed(str(answer["error"]).strip())
        return str(answer.get("result") or "")
