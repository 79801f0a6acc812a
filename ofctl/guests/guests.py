"""All guests of a host: their bridges, what they are told of ports, and what they may ask for."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from ofctl.api.convert import port_to_proto, spec_from_proto
from ofctl.engine.contract import PlugEngine, PlugRequest, UnplugRequest
from ofctl.engine.startup import Host
from ofctl.errors import InvalidField, OfctlError, ResourceExhausted
from ofctl.guests.channel import Json
from ofctl.guests.guest import Guest, Inside
from ofctl.guests.labels import sweep
from ofctl.log import fields
from ofctl.model.confirmation import Level
from ofctl.model.events import PortEvent, PortEventType
from ofctl.model.host import AppView
from ofctl.model.ids import HostId, PortId, RequestId, identifier
from ofctl.model.port import PortState
from ofctl.ovsdb.values import BridgeSpec
from ofctl.pipeline.world import World
from ofctl.settings import GuestSettings
from ofctl.v1 import port_pb2

logger = logging.getLogger(__name__)

PROTOCOLS = ("OpenFlow10", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15")
"""Those that os-ken speaks and Open vSwitch too; a guest's OFP_VERSIONS choose."""
MAX_TIMEOUT_S = 300.0
RESTATE_PAUSE_S = 0.2


class Guests:
    """The guests of one host. Belongs to one event loop, in the main thread."""

    def __init__(self, host: Host, settings: GuestSettings) -> None:
        self._host = host
        self._settings = settings
        self._guests: list[Guest] = []
        self._ready = False
        self._ready_changed = asyncio.Event()

    async def start(self, *, deadline: float) -> None:
        """Make the bridges and start the guests. A bridge that cannot be had costs its guest alone, and is logged.

        Call it when the host has started.
        """
        rundir = self._host.options.rundir
        places = {place.name: place for place in self._host.options.fenced}
        for spec in self._settings.run:
            management = rundir / f"{spec.bridge}.mgmt"
            inside = Inside(places[spec.name], self._world) if spec.fence else None
            guest = Guest(spec, self._settings, management, requests=self._request, news=self._news, inside=inside)
            self._guests.append(guest)
        self._host.engine.app_views = self.views
        if self._guests:
            try:
                self._settings.run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            except OSError as error:
                # Only a guest with a REST interface needs it, and says so then.
                logger.error("[guests] run_dir %s: %s", self._settings.run_dir, error.strerror)
        swept = await self._sweep(deadline)
        await self._remove_bridges(deadline)
        await asyncio.gather(*(self._start(guest, deadline, swept) for guest in self._guests))

    async def close(self) -> None:
        """End every guest; their bridges go on forwarding by the flows that they have."""
        await asyncio.gather(*(guest.close() for guest in self._guests))

    def views(self) -> tuple[AppView, ...]:
        """Return how each is now, in the order of the configuration."""
        return tuple(guest.view() for guest in self._guests)

    def host_ready(self, ready: bool) -> None:
        """Take note that the host became able, or unable, to plug."""
        self._ready = ready
        self._ready_changed.set()
        self._ready_changed = asyncio.Event()

    def _world(self) -> World:
        return self._host.engine.chassis.tables.world

    async def _sweep(self, deadline: float) -> str:
        """Remove what guests that are gone have left in the fence on the owned bridge; return why it cannot be."""
        options = self._host.options
        try:
            removed = await sweep(options.rundir / f"{options.bridge}.mgmt", options.fenced, deadline=deadline)
        except OfctlError as error:
            logger.error("guests in fences are not started: %s", error, extra=fields(reason=error.reason))
            return error.message
        if removed:
            logger.info("removed what guests have left in the fence", extra=fields(changes=removed))
        return ""

    async def _remove_bridges(self, deadline: float) -> None:
        """Remove the bridges that were made for guests and are no guest's any more."""
        used = {spec.bridge for spec in self._settings.run}
        for bridge in tuple(self._host.database.bridges().values()):
            if bridge.ours and bridge.guest and bridge.name not in used:
                about = fields(bridge=bridge.name, guest=bridge.guest)
                try:
                    await self._host.database.remove_guest_bridge(bridge.name, deadline=deadline)
                except OfctlError as error:
                    logger.error("the bridge of a guest that is gone cannot be removed: %s", error, extra=about)
                else:
                    logger.info("removed the bridge of a guest that is gone", extra=about)

    async def _start(self, guest: Guest, deadline: float, swept: str) -> None:
        spec = guest.spec
        if spec.fence:
            if swept:
                guest.refuse(swept)
            else:
                guest.start()
            return
        datapath_type = self._host.engine.chassis.datapath_type
        bridge = BridgeSpec(
            name=spec.bridge,
            datapath_type=datapath_type,
            protocols=PROTOCOLS,
            dpid=self._settings.datapath_ids.get(spec.name),
            guest=spec.name,
        )
        try:
            await self._host.database.ensure_bridge(bridge, deadline=deadline)
        except OfctlError as error:
            guest.refuse(error.message)
            logger.error("guest %s is not started: %s", spec.name, error, extra=fields(reason=error.reason))
        else:
            guest.start()

    # What guests are told

    async def _news(self) -> AsyncIterator[Json]:
        """Yield what one guest is told: which ports are confirmed, then what changes; and whether the host can plug."""
        queue: asyncio.Queue[Json] = asyncio.Queue(1)
        tasks = [asyncio.create_task(self._ports_to(queue)), asyncio.create_task(self._readiness_to(queue))]
        try:
            while True:
                yield await queue.get()
        finally:
            for task in tasks:
                task.cancel()

    async def _readiness_to(self, queue: asyncio.Queue[Json]) -> None:
        while True:
            changed = self._ready_changed
            await queue.put({"host_ready": self._ready})
            await changed.wait()

    async def _ports_to(self, queue: asyncio.Queue[Json]) -> None:
        """A guest too slow for the stream is told everything anew."""
        confirmed: dict[str, Json] = {}
        while True:
            try:
                await self._follow(queue, confirmed)
            except ResourceExhausted:
                await asyncio.sleep(RESTATE_PAUSE_S)
            else:
                return

    async def _follow(self, queue: asyncio.Queue[Json], confirmed: dict[str, Json]) -> None:
        """`confirmed` are the ports that the guest has been told of."""
        present: set[str] | None = set()
        async for event in self._host.engine.watch():
            if event.event_type is PortEventType.SYNCED:
                for gone in confirmed.keys() - (present or set()):
                    await queue.put({"port": confirmed.pop(gone), "confirmed": False, "reason": "REMOVED"})
                present = None
                continue
            news = _port_news(event)
            port = news["port"]
            key = port["spec"]["port_id"]
            if present is not None:
                present.add(key)
            if news["confirmed"]:
                if confirmed.get(key) != port:
                    confirmed[key] = port
                    await queue.put(news)
            elif confirmed.pop(key, None) is not None:
                await queue.put(news)

    # What guests ask for

    async def _request(self, name: str, message: Json) -> Json:
        """Plug or unplug in the name of a guest, whose principal is `guest:NAME`. Raises OfctlError."""
        engine: PlugEngine = self._host.engine
        timeout_s = message.get("timeout_s")
        seconds = float(timeout_s) if isinstance(timeout_s, int | float) else 0.0
        if not 0 < seconds <= MAX_TIMEOUT_S:
            raise InvalidField("timeout_s", f"must be above 0 and at most {MAX_TIMEOUT_S:g}")
        deadline = asyncio.get_running_loop().time() + seconds
        principal = f"guest:{name}"
        if isinstance(wanted := message.get("plug"), dict):
            try:
                spec = spec_from_proto(ParseDict(wanted, port_pb2.PortSpec()), host_id=engine.host_id)
            except ParseError as error:
                raise InvalidField("port", str(error)) from None
            request = PlugRequest(
                specs=(spec,),
                request_id=RequestId(str(uuid.uuid4())),
                level=Level.DATAPATH,
                principal=principal,
                admin=False,
                deadline=deadline,
            )
            (port,) = await engine.plug(request)
            return {"port": _plain(port_to_proto(port))}
        port_id = PortId(identifier(str(message.get("unplug", "")), "port_id"))
        host_id = HostId(engine.host_id)
        await engine.unplug(
            UnplugRequest(port_id=port_id, host_id=host_id, principal=principal, admin=False, deadline=deadline)
        )
        return {"port": {"spec": {"port_id": port_id, "host_id": host_id}}}


def _port_news(event: PortEvent) -> Json:
    assert event.port is not None
    binding = event.port.binding
    confirmed = event.event_type is not PortEventType.REMOVED and binding.state is PortState.ACTIVE
    reason = "REMOVED" if event.event_type is PortEventType.REMOVED else binding.state_reason or binding.state.name
    return {"port": _plain(port_to_proto(event.port)), "confirmed": confirmed, "reason": "" if confirmed else reason}


def _plain(message: port_pb2.Port) -> Json:
    """Return the message as ProtoJSON has it."""
    return MessageToDict(message, preserving_proto_field_name=True)
