"""What the host says of itself: GetHost."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping

from ofctl import __version__
from ofctl.engine.chassis import Chassis
from ofctl.engine.inventory import BUILT_VIF_TYPES, Inventory
from ofctl.errors import Unavailable
from ofctl.model.confirmation import BUILT_LEVELS
from ofctl.model.host import BridgeView, HostView, UplinkView
from ofctl.model.ids import DeviceName, Dpid


def describe_host(chassis: Chassis, inventory: Inventory, *, port_count: int, counters: Mapping[str, int]) -> HostView:
    """Return the host as it is known at this moment; no I/O."""
    not_ready = []
    try:
        chassis.check_ready()
    except Unavailable as problem:
        not_ready.append(problem.message)
    uplinks = _uplinks(chassis, inventory)
    bridge = chassis.database.bridge(chassis.bridge)
    zones = {"zones.unlimited": chassis.zones.unlimited, "zones.limits_mended": chassis.zones.mended}
    return HostView(
        host_id=inventory.host_id,
        versions=(
            ("ofctl", __version__),
            ("openvswitch", _switch_version(chassis)),
            ("kernel", platform.release()),
            ("python", platform.python_version()),
            ("os-ken", importlib.metadata.version("os-ken")),
        ),
        bridges=(
            BridgeView(
                name=chassis.bridge,
                dpid=chassis.switch.dpid or Dpid(0),
                datapath_type=chassis.datapath_type,
                owner=bridge.owner if bridge is not None else "",
                connected=chassis.switch.connected,
                resynced=chassis.tables.resynced,
                connection_generation=chassis.switch.generation,
                foreign_ports=chassis.database.foreign_ports(chassis.bridge),
            ),
        ),
        uplinks=uplinks,
        vif_types=BUILT_VIF_TYPES,
        levels=BUILT_LEVELS,
        max_ports=inventory.max_ports,
        port_count=port_count,
        not_ready=tuple(not_ready),
        counters=tuple(sorted({**counters, **zones}.items())),
    )


def _switch_version(chassis: Chassis) -> str:
    """Return what the switch says of itself; its database knows only if the distribution's script has written it."""
    said = chassis.switch.description
    return said.software if said is not None else chassis.database.ovs_version


def _uplinks(chassis: Chassis, inventory: Inventory) -> tuple[UplinkView, ...]:
    present = chassis.database.uplinks()
    views = []
    for physical_network, devices in sorted(inventory.physical_networks.items()):
        uplink = present.get(physical_network)
        device = DeviceName("+".join(devices))
        problem = chassis.uplink_problems.get(physical_network, "")
        if not problem and (uplink is None or uplink.ofport is None):
            problem = (uplink.error if uplink is not None else "") or "the switch does not have it"
        ofport = uplink.ofport if uplink is not None else None
        views.append(UplinkView(physical_network=physical_network, device=device, ofport=ofport, problem=problem))
    return tuple(views)
