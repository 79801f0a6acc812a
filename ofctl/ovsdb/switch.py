"""The Open_vSwitch database: bridges, ports and uplinks of one host."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ofctl.model.ids import DeviceName, HostId, PhysicalNetwork
from ofctl.ovsdb.values import (
    Adoption,
    Attached,
    Attachment,
    BridgeSpec,
    BridgeState,
    InterfaceState,
    SwitchEvent,
    Uplink,
    UplinkSpec,
)


class SwitchDatabase:
    """The switch's configuration as one owner writes it.

    All coroutines and properties belong to the event loop in which `start` ran; deadlines are instants of
    `loop.time()` in seconds. Writes raise Unavailable (reason OVSDB_DISCONNECTED, or NOT_LOCKED while another process
    holds the lock `ofctl/<host_id>`), DeadlineExceeded when the deadline passed before anything was sent, and
    OutcomeUnknown when it passed afterwards.
    """

    def __init__(self, connection: str, *, host_id: HostId) -> None:
        """`connection` is an active OVSDB connection method (ovsdb(7)), such as `unix:/run/openvswitch/db.sock`."""

    @property
    def connected(self) -> bool:
        """Whether the replica is complete and follows the database."""
        raise NotImplementedError

    @property
    def locked(self) -> bool:
        """Whether this process may write."""
        raise NotImplementedError

    @property
    def ovs_version(self) -> str:
        """Version of ovs-vswitchd, empty if it never ran."""
        raise NotImplementedError

    @property
    def schema_version(self) -> str:
        """Version of the database's schema as ovs-ctl recorded it, may be empty."""
        raise NotImplementedError

    async def start(self, *, deadline: float) -> None:
        """Connect, fetch the rows and ask for the lock; the lock may be held by another when this returns.

        Raises Unavailable if there is no complete replica at the deadline.
        """

    async def close(self) -> None:
        """Give the lock back and end the thread. Waiting calls fail. Safe to call again."""

    def subscribe(self, callback: Callable[[SwitchEvent], None]) -> Callable[[], None]:
        """Call `callback` in the loop for each event from now on; return what ends that."""
        raise NotImplementedError

    def interface(self, device: DeviceName) -> InterfaceState | None:
        """Return the row of that name as last heard; no I/O."""
        raise NotImplementedError

    def interfaces(self) -> Mapping[DeviceName, InterfaceState]:
        """Return all rows of Interface as last heard: a live read-only view; no I/O."""
        raise NotImplementedError

    def bridge(self, name: str) -> BridgeState | None:
        """Return the bridge as last heard; no I/O."""
        raise NotImplementedError

    def bridges(self) -> Mapping[str, BridgeState]:
        """Return all bridges as last heard: a live read-only view; no I/O."""
        raise NotImplementedError

    def foreign_ports(self, bridge: str) -> tuple[DeviceName, ...]:
        """Return the devices on a bridge that do not bear our mark, without the bridge's own; sorted; no I/O."""
        raise NotImplementedError

    async def ensure_bridge(self, spec: BridgeSpec, *, deadline: float) -> BridgeState:
        """Make our bridge as `spec` says and return when ovs-vswitchd has it so.

        Raises Refused (BRIDGE_FOREIGN) for an existing bridge without our mark, AttachError if ovs-vswitchd cannot.
        """
        raise NotImplementedError

    async def adopt_bridge(self, spec: BridgeSpec, *, dry_run: bool, deadline: float) -> Adoption:
        """Put our mark and settings on an existing bridge, or only say what that would change.

        The datapath type of an existing bridge is kept if `spec` names none. Raises NotFound.
        """
        raise NotImplementedError

    async def attach(self, attachment: Attachment, *, deadline: float, fresh: bool = False) -> Attached:
        """Make the device a port of the bridge and return when ovs-vswitchd has given it an ofport.

        Idempotent. `fresh`: the device was made a moment ago, so a row that is there belongs to a device that is
        gone; it is removed in a transaction of its own first, or the port would look well and carry nothing.
        Raises NotFound for the bridge, Refused (BRIDGE_FOREIGN; DEVICE_FOREIGN for a row that is not ours;
        DEVICE_IN_USE for one of another port), AttachError with OVS's text (the row stays: call `detach`).
        """
        raise NotImplementedError

    async def detach(self, device: DeviceName, *, deadline: float) -> None:
        """Remove the port and return when ovs-vswitchd has let go of the device. Idempotent.

        Raises Refused (DEVICE_FOREIGN) for a row that is not ours.
        """

    async def attach_uplink(self, spec: UplinkSpec, *, deadline: float) -> Uplink:
        """Connect the bridge to a physical network; idempotent. Raises as `attach`."""
        raise NotImplementedError

    async def detach_uplink(self, physical_network: PhysicalNetwork, *, deadline: float) -> None:
        """Remove what `attach_uplink` made; idempotent."""

    def uplinks(self) -> Mapping[PhysicalNetwork, Uplink]:
        """Return the uplinks as last heard; no I/O."""
        raise NotImplementedError
