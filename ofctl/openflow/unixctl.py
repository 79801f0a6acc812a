"""The control socket of an OVS daemon: JSON-RPC 1.0 without framing (ovs-appctl(8), OVS's python/ovs/unixctl)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LONGEST_ANSWER = 16 << 20


class ControlFailed(Exception):
    """The daemon answered a command with an error."""


class ControlClosed(Exception):
    """Nobody listens on the socket, or the daemon closed it."""


def control_path(rundir: Path) -> Path:
    """Return where the ovs-vswitchd of this run directory listens. Raises OSError, ValueError without its pid file."""
    pid = int((rundir / "ovs-vswitchd.pid").read_text())
    return rundir / f"ovs-vswitchd.{pid}.ctl"


class ControlSocket:
    """One connection. Commands are answered in order; only one caller at a time.

    `longest_answer` is in octets; what is longer counts as an error of the daemon.
    """

    longest_answer = LONGEST_ANSWER

    def __init__(self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        self._received = bytearray()
        self._next_id = 0

    @classmethod
    async def connect(cls, path: Path) -> ControlSocket:
        """Raises ControlClosed if nobody listens."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
        except OSError as error:
            raise ControlClosed(f"{path}: {error.strerror or error}") from error
        return cls(path, reader, writer)

    async def run(self, *commands: str) -> Sequence[str]:
        """Send all commands, each with its arguments behind blanks, in one piece; return what each printed.

        No deadline of its own: cancel it, and close the connection then. Raises ControlFailed, ControlClosed.
        """
        first = self._next_id
        self._next_id += len(commands)
        requests = []
        for number, command in enumerate(commands, first):
            method, *arguments = command.split(" ")
            requests.append(json.dumps({"id": number, "method": method, "params": arguments}))
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
            # Only what may be whole is read: a long answer comes in hundreds of pieces.
            if self._received.endswith((b"}", b"}\n")):
                text = self._received.decode(errors="replace").lstrip()
                try:
                    answer, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    pass
                else:
                    self._received = bytearray(text[end:].lstrip().encode())
                    assert isinstance(answer, dict)
                    return answer
            if len(self._received) > self.longest_answer:
                raise ControlFailed(f"the answer is longer than {self.longest_answer} octets")
            received = await self._reader.read(65_536)
            if not received:
                raise ControlClosed(f"{self.path}: closed by the daemon")
            self._received += received

    @staticmethod
    def _result(answer: dict[str, Any]) -> str:
        if answer.get("error") is not None:
            raise ControlFailed(str(answer["error"]).strip())
        return str(answer.get("result") or "")
