"""A binder for ofctl: asks the daemon of a top-of-rack switch to let a port's VLAN through to this host.

The protocol is one JSON object a line: `{"op": "bind", "port": ..., "host": ..., "vlan": ..., "mac": ...}` is answered
with `{"ok": true}` or `{"refused": "why"}`. Both operations are idempotent at the daemon, so that a request whose
answer was lost is just sent again.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from oslo_config import cfg

from ofctl.plugin import Annotation, Binder, BoundPort, HostId, NotBound, Refused

AGAIN_S = 0.05
"""Between two attempts, when the daemon went away before it answered."""


class TorBinder(Binder):
    """Binds each port at the top-of-rack switch."""

    name = "tor"
    api_version = 1
    options = (
        cfg.StrOpt("socket", default="/run/ofctl-tor.sock", help="Unix socket of the switch's daemon."),
        cfg.FloatOpt(
            "patience_s", default=2.0, min=0, help="How long to go on when the daemon went away before it answered."
        ),
    )
    annotations = (Annotation(name="speed", purpose="Speed of the switch's port in Mbit/s: 1000, 10000 or 25000."),)

    def check_annotation(self, name: str, value: str) -> None:
        if name == "speed" and value not in ("1000", "10000", "25000"):
            raise ValueError(f"is {value!r}; the switch has 1000, 10000 and 25000")

    async def bind(self, port: BoundPort, host: HostId) -> None:
        await self._ask(
            {
                "op": "bind",
                "port": port.port_id,
                "host": host,
                "vlan": port.network.segmentation_id or 0,
                "mac": port.mac_address,
                **port.annotations_of(self.name),
            }
        )

    async def unbind(self, port: BoundPort, host: HostId) -> None:
        await self._ask({"op": "unbind", "port": port.port_id, "host": host})

    async def _ask(self, request: dict[str, Any]) -> None:
        """Return when the daemon has done it; go on for a while if the daemon goes away before it answers."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.option("patience_s")
        sent = False
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self.option("socket"))
            except OSError as error:
                if not sent:
                    raise NotBound(f"the top-of-rack switch's daemon cannot be reached: {error}") from error
                if loop.time() > until:
                    raise
            else:
                sent = True
                try:
                    answer = await self._exchange(reader, writer, request)
                except OSError:
                    if loop.time() > until:
                        raise
                else:
                    if "refused" in answer:
                        raise Refused(answer["refused"])
                    return
            await asyncio.sleep(AGAIN_S)

    @staticmethod
    async def _exchange(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: dict[str, Any]
    ) -> dict[str, Any]:
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
        finally:
            writer.close()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the daemon went away before it answered")
        answer: dict[str, Any] = json.loads(line)
        return answer
