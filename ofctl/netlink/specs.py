"""What a device shall be, and what it is. Plain values; `ofctl.netlink.devices` makes them true."""

from __future__ import annotations

from dataclasses import dataclass

from ofctl.model.ids import DeviceName, MacAddress, PortId
from ofctl.model.network import IpInterface
from ofctl.model.port import Route
from ofctl.netlink.mark import OwnerMark


@dataclass(frozen=True, slots=True, kw_only=True)
class TapSpec:
    """A persistent TAP that a virtual machine monitor will open."""

    device: DeviceName
    port_id: PortId
    mtu: int
    mac: MacAddress | None = None
    """The TAP's own address, not the guest's: see `tap_mac`. None leaves the kernel's random one."""
    owner_uid: int | None = None
    """Who may open it without CAP_NET_ADMIN (TUNSETOWNER)."""
    owner_gid: int | None = None
    multi_queue: bool = False
    """IFF_MULTI_QUEUE: every opener must ask for the same mode."""
    checksum_offload_off: bool = False
    """Make sure that `tx-checksumming` is off now. A TAP starts like that, and who opens it may switch it on for
    itself (TUNSETOFFLOAD): the guest must respect `VifDetails.checksum_offload_must_be_off`."""
    take_over: bool = False
    """A device of that name and kind that bears nobody's mark is taken over: marked, and brought to spec. For mending
    a port whose durable intent names the device, when somebody has deleted and made it again by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VethSpec:
    """A veth pair: `device` stays here for the switch, `peer_name` is made inside a network namespace."""

    device: DeviceName
    port_id: PortId
    mtu: int
    netns_path: str
    peer_name: DeviceName
    peer_mac: MacAddress | None = None
    addresses: tuple[IpInterface, ...] = ()
    former_addresses: tuple[IpInterface, ...] = ()
    """Taken away if they are there; what is also in `addresses` stays."""
    routes: tuple[Route, ...] = ()
    """Added in this order; a gateway outside of the addresses needs a route to itself before it."""
    checksum_offload_off: bool = False
    """Switch `tx-checksumming` off on the peer: without that TCP carries nothing through the userspace datapath."""
    netns_field: str = "port.namespace.netns_path"
    """Path of the field in the request, for InvalidField."""
    take_over: bool = False
    """As `TapSpec.take_over`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """A device as the kernel shows it at one instant."""

    device: DeviceName
    ifindex: int
    kind: str
    """`tap`, `veth`, or what the kernel calls another kind; empty for a physical NIC."""
    mtu: int
    mac: MacAddress
    up: bool
    """Administratively up (IFF_UP)."""
    carrier: bool
    """TAP: somebody has it open. VETH: the other end is up."""
    alias: str = ""
    master: int | None = None
    """ifindex of the bridge, bond or datapath that the device is a port of."""
    multi_queue: bool = False
    queues: int | None = None
    """Multi-queue TAP: how many queues are open, disabled ones included."""
    owner_uid: int | None = None
    owner_gid: int | None = None
    peer_ifindex: int | None = None
    """IFLA_LINK: VETH: index of the other end, in its own namespace; VLAN and the like: of the device below."""
    peer_nsid: int | None = None
    """IFLA_LINK_NETNSID, None if the other end is in this namespace."""

    @property
    def mark(self) -> OwnerMark | None:
        """The owner mark, None for a foreign device."""
        return OwnerMark.parse(self.alias)

    @property
    def port_id(self) -> PortId | None:
        """The port in the owner mark; None for a foreign device, or if the mark has only a hash of the id."""
        mark = self.mark
        return mark.port_id if mark else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensured:
    """A device that is as its spec says."""

    state: DeviceState
    created: bool
    """Made anew by this call."""
    taken_over: bool = False
    """Somebody else made it, and this call marked it (`TapSpec.take_over`)."""

    @property
    def fresh(self) -> bool:
        """The switch may stand on an earlier device of that name, and must be made to let go of it."""
        return self.created or self.taken_over


def tap_mac(guest_mac: MacAddress) -> MacAddress:
    """Return an address for the TAP of a guest with `guest_mac`: the same with first octet fe, as libvirt does.

    It must differ from the guest's: a host that sees frames from its own device's address takes them for its own
    and drops them. And it should be high: a Linux bridge takes the lowest address of its ports for itself.
    """
    first = "fa" if guest_mac.startswith("fe:") else "fe"
    return MacAddress(first + guest_mac[2:])
