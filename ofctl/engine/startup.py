"""From a dead host to a serving engine: connect, own the bridge, restore every intent, resync, then mend.

The order is the guarantee: the intents come as one complete reply, devices and rows of all of them are made sure of,
and only then the OpenFlow channel connects, so that the first resync compares with the complete desired state and
removes nothing that somebody still wants.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ofctl.apps.fencing import Fencing
from ofctl.engine.binding import BIND_TIMEOUT_S, Annotations, Binders, describe_apps
from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock, SystemClock
from ofctl.engine.drift import Drift
from ofctl.engine.dropping import Limits
from ofctl.engine.flow_tables import CONFIG_INTERVAL_S, FlowTables
from ofctl.engine.flushing import Flushing
from ofctl.engine.host_engine import HostEngine
from ofctl.engine.inventory import Inventory
from ofctl.engine.packet_handlers import PacketHandlers
from ofctl.engine.restoring import Restoration
from ofctl.engine.world_edits import PortPlace
from ofctl.engine.zones import PortZones
from ofctl.errors import OfctlError, Refused, Unavailable
from ofctl.log import fields
from ofctl.model.ids import DeviceName, HostId, PhysicalNetwork
from ofctl.model.port import PortState
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
        self._flushing: Flushing | None = None
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
        tracked = Zones(self.options.rundir, datapath_type=bridge.datapath_type.value)
        zones = PortZones(
            self.switch,
            tracked,
            limit=self.options.max_connections_per_port,
            timeout_s=self.options.switch_timeout_s,
            look_interval_s=self.options.config_interval_s,
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
        self._flushing = Flushing(self.switch, tracked, tables, on_flushed=engine.book.connections_flushed)
        engine.flush = self._flushing.later
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
        for security_group in intents.security_groups:
            self.inventory.groups.put_security_group(security_group)
        for address_group in intents.address_groups:
            self.inventory.groups.put_address_group(address_group)
        engine.book.adopt(intents.bindings, intents.requests)
        engine.fences.adopt(intents.bindings, intents.fences)
        await self.binders.open()
        self._namespaces = NamespaceWatch()
        drift = Drift(engine, self._namespaces, rebuild=self._rebuild)
        restoration = Restoration(engine, drift, intents.bindings, intents.requests)
        await restoration.remove_leftovers(deadline=deadline)
        self.devices.watch(drift.link_changed)
        self.database.subscribe(drift.database_changed)
        await self.devices.start_watching(deadline=deadline)
        await restoration.restore(deadline=deadline)
        tables.preload(
            intents.networks,
            # Should there be no room for all, then for those that were there.
            (
                PortPlace.of(binding, self.inventory.network(binding.network_id).index)
                for binding in sorted(intents.bindings, key=lambda each: each.state is not PortState.ACTIVE)
            ),
            intents.security_groups,
            intents.address_groups,
        )
        tables.rehearse()
        await tables.start()
        await tables.wait_resynced(deadline=deadline)
        await handlers.start()
        drift.restored()
        restoration.finish()
        self._serving = True
        self._on_ready(True)

    async def close(self) -> None:
        """Stop in reverse order; the switch goes on forwarding."""
        if self._engine is not None:
            await self._engine.close()
            await self._engine.chassis.prober.close()
        if self._flushing is not None:
            await self._flushing.close()
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
