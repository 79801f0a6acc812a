"""The daemon of a top-of-rack switch, as far as the example needs one: it keeps what is bound in a file.

    ofctl-tor-daemon --socket /run/ofctl-tor.sock --state /var/lib/ofctl-tor.json --vlans 0-199

A real one would set the VLANs of the switch's ports; this one writes down what they would be. It is a program of its
own, which is started, stopped and killed without the agent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any


class TopOfRack:
    """What is bound, by port and host; on disk when `answer` returns."""

    def __init__(self, state: Path, vlans: range) -> None:
        self._state = state
        self._vlans = vlans
        self.bound: dict[str, Any] = json.loads(state.read_text()) if state.exists() else {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; doing it twice is as doing it once."""
        key = f"{request['port']}@{request['host']}"
        if request["op"] == "unbind":
            self.bound.pop(key, None)
        elif request["vlan"] not in self._vlans:
            return {"refused": f"VLAN {request['vlan']} is none of this switch's"}
        else:
            self.bound[key] = {name: request[name] for name in ("vlan", "mac", "speed") if name in request}
        fresh = self._state.with_suffix(".new")
        fresh.write_text(json.dumps(self.bound))
        os.replace(fresh, self._state)
        return {"ok": True}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self.answer(json.loads(line))).encode() + b"\n")
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


async def run(socket: str, tor: TopOfRack) -> None:
    """Serve until the process ends."""
    server = await asyncio.start_unix_server(tor.serve, socket)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run the daemon."""
    parser = argparse.ArgumentParser(prog="ofctl-tor-daemon")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--vlans", default="0-4094", help="FIRST-LAST")
    options = parser.parse_args()
    first, last = map(int, options.vlans.split("-"))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(options.socket, TopOfRack(options.state, range(first, last + 1))))


if __name__ == "__main__":
    main()
