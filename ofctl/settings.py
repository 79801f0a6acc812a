"""The values of the configuration, frozen. `ofctl.config.load` makes and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofctl.model.ids import DeviceName, Dpid, HostId, PhysicalNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Group [agent]."""

    host_id: HostId
    bridge: DeviceName
    physical_networks: Mapping[PhysicalNetwork, tuple[DeviceName, ...]]
    """Read-only."""
    device_prefix: str
    plug_timeout_s: float
    max_ports: int
    max_connections_per_port: int
    admin_uids: frozenset[int]
    log_format: str
    """`text` or `json`."""
    log_level: str
    """Name of a level of the standard library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """Group [apps]."""

    load: tuple[str, ...]
    """With those of the command line, both kinds."""
    classes: tuple[type[Any], ...]
    """Of feature apps and binders, as `ofctl.apps.loading.find_apps` found them; guests are in `GuestSettings`."""
    bind_timeout_s: float
    packet_in_port_rate: int
    packet_in_rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OvsdbSettings:
    """Group [ovsdb]."""

    connection: str
    rundir: Path
    datapath_type: str
    """`auto`, `system` or `netdev`."""
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenflowSettings:
    """Group [openflow]."""

    echo_interval_s: float
    reconnect_max_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcSettings:
    """Group [grpc]. `listen` is None without TCP; the three TLS files are there all or none."""

    socket: Path
    socket_mode: int
    socket_group: str
    listen: str | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_ca: Path | None
    admin_names: frozenset[str]
    reply_reserve_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Group [database]."""

    connection: str
    max_requests: int
    timeout_s: float


FENCES = ("from-port", "to-port")
"""Where a guest's fence on the owned bridge may be, after the anchors of the pipeline; the first if nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSpec:
    """One Ryu or os-ken application."""

    name: str
    source: str
    """Absolute path of a Python file, or the name of a module."""
    bridge: DeviceName
    """One that the guest has whole, or the owned one, if it is in a fence there."""
    fence: str = ""
    """One of FENCES; empty on a bridge of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSettings:
    """Group [guests]."""

    run: tuple[GuestSpec, ...]
    """Those of `[apps] load`."""
    http: Mapping[str, str]
    """ADDRESS:PORT or /PATH, by name of the guest."""
    config_files: Mapping[str, Path]
    datapath_ids: Mapping[str, Dpid]
    run_dir: Path
    max_change_rate: int
    max_packet_rate: int
    max_flows: int
    memory_mb: int
    max_threads: int
    restart_max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration, checked."""

    agent: AgentSettings
    ovsdb: OvsdbSettings
    openflow: OpenflowSettings
    grpc: GrpcSettings
    database: DatabaseSettings
    apps: AppSettings
    app_options: Mapping[str, Mapping[str, Any]]
    """Values of group [app:NAME], by NAME."""
    guests: GuestSettings
