"""What compute needs to attach a guest to a plugged port."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ofctl.model.ids import DeviceName, MacAddress
from ofctl.model.port import Binding, VifType


class DatapathType(enum.Enum):
    """Datapath of the bridge (ovs-vswitchd.conf.db(5), Bridge:datapath_type)."""

    SYSTEM = "system"
    NETDEV = "netdev"


@dataclass(frozen=True, slots=True, kw_only=True)
class VifDetails:
    """The device, and what the guest must respect."""

    vif_type: VifType
    bridge: str
    device: DeviceName
    """TAP: the device to open. VETH: the end that is in the switch."""
    mtu: int
    mac_address: MacAddress
    datapath_type: DatapathType
    checksum_offload_must_be_off: bool
    """True with the userspace datapath: a guest that leaves checksums to its device can ping and cannot do TCP."""
    peer_device: DeviceName | None = None
    """VETH: the name inside the namespace."""
    netns_path: str = ""
    """VETH: the namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluggedPort:
    """A binding together with what compute does with it."""

    binding: Binding
    vif: VifDetails
