"""The Open_vSwitch database: bridges, ports and uplinks of one host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ofctl.errors import Refused
from ofctl.model.ids import DeviceName, HostId, PhysicalNetwork
from ofctl.model.vif import DatapathType
from ofctl.ovsdb.attachments import Attach, Detach, check_ours, external_ids
from ofctl.ovsdb.bridges import EnsureBridge, RemoveGuestBridge, changes_of, no_such_bridge
from ofctl.ovsdb.connection import OvsdbConnection
from ofctl.ovsdb.kernel import kernel_has_datapath
from ofctl.ovsdb.switch_view import SwitchView
from ofctl.ovsdb.uplinks import AttachUplink, DetachUplink, bond_names, patch_names, uplink_of
from ofctl.ovsdb.values import (
    IFINDEX_KEY,
    Adoption,
    Attached,
    Attachment,
    BridgeChanged,
    BridgeSpec,
    BridgeState,
    InterfaceChanged,
    InterfaceState,
    SwitchEvent,
    Uplink,
    UplinkSpec,
    VersionChanged,
)


class SwitchDatabase:
    """The switch's configuration as one owner writes it.

    All coroutines and properties belong to the event loop in which `start` ran; deadlines are instants of
    `loop.time()` in seconds. Writes raise Unavailable (reason OVSDB_DISCONNECTED, or NOT_LOCKED while another process
    holds the host's lock, see `lock_name` in `ofctl.ovsdb.switch_view`), DeadlineExceeded when the deadline passed
    before anything was sent, and OutcomeUnknown when it passed afterwards.
    """

    def __init__(self, connection: str, *, host_id: HostId) -> None:
        """`connection` is an active OVSDB connection method (ovsdb(7)), such as `unix:/run/openvswitch/db.sock`."""
        self.host_id = host_id
        self._connection = OvsdbConnection(connection, SwitchView(host_id), on_event=self._note)
        self._interfaces: dict[DeviceName, InterfaceState] = {}
        self._bridges: dict[str, BridgeState] = {}
        self._versions = VersionChanged("", "")

    @property
    def connected(self) -> bool:
        """Whether the replica is complete and follows the database."""
        return self._connection.connected

    @property
    def locked(self) -> bool:
        """Whether this process may write."""
        return self._connection.locked

    @property
    def ovs_version(self) -> str:
        """Version of Open vSwitch as the database says, empty if nobody wrote it."""
        return self._versions.ovs_version

    @property
    def schema_version(self) -> str:
        """Version of the database's schema as ovs-ctl recorded it, may be empty."""
        return self._versions.schema_version

    @property
    def waves_sent(self) -> int:
        """Transactions sent since `start`; under load many calls share one."""
        return self._connection.waves_sent

    async def start(self, *, deadline: float) -> None:
        """Connect, fetch the rows and ask for the lock; the lock may be held by another when this returns.

        Raises Unavailable if there is no complete replica at the deadline.
        """
        await self._connection.start(deadline=deadline)

    async def close(self) -> None:
        """Give the lock back and end the thread. Waiting calls fail. Safe to call again."""
        await self._connection.close()

    def subscribe(self, callback: Callable[[SwitchEvent], None]) -> Callable[[], None]:
        """Call `callback` in the loop for each event from now on; return what ends that."""
        return self._connection.subscribe(callback)

    def interface(self, device: DeviceName) -> InterfaceState | None:
        """Return the row of that name as last heard; no I/O."""
        return self._interfaces.get(device)

    def interfaces(self) -> Mapping[DeviceName, InterfaceState]:
        """Return all rows of Interface as last heard: a live read-only view; no I/O."""
        return MappingProxyType(self._interfaces)

    def bridge(self, name: str) -> BridgeState | None:
        """Return the bridge as last heard; no I/O."""
        return self._bridges.get(name)

    def bridges(self) -> Mapping[str, BridgeState]:
        """Return all bridges as last heard: a live read-only view; no I/O."""
        return MappingProxyType(self._bridges)

    def foreign_ports(self, bridge: str) -> tuple[DeviceName, ...]:
        """Return the devices on a bridge that do not bear our mark, without the bridge's own; sorted; no I/O."""
        return tuple(
            sorted(
                state.device
                for state in self._interfaces.values()
                if state.bridge == bridge and not state.ours and state.device != bridge
            )
        )

    async def ensure_bridge(self, spec: BridgeSpec, *, deadline: float) -> BridgeState:
        """Make our bridge as `spec` says and return when ovs-vswitchd has it so.

        Raises Refused (BRIDGE_FOREIGN) for an existing bridge without our mark, AttachError if ovs-vswitchd cannot.
        """
        return await self._connection.run(self._ensure(spec, adopt=False), deadline=deadline)

    async def remove_guest_bridge(self, name: str, *, deadline: float) -> None:
        """Remove a bridge that was made for a guest, and return when ovs-vswitchd has let go of it. Idempotent.

        Raises Refused (BRIDGE_FOREIGN) for any other bridge.
        """
        await self._connection.run(RemoveGuestBridge(name), deadline=deadline)

    async def adopt_bridge(self, spec: BridgeSpec, *, dry_run: bool, deadline: float) -> Adoption:
        """Put our mark and settings on an existing bridge, or only say what that would change.

        The datapath type of an existing bridge is kept if `spec` names none. Raises NotFound, Refused (AGENT_RUNNING)
        while an agent of the host writes; `dry_run` works beside it.
        """
        state = self._bridges.get(spec.name)
        if state is None:
            raise no_such_bridge(spec.name)
        if not dry_run and not self.locked:
            raise Refused(
                f"an agent of host {self.host_id} is running, and it alone writes for it; stop it (systemctl stop "
                f"ofctl-agent), adopt {spec.name}, and start it again",
                reason="AGENT_RUNNING",
                subject=spec.name,
            )
        changes = changes_of(state, spec, self.host_id)
        if not dry_run:
            await self._connection.run(self._ensure(spec, adopt=True), deadline=deadline)
        return Adoption(
            bridge=spec.name, changes=changes, foreign_ports=self.foreign_ports(spec.name), applied=not dry_run
        )

    def _ensure(self, spec: BridgeSpec, *, adopt: bool) -> EnsureBridge:
        default = DatapathType.NETDEV
        if spec.datapath_type is None and spec.name not in self._bridges and kernel_has_datapath():
            default = DatapathType.SYSTEM
        return EnsureBridge(spec, host_id=self.host_id, default_type=default, adopt=adopt)

    async def attach(
        self, attachment: Attachment, *, deadline: float, fresh: bool = False, take_over: bool = False
    ) -> Attached:
        """Make the device a port of the bridge and return when ovs-vswitchd has given it an ofport.

        Idempotent. `fresh`: the device was made a moment ago, so a row that is there belongs to a device that is
        gone; it is removed in a transaction of its own first, or the port would look well and carry nothing. So is a
        row for a device of another index.
        `take_over`: the device is ours beyond doubt, so a row of that name that is not, or is on another bridge, was
        put there by hand: it is removed first, too.
        Raises NotFound for the bridge, Refused (BRIDGE_FOREIGN; DEVICE_FOREIGN for a row that is not ours;
        DEVICE_IN_USE for one of another port), AttachError with OVS's text (the row stays: call `detach`).
        """
        present = self._interfaces.get(attachment.device)
        strange = present is not None and not (present.ours and present.bridge == attachment.bridge)
        if take_over and strange:
            await self._connection.run(Detach(attachment.device, foreign_too=True), deadline=deadline)
        elif present is not None and (fresh or self._is_for_another(present, attachment)):
            check_ours(present, attachment)
            await self._connection.run(Detach(attachment.device), deadline=deadline)
        return await self._connection.run(Attach(attachment), deadline=deadline)

    @staticmethod
    def _is_for_another(present: InterfaceState, attachment: Attachment) -> bool:
        """Tell whether the row was made for a device that is gone: one of the same name has another index."""
        return present.ours and present.external_id(IFINDEX_KEY) not in ("", str(attachment.ifindex))

    def is_attached(self, attachment: Attachment) -> bool:
        """Tell whether the row is as `attach` would leave it, and ovs-vswitchd has taken it as that device; no I/O.

        It is what ovs-vswitchd said last; whether it runs now, the database does not know. `attachment` names no MTU.
        """
        state = self._interfaces.get(attachment.device)
        return (
            state is not None
            and state.ours
            and (state.bridge, state.port) == (attachment.bridge, attachment.device)
            and (state.ofport is not None and not state.error and state.ifindex == attachment.ifindex)
            and external_ids(attachment).items() <= dict(state.external_ids).items()
        )

    async def detach(self, device: DeviceName, *, deadline: float) -> None:
        """Remove the port and return when ovs-vswitchd has let go of the device. Idempotent.

        Raises Refused (DEVICE_FOREIGN) for a row that is not ours.
        """
        await self._connection.run(Detach(device), deadline=deadline)

    async def attach_uplink(self, spec: UplinkSpec, *, deadline: float) -> Uplink:
        """Connect the bridge to a physical network; idempotent. Raises as `attach`."""
        return await self._connection.run(AttachUplink(spec), deadline=deadline)

    async def detach_uplink(self, physical_network: PhysicalNetwork, *, deadline: float) -> None:
        """Remove what `attach_uplink` made; idempotent."""
        await self._connection.run(DetachUplink(physical_network), deadline=deadline)

    def uplinks(self) -> Mapping[PhysicalNetwork, Uplink]:
        """Return the uplinks as last heard; no I/O."""
        return {
            uplink.physical_network: uplink
            for uplink in map(uplink_of, self._interfaces.values())
            if uplink.physical_network and self._is_integration_side(uplink)
        }

    def _is_integration_side(self, uplink: Uplink) -> bool:
        _, far_patch = patch_names(uplink.physical_network)
        own_bridge, _ = bond_names(uplink.physical_network)
        return uplink.device != far_patch and uplink.bridge != own_bridge

    def _note(self, event: object) -> None:
        match event:
            case InterfaceChanged(device, None):
                self._interfaces.pop(device, None)
            case InterfaceChanged(device, InterfaceState() as interface):
                self._interfaces[device] = interface
            case BridgeChanged(name, None):
                self._bridges.pop(name, None)
            case BridgeChanged(name, BridgeState() as bridge):
                self._bridges[name] = bridge
            case VersionChanged():
                self._versions = event
