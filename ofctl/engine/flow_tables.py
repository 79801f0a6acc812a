"""The flow tables of one bridge: what shall be in them, and the waves in which changes go to the switch.

All edits that wait when the switch has answered the last wave go in the next one: one bundle, one barrier. When the
switch rejects a wave, the guilty edit is taken out and the others go again, so that only its own caller fails.

At every connection, and whenever the outcome of a wave is unknown, everything is compared first (`resync`): what
shall be there against what the switch dumps, and only the difference is sent. The desired side is complete by
construction: the engine hands over its intents before it lets the channel connect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ofctl.apps import CORE_APPS
from ofctl.errors import DeadlineExceeded, DriverError, OfctlError, OutcomeUnknown, SwitchRejected, SwitchUnavailable
from ofctl.log import fields
from ofctl.model.ids import DeviceName, MacAddress, NetworkIndex, OfPort, PhysicalNetwork, PortId, PortIndex
from ofctl.model.network import NumberedNetwork
from ofctl.model.port import Binding
from ofctl.openflow.images import GroupImage
from ofctl.openflow.revalidation import Revalidators
from ofctl.openflow.switch import Connected, Disconnected, DumpedFlow, Receipt, Switch
from ofctl.openflow.wire import flow_image, group_image
from ofctl.pipeline.changes import FlowKey
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.diff import Observed, Resync, diff_images
from ofctl.pipeline.flow import Cookie, Flow, FlowSet, Group, GroupId
from ofctl.pipeline.world import Uplink, World, WorldPort

logger = logging.getLogger(__name__)

RESYNC_RETRY_S = 0.2


class Edit(Protocol):
    """A change of the world that one caller waits for."""

    def applied_to(self, world: World) -> World:
        """Return the changed world; raises ValueError if the edit contradicts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPlace:
    """All that the pipeline needs of a port, but its ofport: that one is the switch's to give, and to change."""

    port_id: PortId
    index: PortIndex
    slot: int
    network: NetworkIndex
    mac_address: MacAddress
    device: DeviceName

    @classmethod
    def of(cls, binding: Binding, network: NetworkIndex) -> PortPlace:
        """Return the place of a binding."""
        return cls(
            port_id=binding.port_id,
            index=binding.numbers.index,
            slot=binding.numbers.slot,
            network=network,
            mac_address=binding.mac_address,
            device=binding.device,
        )

    def at(self, ofport: OfPort) -> WorldPort:
        """Return the port as it is when the switch has it under `ofport`."""
        return WorldPort(
            port_id=self.port_id,
            index=self.index,
            slot=self.slot,
            network=self.network,
            mac_address=self.mac_address,
            ofport=ofport,
        )


@dataclass(frozen=True, slots=True)
class PutPort:
    """Let the switch forward for a port."""

    place: PortPlace
    ofport: OfPort

    def applied_to(self, world: World) -> World:
        return world.with_port(self.place.at(self.ofport))


@dataclass(frozen=True, slots=True)
class DropPort:
    """Let the switch forget a port."""

    index: PortIndex

    def applied_to(self, world: World) -> World:
        return world.without_port(self.index) if self.index in world.ports else world


@dataclass(frozen=True, slots=True)
class PutNetwork:
    """Let the switch know a network."""

    network: NumberedNetwork

    def applied_to(self, world: World) -> World:
        return world.with_network(self.network)


@dataclass(frozen=True, slots=True)
class DropNetwork:
    """Let the switch forget a network."""

    index: NetworkIndex

    def applied_to(self, world: World) -> World:
        return world.without_network(self.index) if self.index in world.networks else world


@dataclass(slots=True)
class _Waiting:
    edit: Edit
    answer: asyncio.Future[Receipt] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: OfctlError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # The caller's own deadline may have passed: nobody is left to look at the answer.
            self.answer.exception()


class FlowTables:
    """Owner of the flows of one bridge. Belongs to one event loop."""

    def __init__(
        self,
        switch: Switch,
        revalidators: Revalidators,
        *,
        uplinks: Mapping[PhysicalNetwork, DeviceName],
        timeout_s: float,
        on_resync: Callable[[bool], None],
    ) -> None:
        """`uplinks`: the device on the bridge by physical network. `timeout_s`: for one answer of the switch.

        `on_resync` is called in the loop with True after a resync, and with False when the switch is lost.
        """
        self._switch = switch
        self._revalidators = revalidators
        self._uplinks = uplinks
        self._timeout_s = timeout_s
        self._on_resync = on_resync
        self._compiler = Compiler(CORE_APPS)
        self._world = World()
        self._places: dict[PortIndex, PortPlace] = {}
        self._waiting: list[_Waiting] = []
        self._work = asyncio.Event()
        self._resynced = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    @property
    def world(self) -> World:
        """What the switch shall forward for."""
        return self._world

    @property
    def resynced(self) -> bool:
        """Whether the switch is connected and has what it shall have."""
        return self._resynced.is_set()

    def preload(self, networks: Iterable[NumberedNetwork], places: Iterable[PortPlace]) -> None:
        """Take the intents that are there at start, all of them, before `start`."""
        for network in networks:
            self._world = self._world.with_network(network)
        self._places.update((place.index, place) for place in places)

    async def start(self) -> None:
        """Connect and resync in the background."""
        self._unsubscribe = self._switch.subscribe(self._connection_changed)
        self._task = asyncio.create_task(self._run(), name="flow-tables")
        await self._switch.start()

    async def close(self) -> None:
        """Stop; the flows stay in the switch, which goes on forwarding."""
        self._unsubscribe()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail_waiting(SwitchUnavailable("the agent stops"))
        await self._revalidators.close()
        await self._switch.close()

    async def wait_resynced(self, *, deadline: float) -> None:
        """Return when the switch has what it shall have. Raises SwitchUnavailable at `deadline`."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._resynced.wait()
        except TimeoutError:
            raise self.unavailable() from None

    def unavailable(self) -> SwitchUnavailable:
        """Return the error that says why the switch cannot be used now."""
        state = "not resynced yet" if self._switch.connected else "not connected"
        return SwitchUnavailable(f"bridge {self._switch.bridge} is {state}; try again", retry_after_ms=500)

    async def apply(self, edit: Edit, *, deadline: float) -> Receipt:
        """Return the receipt of the wave that carried `edit`: bundle committed, barrier answered.

        Raises SwitchRejected (the edit is not in), SwitchUnavailable (it is not in), OutcomeUnknown (it will be in
        after the next resync), DeadlineExceeded (its wave is still under way; a later edit of the same port follows
        it in order).
        """
        if not self.resynced:
            raise self.unavailable()
        waiting = _Waiting(edit)
        self._waiting.append(waiting)
        self._work.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(waiting.answer)
        except TimeoutError:
            raise DeadlineExceeded(f"bridge {self._switch.bridge} did not answer a bundle in time") from None

    def flows_of(self, index: PortIndex) -> FlowSet:
        """Return what the switch shall have for a port; raises KeyError if it is not in the world."""
        return self._compiler.compile_port(index, self._world)

    def flood_group_of(self, index: PortIndex) -> FlowSet:
        """Return the flood group that has the port's bucket; raises KeyError if the port is not in the world."""
        port = self._world.ports[index]
        return self._compiler.compile_shard(port.network, port.shard, self._world)

    async def settle(self, *, deadline: float) -> None:
        """Return when nothing cached in the datapath forwards by tables of before this call."""
        await self._revalidators.settle(deadline=deadline)

    # The task

    def _connection_changed(self, change: Connected | Disconnected) -> None:
        if isinstance(change, Disconnected):
            logger.warning("switch disconnected: %s", change.cause, extra=fields(generation=change.generation))
            self._lose()
        self._work.set()

    def _lose(self) -> None:
        if self._resynced.is_set():
            self._resynced.clear()
            self._on_resync(False)

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            if not self._switch.connected:
                self._fail_waiting(self.unavailable())
                continue
            try:
                if not self.resynced:
                    await self._resync()
                await self._send_wave()
            except OfctlError as error:
                logger.warning("flow tables are not in sync: %s", error)
                self._lose()
                self._fail_waiting(self.unavailable())
                asyncio.get_running_loop().call_later(RESYNC_RETRY_S, self._work.set)

    def _fail_waiting(self, error: OfctlError) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.fail(error)

    async def _send_wave(self) -> None:
        wave, self._waiting = self._waiting, []
        parts = [self._consistent(wave)]
        while parts:
            part = parts.pop(0)
            try:
                await self._send(part)
            except SwitchRejected as rejection:
                # Which change is guilty does not always tell whose it is (ports share flood groups): try by halves.
                if len(part) == 1:
                    part[0].fail(rejection)
                else:
                    half = len(part) // 2
                    parts[:0] = [part[:half], part[half:]]
            except OfctlError as error:
                for each in (*part, *(later for others in parts for later in others)):
                    each.fail(error)
                raise

    async def _send(self, wave: list[_Waiting]) -> None:
        """Commit the edits as one bundle and answer their callers."""
        if not wave:
            return
        world = self._world
        for each in wave:
            world = each.edit.applied_to(world)
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            receipt = await self._switch.commit(self._compiler.changes(self._world, world), deadline=deadline)
        except OutcomeUnknown:
            self._accept(wave, world)
            raise
        self._accept(wave, world)
        for each in wave:
            if not each.answer.done():
                each.answer.set_result(receipt)

    def _accept(self, wave: list[_Waiting], world: World) -> None:
        """Make the edits part of what shall be: a resync will see to it."""
        self._world = world
        for each in wave:
            if isinstance(each.edit, PutPort):
                self._places[each.edit.place.index] = each.edit.place
            elif isinstance(each.edit, DropPort):
                self._places.pop(each.edit.index, None)

    def _consistent(self, wave: list[_Waiting]) -> list[_Waiting]:
        """Return the edits that fit together and on the present world; the others fail at once."""
        world, fitting = self._world, []
        for each in wave:
            try:
                world = each.edit.applied_to(world)
            except ValueError as error:
                each.fail(DriverError(f"the switch cannot forward for it: {error}", reason="WORLD_CONFLICT"))
            else:
                fitting.append(each)
        return fitting

    async def _resync(self) -> None:
        """Bring the switch to the desired world, whatever it has; what no one desires is removed and reported."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        generation = self._switch.generation
        world = self._with_present_ofports(await self._switch.ports(deadline=deadline))
        flows, groups = await asyncio.gather(
            self._switch.dump_flows(deadline=deadline), self._switch.dump_groups(deadline=deadline)
        )
        difference = self._difference(world, flows, groups)
        await self._switch.commit(difference.changes, deadline=deadline)
        if self._switch.generation != generation:
            raise SwitchUnavailable("the switch reconnected during the resync")
        self._world = world
        logger.info(
            "resynced",
            extra=fields(
                generation=generation,
                ports=len(world.ports),
                changes=len(difference.changes),
                foreign_flows=len(difference.foreign_flows),
                foreign_groups=len(difference.foreign_groups),
            ),
        )
        self._resynced.set()
        self._on_resync(True)

    def _difference(self, world: World, flows: Iterable[DumpedFlow], groups: Iterable[GroupImage]) -> Resync:
        desired = self._compiler.compile_all(world)
        flow_images = [(flow, flow_image(flow)) for flow in desired.flows]
        group_images = [(group, group_image(group)) for group in desired.groups]
        actual_flows: dict[FlowKey, Observed[object]] = {
            flow.key: Observed(Cookie(flow.cookie), flow.content) for flow in flows
        }
        desired_flows: dict[FlowKey, tuple[Flow, object]] = {
            image.key: (flow, image.content) for flow, image in flow_images
        }
        actual_groups: dict[GroupId, object] = {
            GroupId(group.group_id): (group.group_type, group.buckets) for group in groups
        }
        desired_groups: dict[GroupId, tuple[Group, object]] = {
            group.group_id: (group, (image.group_type, image.buckets)) for group, image in group_images
        }
        return diff_images(actual_flows, desired_flows, actual_groups, desired_groups)

    def _with_present_ofports(self, ofports: Mapping[DeviceName, OfPort]) -> World:
        """Return the desired world with the ofports of this connection; a port that has none is left out."""
        world = World()
        for index, network in self._world.networks.items():
            world = world.with_network(NumberedNetwork(network=network, index=index))
        for physical_network, device in self._uplinks.items():
            if device in ofports:
                world = world.with_uplink(Uplink(physical_network=physical_network, ofport=ofports[device]))
            else:
                logger.warning("uplink is not in the switch", extra=fields(uplink=device))
        places = [place for place in self._places.values() if place.network in world.networks]
        return world.with_ports(place.at(ofports[place.device]) for place in places if place.device in ofports)
