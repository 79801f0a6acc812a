"""What a host says of itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ofctl.model.confirmation import Level
from ofctl.model.ids import DeviceName, Dpid, HostId, OfPort, PhysicalNetwork
from ofctl.model.port import VifType
from ofctl.model.vif import DatapathType


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeView:
    """An owned bridge. `connection_generation` counts the connections to it since the agent started."""

    name: str
    dpid: Dpid
    datapath_type: DatapathType
    owner: str
    connected: bool
    resynced: bool
    connection_generation: int
    foreign_ports: tuple[DeviceName, ...] = ()
    """Ports on the bridge that ofctl did not put there; left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkView:
    """The way out for a physical network. `ofport` is None while the switch does not have it."""

    physical_network: PhysicalNetwork
    device: DeviceName
    ofport: OfPort | None = None
    problem: str = ""


class AppState(enum.Enum):
    """What an application beside the core is doing."""

    STARTING = "starting"
    RUNNING = "running"
    BLOCKED = "blocked"
    """It has been in one event handler for seconds; what comes meanwhile waits, and is dropped in the end."""
    WAITING = "waiting"
    """Its process ended; it is started again after a pause that grows."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppView:
    """An application beside the core, as it is known now."""

    name: str
    kind: str
    """`guest` for a classic Ryu or os-ken application; `feature`, `binder` or both words for an app in the agent."""
    source: str
    bridge: str
    state: AppState
    last_error: str = ""
    """A sentence; stays until there is another."""
    restarts: int = 0
    queue_depth: int = 0
    """Events that wait for the application, at most 128 for each of its classes."""
    flows: int = 0
    """That the switch has for it, as counted at most some seconds ago."""
    dropped_packet_ins: int = 0
    """Those that it was too slow to take."""
    delayed_messages: int = 0
    """Messages of its that had to wait for its rates."""
    pid: int = 0
    """0 while it has no process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """What GetHost returns. Ready when `not_ready` is empty."""

    host_id: HostId
    versions: tuple[tuple[str, str], ...]
    """Pairs of component (`ofctl`, `openvswitch`, `kernel`, `python`, `os-ken`) and version."""
    bridges: tuple[BridgeView, ...]
    uplinks: tuple[UplinkView, ...]
    vif_types: tuple[VifType, ...]
    levels: tuple[Level, ...]
    max_ports: int
    """Capacity from the configuration: what OVS advertises is not what it can carry."""
    port_count: int
    not_ready: tuple[str, ...] = ()
    """Sentences, one for each thing that is missing before the host can plug."""
    counters: tuple[tuple[str, int], ...] = ()
    """Pairs of an event's name and how often it has happened since the agent started; docs/operations.md names them."""
    apps: tuple[AppView, ...] = ()
    """Applications beside the core, in the order of the configuration."""
