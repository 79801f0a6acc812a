"""One line on how the host fares, for whoever asks the service manager: which ports are not as they were plugged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ofctl.engine.contract import PlugEngine
from ofctl.errors import ResourceExhausted
from ofctl.model.events import PortEventType
from ofctl.model.ids import HostId, PortId
from ofctl.model.port import PortState
from ofctl.model.vif import PluggedPort

NAMED = 10
"""How many ports a line names; of the others it says how many they are."""
_TROUBLED = (PortState.DEGRADED, PortState.DOWN, PortState.ERROR)


class StatusLine:
    """Keeps the line as events come; what it costs does not grow with the number of ports that are well."""

    def __init__(self, engine: PlugEngine) -> None:
        self._engine = engine
        self._known: set[tuple[PortId, HostId]] = set()
        self._troubled: dict[tuple[PortId, HostId], str] = {}
        for port in engine.ports():
            self._take(port)

    @property
    def text(self) -> str:
        """The line: how many ports, which of them are in trouble and why, and what else is missing."""
        parts = [f"{len(self._known)} ports"]
        if self._troubled:
            named = [f"{key[0]} {self._troubled[key]}" for key in sorted(self._troubled)[:NAMED]]
            if len(self._troubled) > NAMED:
                named.append(f"and {len(self._troubled) - NAMED} more")
            parts.append(f"{len(self._troubled)} not as plugged: {', '.join(named)}")
        host = self._engine.host()
        parts += [f"no uplink for {each.physical_network}: {each.problem}" for each in host.uplinks if each.problem]
        parts += [f"not ready: {problem}" for problem in host.not_ready]
        return "; ".join(parts)

    async def follow(self, tell: Callable[[str], None]) -> None:
        """Call `tell` with the line after each burst of changes, without end."""
        loop = asyncio.get_running_loop()
        pending: asyncio.Handle | None = None

        def say() -> None:
            nonlocal pending
            pending = None
            tell(self.text)

        while True:
            try:
                async for event in self._engine.watch():
                    if event.port is None:
                        continue
                    if event.event_type is PortEventType.REMOVED:
                        self._forget(event.port)
                    else:
                        self._take(event.port)
                    # Events of one burst come without a pause: the line is made when they are through.
                    if pending is None:
                        pending = loop.call_soon(say)
                return
            except ResourceExhausted:
                self._known.clear()
                self._troubled.clear()

    def _take(self, port: PluggedPort) -> None:
        binding = port.binding
        key = (binding.port_id, binding.spec.host_id)
        self._known.add(key)
        if binding.state in _TROUBLED:
            self._troubled[key] = f"{binding.state.name} ({binding.state_reason})"
        else:
            self._troubled.pop(key, None)

    def _forget(self, port: PluggedPort) -> None:
        key = (port.binding.port_id, port.binding.spec.host_id)
        self._known.discard(key)
        self._troubled.pop(key, None)
