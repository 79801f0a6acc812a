"""One host's drivers, and what each stage of a plug does with them.

A chassis is one switch database, one owned bridge, one device factory. An agent on the host has one, over unix
sockets; a central agent has many.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

from ofctl.engine.binding import Binders
from ofctl.engine.closures import read_back
from ofctl.engine.flow_tables import FlowTables
from ofctl.engine.inspection import link_problem, row_problem
from ofctl.engine.port_work import PortWork
from ofctl.engine.probing import Prober
from ofctl.engine.world_edits import ChangePlace, DropPort, PortPlace, PutPort
from ofctl.engine.zones import PortZones
from ofctl.errors import DriverError, Unavailable
from ofctl.model.confirmation import Confirmation, Level
from ofctl.model.ids import DeviceName, PhysicalNetwork
from ofctl.model.network import IpAddress, IpInterface, Network
from ofctl.model.port import Binding, NamespaceConsumer, VmConsumer
from ofctl.model.vif import DatapathType, VifDetails
from ofctl.netlink.devices import Devices
from ofctl.netlink.specs import Ensured, TapSpec, VethSpec, tap_mac
from ofctl.openflow.switch import Switch
from ofctl.ovsdb.switch import SwitchDatabase
from ofctl.ovsdb.values import Attached, Attachment


class Chassis:
    """Does for one port what a stage demands. Every method may raise a class of `ofctl.errors`."""

    def __init__(
        self,
        *,
        bridge: str,
        datapath_type: DatapathType,
        devices: Devices,
        database: SwitchDatabase,
        switch: Switch,
        tables: FlowTables,
        zones: PortZones,
        binders: Binders | None = None,
    ) -> None:
        self.binders = binders or Binders()
        self.bridge = bridge
        self.datapath_type = datapath_type
        self.devices = devices
        self.database = database
        self.switch = switch
        self.tables = tables
        self.zones = zones
        self.prober = Prober(switch, tables)
        self.uplink_problems: dict[PhysicalNetwork, str] = {}
        """Why a physical network has no uplink, in a sentence."""
        self.ifindexes: dict[DeviceName, int] = {}
        """The devices that the stages have made sure of, with their index in the kernel."""
        self.disturbed: Callable[[PortWork], bool] = lambda _: False
        """Tells whether events speak of a problem with a port while an operation works on it."""
        self._database_event = asyncio.Event()

    @property
    def checksum_offload_must_be_off(self) -> bool:
        """The userspace datapath passes on checksums that a device was to fill in and nobody does."""
        return self.datapath_type is DatapathType.NETDEV

    async def wait_ready(self, *, deadline: float) -> None:
        """Return when switch and database take changes. Raises Unavailable at `deadline`."""
        unsubscribe = self.database.subscribe(lambda _: self._database_event.set())
        try:
            async with asyncio.timeout_at(deadline):
                while self._database_problem() is not None:
                    self._database_event.clear()
                    await self._database_event.wait()
        except TimeoutError:
            problem = self._database_problem()
            if problem is not None:
                raise problem from None
        finally:
            unsubscribe()
        await self.tables.wait_resynced(deadline=deadline)

    def check_ready(self) -> None:
        """Raise the Unavailable that says what is missing now, if anything is."""
        problem = self._database_problem() or (None if self.tables.resynced else self.tables.unavailable())
        if problem is not None:
            raise problem

    def _database_problem(self) -> Unavailable | None:
        if not self.database.connected:
            return Unavailable(
                "the switch's database is not connected; try again", reason="OVSDB_DISCONNECTED", retry_after_ms=500
            )
        if not self.database.locked:
            return Unavailable(
                "another agent holds the lock of this host and owns its bridge",
                reason="NOT_LOCKED",
                retry_after_ms=2000,
            )
        return None

    # On the way down

    async def make_device(self, work: PortWork, *, deadline: float) -> None:
        """Make the TAP or the veth pair, or bring it to what the spec says."""
        ensured = await self._ensure(work, deadline)
        known = self.ifindexes.get(work.device)
        work.state = ensured.state
        # A device under the same name with another index is another device, though the switch still looks well.
        work.fresh = work.fresh or ensured.fresh or known not in (None, ensured.state.ifindex)
        self.ifindexes[work.device] = ensured.state.ifindex

    async def _ensure(self, work: PortWork, deadline: float) -> Ensured:
        binding, consumer = work.present, work.spec.consumer
        if isinstance(consumer, VmConsumer):
            tap = TapSpec(
                device=binding.device,
                port_id=binding.port_id,
                mtu=binding.mtu,
                mac=tap_mac(binding.mac_address),
                owner_uid=consumer.owner_uid,
                owner_gid=consumer.owner_gid,
                multi_queue=consumer.multi_queue,
                checksum_offload_off=self.checksum_offload_must_be_off,
                take_over=work.mending,
            )
            return await self.devices.ensure_tap(tap, deadline=deadline)
        veth = self._veth(binding, consumer, work.network.network)
        return await self.devices.ensure_veth(replace(veth, take_over=work.mending), deadline=deadline)

    def _veth(self, binding: Binding, consumer: NamespaceConsumer, network: Network) -> VethSpec:
        return VethSpec(
            device=binding.device,
            port_id=binding.port_id,
            mtu=binding.mtu,
            netns_path=consumer.netns_path,
            peer_name=consumer.interface_name,
            peer_mac=binding.mac_address,
            addresses=consumer.addresses or _addresses_in(network, binding.spec.fixed_ips),
            former_addresses=_addresses_in(network, binding.former_ips),
            routes=consumer.routes,
            checksum_offload_off=self.checksum_offload_must_be_off,
            netns_field=f"port.{'container' if consumer.container else 'namespace'}.netns_path",
        )

    async def attach(self, work: PortWork, *, deadline: float) -> None:
        """Make the device a port of the bridge; find its ofport. For an update, a row that is right is believed."""
        attachment = self._attachment(work)
        row = self.database.interface(work.device)
        believed = work.before is not None and not (work.fresh or work.doubted)
        if believed and row is not None and self.database.is_attached(attachment):
            work.ofport = row.ofport
            return
        attaching = self.database.attach(attachment, fresh=work.fresh, take_over=work.mending, deadline=deadline)
        if work.existed:
            attached = await attaching
        else:
            attached = await self._attach_new(attaching, work.present.numbers.zone, deadline)
        work.fresh = work.doubted = False
        work.ofport = attached.ofport

    async def _attach_new(self, attaching: Coroutine[Any, Any, Attached], zone: int, deadline: float) -> Attached:
        """Empty and limit the port's zone while ovs-vswitchd is busy with the row; leave neither under way."""
        attached: Attached | BaseException
        prepared: BaseException | None
        attached, prepared = await asyncio.gather(
            attaching, self.zones.prepare(zone, deadline=deadline), return_exceptions=True
        )
        if isinstance(attached, BaseException):
            raise attached
        if prepared is not None:
            raise prepared
        return attached

    async def reattach(self, work: PortWork, *, deadline: float) -> None:
        """As `attach`, but believe a row that is right: at start, before the switch is asked for its ports."""
        if work.fresh or not self.database.is_attached(self._attachment(work)):
            await self.attach(work, deadline=deadline)

    def _attachment(self, work: PortWork) -> Attachment:
        assert work.state is not None
        binding = work.present
        return Attachment(
            device=binding.device,
            ifindex=work.state.ifindex,
            bridge=self.bridge,
            port_id=binding.port_id,
            mac_address=binding.mac_address,
            host_id=binding.spec.host_id,
            device_id=binding.spec.device_id,
        )

    async def install_flows(self, work: PortWork, *, deadline: float) -> None:
        """Put the port's flows and its flood bucket in the switch, with this wave's others."""
        assert work.ofport is not None
        place = PortPlace.of(work.present, work.network.index)
        work.receipt = await self.tables.apply(PutPort(place, work.ofport), deadline=deadline)
        work.flows = self.tables.closure_of(place.index).flows

    async def reinstate_flows(self, work: PortWork, *, deadline: float) -> None:
        """Put the port's flows back to what its binding says, in one bundle; one that is not in the switch stays so."""
        place = PortPlace.of(work.present, work.network.index)
        work.receipt = await self.tables.apply(ChangePlace(place), deadline=deadline)
        if place.index in self.tables.world.ports:
            work.flows = self.tables.closure_of(place.index).flows

    async def settle(self, *, deadline: float) -> None:
        """Wait until nothing cached in the datapath forwards by the tables of before."""
        await self.tables.settle(deadline=deadline)

    async def check_undisturbed(self, work: PortWork, *, deadline: float) -> None:
        """Raise DriverError if something was done to device or row since the stage that made them."""
        if not self.disturbed(work):
            return
        state = await self.devices.state(work.device, deadline=deadline)
        row = self.database.interface(work.device)
        problem = link_problem(self, work.present, state) or row_problem(self, work.present, row)
        if problem is not None:
            raise DriverError(
                f"somebody changed {work.device} of port {work.spec.port_id!r} while it was plugged ({problem})",
                reason=problem,
            )

    async def read_back(self, work: PortWork, *, deadline: float) -> None:
        """Compare what the switch dumps of all that the port depends on with what is desired."""
        index = work.present.numbers.index
        work.flows = await read_back(self.switch, self.tables, index, deadline=deadline)

    async def probe(self, work: PortWork, *, level: Level, deadline: float) -> None:
        """Show with frames that the port works: through the tables, and with PROBE through its device too.

        A TAP that somebody has open is theirs; `note` says that PIPELINE is all that was shown then.
        """
        if level >= Level.PROBE:
            work.frames, work.note = await self.prober.probe(work, deadline=deadline)
        else:
            work.frames, work.note = await self.prober.pipeline(work, deadline=deadline), ""

    async def bind(self, work: PortWork, *, deadline: float) -> None:
        """Bind the port outside of the host, with every binder."""
        await self.binders.bind(work.present, work.network.network, self._called(work), deadline=deadline)

    def _called(self, work: PortWork) -> set[str]:
        """Of a port that was there before the operation, every binder may know."""
        if work.called_binders is None:
            work.called_binders = set() if work.draft is not None else set(self.binders.names)
        return work.called_binders

    def evidence(self, work: PortWork, level: Level, *, at_ms: int) -> Confirmation:
        """Return what was shown for a port whose stages are done."""
        assert work.state is not None and work.ofport is not None and work.receipt is not None
        assert self.switch.dpid is not None
        return Confirmation(
            level=min(level, Level.PIPELINE) if work.note else level,
            stages=tuple(work.timings),
            ifindex=work.state.ifindex,
            ofport=work.ofport,
            dpid=self.switch.dpid,
            connection_generation=work.receipt.generation,
            bundle_id=work.receipt.bundle_id,
            barrier_xid=work.receipt.barrier_xid,
            flow_count=work.flows[0],
            flow_digest=work.flows[1],
            confirmed_at_ms=at_ms,
            frames=work.frames,
            note=work.note,
        )

    # On the way back up

    async def unbind(self, work: PortWork, *, deadline: float) -> None:
        """Let the binders forget the port that may know it."""
        await self.binders.unbind(work.present, work.network.network, self._called(work), deadline=deadline)

    async def withdraw_flows(self, work: PortWork, *, deadline: float) -> None:
        """Take the port's flows out, wait until nothing cached sends to its ofport, and forget its connections."""
        await self.tables.apply(DropPort(work.present.numbers.index), deadline=deadline)
        await self.tables.settle(deadline=deadline)
        await self.zones.release(work.present.numbers.zone, deadline=deadline)

    async def detach(self, work: PortWork, *, deadline: float) -> None:
        """Take the port off the bridge."""
        await self.database.detach(work.device, deadline=deadline)

    async def remove_device(self, work: PortWork, *, deadline: float) -> None:
        """Remove the device if it is this port's."""
        await self.devices.remove(work.device, port_id=work.spec.port_id, deadline=deadline)
        self.ifindexes.pop(work.device, None)

    def vif(self, binding: Binding) -> VifDetails:
        """Return what compute does with a binding."""
        consumer = binding.spec.consumer
        inside = consumer if isinstance(consumer, NamespaceConsumer) else None
        return VifDetails(
            vif_type=binding.spec.vif_type,
            bridge=self.bridge,
            device=binding.device,
            mtu=binding.mtu,
            mac_address=binding.mac_address,
            datapath_type=self.datapath_type,
            checksum_offload_must_be_off=self.checksum_offload_must_be_off,
            peer_device=inside.interface_name if inside else None,
            netns_path=inside.netns_path if inside else "",
        )


def _addresses_in(network: Network, addresses: Iterable[IpAddress]) -> tuple[IpInterface, ...]:
    """Return addresses with the prefix length of their subnets, but those that no subnet holds any more."""
    subnets = ((address, network.subnet_of(address)) for address in addresses)
    return tuple(
        ipaddress.ip_interface(f"{address}/{subnet.cidr.prefixlen}")
        for address, subnet in subnets
        if subnet is not None
    )
