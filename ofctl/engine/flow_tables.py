"""The flow tables of one bridge: what shall be in them, kept so, and changed in waves (`ofctl.engine.waves`).

At every connection, and whenever the outcome of a wave is unknown, everything is compared first (`resync`): what
shall be there against what the switch dumps, and only the difference is sent. The desired side is complete by
construction: the engine hands over its intents before it lets the channel connect.

What other clients change meanwhile the switch tells (`Switch.watch_foreign`). Then the same comparison is made with
the channel in use: plugs go on after it. Nobody tells of the switch's configuration, which is read back now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ofctl.apps import CORE_APPS
from ofctl.engine.closures import Closure, Closures
from ofctl.engine.counting import count
from ofctl.engine.desired import Desired
from ofctl.engine.mending import Mending
from ofctl.engine.waves import Waves
from ofctl.engine.world_edits import Edit, PortPlace
from ofctl.engine.zones import PortZones
from ofctl.errors import DeadlineExceeded, OfctlError, ResourceExhausted, SwitchUnavailable
from ofctl.log import fields
from ofctl.model.ids import DeviceName, NetworkIndex, PhysicalNetwork, PortId, PortIndex
from ofctl.model.network import NumberedNetwork
from ofctl.model.security import NumberedAddressGroup, NumberedSecurityGroup, SecurityGroupId
from ofctl.openflow.revalidation import Revalidators
from ofctl.openflow.switch import Connected, Disconnected, Receipt, Switch
from ofctl.pipeline.changes import AddFlow, DeleteFlow
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.diff import Resync
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Flow, FlowSet
from ofctl.pipeline.probe import Probe
from ofctl.pipeline.world import World

logger = logging.getLogger(__name__)

RESYNC_RETRY_S = 0.2
COUNT_S = 1.0
"""For the counters of the apps; GetHost answers without them rather than late."""
REMOVAL_S = 1.0
"""For taking out what is there for a moment, even if the caller has no time left."""
CONFIG_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found at one look: `difference` is what a repair sends; how many flows and groups the switch had."""

    difference: Resync
    flows: int
    groups: int


class FlowTables:
    """Owner of the flows of one bridge. Belongs to one event loop."""

    def __init__(
        self,
        switch: Switch,
        revalidators: Revalidators,
        *,
        zones: PortZones,
        uplinks: Mapping[PhysicalNetwork, DeviceName],
        timeout_s: float,
        on_resync: Callable[[bool], None],
        on_drift: Callable[[Collection[PortIndex]], None] = lambda _: None,
        on_mended: Callable[[Collection[PortIndex]], None] = lambda _: None,
        config_interval_s: float = CONFIG_INTERVAL_S,
        apps: Iterable[FeatureApp] = (),
    ) -> None:
        """`uplinks`: the device on the bridge by physical network. `timeout_s`: for one answer of the switch.

        `apps` are third parties', after the core's.

        `on_resync` is called in the loop with True after a resync, and with False when the switch is lost. `on_drift`
        is called with the ports that something somebody else has changed is about, before it is put right, and
        `on_mended` with the same when nothing cached forwards by the foreign tables any more. Both with no port if
        the change is about none. `config_interval_s`: seconds between two looks at the switch's configuration.
        """
        self._switch = switch
        self._revalidators = revalidators
        self._zones = zones
        self._timeout_s = timeout_s
        self._on_resync = on_resync
        self._compiler = Compiler((*CORE_APPS, *apps))
        self._closures = Closures(self._compiler)
        self._desired = Desired(uplinks)
        self._work = asyncio.Event()
        self._resynced = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._subscriptions: list[Callable[[], None]] = []
        self._quiet = asyncio.Lock()
        """Held while the switch is changed, or compared with what it shall have."""
        self._mending = Mending(
            switch,
            revalidators,
            self._compiler,
            timeout_s=timeout_s,
            config_interval_s=config_interval_s,
            on_drift=on_drift,
            on_mended=on_mended,
            wake=self._work.set,
        )
        self._waves = Waves(switch, self._compiler, self._desired, self._mending, timeout_s=timeout_s)

    @property
    def world(self) -> World:
        """What the switch shall forward for."""
        return self._desired.world

    @property
    def handlers(self) -> Mapping[str, int]:
        """The number of each app that handles packets, by name."""
        return self._compiler.handlers

    @property
    def resynced(self) -> bool:
        """Whether the switch is connected and has what it shall have."""
        return self._resynced.is_set()

    def preload(
        self,
        networks: Iterable[NumberedNetwork],
        places: Iterable[PortPlace],
        security_groups: Iterable[NumberedSecurityGroup] = (),
        address_groups: Iterable[NumberedAddressGroup] = (),
    ) -> None:
        """Take the intents that are there at start, all of them, before `start`."""
        self._desired.preload(networks, places, security_groups, address_groups)

    def rehearse(self) -> None:
        """Compile for all that was preloaded. Raises AppFailed: better at the start than at every resync."""
        if any(app.place is not None for app in self._compiler.apps):
            self._compiler.compile_all(self._desired.rehearsal())

    @property
    def left_out(self) -> frozenset[PortIndex]:
        """The ports of the last resync that there was no room for."""
        return self._desired.left_out

    def check(self, edit: Edit) -> None:
        """Raise ResourceExhausted if the pipeline has no room for `edit`, as far as the world of now tells."""
        self._check_room(lambda: edit.applied_to(self.world))

    def check_port(self, port_id: PortId, network: NetworkIndex, groups: Sequence[SecurityGroupId]) -> None:
        """Raise ResourceExhausted if the pipeline has no room for one more port in the network, with these groups."""
        if network in self.world.networks:
            self._check_room(lambda: self.world.check_room(port_id, network, groups))

    @staticmethod
    def _check_room(ask: Callable[[], object]) -> None:
        try:
            ask()
        except ValueError as error:
            raise ResourceExhausted(f"the switch cannot forward for it: {error}", reason="PIPELINE_CAPACITY") from None

    async def start(self) -> None:
        """Connect and resync in the background."""
        self._subscriptions = [
            self._switch.subscribe(self._connection_changed),
            self._switch.watch_foreign(self._mending.foreign_changed),
        ]
        self._task = asyncio.create_task(self._run(), name="flow-tables")
        await self._switch.start()

    async def close(self) -> None:
        """Stop; the flows stay in the switch, which goes on forwarding."""
        for unsubscribe in self._subscriptions:
            unsubscribe()
        self._mending.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._waves.fail(SwitchUnavailable("the agent stops"))
        await self._zones.close()
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
        answer = self._waves.submit(edit)
        self._work.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise DeadlineExceeded(f"bridge {self._switch.bridge} did not answer a bundle in time") from None

    def closure_of(self, index: PortIndex, world: World | None = None) -> Closure:
        """Return what a port depends on in the present world, or in another. Raises KeyError if it is not in there."""
        return self._closures.of(index, world or self._desired.world)

    def flood_group_of(self, index: PortIndex) -> FlowSet:
        """Return the flood group that has the port's bucket; raises KeyError if the port is not in the world."""
        port = self._desired.world.ports[index]
        return self._compiler.compile_shard(port.network, port.shard, self._desired.world)

    @property
    def possible_worlds(self) -> tuple[World, ...]:
        """What the switch may forward for at this moment: `world`, and what the wave under way makes of it."""
        return self._desired.possible

    def probes_of(self, index: PortIndex, world: World) -> tuple[Probe, ...]:
        """Return the frames that show what a port gets in `world`; raises KeyError if it is not in there."""
        return self._compiler.probes(index, world)

    @asynccontextmanager
    async def for_a_moment(self, flow: Flow, *, deadline: float) -> AsyncIterator[None]:
        """Have a flow in the switch that no world has, for as long as the block lasts; nobody else may use its cookie.

        At the end nothing cached forwards by it any more. Raises SwitchUnavailable, SwitchRejected, OutcomeUnknown,
        DeadlineExceeded; what could not be taken out the next comparison removes.
        """
        self._mending.spared.add(flow.cookie)
        try:
            await self._switch.commit((AddFlow(flow),), deadline=deadline)
            yield
        finally:
            self._mending.spared.discard(flow.cookie)
            until = max(deadline, asyncio.get_running_loop().time() + REMOVAL_S)
            try:
                await self._switch.commit((DeleteFlow(flow),), deadline=until)
                await self._revalidators.settle(deadline=until)
            except BaseException:
                self._mending.distrust()
                raise

    async def counters(self, *, deadline: float) -> dict[str, int]:
        """Return what the apps' counters have counted; nothing while the switch is away or does not tell in time."""
        apps = [app for app in self._compiler.apps if app.place is not None]
        try:
            async with asyncio.timeout_at(min(deadline, asyncio.get_running_loop().time() + COUNT_S)):
                return await count(self._switch, apps, deadline=deadline) if apps and self.resynced else {}
        except (TimeoutError, OfctlError):
            return {}

    async def inspect(self, *, deadline: float) -> Inspection:
        """Return how the switch differs from what it shall have; no wave is under way meanwhile.

        Raises SwitchUnavailable, DeadlineExceeded.
        """
        async with self.still(deadline=deadline):
            found = await self._mending.compared(self._desired.world, deadline)
        return Inspection(found.resync, found.flows, found.groups)

    async def repair(self, *, deadline: float) -> None:
        """Return when the switch has what it shall have and nothing else. Raises as `inspect` does."""
        async with self.still(deadline=deadline):
            await self._mending.mend(self._desired.world)

    @asynccontextmanager
    async def still(self, *, deadline: float) -> AsyncIterator[None]:
        """Have no wave under way as long as the block lasts. Raises SwitchUnavailable, DeadlineExceeded."""
        if not self.resynced:
            raise self.unavailable()
        try:
            async with asyncio.timeout_at(deadline), self._quiet:
                yield
        except TimeoutError:
            raise DeadlineExceeded(f"bridge {self._switch.bridge} was not compared in time") from None

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
                self._waves.fail(self.unavailable())
                continue
            try:
                async with self._quiet:
                    await self._turn()
            except OfctlError as error:
                logger.warning("flow tables are not in sync: %s", error)
                self._lose()
                self._waves.fail(self.unavailable())
                asyncio.get_running_loop().call_later(RESYNC_RETRY_S, self._work.set)

    async def _turn(self) -> None:
        if not self.resynced:
            await self._resync()
        await self._mending.mend_if_due(self._desired.world)
        await self._waves.send()

    async def _resync(self) -> None:
        """Bring the switch to the desired world, whatever it has; what no one desires is removed and reported."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        generation = self._switch.generation
        self._mending.forget()
        # Before the flows: connections from before the limit do not count against it.
        await self._zones.restore(self._desired.zones)
        world = self._desired.with_ofports(await self._switch.ports(deadline=deadline))
        resync = (await self._mending.compared(world, deadline)).resync
        await self._switch.commit(resync.changes, deadline=deadline)
        if self._switch.generation != generation:
            raise SwitchUnavailable("the switch reconnected during the resync")
        self._desired.world = world
        logger.info(
            "resynced",
            extra=fields(
                generation=generation,
                ports=len(world.ports),
                changes=len(resync.changes),
                foreign_flows=len(resync.foreign_flows),
                foreign_groups=len(resync.foreign_groups),
            ),
        )
        self._resynced.set()
        self._on_resync(True)
        self._mending.resynced()
