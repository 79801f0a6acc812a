"""From a dead host to a serving engine: connect, own the bridge, restore every intent, resync, then mend.

The order is the guarantee: the intents come as one complete reply, devices and rows of all of them are made sure of,
and only then the OpenFlow channel connects, so that the first resync compares with the complete desired state and
removes nothing that somebody still wants.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofctl.apps.fencing import Fencing
from ofctl.engine.binding import BIND_TIMEOUT_S, Annotations, Binders, describe_apps
from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock, SystemClock
from ofctl.engine.drift import Drift
from ofctl.engine.dropping import Limits
from ofctl.engine.flow_tables import CONFIG_INTERVAL_S, FlowTables
from ofctl.engine.host_engine import HostEngine
from ofctl.engine.inventory import Inventory
from ofctl.engine.packet_handlers import PacketHandlers
from ofctl.engine.port_work import PortWork
from ofctl.engine.stages import Stage
from ofctl.engine.world_edits import PortPlace
from ofctl.engine.zones import PortZones
from ofctl.errors import Aborted, NotFound, OfctlError, Refused, Unavailable
from ofctl.log import bound, fields
from ofctl.model.confirmation import Outcome
from ofctl.model.ids import DeviceName, HostId, PhysicalNetwork
from ofctl.model.port import Binding, PortState, Recovery
from ofctl.model.vif import DatapathType
from ofctl.netlink.devices import Devices
from ofctl.netlink.namespace_watch import NamespaceWatch
from ofctl.openflow.revalidation import Revalidators
from ofctl.openflow.switch import Switch
from ofctl.openflow.zones import Zones
from ofctl.ovsdb.intents import IntentStore
from ofctl.ovsdb.switch import SwitchDatabase
from ofctl.ovsdb.values import BridgeSpec, LockAcquired, SwitchEvent, UplinkSpec
from ofctl.pipeline.binder import Binder
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fence import FencedGuest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """What the composition root knows of the host. Times in seconds."""

    host_id: HostId
    bridge: DeviceName
    datapath_type: DatapathType | None
    """None: system if the kernel has it, else netdev."""
    physical_networks: Mapping[PhysicalNetwork, tuple[DeviceName, ...]]
    device_prefix: str
    max_ports: int
    max_connections_per_port: int
    switch_connection: str
    rundir: Path
    intents_connection: str
    max_requests: int
    start_timeout_s: float
    echo_interval_s: float
    reconnect_max_s: float
    switch_timeout_s: float
    apps: tuple[FeatureApp, ...] = ()
    """Third parties', in the order in which frames meet them."""
    fenced: tuple[FencedGuest, ...] = ()
    """The guests on the owned bridge (`ofctl.pipeline.fence.place_guests`)."""
    binders: tuple[Binder, ...] = ()
    bind_timeout_s: float = BIND_TIMEOUT_S
    packet_in_limits: Limits = Limits()
    config_interval_s: float = CONFIG_INTERVAL_S
    """Between two looks at the settings of the switch whose change nobody tells."""


class Host:
    """Everything that one host's engine stands on. `open_host` returns it started."""

    def __init__(self, options: HostOptions, *, on_ready: Callable[[bool], None], clock: Clock | None = None) -> None:
        """`on_ready` is called in the loop whenever the host becomes able, or unable, to plug."""
        self.options = options
        self.clock = clock or SystemClock()
        self.devices = Devices(options.host_id)
        self.database = SwitchDatabase(options.switch_connection, host_id=options.host_id)
        self.store = IntentStore(
            options.intents_connection, host_id=options.host_id, request_limit=options.max_requests
        )
        self.switch = Switch(
            options.bridge,
            options.rundir / f"{options.bridge}.mgmt",
            max_backoff_s=options.reconnect_max_s,
            echo_interval_s=options.echo_interval_s,
            echo_timeout_s=2 * options.echo_interval_s,
        )
        self.inventory = Inventory(
            options.host_id,
            max_ports=options.max_ports,
            device_prefix=options.device_prefix,
            physical_networks=options.physical_networks,
        )
        self.binders = Binders(options.binders, timeout_s=options.bind_timeout_s)
        self._on_ready = on_ready
        self._serving = False
        self._rebuilding = False
        self._namespaces: NamespaceWatch | None = None
        self._uplink_problems: dict[PhysicalNetwork, str] = {}
        self._engine: HostEngine | None = None
        self._tables: FlowTables | None = None
        self._handlers: PacketHandlers | None = None

    @property
    def engine(self) -> HostEngine:
        """The engine, after `start`."""
        assert self._engine is not None
        return self._engine

    async def start(self) -> None:
        """Bring the host to where it plugs. Raises what forbids it; call `close` then all the same."""
        deadline = self.clock.monotonic() + self.options.start_timeout_s
        intents = await self.store.start(deadline=deadline)
        await self.database.start(deadline=deadline)
        await self._wait_locked(deadline)
        bridge = await self.database.ensure_bridge(self._bridge_spec(), deadline=deadline)
        for device in self.database.foreign_ports(self.options.bridge):
            logger.warning("a port on our bridge is not ours; it is left alone", extra=fields(device=device))
        zones = PortZones(
            self.switch,
            Zones(self.options.rundir, datapath_type=bridge.datapath_type.value),
            limit=self.options.max_connections_per_port,
            timeout_s=self.options.switch_timeout_s,
        )
        tables = self._tables = FlowTables(
            self.switch,
            Revalidators(self.options.rundir, self.switch),
            zones=zones,
            uplinks=await self._attach_uplinks(deadline),
            timeout_s=self.options.switch_timeout_s,
            on_resync=self._resync_changed,
            on_drift=lambda indexes: drift.flows_drifted(indexes),  # noqa: PLW0108  (made below)
            on_mended=lambda indexes: drift.flows_mended(indexes),  # noqa: PLW0108
            config_interval_s=self.options.config_interval_s,
            apps=(*(() if not self.options.fenced else (Fencing(self.options.fenced),)), *self.options.apps),
        )
        chassis = Chassis(
            bridge=self.options.bridge,
            datapath_type=bridge.datapath_type,
            devices=self.devices,
            database=self.database,
            switch=self.switch,
            tables=tables,
            zones=zones,
            binders=self.binders,
        )
        chassis.uplink_problems.update(self._uplink_problems)
        engine = self._engine = HostEngine(chassis, self.store, self.inventory, self.clock)
        plugins = (*self.options.apps, *self.options.binders)
        engine.annotations = Annotations(plugins)
        handlers = PacketHandlers(self.options.apps, self.switch, tables, limits=self.options.packet_in_limits)
        self._handlers = handlers
        engine.plugin_views = lambda: handlers.described(
            describe_apps(plugins, self.options.bridge, self.binders.errors)
        )
        engine.packet_counters = handlers.counters
        for network in intents.networks:
            self.inventory.put_network(network)
        engine.book.adopt(intents.bindings, intents.requests)
        engine.fences.adopt(intents.bindings, intents.fences)
        wanted = [binding for binding in intents.bindings if binding.state not in (PortState.BUILD, PortState.REMOVING)]
        await self._remove_leftovers(intents.bindings, deadline)
        await self.binders.open()
        self._namespaces = NamespaceWatch()
        drift = Drift(engine, self._namespaces, rebuild=self._rebuild)
        self.devices.watch(drift.link_changed)
        self.database.subscribe(drift.database_changed)
        await self.devices.start_watching(deadline=deadline)
        await self._restore(drift, engine, wanted, deadline)
        tables.preload(
            intents.networks,
            (PortPlace.of(binding, self.inventory.network(binding.network_id).index) for binding in intents.bindings),
        )
        tables.rehearse()
        await tables.start()
        await tables.wait_resynced(deadline=deadline)
        await handlers.start()
        drift.restored()
        self._finish_interrupted(engine, intents.bindings)
        self._mend_unrestored(engine)
        self._serving = True
        self._on_ready(True)

    async def close(self) -> None:
        """Stop in reverse order; the switch goes on forwarding."""
        if self._engine is not None:
            await self._engine.close()
            await self._engine.chassis.prober.close()
        if self._namespaces is not None:
            self._namespaces.close()
        if self._handlers is not None:
            await self._handlers.close()
        if self._tables is not None:
            await self._tables.close()
        await self.binders.close()
        await self.devices.close()
        await self.database.close()
        await self.store.close()

    def _rebuild(self, reason: str) -> None:
        """Make the bridge anew, and everything on it: somebody removed it or took our mark or settings from it."""
        if self._rebuilding:
            return
        self._rebuilding = True
        logger.error("the bridge is not as it must be; making it anew", extra=fields(reason=reason))
        self.engine.book.counters["bridge.rebuilt"] += 1
        self.engine.spawn(self._rebuild_bridge(), "rebuild-bridge")

    async def _rebuild_bridge(self) -> None:
        try:
            deadline = self.clock.monotonic() + self.options.start_timeout_s
            await self.database.ensure_bridge(self._bridge_spec(), deadline=deadline)
            await self._attach_uplinks(deadline)
        except OfctlError:
            logger.exception("the bridge cannot be made anew")
        finally:
            self._rebuilding = False
        for binding in self.engine.book.durables():
            key = (binding.port_id, binding.spec.host_id)
            if binding.state is PortState.ACTIVE and self.engine.book.operation_on(key) is None:
                self.engine.mend(binding)

    def _bridge_spec(self) -> BridgeSpec:
        return BridgeSpec(name=self.options.bridge, datapath_type=self.options.datapath_type)

    def _resync_changed(self, resynced: bool) -> None:
        if self._engine is not None:
            self._engine.book.counters["switch.resynced" if resynced else "switch.lost"] += 1
            self._engine.book.publish_all()
        if self._serving:
            self._on_ready(resynced)

    async def _wait_locked(self, deadline: float) -> None:
        locked = asyncio.Event()

        def look(event: SwitchEvent) -> None:
            if isinstance(event, LockAcquired):
                locked.set()

        unsubscribe = self.database.subscribe(look)
        try:
            async with asyncio.timeout_at(deadline):
                if not self.database.locked:
                    await locked.wait()
        except TimeoutError:
            raise Unavailable(
                f"another agent owns host {self.options.host_id!r}: it holds the lock in the switch's database",
                reason="NOT_LOCKED",
            ) from None
        finally:
            unsubscribe()

    async def _attach_uplinks(self, deadline: float) -> dict[PhysicalNetwork, DeviceName]:
        """Attach each uplink that may be one; note why another may not: the host serves its other networks."""
        attached = {}
        for physical_network, devices in self.options.physical_networks.items():
            is_bridge = len(devices) == 1 and self.database.bridge(devices[0]) is not None
            spec = UplinkSpec(
                physical_network=physical_network,
                bridge=self.options.bridge,
                devices=() if is_bridge else devices,
                peer_bridge=devices[0] if is_bridge else "",
            )
            try:
                for device in spec.devices:
                    await self._check_free_for_uplink(device, deadline)
                attached[physical_network] = (await self.database.attach_uplink(spec, deadline=deadline)).device
            except OfctlError as error:
                self._refuse_uplink(physical_network, error.message)
        for physical_network in self.database.uplinks().keys() - self.options.physical_networks.keys():
            await self.database.detach_uplink(physical_network, deadline=deadline)
        return attached

    async def _check_free_for_uplink(self, device: DeviceName, deadline: float) -> None:
        reason = await self.devices.carries_host_traffic(device, deadline=deadline)
        if reason is not None:
            raise Refused(f"{device} is the host's own: {reason}", reason="UPLINK_IN_USE", subject=device)

    def _refuse_uplink(self, physical_network: PhysicalNetwork, problem: str) -> None:
        self._uplink_problems[physical_network] = problem
        logger.error("no uplink for %s: %s", physical_network, problem)

    async def _remove_leftovers(self, bindings: tuple[Binding, ...], deadline: float) -> None:
        """Remove our rows and devices that no intent names, rows first; and rows of which the device is gone.

        After a reboot those are all: a switch that is asked to let go of each, and then to take it again, takes twice
        as long to restore (200 ports: 3.7 s; 1.4 s when it has let go of all beforehand).
        """
        known = {binding.device for binding in bindings}
        owned = await self.devices.owned(deadline=deadline)
        there = {state.device for state in owned}
        rows = [
            state.device
            for state in self.database.interfaces().values()
            if state.ours and state.port_id is not None and state.device not in known & there
        ]
        await asyncio.gather(*(self.database.detach(device, deadline=deadline) for device in rows))
        leftovers = [state for state in owned if state.device not in known]
        await asyncio.gather(
            *(self.devices.remove(state.device, port_id=None, deadline=deadline) for state in leftovers)
        )
        if rows or leftovers:
            logger.warning("removed leftovers", extra=fields(rows=len(rows), devices=len(leftovers)))

    async def _restore(self, drift: Drift, engine: HostEngine, bindings: list[Binding], deadline: float) -> None:
        """Make sure of device and row of every port that was plugged, all side by side; note those that fail.

        The devices first, so that their rows go in one transaction: of each, ovs-vswitchd reconfigures every port.
        """
        works = [engine.work_on(binding, existed=True) for binding in bindings]
        for restore in (engine.chassis.make_device, engine.chassis.reattach, engine.chassis.bind):
            done = await asyncio.gather(*(self._restored(drift, engine, restore, work, deadline) for work in works))
            works = [work for work, restored in zip(works, done, strict=True) if restored]

    async def _restored(
        self,
        drift: Drift,
        engine: HostEngine,
        restore: Callable[..., Coroutine[Any, Any, None]],
        work: PortWork,
        deadline: float,
    ) -> bool:
        with bound(port=work.spec.port_id, stage="restore"):
            try:
                await restore(work, deadline=deadline)
            except (OfctlError, NotFound) as error:
                logger.error("a port cannot be restored: %s", error, extra=fields(reason=error.reason))
                if error.reason == "NO_NETNS":
                    drift.await_namespace(work.key)
                else:
                    engine.book.trouble(work.key, PortState.DOWN, error.reason)
                return False
        return True

    def _mend_unrestored(self, engine: HostEngine) -> None:
        """Go on with the ports that could not be restored, now that everybody else is served."""
        for binding in engine.book.durables():
            key = (binding.port_id, binding.spec.host_id)
            waits = engine.book.port(key).binding
            if waits.state is PortState.DOWN and waits.state_reason != "AWAITING_NAMESPACE":
                engine.mend(binding)

    def _finish_interrupted(self, engine: HostEngine, bindings: tuple[Binding, ...]) -> None:
        """Finish what was in flight when the last agent died: as the recovery policy of its request says."""
        for binding in bindings:
            if binding.state is PortState.BUILD and binding.spec.recovery is Recovery.KEEP_TRYING:
                operation = engine.operation((engine.work_on(binding, existed=False),), Stage.DEVICE, persistent=True)
            elif binding.state in (PortState.BUILD, PortState.REMOVING):
                operation = engine.operation((engine.work_on(binding, existed=False),), Stage.REVOCATION)
                operation.failure = Aborted("the agent was restarted during the call", reason="AGENT_RESTARTED")
            else:
                continue
            record = engine.book.earlier_request(binding.request_id)
            if record is not None and record.outcome is Outcome.IN_PROGRESS:
                operation.records = [record]
            engine.begin(operation)
