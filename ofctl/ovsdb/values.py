"""What goes into and comes out of the switch's database: attachments, states of rows, events. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from ofctl.model.ids import DeviceName, Dpid, HostId, MacAddress, OfPort, PhysicalNetwork, PortId
from ofctl.model.vif import DatapathType

OWNER_KEY = "ofctl-owner"
"""Key in external_ids of every Bridge, Port and Interface row that ofctl made; the value is the host id."""
PORT_ID_KEY = "ofctl-port-id"
IFINDEX_KEY = "ofctl-ifindex"
"""Key in external_ids of the Interface: the device that was attached. ovs-vswitchd keeps ofport and an empty error for
another device under the same name, and shows its ifindex, while the port carries nothing."""
GUEST_KEY = "ofctl-guest"
"""On a bridge that was made for a guest: its name."""
UPLINK_KEY = "ofctl-uplink"
"""Key in external_ids of the interface that leads to a physical network; the value is its name."""

DEFAULT_PROTOCOLS = ("OpenFlow10", "OpenFlow13", "OpenFlow15")
"""1.5 is ours, 1.3 is for guest applications, 1.0 for tools that ask for nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSpec:
    """A bridge as ofctl wants it. `datapath_type` None: system if the kernel has it, else netdev."""

    name: str
    datapath_type: DatapathType | None = None
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    dpid: Dpid | None = None
    """None: one that is made from the host's id and the name."""
    guest: str = ""
    """Of a bridge that is made for a guest, whose name it then bears; one that is there does not get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeState:
    """A bridge as the database has it. `dpid` is None until ovs-vswitchd has made the bridge."""

    name: str
    owner: str
    """Host id in the owner mark, empty for a bridge that is not ofctl's."""
    ours: bool
    dpid: Dpid | None
    datapath_type: DatapathType
    fail_mode: str
    protocols: tuple[str, ...]
    """Sorted."""
    controllers: tuple[str, ...]
    """Targets of its OpenFlow controllers, sorted."""
    other_config: tuple[tuple[str, str], ...]
    """Sorted by key."""
    mcast_snooping: bool
    stp: bool
    rstp: bool
    guest: str = ""
    """The guest for which ofctl has made it; empty for any other bridge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What taking a bridge over changes, or has changed."""

    bridge: str
    changes: tuple[str, ...]
    """Sentences, such as `fail_mode: standalone becomes secure`."""
    foreign_ports: tuple[DeviceName, ...]
    """Ports that ofctl did not put there; they stay."""
    applied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A device of the kernel that is to be a port of a bridge."""

    device: DeviceName
    bridge: str
    port_id: PortId
    mac_address: MacAddress
    """MAC address of the guest, for `attached-mac`."""
    host_id: HostId
    device_id: str = ""
    """Instance or container, for `vm-uuid`."""
    ifindex: int | None = None
    """Index of the device in the kernel. A row for another one under the same name is removed first."""
    mtu: int | None = None
    """Bytes, for `mtu_request`; None leaves the MTU of the device to its owner."""
    external_ids: tuple[tuple[str, str], ...] = ()
    """Further pairs for the Interface row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The evidence that ovs-vswitchd has taken a port: it has processed configuration `next_cfg`."""

    device: DeviceName
    bridge: str
    ofport: OfPort
    ifindex: int | None
    mac_in_use: str
    next_cfg: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceState:
    """A row of table Interface, as last heard."""

    device: DeviceName
    bridge: str
    """Empty while no bridge has it."""
    port: str
    """Name of its Port row; another name than the device's for a member of a bond."""
    interface_type: str
    """Empty or `system` for a device of the kernel."""
    ofport: OfPort | None
    """None if ovs-vswitchd gave none: column empty, or -1."""
    error: str
    ifindex: int | None
    mac_in_use: str
    external_ids: tuple[tuple[str, str], ...]
    """Sorted by key."""
    ours: bool
    """Bears this host's owner mark."""

    def external_id(self, key: str) -> str:
        """Return the value of a key in external_ids, or an empty string."""
        return next((value for name, value in self.external_ids if name == key), "")

    @property
    def port_id(self) -> PortId | None:
        """The port that ofctl attached it for."""
        return PortId(self.external_id(PORT_ID_KEY)) if self.external_id(PORT_ID_KEY) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkSpec:
    """The way out for a physical network: exactly one of a device, several devices (a bond) and a bridge.

    A bond gets a bridge of its own, since only the NORMAL action spreads frames over the members of an OVS bond
    (ovs-vswitchd.conf.db(5), Bonding Configuration); that bridge and one that is named are reached by patch ports.
    """

    physical_network: PhysicalNetwork
    bridge: str
    """The integration bridge."""
    devices: tuple[DeviceName, ...] = ()
    bond_mode: str = "active-backup"
    lacp: str = "off"
    peer_bridge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """The port of the integration bridge that leads to a physical network."""

    physical_network: PhysicalNetwork
    bridge: str
    device: DeviceName
    """Name of the interface on the integration bridge: the device, or our end of the patch."""
    ofport: OfPort | None
    error: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The replica of the database is complete and follows it."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to ovsdb-server is gone; the replica shows the past."""


@dataclass(frozen=True, slots=True)
class LockAcquired:
    """This process may write."""


@dataclass(frozen=True, slots=True)
class LockLost:
    """Another process holds the lock, or the connection is gone."""


@dataclass(frozen=True, slots=True)
class InterfaceChanged:
    """A row of Interface came, changed or (`state` None) went."""

    device: DeviceName
    state: InterfaceState | None


@dataclass(frozen=True, slots=True)
class BridgeChanged:
    """A row of Bridge came, changed or (`state` None) went. Its list of ports is not part of the state."""

    name: str
    state: BridgeState | None


@dataclass(frozen=True, slots=True)
class VersionChanged:
    """ovs-vswitchd has said what it is."""

    ovs_version: str
    schema_version: str


ConnectionEvent = Connected | Disconnected | LockAcquired | LockLost
SwitchEvent = ConnectionEvent | InterfaceChanged | BridgeChanged | VersionChanged
